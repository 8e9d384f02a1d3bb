"""Tests of the diagnosis: Hamiltonian or not, and what else there is, of systems with known answers."""

import numpy as np
import pytest

from experiments.controls import followed
from noethers_razor.data.frame import fit_frame
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.data.trajectories import Trajectories
from noethers_razor.evidence.diagnosis import diagnosis
from noethers_razor.evidence.field import fitted_field

DT = 0.2


def slope(q):
    """Gradient of a bent well, in which the two coordinates are coupled."""
    first = q[:, 0] + 0.2 * q[:, 0] ** 3 + 0.4 * q[:, 0] * q[:, 1] ** 2
    return np.stack([first, 1.3 * q[:, 1] + 0.4 * q[:, 0] ** 2 * q[:, 1]], axis=1)


def with_force(force):
    """Return the field q' = p, p' = -V'(q) + force(q, p, t)."""
    return lambda t, x: np.concatenate([x[:, 2:], -slope(x[:, :2]) + force(x[:, :2], x[:, 2:], t)], axis=1)


FIELDS = {
    "none": with_force(lambda q, p, t: 0 * p),
    "friction .05": with_force(lambda q, p, t: -0.05 * p),
    "friction .004": with_force(lambda q, p, t: -0.004 * p),
    "drive": with_force(lambda q, p, t: 0.1 * np.cos(1.3 * t) * np.array([1.0, 0.0])),
    "magnetic": with_force(lambda q, p, t: 0.5 * np.stack([p[:, 1], -p[:, 0]], axis=1)),
    "masses": lambda t, x: np.concatenate([x[:, 2:], -slope(x[:, :2]) / [1.0, 3.0]], axis=1),
}


def diagnosed(name, noise, seed=0, count=60, steps=40):
    draw = np.random.default_rng(seed)
    start = 0.8 * draw.normal(size=(count, 4))
    times = DT * np.arange(steps + 1)
    states = followed(FIELDS[name], start, times)
    states = states + noise * draw.normal(size=states.shape)
    data = Trajectories(q=states[..., :2], p=states[..., 2:], t=times)
    frame = fit_frame(data.observed(), data.transitions())
    trajectories = FrameTrajectories.of(frame, data)
    found = diagnosis(fitted_field(trajectories, frame), trajectories)
    return found, found.friction / frame.time


@pytest.mark.parametrize(
    ("name", "noise", "departure"),
    [
        ("none", 0.01, None),
        ("friction .05", 0.01, "friction"),
        ("drive", 0.01, "driven"),
        pytest.param("magnetic", 0.01, "linear", marks=pytest.mark.slow),
        ("masses", 0.01, "other"),
        pytest.param("none", 0.0, None, marks=pytest.mark.slow),
        pytest.param("none", 0.1, None, marks=pytest.mark.slow),
        pytest.param("friction .004", 0.0, "friction", marks=pytest.mark.slow),
        pytest.param("friction .05", 0.06, "friction", marks=pytest.mark.slow),
        pytest.param("drive", 0.1, "driven", marks=pytest.mark.slow),
        pytest.param("magnetic", 0.1, "linear", marks=pytest.mark.slow),
    ],
)
def test_the_departure_is_named(name, noise, departure):
    found, rates = diagnosed(name, noise)
    assert found.departure == departure
    assert found.hamiltonian is (departure is None)
    assert found.nats is None if departure is None else found.nats < -20
    if name.startswith("friction"):
        true = float(name.split()[1])
        assert np.all(np.abs(rates[0] - true) < 4 * rates[1] + 0.02 * true)
        drift, _, high = found.energy_drift
        assert drift < 0 and high < 0
    if name == "none":
        assert np.all(np.abs(rates[0]) < 4 * rates[1])
        assert 0.8 < found.residual < 1.1 or found.misfit < 1e-4


@pytest.mark.slow
def test_errors_of_friction_are_standard_errors():
    scores = []
    for seed in range(20):
        _, (rates, errors) = diagnosed("friction .05", 0.03, seed)
        scores.extend((rates - 0.05) / errors)
    # The standard deviation of 40 scores has an error of 11 %.
    assert 0.7 < np.sqrt(np.mean(np.square(scores))) < 1.4


def test_short_trajectories_and_single_states_do_not_matter():
    """One long trajectory without friction does not speak for many short ones with friction."""
    draw, pieces = np.random.default_rng(0), []
    for number in range(13):
        friction, steps = (0.0, 29) if number == 0 else (0.2, 9)
        steps = 0 if number == 12 else steps
        rate, time = np.sqrt(1 - friction**2 / 4), DT * np.arange(steps + 1)
        q = np.exp(-friction * time / 2) * np.cos(rate * time + number)
        p = np.exp(-friction * time / 2) * (
            -rate * np.sin(rate * time + number) - friction / 2 * np.cos(rate * time + number)
        )
        q, p = (part[:, None] + 1e-3 * draw.normal(size=(steps + 1, 1)) for part in (q, p))
        pieces.append((time, q, p))
    data = Trajectories.of_pieces(pieces)
    frame = fit_frame(data.observed(), data.transitions())
    trajectories = FrameTrajectories.of(frame, data)
    found = diagnosis(fitted_field(trajectories, frame), trajectories)
    assert found.hamiltonian is not True
    assert np.isfinite(found.energy_drift).all() and found.energy_drift[0] < 0


def test_one_trajectory_gives_no_interval_of_the_drift():
    found, _ = diagnosed("none", 0.01, count=1, steps=100)
    assert np.isfinite(found.energy_drift[0]) and np.isinf(found.energy_drift[1:]).all()


def test_the_energy_drift_is_that_of_the_kinetic_energy_of_free_particles():
    """p' = -.2 p from rest or not: E = p^2 / 2 drifts by -.2 p^2, in every place."""
    draw, time = np.random.default_rng(0), DT * np.arange(31)
    start, p = draw.normal(size=(40, 1, 1)), draw.normal(size=(40, 1, 1)) + 2.0
    path = p * np.exp(-0.2 * time)[None, :, None]
    q = start + (p - path) / 0.2
    q, path = (part + 1e-3 * draw.normal(size=part.shape) for part in (q, path))
    data = Trajectories(q=q, p=path, t=time)
    frame = fit_frame(data.observed(), data.transitions())
    trajectories = FrameTrajectories.of(frame, data)
    found = diagnosis(fitted_field(trajectories, frame), trajectories)
    velocity = np.stack([path, -0.2 * path], axis=-1) @ frame.matrix.T * frame.time
    gradient = np.stack([0 * path, path], axis=-1) @ frame.inverse
    size = np.mean(np.sum(velocity**2, axis=-1)) * np.mean(np.sum(gradient**2, axis=-1))
    expected = np.mean(np.sum(velocity * gradient, axis=-1)) / np.sqrt(size)
    assert found.departure == "friction"
    assert found.energy_drift[0] == pytest.approx(expected, rel=0.25)
