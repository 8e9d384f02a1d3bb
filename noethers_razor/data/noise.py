"""Measurement noise of trajectories, from the differences of neighbouring states.

A combination of neighbouring states that removes every polynomial in time up to degree m - 1 leaves noise,
and of a smooth trajectory next to nothing. No model of the motion enters, so that every variation beyond this
noise is one of the motion.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_ORDERS = range(2, 11)
"""Orders m of the differences."""
_FEWEST = 20
"""Smallest number of differences of an order from which a variance is estimated."""
_MEDIAN = 0.4549364231195724
"""Median of the square of a standard normal variable."""
_CUT = 2.5
"""Deviations above which differences do not count: there the motion bends within a time step."""
_BELOW_CUT = 0.9112567
"""Variance of a standard normal variable between -2.5 and 2.5."""


class Noise(NamedTuple):
    """Measurement noise of a state.

    Args:
        deviation: standard deviations (M,) of the coordinates. They are infinite for fewer than 20
            differences.
        error: relative standard error (M,) of their squares.
    """

    deviation: np.ndarray
    error: np.ndarray


def noise_of(states: np.ndarray, trajectory: np.ndarray, time: np.ndarray) -> Noise:
    """Return the noise of each coordinate.

    High orders remove more of the motion, and low ones have smaller errors. The lowest order is taken that no
    higher one contradicts. If the time steps are too long for the motion, the noise is overestimated.

    Args:
        states: states (N, M). States of one trajectory are adjacent and in order of time.
        trajectory: number of the trajectory of each state (N,).
        time: time of each state (N,).
    """
    variances, errors = [], []
    for order in _ORDERS:
        inside = np.flatnonzero(trajectory[order:] == trajectory[:-order])
        if len(inside) < _FEWEST:
            break
        nodes = inside[:, None] + np.arange(order + 1)
        weights = _annihilator(time[nodes])
        variances.append(_variance(np.einsum("wk,wkm->wm", weights, states[nodes])))
        typical = np.median(weights * np.sign(weights[:, :1]), axis=0)
        shared = np.sum(np.correlate(typical, typical, "full") ** 2)
        errors.append(np.sqrt(2.0 * shared / len(inside)))
    if not variances:
        nothing = np.full(states.shape[1], np.inf)
        return Noise(nothing, nothing)
    found = np.array(variances)
    least = np.minimum.accumulate(found[::-1], axis=0)[::-1]
    fits = found <= least * (1.0 + 2.0 * np.array(errors)[:, None])
    first = np.argmax(fits, axis=0)
    return Noise(np.sqrt(found[first, np.arange(states.shape[1])]), np.array(errors)[first])


def _variance(values: np.ndarray) -> np.ndarray:
    """Return the variance (M,) of normal values (W, M) among which some are far too large."""
    squares = values**2
    rough = np.median(squares, axis=0) / _MEDIAN
    near = squares <= _CUT**2 * rough
    return np.asarray(np.sum(squares * near, axis=0) / np.maximum(near.sum(axis=0), 1) / _BELOW_CUT)


def _annihilator(times: np.ndarray) -> np.ndarray:
    """Return weights (W, m + 1) of unit length at times (W, m + 1) that remove polynomials of degree m - 1.

    They are those of the divided difference.
    """
    span = times[:, -1:] - times[:, :1]
    apart = (times[:, :, None] - times[:, None, :]) / span[..., None] + np.eye(times.shape[1])
    weights = 1.0 / np.prod(apart, axis=2)
    return np.asarray(weights / np.linalg.norm(weights, axis=1, keepdims=True))
