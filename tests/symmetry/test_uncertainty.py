"""Tests of uncertainty: coverage of intervals, trusted quantities, false-discovery rate."""

import json

import numpy as np
import pytest

from experiments.threshold import candidates
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.mechanics.quadratic_form import embed, second_moment, stack_forms
from noethers_razor.numerics.subspaces import largest_angle, orthonormal
from noethers_razor.symmetry.uncertainty import uncertainty_of_span
from noethers_razor.systems import Oscillators

U2 = Oscillators(n=2).conserved()


def tracks_of(frequencies=(1.0, 1.0), noise=0.1, count=40, steps=20, seed=0):
    """Return exact trajectories of two oscillators with noise on every state."""
    rng = np.random.default_rng(seed)
    turn = np.outer(np.arange(steps) * 0.4, frequencies)[None]
    q, p = rng.normal(size=(2, count, 1, 2))
    path = np.concatenate([q * np.cos(turn) + p * np.sin(turn), p * np.cos(turn) - q * np.sin(turn)], axis=-1)
    states = (path + noise * rng.normal(size=path.shape)).reshape(-1, 4)
    return FrameTrajectories(states, np.repeat(np.arange(count), steps), max(noise, 1e-6) ** 2 * np.eye(4))


def rows_of(named, trajectories):
    return orthonormal(embed(*stack_forms(named), second_moment(trajectories.states)))


def sure_of(vectors, trajectories, named=U2):
    """Return the uncertainty of vectors where the data show the named quantities."""
    exact = rows_of(named, trajectories)
    return uncertainty_of_span(vectors, second_moment(trajectories.states), trajectories, exact)


def learned(trajectories, count):
    form, linear, _ = candidates(trajectories, count)
    return orthonormal(embed(form, linear, second_moment(trajectories.states)))


@pytest.mark.slow
def test_intervals_of_the_angle_hold_the_true_one():
    held = []
    for seed in range(30):
        trajectories = tracks_of(seed=seed)
        vectors = learned(trajectories, 4)
        low, _, high = sure_of(vectors, trajectories).angle
        held.append(low <= largest_angle(vectors, rows_of(U2, trajectories)) <= high)
    # Of 30 intervals, 27 are expected to contain the angle, with a standard deviation of 1.6.
    assert 24 <= sum(held) <= 29


def test_four_times_the_data_halve_the_error():
    widths = []
    for count in (30, 120):
        trajectories = tracks_of(count=count)
        widths.append(sure_of(learned(trajectories, 4), trajectories).angle[1])
    assert 1.4 < widths[0] / widths[1] < 2.8


def test_draws_of_the_data_name_the_algebra():
    trajectories = tracks_of(noise=0.03)
    found = sure_of(learned(trajectories, 4), trajectories)
    assert found.names == {"u(2)": 20}
    low, middle, high = np.moveaxis(found.structure, -1, 0)
    assert np.all(low <= middle) and np.all(middle <= high)
    # The constants are antisymmetric like brackets, and uncertain.
    np.testing.assert_allclose(middle, -middle.transpose(1, 0, 2), atol=1e-12)
    assert 0 < np.max(high - low) < 0.1


def test_one_long_trajectory_is_drawn_in_stretches():
    # With an irrational frequency ratio, a trajectory fills a torus. Only both energies are constant on it.
    trajectories = tracks_of((1.0, 2**0.5), noise=0.05, count=1, steps=800)
    energies = learned(trajectories, 2)
    found = uncertainty_of_span(energies, second_moment(trajectories.states), trajectories, energies)
    assert found.trusted.all()
    assert 0 < found.angle[0] < found.angle[2] < 20


def test_a_move_by_training_within_the_error_is_credited_and_one_beyond_it_is_not():
    trajectories = tracks_of(noise=0.05)
    least = learned(trajectories, 4)
    plain = sure_of(least, trajectories).angle
    rng = np.random.default_rng(4)

    def moved(by):
        step = rng.normal(size=least.shape)
        step -= step @ least.T @ least
        other = orthonormal(least + by * step / np.linalg.norm(step, 2))
        return sure_of(other, trajectories).angle

    assert 0.7 * plain[1] < moved(np.radians(0.5 * plain[1]))[1] < plain[1]
    assert moved(np.radians(10 * plain[1]))[1] == pytest.approx(10 * plain[1], rel=0.1)


def test_numbers_are_plain_json():
    trajectories = tracks_of()
    found = sure_of(learned(trajectories, 4), trajectories)
    record = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert record["trusted"] == [True] * 4
    assert np.shape(record["structure_constants"]) == (4, 4, 4, 3)
    assert "4 of 4" in found.lines()[0]


def test_only_what_the_trajectories_show_is_trusted():
    trajectories = tracks_of()
    energies = {name: value for name, value in U2.items() if name.startswith("H")}
    rows = np.concatenate([rows_of(energies, trajectories), rows_of({"R12": U2["R12"]}, trajectories)])
    found = sure_of(rows, trajectories, energies)
    assert found.trusted.tolist() == [True, True, False]
    assert "only 2 of 3" in found.warnings()[0]


def test_a_part_of_what_is_exact_has_no_angle():
    trajectories = tracks_of()
    found = sure_of(rows_of(U2, trajectories)[:2], trajectories)
    assert found.angle is None and found.trusted.all()


def test_where_the_data_cannot_tell_nothing_is_trusted():
    trajectories = tracks_of()
    rows, moment = rows_of(U2, trajectories), second_moment(trajectories.states)
    found = uncertainty_of_span(rows, moment, trajectories, None)
    assert not found.trusted.any() and found.angle is None
