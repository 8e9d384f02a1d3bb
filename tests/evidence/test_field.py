"""Tests of the fitted field, and of the evidence of quantities by it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noethers_razor.data.frame import fit_frame
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.evidence.answer import answer_of
from noethers_razor.evidence.field import fitted_field
from noethers_razor.evidence.symmetry_evidence import nested_evidence
from noethers_razor.mechanics.phase_space import apply_j_in_numpy
from noethers_razor.systems import Oscillators, build


@functools.cache
def prepared(name, noise, frequencies=None):
    """Return a system, its frame, trajectories, fit and clean states."""
    system = Oscillators(n=2, frequencies=frequencies) if frequencies else build(name)
    settings = {"n_trajectories": 80, "n_steps": 40}
    data, clean = (system.simulate(3, noise=level, **settings) for level in (noise, 0.0))
    frame = fit_frame(data.observed(), data.transitions())
    trajectories = FrameTrajectories.of(frame, data)
    return system, frame, trajectories, fitted_field(trajectories, frame), clean.observed()


@pytest.mark.parametrize(
    ("name", "noise", "within"),
    [("henon_heiles", 0.005, 0.01), ("kepler", 0.01, 0.01), ("pendulum", 0.1, 0.05)],
)
def test_the_field_is_the_true_one_and_leaves_noise(name, noise, within, x64):
    system, frame, _, fit, clean = prepared(name, noise)
    gradient = np.asarray(jax.vmap(jax.grad(system.hamiltonian))(jnp.asarray(clean)))
    true = apply_j_in_numpy(gradient) @ frame.matrix.T * frame.time
    error = fit.model.field(frame.into(clean), fit.weights) - true
    assert np.sqrt(np.mean(error**2) / np.mean(true**2)) < within
    assert 0.8 < fit.regression.variance < 1.1
    # No linear field is needed besides the Hamiltonian.
    assert np.abs(fit.weights[~fit.model.hamiltonian]).max() < 0.01


def test_without_steps_or_with_too_many_fields_there_is_none(monkeypatch):
    _, frame, trajectories, _, _ = prepared("pendulum", 0.1)
    labels = np.arange(len(trajectories.states)) // 2
    assert fitted_field(trajectories._replace(trajectory=labels), frame) is None
    still = np.repeat(trajectories.states[::41], 41, axis=0)[: len(trajectories.states)]
    assert fitted_field(trajectories._replace(states=still), frame) is None
    monkeypatch.setattr("noethers_razor.evidence.field._MOST_FIELDS", 10)
    assert fitted_field(trajectories, frame) is None


@pytest.mark.parametrize(
    ("name", "frequencies", "true"),
    [
        ("oscillators", (1.0, 1.0), 4),
        pytest.param("oscillators", (1.0, 1.1), 2, marks=pytest.mark.slow),
        ("kepler", None, 1),
    ],
)
def test_true_quantities_cost_little_and_the_first_false_one_much(name, frequencies, true):
    _, _, trajectories, fit, _ = prepared(name, 0.01, frequencies)
    found = answer_of(trajectories)
    form, linear = (
        np.concatenate([own, more]) for own, more in zip((found.form, found.linear), found.next, strict=True)
    )
    steps = np.diff(nested_evidence(fit, form, linear), prepend=0.0)
    assert steps[0] > 100 and np.all(steps[1:true] > -10)
    assert steps[true] < -100


def test_units_of_quantities_do_not_matter():
    _, _, trajectories, fit, _ = prepared("kepler", 0.01)
    found = answer_of(trajectories)
    one = nested_evidence(fit, found.form, found.linear)
    np.testing.assert_allclose(nested_evidence(fit, 30 * found.form, 30 * found.linear), one, rtol=1e-6)
