"""Trajectories of unequal lengths: padding, and cuts where states are missing or far apart in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

GAP = 5.0
"""Default length of a gap, in units of the median time step of a trajectory."""
ALONE = "states_alone"
"""Key in the metadata: number of single states that cuts have removed."""


def alone_in(metadata: Mapping[str, Any]) -> int:
    """Return the number of single states that cuts have removed, from metadata."""
    count = metadata.get(ALONE)
    return count if isinstance(count, int) else 0


class Arrays(NamedTuple):
    """Arrays of trajectories: q and p (trajectory, time, dof), t (time,) or (trajectory, time), and mask."""

    q: np.ndarray
    p: np.ndarray
    t: np.ndarray
    mask: np.ndarray | None


def padded(pieces: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Arrays:
    """Return trajectories of unequal lengths as arrays. The mask is False where no state exists.

    Args:
        pieces: times (T,), positions (T, dof) and momenta (T, dof) of each trajectory.
    """
    lengths = np.array([len(t) for t, _, _ in pieces])
    longest, dof = int(lengths.max()), pieces[0][1].shape[-1]
    q, p = (np.zeros((len(pieces), longest, dof)) for _ in range(2))
    t = np.zeros((len(pieces), longest))
    for row, (time, position, momentum) in enumerate(pieces):
        count = len(time)
        q[row, :count], p[row, :count], t[row, :count] = position, momentum, time
        # Times without a state only have to increase.
        t[row, count:] = (time[-1] if count else 0.0) + 1.0 + np.arange(longest - count)
    mask = np.arange(longest) < lengths[:, None]
    if mask.all():
        return Arrays(q, p, t[0] if (t == t[0]).all() else t, None)
    return Arrays(q, p, t, mask)


def split_arrays(
    q: np.ndarray, p: np.ndarray, t: np.ndarray, mask: np.ndarray | None, gap: float = GAP
) -> tuple[Arrays, int]:
    """Cut trajectories where states are missing, time does not increase, or a time step is a gap.

    Args:
        q, p: positions and momenta (trajectory, time, dof).
        t: times (time,) or (trajectory, time).
        mask: (trajectory, time), True where a state exists; None if all exist.
        gap: length of a gap, in units of the median time step of a trajectory.
    Returns:
        Arrays of the pieces, and the number of single states between cuts. These states are removed.
        Arrays of shapes that do not match are returned unchanged, so that the checks report them.
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
