"""Values along trajectories: deviations from the mean, and integrals over time."""

from __future__ import annotations

import numpy as np


def _starts(trajectory: np.ndarray) -> np.ndarray:
    """Return the number of the first state of each trajectory."""
    return np.flatnonzero(np.diff(trajectory, prepend=trajectory[:1] - 1))


def centred(values: np.ndarray, trajectory: np.ndarray) -> np.ndarray:
    """Return values (N, D) minus their mean on each trajectory.

    Args:
        values: values (N, D).
        trajectory: number of the trajectory of each row (N,); rows of one trajectory are adjacent.
    """
    starts = _starts(trajectory)
    count = np.diff(starts, append=len(trajectory))
    mean = np.add.reduceat(values, starts, axis=0) / count[:, None]
    return np.asarray(values - np.repeat(mean, count, axis=0))


def summed(values: np.ndarray, trajectory: np.ndarray) -> np.ndarray:
    """Return the cumulative sums (N, D) of values along each trajectory; arguments as for `centred`."""
    total = np.cumsum(values, axis=0)
    starts = _starts(trajectory)
    before = np.concatenate([np.zeros((1, values.shape[1])), total])[starts]
    return np.asarray(total - np.repeat(before, np.diff(starts, append=len(trajectory)), axis=0))


def integrals(values: np.ndarray, trajectory: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Return the integrals over time from the start of each trajectory, by the trapezoidal rule.

    Args:
        values: values (N, D) at the states.
        trajectory: number of the trajectory of each row (N,).
        time: time of each row (N,).
    Returns:
        Integrals (N, D).
    """
    same = trajectory[1:] == trajectory[:-1]
    steps = np.where(same, np.diff(time), 0.0)[:, None] * (values[1:] + values[:-1]) / 2
    return summed(np.concatenate([np.zeros((1, values.shape[1])), steps]), trajectory)


def slope_weights(trajectory: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Return weights (N,) of states. Weighted values, summed over a trajectory, are its slope in time.

    The slope is that of least squares. Weights of a single state are 0. Arguments as for `integrals`.
    """
    off = centred(time[:, None], trajectory)[:, 0]
    _, place = np.unique(trajectory, return_inverse=True)
    length = np.bincount(place, off**2)
    return np.asarray(off / np.where(length > 0, length, 1.0)[place])


def natural_rate(gradients: np.ndarray, velocities: np.ndarray) -> float:
    """Return the rate of a quantity that nothing keeps constant, from root-mean-square lengths.

    Args:
        gradients: gradients (N, M) of the quantity at the states.
        velocities: velocities (N, M) of the states.
    """
    squares = (np.mean(np.sum(part**2, axis=1)) for part in (gradients, velocities))
    return float(np.sqrt(np.prod(list(squares))))
