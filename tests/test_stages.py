"""The judgement by the bound: which cuts are tried and which is kept."""

import numpy as np

from noethers_razor.stages import Judge, Judgement
from noethers_razor.symmetry.span import active_count
from noethers_razor.training import Estimate, Rates

JUDGE = Judge(100, Rates(0.01, 0.01, 0.01))


PAIRED = np.random.default_rng(0).normal(size=400)
"""Noise of batches and draws that all candidates share."""


def outcome(kept, negative_elbo, own=0.2):
    losses = negative_elbo + PAIRED + own * np.random.default_rng(kept).normal(size=400)
    return Judgement(kept, (), Estimate(float(losses.mean()), 0.05, 0.0, 0.0, losses)), {}


def test_count_is_relative_to_the_largest_and_to_a_full_orbit():
    assert active_count(np.array([1.0, 0.9, 0.06, 0.04])) == 3
    assert active_count(np.array([0.03, 0.02])) == 0
    assert active_count(np.array([2.0, 0.09])) == 1
    assert active_count(np.zeros(0)) == 0


def test_cuts_are_where_the_active_spectrum_steps_down():
    assert JUDGE.cuts(np.array([1.0, 0.9, 0.8, 0.4, 0.39, 0.001])) == [3]
    assert JUDGE.cuts(np.array([1.0, 0.9, 0.8, 0.001])) == []
    assert JUDGE.cuts(np.array([1.0, 0.6, 0.2, 0.1])) == [2, 3]
    assert JUDGE.cuts(np.array([1.0])) == []


def test_a_worse_bound_rejects_the_larger_set():
    assert JUDGE._preferred([outcome(5, -10.0), outcome(3, -10.5)])[0].kept == 3


def test_shared_noise_does_not_hide_a_difference():
    # Unpaired, the error of either estimate is .05; the difference of .08 has one of .014.
    assert JUDGE._preferred([outcome(5, -10.0), outcome(3, -10.08)])[0].kept == 3


def test_a_tie_keeps_the_larger_set():
    assert JUDGE._preferred([outcome(5, -10.49), outcome(3, -10.5)])[0].kept == 5
