"""Tests of the diagnosis: Hamiltonian or not, noise and divergence of linear systems with known answers."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.evidence.diagnosis import free_field
from noethers_razor.evidence.hamiltonian import LinearHamiltonian
from noethers_razor.evidence.regression import with_plain_prior
from noethers_razor.evidence.windows import windows_of
from noethers_razor.numerics.polynomials import monomials

NOISE = 0.004


def damped(friction, count=40, steps=40, dt=0.2):
    """Trajectories of two oscillators of frequencies 1 and 1.3 with friction, by the matrix exponential."""
    field = np.block([[np.zeros((2, 2)), np.eye(2)], [-np.diag([1.0, 1.69]), -friction * np.eye(2)]])
    draw = np.random.default_rng(0)
    states, step = [draw.normal(size=(count, 4))], scipy.linalg.expm(dt * field)
    for _ in range(steps):
        states.append(states[-1] @ step.T)
    path = np.moveaxis(np.array(states), 0, 1).reshape(-1, 4)
    path = path + NOISE * draw.normal(size=path.shape)
    number = np.repeat(np.arange(count), steps + 1)
    return FrameTrajectories(path, number, np.eye(4), time=np.tile(dt * np.arange(steps + 1), count))


def field_features(x):
    return jnp.append(monomials(x, 2), 1.0)


@pytest.mark.parametrize(
    ("friction", "hamiltonian"), [(0.0, True), (0.002, True), (0.01, False), (0.05, False)]
)
def test_friction_is_found_and_measured(friction, hamiltonian):
    data = damped(friction)
    windows = windows_of(data)
    free = free_field(field_features, data, windows)
    model = LinearHamiltonian.of(lambda x: monomials(x, 3), data, windows, free.deviation)
    nats = with_plain_prior(model.products).log_evidence - free.log_evidence
    # Any field has many more weights, so that it needs more friction than its divergence to be preferred.
    assert nats > 20 if hamiltonian else nats < -20
    mean, error = free.divergence
    assert abs(mean + 2 * friction) < 3.5 * error < 0.003
    assert (mean < -3.5 * error) == (friction > 0)
    # Noise also enters through the field at noisy states, most where the field is steep.
    assert np.all(free.deviation > 0.9 * NOISE) and np.all(free.deviation < 1.6 * NOISE)
