"""Tests of settings: every setting has an effect, and every name of a choice has a function."""

import numpy as np
import pytest

import noethers_razor as nr
import tests.brief
from noethers_razor.config import ACTIVATIONS, INTEGRATORS, MEASURES, FitConfig
from noethers_razor.inference.fit import plan
from noethers_razor.mechanics.integrators import ORDERS
from noethers_razor.mechanics.orbits import MEASURES as MEASURE_FUNCTIONS
from noethers_razor.model.network import ACTIVATIONS as ACTIVATION_FUNCTIONS
from noethers_razor.systems import Oscillators

TINY = tests.brief.TINY.replace(selection=False)


@pytest.fixture(scope="module")
def small():
    return tests.brief.one_oscillator()


def test_names_in_the_configuration_have_functions():
    assert set(ACTIVATIONS) == set(ACTIVATION_FUNCTIONS)
    assert set(MEASURES) == set(MEASURE_FUNCTIONS)
    assert set(INTEGRATORS) == set(ORDERS)


CHANGES = {
    "steps": 80,
    "first_stage": 0.0,
    "width": 6,
    "depth": 2,
    "activation": "tanh",
    "orbit_samples": 3,
    "measure": "normal",
    "sampling": "plain",
    "weight_samples": 2,
    "batch": 8,
    "learning_rate": 0.02,
    "joint_learning_rate": 0.001,
    "conserved_learning_rate": 0.0,
    "noise_learning_rate": 0.0,
    "initial_deviation": 0.1,
    "noise_variance": 0.01,
    "noise_floor": 0.2,
    "integrator": "midpoint",
    "substeps": 2,
    "chunk": 10,
    "dtype": "float64",
}
"""A value other than that of TINY for each setting. Two more settings have their own tests below."""


def test_every_setting_is_in_the_list():
    own = {"selection", "held_out"}
    assert set(CHANGES) | own == set(FitConfig().flat())


OF_ORBITS = {"first_stage", "orbit_samples", "measure", "sampling", "conserved_learning_rate"}
"""Settings that need a symmetry. The others are tested in a fit without symmetry, which compiles faster."""


@pytest.fixture(scope="module")
def reference(small):
    return nr.fit(small, seed=1, conserved=2, config=TINY)


@pytest.fixture(scope="module")
def without(small):
    return nr.fit(small, seed=1, conserved=nr.NoSymmetry(), config=TINY)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_no_setting_is_a_dead_switch(small, reference, without, name):
    config = TINY.replace(**{name: CHANGES[name]})
    # A proposal raises an error without a first stage.
    family = nr.Quadratic(2, "random" if name == "first_stage" else "proposal")
    changed = nr.fit(small, seed=1, conserved=family if name in OF_ORBITS else nr.NoSymmetry(), config=config)
    assert changed.elbo != (reference if name in OF_ORBITS else without).elbo


@pytest.mark.slow
def test_selection_and_held_out_have_effects():
    data = Oscillators(n=1).simulate(1, n_trajectories=40, n_steps=3)
    none = nr.NoSymmetry()
    kept = nr.fit(data, seed=1, conserved=none, config=TINY)
    all_in = nr.fit(data, seed=1, conserved=none, config=TINY.replace(held_out=0.0))
    assert kept.held_out and not all_in.held_out
    assert all_in.metrics["transitions"] - kept.metrics["transitions"] == 6
    usual = ["Answering", "WithoutSymmetry", "Propose", "Joint", "Control"]
    for start, selection, added in (
        ("random", True, ["Select"]),
        ("random", False, []),
        ("proposal", True, []),
    ):
        stages = plan(TINY.replace(selection=selection), nr.Quadratic(2, start))
        assert [type(stage).__name__ for stage in stages] == usual + added


def test_every_trainable_leaf_moves(small, reference):
    start = nr.fit(small, seed=1, conserved=2, config=TINY.replace(steps=20, chunk=1))
    for name, value in reference.params.items():
        assert not np.array_equal(value, start.params[name]), name


def test_without_a_first_stage_the_control_trains_as_long_as_the_joint_stage(small):
    config = TINY.replace(first_stage=0.0)
    result = nr.fit(small, seed=1, conserved=nr.Quadratic(2, "random"), config=config)
    steps = {
        stage: [r.step for r in result.history if r.stage == stage][-1] for stage in ("joint", "control")
    }
    assert steps == {"joint": 40, "control": 40}
    assert result.evidence["bounds"].keys() == {"quadratic", "none"}


def test_a_proposal_without_a_first_stage_is_refused(small):
    with pytest.raises(nr.UsageError, match="the proposal follows the first stage"):
        nr.fit(small, seed=1, conserved=2, config=TINY.replace(first_stage=0.0))
