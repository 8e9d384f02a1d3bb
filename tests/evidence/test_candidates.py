"""Tests of candidates: conserved quantities vary like noise, and gradients and values agree."""

import numpy as np
import pytest

from noethers_razor.evidence.candidates import candidates
from noethers_razor.evidence.variation import centred, integrals, summed
from noethers_razor.mechanics.quadratic_form import embed, second_moment
from noethers_razor.numerics.subspaces import largest_angle
from noethers_razor.systems import Oscillators
from tests.evidence.trajectories import simulated, simulated_with_truth

TWO = Oscillators(n=2)


def test_values_along_trajectories():
    labels = np.array([3, 3, 3, 5, 5])
    values = np.array([[1.0], [2.0], [6.0], [1.0], [3.0]])
    np.testing.assert_allclose(centred(values, labels)[:, 0], [-2, -1, 3, -1, 1])
    np.testing.assert_allclose(summed(values, labels)[:, 0], [1, 3, 9, 1, 4])
    time = np.array([0.0, 1.0, 3.0, 7.0, 8.0])
    np.testing.assert_allclose(integrals(values, labels, time)[:, 0], [0, 1.5, 9.5, 0, 2])


@pytest.mark.parametrize("noise", [0.003, 0.1, 0.25])
def test_noise_gives_conserved_quantities_variance_one(noise):
    ratios = [candidates(simulated(TWO, seed, noise)).variance[:5] for seed in range(5)]
    np.testing.assert_allclose(np.mean(ratios, axis=0)[:4], 1.0, atol=0.1)
    assert np.min(ratios, axis=0)[4] > 4


def test_the_least_varying_span_is_the_true_one():
    data, truth = simulated_with_truth(TWO, 0, 0.01)
    found = candidates(data)
    rows = embed(found.form[:4], found.linear[:4], second_moment(data.states))
    assert found.close == 4
    assert largest_angle(rows, truth) < 0.2


def test_values_have_the_gradients():
    data = simulated(TWO, 0, 0.1)
    found, states = candidates(data), data.states[:7]
    step = 1e-6 * np.eye(4)
    slopes = [(found.values(states + e) - found.values(states - e)) / 2e-6 for e in step]
    np.testing.assert_allclose(
        found.gradients(states, 6), np.stack(slopes, axis=-1)[:, :6], rtol=1e-6, atol=1e-6
    )
