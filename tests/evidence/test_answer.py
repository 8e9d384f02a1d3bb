"""Tests of the answer: exact sets, approximate quantities with their sizes, and data that cannot tell."""

import numpy as np
import pytest
from scipy.linalg import expm

from noethers_razor.data.frame import fit_frame
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.data.trajectories import Trajectories
from noethers_razor.evidence.answer import answer_of, answer_with_field
from noethers_razor.mechanics.quadratic_form import embed, second_moment
from noethers_razor.numerics.subspaces import largest_angle
from noethers_razor.systems import Oscillators, build
from tests.evidence.trajectories import in_frame, simulated, simulated_with_truth

TWO = Oscillators(n=2)


def clean_path(matrix, count=60, steps=50, dt=0.2, seed=0):
    """States (B, T, 4) of x' = A x from normal starts."""
    turn, path = expm(matrix * dt).T, [np.random.default_rng(seed).normal(size=(count, 4))]
    for _ in range(steps):
        path.append(path[-1] @ turn)
    return np.stack(path, axis=1)


def linear_motion(matrix, noise=0.0, count=60, steps=50, dt=0.2, seed=0):
    """Trajectories of x' = A x in their frame."""
    states = clean_path(matrix, count, steps, dt, seed)
    states = states + noise * np.random.default_rng([seed, 1]).normal(size=states.shape)
    return in_frame(Trajectories(q=states[..., :2], p=states[..., 2:], t=dt * np.arange(steps + 1)))


def damped(friction):
    matrix = np.zeros((4, 4))
    matrix[:2, 2:], matrix[2:, :2], matrix[2:, 2:] = np.eye(2), -np.eye(2), -friction * np.eye(2)
    return matrix


@pytest.mark.parametrize(
    ("system", "exact"),
    [
        (TWO, 4),
        (Oscillators(n=2, frequencies=(1.0, 1.005)), 2),
        (build("central_force"), 1),
        (build("nbody"), 7),
        (build("henon_heiles"), 0),
    ],
)
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_the_exact_set_is_the_true_one(system, exact, noise):
    # The size of the data is about 1, and of bodies about 4 in positions and .5 in momenta.
    data = simulated(system, 2, noise, count=100)
    found = answer_of(data)
    assert found.count == exact
    assert not found.cannot_tell
    if exact:
        assert found.p_value > 0.05 and 0 < found.resolution < 0.05
    rows = embed(found.form, found.linear, second_moment(data.states))
    np.testing.assert_allclose(rows @ rows.T, np.eye(exact), atol=1e-8)


@pytest.mark.parametrize("noise", [0.0, 0.004])
def test_weak_friction_leaves_nothing_exact(noise):
    """Version 0.1 said u(2), trusted."""
    assert answer_of(linear_motion(damped(0.0), noise)).count == 4
    found = answer_with_field(linear_motion(damped(0.002), noise))
    assert found.count == 0
    assert found.departs and found.diagnosis.departure == "friction"
    assert len(found.approximate) >= 3
    # Energies of mean 1 and deviation 1 decay by .002 of themselves in a time unit.
    assert all(200 < one.lifetime < 2000 for one in found.approximate)


def test_sizes_of_broken_quantities_are_those_of_their_brackets():
    detuning = 0.02
    system = Oscillators(n=2, frequencies=(1.0, 1.0 + detuning))
    data = simulated(system, 0, 0.01, count=100)
    found = answer_with_field(data)
    assert found.count == 2
    two = found.approximate[:2]
    rates = []
    for one in two:
        gradients = data.states @ one.form + one.linear
        # The frame is close to isotropic here: x' = J H'' x with frequencies in units of its time.
        speed = np.gradient(data.states[:51], data.time[:51], axis=0)
        rates.append(
            np.sqrt(np.mean(np.sum(gradients**2, axis=1))) * np.sqrt(np.mean(np.sum(speed**2, axis=1)))
        )
    # R' = d F and F' = -d R with |grad R|^2 = |x|^2: the relative rate is about d / 2 for equal amplitudes.
    for one in two:
        low, high = one.interval
        assert low < one.breaking < high
        assert 0.2 * detuning < one.breaking < 0.5 * detuning


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.01, 0.1])
def test_intervals_of_sizes_hold_the_true_size(noise):
    """A friction breaks every quantity by its rate, C' = -f p . dC/dp."""
    friction, held = 0.05, []
    for seed in range(12):
        path = clean_path(damped(friction), seed=seed)
        states = path + noise * np.random.default_rng(seed).normal(size=path.shape)
        data = Trajectories(q=states[..., :2], p=states[..., 2:], t=0.2 * np.arange(path.shape[1]))
        frame = fit_frame(data.observed(), data.transitions())
        true = frame.into(path.reshape(-1, 4))
        velocity = path.reshape(-1, 4) @ damped(friction).T @ frame.matrix.T
        for one in answer_with_field(FrameTrajectories.of(frame, data), frame).approximate:
            gradient = true @ one.form + one.linear
            size = np.mean(np.sum(gradient**2, axis=1)) * np.mean(np.sum(velocity**2, axis=1))
            rate = np.sqrt(np.mean(np.sum(gradient * velocity, axis=1) ** 2) / size)
            held.append(one.interval[0] <= rate <= one.interval[1])
    assert len(held) >= 24
    assert np.mean(held) >= 0.8


@pytest.mark.slow
def test_the_stated_resolution_is_seen_as_often_as_stated():
    """A drift of the size of the resolution is rejected in most data sets."""
    noise, seen, resolution = 0.05, 0, []
    for seed in range(20):
        resolution.append(answer_of(simulated(TWO, 100 + seed, noise, count=40)).resolution)
    # A detuning d breaks two quantities with a relative rate of about .35 d.
    detuning = float(np.mean(resolution)) / 0.35
    for seed in range(20):
        system = Oscillators(n=2, frequencies=(1.0, 1.0 + detuning))
        seen += answer_of(simulated(system, 200 + seed, noise, count=40)).count < 4
    assert seen >= 15


@pytest.mark.slow
def test_the_stated_angle_holds_the_true_one():
    held = []
    for seed in range(40):
        data, truth = simulated_with_truth(TWO, 300 + seed, 0.05, count=40)
        found = answer_of(data)
        if found.count == 4:
            rows = embed(found.form, found.linear, second_moment(data.states))
            held.append(largest_angle(rows, truth) <= found.angle)
    assert len(held) >= 34
    assert 0.75 <= np.mean(held) <= 1.0


def test_one_trajectory_cannot_tell():
    found = answer_of(simulated(TWO, 0, 0.01, count=1, steps=300))
    assert found.count >= 1
    assert "one trajectory" in found.cannot_tell[0]


def test_few_trajectories_say_that_more_may_leave_fewer():
    found = answer_of(simulated(build("kepler"), 0, 0.01, count=2, steps=100))
    assert "2 trajectories: without one of them" in found.cannot_tell[0]
    assert not found.approximate


def test_noise_as_large_as_the_motion_cannot_tell():
    found = answer_of(simulated(TWO, 0, 1.5, count=10, steps=20))
    assert any("would not show" in reason for reason in found.cannot_tell)


def test_a_coordinate_at_rest_is_left_out_and_named():
    data = TWO.simulate(0, n_trajectories=30, n_steps=40)
    flat = Trajectories(q=data.q * [1.0, 0.0], p=data.p * [1.0, 0.0], t=data.t)
    found = answer_of(in_frame(flat))
    assert found.count == 1 and not found.cannot_tell
    assert "do not move" in found.remarks[0]


def test_a_coordinate_with_noise_alone_is_left_out_too():
    data = TWO.simulate(0, n_trajectories=30, n_steps=40)
    noise = 0.02 * np.random.default_rng(0).normal(size=(2, *data.q.shape))
    flat = Trajectories(q=data.q * [1.0, 0.0] + noise[0], p=data.p * [1.0, 0.0] + noise[1], t=data.t)
    found = answer_of(in_frame(flat))
    assert found.count == 1 and "do not move" in found.remarks[0]


def test_pairs_of_states_cannot_tell():
    """Nothing separates noise from motion in two states of a trajectory."""
    found = answer_of(simulated(TWO, 0, 0.01, count=200, steps=1))
    assert found.cannot_tell


@pytest.mark.parametrize("dt", [0.2, 0.4, 0.7])
def test_a_false_admixture_is_not_exact_however_often_it_is_sampled(dt):
    """With a few samples per period, an oscillation changes from one state to the next like white noise."""
    matrix = np.zeros((4, 4))
    matrix[:2, 2:], matrix[2:, :2] = np.diag([2.0, 2.7]), -np.diag([2.0, 2.7])
    assert answer_of(linear_motion(matrix, 0.05, count=100, dt=dt)).count == 2


def test_irregular_times_of_unequal_trajectories():
    data = TWO.simulate(3, n_trajectories=50, n_steps=60, noise=0.02)
    kept = np.random.default_rng(0).random(data.q.shape[:2]) < np.linspace(0.5, 0.9, 50)[:, None]
    pieces = [(data.t[own], q[own], p[own]) for own, q, p in zip(kept, data.q, data.p, strict=True)]
    assert answer_of(in_frame(Trajectories.of_pieces(pieces))).count == 4


def test_white_noise_cannot_tell():
    rng = np.random.default_rng(0)
    data = Trajectories(q=rng.normal(size=(20, 20, 1)), p=rng.normal(size=(20, 20, 1)), t=np.arange(20.0))
    assert "mostly noise" in answer_of(in_frame(data)).cannot_tell[0]
