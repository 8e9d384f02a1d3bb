"""Settings: every value out of range is refused by name, and nothing changes afterwards."""

import dataclasses
import math

import jax
import pytest

from noethers_razor import config
from noethers_razor.config import FitConfig
from noethers_razor.errors import UsageError
from noethers_razor.mechanics import integrators
from noethers_razor.mechanics import orbits as orbit
from noethers_razor.model import network as hamiltonian

COUNT = [0, -1]
POSITIVE = [0.0, -0.1, math.nan, math.inf]
BAD = {
    "steps": COUNT,
    "first_stage": [-0.1, 1.0, math.nan],
    "width": COUNT,
    "depth": COUNT,
    "activation": ["relu", ""],
    "orbit_samples": COUNT,
    "measure": ["gaussian"],
    "sampling": ["sobol"],
    "weight_samples": COUNT,
    "batch": COUNT,
    "learning_rate": POSITIVE,
    "joint_learning_rate": POSITIVE,
    "conserved_learning_rate": [-0.1, math.nan, math.inf],
    "noise_learning_rate": [-0.1, math.nan, math.inf],
    "initial_deviation": POSITIVE,
    "noise_variance": POSITIVE,
    "noise_floor": [-0.1, math.nan, math.inf],
    "integrator": ["leapfrog"],
    "substeps": COUNT,
    "held_out": [-0.1, 1.0, math.nan],
    "chunk": COUNT,
    "dtype": ["float16", "int32"],
}
GOOD = {
    "steps": 1,
    "first_stage": 0.0,
    "conserved_learning_rate": 0.0,
    "noise_learning_rate": 0,
    "noise_floor": 0.0,
    "noise_variance": 1e-3,
    "substeps": 3,
    "held_out": 0.0,
    "selection": False,
    "dtype": "float64",
}
WHOLE = ("steps", "width", "depth", "orbit_samples", "weight_samples", "batch", "substeps", "chunk")
FIELDS = {config.flag_of(field): field for _, field in FitConfig.settings()}


def test_every_setting_with_a_range_is_tried():
    # A switch is the only kind of setting that has no value out of range.
    assert set(BAD) == {name for name, field in FIELDS.items() if field.type != "bool"}


@pytest.mark.parametrize(("name", "value"), [(name, bad) for name, values in BAD.items() for bad in values])
def test_values_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(UsageError, match=rf"^{name} = {value!r}; expected ") as refusal:
        FitConfig.of(**{name: value})
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize("name", WHOLE)
def test_counts_are_whole_numbers(name):
    with pytest.raises(UsageError, match=rf"^{name} = 2\.5; expected "):
        FitConfig.of(**{name: 2.5})


@pytest.mark.parametrize("name", list(GOOD))
def test_values_at_the_edge_are_taken(name):
    assert FitConfig.of(**{name: GOOD[name]}).flat()[name] == GOOD[name]


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("activation", hamiltonian.ACTIVATIONS),
        ("measure", orbit.MEASURES),
        ("integrator", integrators.ORDERS),
        ("sampling", config.SAMPLINGS),
        ("dtype", ("float32", "float64")),
    ],
)
def test_settings_offer_what_the_package_has(name, choices):
    # Names are repeated in the settings, so that they load without the numerical libraries.
    offered = {"dtype": config.DTYPES, "activation": config.ACTIVATIONS, "measure": config.MEASURES}
    offered |= {"integrator": config.INTEGRATORS, "sampling": config.SAMPLINGS}
    assert set(offered[name]) == set(choices)
    for choice in choices:
        assert FitConfig.of(**{name: choice}).flat()[name] == choice


@pytest.mark.parametrize("sampling", config.SAMPLINGS)
def test_orbits_are_sampled_in_every_way_on_offer(sampling):
    tau = orbit.sample_tau(jax.random.key(0), 4, 2, measure="normal", sampling=sampling)
    assert tau.shape == (4, 2)


def test_settings_are_frozen():
    settings = FitConfig()
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'steps'"):
        settings.steps = 1
    with pytest.raises(UsageError, match="steps = 0; expected "):
        settings.replace(steps=0)


def test_every_setting_explains_itself():
    for name, field in FIELDS.items():
        assert field.metadata.get("help"), name
        assert field.default is not dataclasses.MISSING, name


def test_settings_survive_a_dictionary():
    settings = FitConfig.of(steps=7, substeps=2, dtype="float64")
    assert FitConfig.of(**settings.flat()) == settings
    assert settings.likelihood.substeps == 2
    assert FitConfig(**dataclasses.asdict(settings)) == settings


def test_groups_take_mappings_and_refuse_what_they_do_not_have():
    settings = FitConfig(steps=7, network={"width": 8}, orbits=config.OrbitConfig(samples=3))
    assert (settings.network.width, settings.orbits.samples, settings.steps) == (8, 3, 7)
    assert settings.replace(width=9, steps=5).network == config.NetworkConfig(width=9)
    with pytest.raises(UsageError, match="network has no setting 'wide'; it has width"):
        FitConfig(network={"wide": 8})
    with pytest.raises(UsageError, match="orbits = 3; expected OrbitConfig or a mapping"):
        FitConfig(orbits=3)
    with pytest.raises(UsageError, match="unknown setting 'wide'; expected one of steps"):
        FitConfig.of(wide=8)


def test_names_of_the_last_version_work_with_a_warning():
    with pytest.warns(DeprecationWarning, match=r"width is deprecated; use network\.width"):
        settings = FitConfig(steps=7, width=8)
    assert settings == FitConfig.of(steps=7, width=8)
    with pytest.warns(DeprecationWarning, match="warmup is deprecated; use first_stage"):
        assert FitConfig(warmup=0.25).first_stage == 0.25
    with pytest.warns(DeprecationWarning, match=r"orbit_samples is deprecated; use orbits\.samples"):
        assert settings.orbit_samples == 8
    with pytest.raises(AttributeError, match="no setting 'wide'"):
        _ = settings.wide
