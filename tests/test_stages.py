"""The judgement by the bound: which cuts are tried and which is kept."""

import numpy as np

from noethers_razor.stages import Judge, Judgement
from noethers_razor.symmetry.span import active_count
from noethers_razor.training import Estimate, Rates

JUDGE = Judge(100, Rates(0.01, 0.01, 0.01))


def outcome(kept, negative_elbo, error=0.01):
    return Judgement(kept, (), Estimate(negative_elbo, error, 0.0, 0.0)), {}


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


def test_a_tie_keeps_the_larger_set():
    assert JUDGE._preferred([outcome(5, -10.49), outcome(3, -10.5)])[0].kept == 5
