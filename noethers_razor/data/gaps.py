"""Trajectories of unequal lengths: put side by side, and cut where states are missing or far apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

GAP = 5.0
"""Times the usual step from which on the time between two states is a gap."""
ALONE = "states_alone"
"""In metadata: how many states a cut has left alone, and out."""


def alone_in(metadata: Mapping[str, Any]) -> int:
    """How many states cuts have left alone, and out, as metadata say."""
    count = metadata.get(ALONE)
    return count if isinstance(count, int) else 0


class Arrays(NamedTuple):
    """Positions and momenta (trajectory, time, dof), times, mask."""

    q: np.ndarray
    p: np.ndarray
    t: np.ndarray
    mask: np.ndarray | None


def padded(pieces: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Arrays:
    """Trajectories (t, q, p) of unequal lengths side by side, places without a state masked."""
    lengths = np.array([len(t) for t, _, _ in pieces])
    longest, dof = int(lengths.max()), pieces[0][1].shape[-1]
    q, p = (np.zeros((len(pieces), longest, dof)) for _ in range(2))
    t = np.zeros((len(pieces), longest))
    for row, (time, position, momentum) in enumerate(pieces):
        count = len(time)
        q[row, :count], p[row, :count], t[row, :count] = position, momentum, time
        # Times of places without a state have only to increase.
        t[row, count:] = (time[-1] if count else 0.0) + 1.0 + np.arange(longest - count)
    mask = np.arange(longest) < lengths[:, None]
    if mask.all():
        return Arrays(q, p, t[0] if (t == t[0]).all() else t, None)
    return Arrays(q, p, t, mask)


def split_arrays(
    q: np.ndarray, p: np.ndarray, t: np.ndarray, mask: np.ndarray | None, gap: float = GAP
) -> tuple[Arrays, int]:
    """Trajectories cut where states are missing, time decreases, or a step is ``gap`` times the usual one.

    The usual step is the median of a trajectory's. States that then stand alone are left out, and counted.
    Arrays that do not fit each other are returned as they are, for the checks to say so.
    """
    fits = q.ndim == 3 and q.shape == p.shape and t.shape in (q.shape[1:2], q.shape[:2])
    if not fits or t.dtype.kind not in "fiu" or (mask is not None and mask.shape != q.shape[:2]):
        return Arrays(q, p, t, mask), 0
    times = np.broadcast_to(t, q.shape[:2]).astype(np.float64)
    present = np.ones(q.shape[:2], bool) if mask is None else mask.astype(bool)
    pieces, alone = [], 0
    for time, position, momentum, there in zip(times, q, p, present, strict=True):
        index = np.flatnonzero(there)
        steps = np.diff(time[index])
        usual = np.median(steps[steps > 0]) if (steps > 0).any() else np.inf
        apart = (np.diff(index) > 1) | ~(steps > 0) | (steps > gap * usual)
        for own in np.split(index, np.flatnonzero(apart) + 1):
            if len(own) > 1:
                pieces.append((time[own], position[own], momentum[own]))
            alone += len(own) == 1
    return (padded(pieces), alone) if pieces else (Arrays(q, p, t, mask), 0)
