"""Tests of windows: exact integrals of polynomials, and noise that is white after whitening."""

import numpy as np
import pytest

from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.errors import UsageError
from noethers_razor.evidence.windows import integrated, interpolatory_weights, whitened, windows_of


def trajectories_of(times, states=None):
    """One trajectory for each list of times; the states are the times if none are given."""
    number = np.repeat(np.arange(len(times)), [len(t) for t in times])
    time = np.concatenate(times)
    states = time[:, None] if states is None else states
    return FrameTrajectories(states, number, np.eye(states.shape[1]), time=time)


def test_equal_steps_give_the_rule_of_boole():
    weights = interpolatory_weights(0.2 * np.arange(5.0)[None] + 7)
    np.testing.assert_allclose(weights[0], 0.2 * 2 / 45 * np.array([7, 32, 12, 32, 7]), rtol=1e-12)


@pytest.mark.parametrize("degree", range(5))
def test_integrals_of_polynomials_are_exact(degree):
    draw = np.random.default_rng(degree)
    times = [np.cumsum(draw.uniform(0.1, 0.5, count)) for count in (9, 5, 14)]
    data = trajectories_of(times)
    windows = windows_of(data)
    assert np.bincount(windows.chain).tolist() == [2, 1, 3]
    ends = data.time[windows.states[:, [0, -1]]] ** (degree + 1) / (degree + 1)
    np.testing.assert_allclose(integrated(windows, data.time**degree), ends[:, 1] - ends[:, 0], rtol=1e-10)


def test_noise_of_shared_states_is_white_after_whitening():
    windows = windows_of(trajectories_of([np.arange(21.0), np.arange(3.0), np.arange(10.0)]))
    shared = windows.states[:, -1:] == np.arange(34)
    changes = shared.astype(float) - (windows.states[:, :1] == np.arange(34))
    white = whitened(windows, changes)
    np.testing.assert_allclose(white @ white.T, np.eye(len(windows.chain)), atol=1e-12)
    assert np.bincount(windows.chain).tolist() == [5, 0, 2]


def test_trajectories_shorter_than_a_window_are_refused():
    with pytest.raises(UsageError, match="longest trajectory has 4 states; expected at least 5"):
        windows_of(trajectories_of([np.arange(4.0)]))
