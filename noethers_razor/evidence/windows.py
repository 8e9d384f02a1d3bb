"""Windows of trajectories: changes of the state, and the weights that integrate a field over them.

A window has m + 1 neighbouring states. For a field f, the change of the state over the window is the integral
of f, and interpolation makes it a weighted sum of f at these states (Boole's rule for m = 4 and equal steps).
The windows of a trajectory follow each other without a gap, so that neighbours share a state.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.errors import UsageError

STEPS = 4
"""Number of steps of a window. The rule has an error of the sixth power of a step."""


class Windows(NamedTuple):
    """Windows of trajectories.

    Args:
        states: numbers (W, m + 1) of the states of each window.
        weights: weights (W, m + 1) of the field at these states, in units of time.
        chain: number (W,) of the trajectory of each window. Windows of one trajectory are adjacent and in
            order of time.
    """

    states: np.ndarray
    weights: np.ndarray
    chain: np.ndarray


def interpolatory_weights(times: np.ndarray) -> np.ndarray:
    """Return the weights that integrate a polynomial from the first node to the last one.

    The result is exact for polynomials up to degree m.

    Args:
        times: increasing times (W, m + 1) of the nodes.
    Returns:
        Weights (W, m + 1), in units of time.
    """
    half = (times[:, -1:] - times[:, :1]) / 2
    nodes = (times - times[:, :1]) / half - 1
    powers = np.arange(times.shape[1])
    moments = (1 + (-1.0) ** powers) / (powers + 1)
    matrices = nodes[:, None, :] ** powers[:, None]
    return np.asarray(half * np.linalg.solve(matrices, np.tile(moments[:, None], (len(times), 1, 1)))[..., 0])


def windows_of(trajectories: FrameTrajectories, steps: int = STEPS) -> Windows:
    """Divide trajectories into windows. States after the last whole window of a trajectory are not used.

    Args:
        trajectories: trajectories in the frame, with their times.
        steps: number m of steps of a window.
    Raises:
        UsageError: if no trajectory has m + 1 states.
    """
    time = trajectories.times
    labels, first, count = np.unique(trajectories.trajectory, return_index=True, return_counts=True)
    windows = (count - 1) // steps
    if not windows.any():
        raise UsageError(
            f"the longest trajectory has {count.max()} states; expected at least {steps + 1}, "
            "which are one window"
        )
    start = np.concatenate([at + steps * np.arange(n) for at, n in zip(first, windows, strict=True)])
    states = start[:, None] + np.arange(steps + 1)
    return Windows(states, interpolatory_weights(time[states]), np.repeat(np.arange(len(labels)), windows))


def changes(windows: Windows, states: np.ndarray) -> np.ndarray:
    """Return the changes (W, M) over the windows of states (N, M)."""
    return np.asarray(states[windows.states[:, -1]] - states[windows.states[:, 0]])


def integrated(windows: Windows, values: np.ndarray) -> np.ndarray:
    """Return the integrals (W, ...) over the windows of values (N, ...) at the states."""
    return np.asarray(np.einsum("wk,wk...->w...", windows.weights, values[windows.states]))


def whitened(windows: Windows, values: np.ndarray) -> np.ndarray:
    """Remove the correlation of changes that neighbouring windows have because they share a noisy state.

    Noise of variance s^2 at each state gives changes the covariance s^2 T, with T tridiagonal: 2 on the
    diagonal, -1 next to it. Values are multiplied by the inverse of the Cholesky factor of T, which is known
    in closed form: its row j has the entries i / sqrt(j (j + 1)), i = 1 to j.

    Args:
        windows: windows of trajectories.
        values: values (W, ...) of the windows, such as changes or integrals.
    Returns:
        Values (W, ...), in which noise at the states has the covariance s^2 times the identity.
    """
    _, first, count = np.unique(windows.chain, return_index=True, return_counts=True)
    out = np.empty_like(values)
    for at, n in zip(first, count, strict=True):
        number = np.arange(1, n + 1.0).reshape(-1, *[1] * (values.ndim - 1))
        total = np.cumsum(number * values[at : at + n], axis=0)
        out[at : at + n] = total / np.sqrt(number * (number + 1))
    return out
