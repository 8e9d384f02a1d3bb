"""Tests of the noise of trajectories: right where the motion is smooth, and honest about its error."""

import numpy as np
import pytest

from noethers_razor.data.noise import noise_of


def waves(seed, deviation, steps=50, dt=0.2, irregular=False):
    """States, labels and times of 60 trajectories of oscillations with noise."""
    rng = np.random.default_rng(seed)
    time = np.tile(dt * np.arange(steps), (60, 1))
    if irregular:
        time = np.cumsum(dt * rng.uniform(0.5, 1.5, time.shape), axis=1)
    phase = rng.uniform(0, 6, (60, 1))
    path = np.stack([np.sin(time + phase), 3 * np.cos(1.5 * time + phase)], axis=-1)
    path += deviation * rng.normal(size=path.shape)
    return path.reshape(-1, 2), np.repeat(np.arange(60), steps), time.ravel()


@pytest.mark.parametrize("irregular", [False, True])
@pytest.mark.parametrize("deviation", [1e-3, 0.1])
def test_noise_of_smooth_motion_is_found_with_the_stated_error(deviation, irregular):
    found = [noise_of(*waves(seed, deviation, irregular=irregular)) for seed in range(20)]
    ratio = np.array([(one.deviation / deviation) ** 2 for one in found])
    error = np.mean([one.error for one in found])
    # 40 ratios with a common mean: three standard errors, and a bias of half of one ratio's error.
    assert abs(ratio.mean() - 1) < 0.5 * error + 3 * error / 40**0.5
    # The lowest order is chosen by the data, which adds to the error.
    assert 0.7 * error < ratio.std() < 1.6 * error


def test_close_encounters_do_not_count():
    states, labels, time = waves(0, 0.01)
    states[::50] += 5.0
    found = noise_of(states, labels, time)
    np.testing.assert_allclose(found.deviation, 0.01, rtol=0.15)


def test_without_noise_almost_nothing_is_left():
    assert noise_of(*waves(0, 0.0)).deviation.max() < 1e-6


def test_with_too_few_states_the_noise_is_unknown():
    found = noise_of(np.zeros((6, 2)), np.repeat([0, 1], 3), np.tile(np.arange(3.0), 2))
    assert np.all(np.isinf(found.deviation))
