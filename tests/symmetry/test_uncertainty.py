"""Tests of uncertainty: coverage of intervals, trusted quantities, false-discovery rate."""

import json

import numpy as np
import pytest

from noethers_razor.conserved.proposal.constancy import candidates
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.mechanics.quadratic_form import embed, second_moment, stack_forms
from noethers_razor.numerics.subspaces import largest_angle, orthonormal
from noethers_razor.symmetry.uncertainty import discoveries, uncertainty_of, uncertainty_of_span
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


def learned(trajectories, count):
    form, linear, _ = candidates(trajectories, count)
    return orthonormal(embed(form, linear, second_moment(trajectories.states)))


@pytest.mark.slow
def test_intervals_of_the_angle_hold_the_true_one():
    held = []
    for seed in range(30):
        trajectories = tracks_of(seed=seed)
        vectors = learned(trajectories, 4)
        low, _, high = uncertainty_of_span(vectors, second_moment(trajectories.states), trajectories).angle
        held.append(low <= largest_angle(vectors, rows_of(U2, trajectories)) <= high)
    # Of 30 intervals, 27 are expected to contain the angle, with a standard deviation of 1.6.
    assert 24 <= sum(held) <= 29


def test_four_times_the_data_halve_the_error():
    widths = []
    for count in (30, 120):
        trajectories = tracks_of(count=count)
        widths.append(
            uncertainty_of_span(
                learned(trajectories, 4), second_moment(trajectories.states), trajectories
            ).angle[1]
        )
    assert 1.4 < widths[0] / widths[1] < 2.8


def test_a_true_span_is_trusted_and_a_false_direction_is_not():
    trajectories = tracks_of((1.0, 1.05), noise=0.02, steps=40)
    moment = second_moment(trajectories.states)
    energies = {name: value for name, value in U2.items() if name.startswith("H")}
    sure = uncertainty_of_span(rows_of(energies, trajectories), moment, trajectories)
    assert sure.trusted.tolist() == [True, True] and sure.credible == 2
    np.testing.assert_array_equal(sure.constant, [1.0, 1.0])
    assert not sure.warnings()
    every = uncertainty_of_span(rows_of(U2, trajectories), moment, trajectories)
    np.testing.assert_array_equal(every.constant, [1.0, 1.0, 0.0, 0.0])
    assert every.trusted.tolist() == [True, True, False, False]
    assert "only 2 of 4" in every.warnings()[0]


@pytest.mark.parametrize("taken", [1.0, 1.3])
def test_what_data_show_to_vary_is_not_trusted_within_the_tolerance_of_the_noise(taken):
    # Rotations of nearly equal frequencies vary by 1.2 to 1.3 times the true noise. The second case
    # overestimates the noise.
    trajectories = tracks_of((1.0, 1.02), noise=0.1, count=100, steps=50)
    trajectories = trajectories._replace(noise=taken**2 * trajectories.noise)
    found = uncertainty_of_span(rows_of(U2, trajectories), second_moment(trajectories.states), trajectories)
    assert found.constant.min() > 0.9
    assert found.trusted.tolist() == [True, True, False, False]


def free_particles(count=40, steps=30, noise=0.05):
    """Return trajectories of two free particles on a line, and the rows of their conserved quantities."""
    rng = np.random.default_rng(0)
    q, p = rng.normal(size=(2, count, 1, 2))
    path = np.concatenate([q + p * np.arange(steps)[None, :, None] * 0.1, np.repeat(p, steps, 1)], axis=-1)
    states = (path + noise * rng.normal(size=path.shape)).reshape(-1, 4)
    form, linear = np.zeros((6, 4, 4)), np.zeros((6, 4))
    linear[0, 2] = linear[1, 3] = 1.0
    form[2, 2, 2] = form[3, 3, 3] = form[4, 2, 3] = form[4, 3, 2] = 1.0
    form[5, 0, 3] = form[5, 3, 0] = 1.0
    form[5, 1, 2] = form[5, 2, 1] = -1.0
    trajectories = FrameTrajectories(states, np.repeat(np.arange(count), steps), noise**2 * np.eye(4))
    return trajectories, orthonormal(embed(form, linear, second_moment(states)))


def test_noise_known_badly_of_some_coordinates_costs_no_trust():
    trajectories, rows = free_particles()
    # With four times the noise of positions, momenta seem far more constant than the angular momentum.
    trajectories = trajectories._replace(noise=np.diag([16.0, 16.0, 1.0, 1.0]) * trajectories.noise)
    found = uncertainty_of_span(rows, second_moment(trajectories.states), trajectories)
    assert found.deviation[-1, 0] > 1.15 * found.deviation[0, 1]
    assert found.trusted.all()


@pytest.mark.parametrize("dt", [0.2, 0.4, 0.7])
def test_a_false_admixture_is_not_trusted_however_often_it_is_sampled(dt):
    # The assumed noise is four times the true one. With a few samples per period, an oscillation changes
    # from one state to the next like white noise.
    rng = np.random.default_rng(0)
    turn = np.outer(np.arange(50) * dt, (2.0, 2.7))[None]
    q, p = rng.normal(size=(2, 100, 1, 2))
    path = np.concatenate([q * np.cos(turn) + p * np.sin(turn), p * np.cos(turn) - q * np.sin(turn)], axis=-1)
    states = (path + 0.05 * rng.normal(size=path.shape)).reshape(-1, 4)
    trajectories = FrameTrajectories(states, np.repeat(np.arange(100), 50), 0.2**2 * np.eye(4))
    form = np.stack([np.diag([1.0, 0, 1, 0]), np.diag([-0.6, 1.0, 0.6, 1.0])])
    rows = orthonormal(embed(form, np.zeros((2, 4)), second_moment(states)))
    found = uncertainty_of_span(rows, second_moment(states), trajectories)
    assert found.trusted.tolist() == [True, False]


def test_of_two_states_nothing_is_told_by_whiteness():
    trajectories = tracks_of((1.0, 1.3), noise=0.02, count=1000, steps=2)
    trajectories = trajectories._replace(noise=16 * trajectories.noise)
    found = uncertainty_of_span(rows_of(U2, trajectories), second_moment(trajectories.states), trajectories)
    assert found.trusted.tolist() == [True, True, False, False]


def test_data_in_which_everything_is_noise_leave_everything_open():
    rng = np.random.default_rng(0)
    still = np.repeat(rng.normal(size=(40, 4)), 20, axis=0)
    trajectories = FrameTrajectories(
        still + rng.normal(size=still.shape), np.repeat(np.arange(40), 20), np.eye(4)
    )
    found = uncertainty_of_span(rows_of(U2, trajectories), second_moment(trajectories.states), trajectories)
    assert not found.trusted.any()
    assert found.credible == 14
    assert found.angle is None and not found.names and found.structure is None
    assert any("open: 14 observables" in line for line in found.lines())


def test_a_part_of_what_is_conserved_has_no_angle():
    trajectories = tracks_of()
    found = uncertainty_of_span(
        rows_of(U2, trajectories)[:2], second_moment(trajectories.states), trajectories
    )
    assert found.credible == 4 and found.angle is None
    assert found.trusted.all()


def test_draws_of_the_data_name_the_algebra():
    trajectories = tracks_of(noise=0.03)
    found = uncertainty_of_span(learned(trajectories, 4), second_moment(trajectories.states), trajectories)
    assert found.names == {"u(2)": 20}
    low, middle, high = np.moveaxis(found.structure, -1, 0)
    assert np.all(low <= middle) and np.all(middle <= high)
    # The constants are antisymmetric like brackets, and uncertain.
    np.testing.assert_allclose(middle, -middle.transpose(1, 0, 2), atol=1e-12)
    assert 0 < np.max(high - low) < 0.1


def test_one_long_trajectory_is_drawn_in_stretches():
    # With an irrational frequency ratio, a trajectory fills a torus. Only both energies are constant on it.
    trajectories = tracks_of((1.0, 2**0.5), noise=0.05, count=1, steps=800)
    found = uncertainty_of_span(learned(trajectories, 2), second_moment(trajectories.states), trajectories)
    assert found.credible == 2 and found.trusted.all()
    assert 0 < found.angle[0] < found.angle[2] < 20


@pytest.mark.parametrize("power", [1, 3])
def test_functions_of_what_is_conserved_are_trusted(power):
    # A cubic bends the noise: the gradient alone would predict less variation than there is.
    trajectories = tracks_of(noise=0.2, count=60)
    moment = second_moment(trajectories.states)
    found = uncertainty_of(lambda x: (x[:, :1] ** 2 + x[:, 2:3] ** 2) ** power, moment, trajectories)
    assert found.trusted.all()
    assert 0.8 < found.deviation[0, 1] < 1.2
    assert found.angle is None and found.rows is None
    other = uncertainty_of(lambda x: x[:, :1] ** power, moment, trajectories)
    assert not other.trusted.any()


def test_the_rule_is_that_of_benjamini_and_hochberg():
    # The limits at rate .05 for five p-values are .01 .02 .03 .04 .05. The third passes, so the second does.
    assert discoveries(np.array([0.029, 0.8, 0.001, 0.025, 0.2])).tolist() == [True, False, True, True, False]
    assert not discoveries(np.array([0.06, 0.9])).any()
    assert discoveries(np.zeros(0)).shape == (0,)


def test_a_move_by_training_within_the_error_is_credited_and_one_beyond_it_is_not():
    trajectories = tracks_of(noise=0.05)
    moment, least = second_moment(trajectories.states), learned(tracks_of(noise=0.05), 4)
    plain = uncertainty_of_span(least, moment, trajectories).angle
    rng = np.random.default_rng(4)

    def moved(by):
        step = rng.normal(size=least.shape)
        step -= step @ least.T @ least
        other = orthonormal(least + by * step / np.linalg.norm(step, 2))
        return uncertainty_of_span(other, moment, trajectories).angle

    assert 0.7 * plain[1] < moved(np.radians(0.5 * plain[1]))[1] < plain[1]
    assert moved(np.radians(10 * plain[1]))[1] == pytest.approx(10 * plain[1], rel=0.1)


def test_numbers_are_plain_json():
    trajectories = tracks_of()
    found = uncertainty_of_span(learned(trajectories, 4), second_moment(trajectories.states), trajectories)
    record = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert record["trusted"] == [True] * 4
    assert np.shape(record["structure_constants"]) == (4, 4, 4, 3)
    assert "4 of 4 at a false-discovery rate of 5 %" in found.lines()[1]
