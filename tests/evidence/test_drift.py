"""Tests of drift: p-values are uniform for exact quantities, and small for broken ones."""

import numpy as np
import pytest

from noethers_razor.evidence.candidates import candidates
from noethers_razor.evidence.drift import drift
from noethers_razor.systems import Oscillators
from tests.evidence.trajectories import simulated

TWO = Oscillators(n=2)


def p_values(system, seeds, noise, kept, **settings):
    """p-values of each test for the first quantities, of several data sets; 0 where they vary more."""
    found = []
    for seed in seeds:
        data = simulated(system, seed, noise, **settings)
        near = candidates(data)
        tested = drift(near.observed(data.states), data) if near.close >= kept else None
        found.append(np.zeros(5) if tested is None else tested.p_values[kept - 1])
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.01, 0.2])
def test_exact_sets_are_rejected_as_often_as_they_should(noise):
    found = p_values(TWO, range(100), noise, 4, count=30, steps=30)
    # Of 100 p-values of all tests together, 5 are expected below .05, with a standard deviation of 2.2.
    assert np.sum(5 * found.min(axis=1) < 0.05) <= 11
    assert np.all(np.sum(found < 0.05, axis=0) <= 16)
    # The variance of the noise is overestimated rather than underestimated.
    assert np.all(np.abs(np.mean(found[:, :4], axis=0) - 0.5) < 0.15)


def test_exact_sets_pass():
    assert np.mean(p_values(TWO, range(5), 0.05, 4, count=30, steps=30).min(axis=1) > 0.01) >= 0.8


@pytest.mark.parametrize("noise", [0.003, 0.03])
def test_a_small_detuning_shows_in_the_tests_of_few_directions(noise):
    # A detuning d turns phases by d t. For t to 10 and 1530 states, that is about 100 d / noise errors.
    system = Oscillators(n=2, frequencies=(1.0, 1.0 + 0.4 * noise))
    found = p_values(system, range(3), noise, 4, count=30)
    assert np.all(found[:, 0] < 1e-4)


def test_a_part_of_the_set_that_is_exact_passes():
    system = Oscillators(n=2, frequencies=(1.0, 1.02))
    data = simulated(system, 0, 0.05)
    near = candidates(data)
    tested = drift(near.observed(data.states), data)
    assert near.close == 4
    assert tested.p[1] > 0.05 and np.all(tested.p[2:] < 1e-6)


def test_the_same_seed_gives_the_same_p_values():
    data = simulated(TWO, 0, 0.05, count=10)
    near = candidates(data)
    one, again, other = (drift(near.observed(data.states), data, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.p_values, again.p_values)
    assert not np.array_equal(one.p_values, other.p_values)
    np.testing.assert_allclose(one.p_values, other.p_values, atol=0.25)


def test_units_of_noise_do_not_matter():
    """All data three times larger: the same p-values."""
    data = simulated(TWO, 0, 0.05, count=10)
    larger = data._replace(states=3 * data.states, noise=9 * data.noise)
    found = [drift(candidates(one).observed(one.states), one).p_values for one in (data, larger)]
    np.testing.assert_allclose(*found, atol=1e-6)
