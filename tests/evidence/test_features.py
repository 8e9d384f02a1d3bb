"""Tests of features: their derivatives, and that they hold the Hamiltonians of physics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noethers_razor.data.frame import Frame, fit_frame
from noethers_razor.evidence.features import Features
from noethers_razor.systems import build


def data_of(name, **flags):
    data = build(name, **flags).simulate(1, n_trajectories=30, n_steps=30)
    frame = fit_frame(data.observed(), data.transitions())
    return data.observed(), frame


@pytest.mark.parametrize("name", ["pendulum", "kepler", "nbody"])
def test_gradients_are_those_of_differences(name):
    observed, frame = data_of(name)
    states = frame.into(observed[::40])
    features = Features.of(frame, states)
    gradients, step = features.gradients(states), 1e-6
    for k, axis in enumerate(np.eye(states.shape[1])):
        slope = (features.values(states + step * axis) - features.values(states - step * axis)) / (2 * step)
        np.testing.assert_allclose(gradients[..., k], slope, atol=1e-6 * np.abs(gradients).max())
    weights = np.random.default_rng(0).normal(size=len(features.groups))
    total = np.einsum("ndm,d->nm", gradients, weights)
    np.testing.assert_allclose(features.gradient(states, weights), total, atol=1e-9 * np.abs(total).max())


@pytest.mark.parametrize(
    ("name", "within"),
    [("kepler", 3e-3), ("nbody", 3e-2), pytest.param("toda", 3e-2, marks=pytest.mark.slow)],
)
def test_they_hold_potentials_of_distances_and_differences(name, within, x64):
    observed, frame = data_of(name)
    states = frame.into(observed)
    features = Features.of(frame, states)
    gradient = np.asarray(jax.vmap(jax.grad(build(name).hamiltonian))(jnp.asarray(observed))) @ frame.inverse
    rows = features.gradients(states)
    size = np.sqrt(np.mean(rows**2, axis=(0, 2)))
    size[size == 0] = 1
    matrix, half = np.moveaxis(rows / size[:, None], 1, 2), len(states) // 2
    weights = np.linalg.lstsq(matrix[:half].reshape(-1, len(size)), gradient[:half].ravel(), rcond=1e-9)[0]
    error = gradient[half:] - matrix[half:] @ weights
    # Compare the middle of the distribution: distances outside the range of the first half are not covered.
    relative = np.linalg.norm(error, axis=1) / np.linalg.norm(gradient[half:], axis=1)
    assert np.median(relative) < within


def test_variables_are_few_where_degrees_of_freedom_are_many():
    states = np.random.default_rng(0).normal(size=(200, 40))
    features = Features.of(Frame.same(40), states)
    assert [len(one.rows) for one in features.variables] == [20] and len(features.groups) < 1200


def test_a_coordinate_at_rest_has_no_functions():
    states = np.random.default_rng(0).normal(size=(200, 4))
    states[:, 1] = 3.0
    features = Features.of(Frame.same(4), states)
    assert np.isfinite(features.gradients(states)).all()
    still = np.array([[0.0, 1.0]])
    assert not any(np.array_equal(rows, still) for one in features.variables for rows in one.rows)
