"""The flow of a fitted field, linearised: how states depend on starts, and on anything added to the field.

Trajectories are divided into segments. The start of each is unknown. With X(t) the derivative of the state at
time t by the start, a field g that is added changes the state by X(t) times the integral of X^-1 g. So the
regression on any fields is linear, with noise only where states were measured, and windows are as accurate
as the integrator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from noethers_razor.data.frame_trajectories import FrameTrajectories

STEPS = 8
"""Largest number of steps of a segment."""
_LONG = 2.0
"""Longest step of a segment, relative to the median of those, with which it is used."""
_DIFFERENCE = 1e-7
"""Step of the differences that give the derivatives of a field, frame units."""

Field = Callable[[np.ndarray], np.ndarray]
"""States (N, M) -> velocities (N, M)."""


class Segments(NamedTuple):
    """Segments of trajectories, all with L steps.

    Args:
        number: numbers (B, L + 1) of the states.
        time: their times (B, L + 1).
        states: their values (B, L + 1, M).
        trajectory: trajectory (B,) of each segment.
        unit: matrix (M, M) that makes the noise of a state white, of unit variance.
    """

    number: np.ndarray
    time: np.ndarray
    states: np.ndarray
    trajectory: np.ndarray
    unit: np.ndarray

    @classmethod
    def of(cls, trajectories: FrameTrajectories, most: int) -> Segments:
        """Return at most ``most`` segments, spread over all trajectories.

        Not used are what is left of a trajectory after the last whole segment, trajectories shorter than
        a segment, and segments with a long step.
        """
        _, first, count = np.unique(trajectories.trajectory, return_index=True, return_counts=True)
        # At least half of the states are in trajectories as long as this.
        by_state = np.sort(np.repeat(count, count))
        steps = min(STEPS, int(by_state[len(by_state) // 2]) - 1)
        starts = np.concatenate(
            [at + steps * np.arange((n - 1) // steps) for at, n in zip(first, count, strict=True)]
        )
        number = starts[:, None] + np.arange(steps + 1)
        # The integrator takes equal numbers of steps, so a long gap would be less accurate.
        longest = np.diff(trajectories.times[number], axis=1).max(axis=1)
        number = number[longest <= _LONG * np.median(longest)]
        if len(number) > most:
            number = number[np.linspace(0, len(number) - 1, most).astype(int)]
        unit = np.linalg.inv(trajectories.noise_factor)
        labels = trajectories.trajectory[number[:, 0]]
        return cls(number, trajectories.times[number], trajectories.states[number], labels, unit)

    @property
    def free(self) -> int:
        """Number of values less that of unknown starts, of coordinates that move by more than their noise."""
        count, states, _ = self.states.shape
        return int(count * (states - 1) * np.sum(np.linalg.svd(self.unit, compute_uv=False) > 1.0))

    def where(self, chosen: np.ndarray) -> Segments:
        """Return a part of the segments."""
        return self._replace(
            number=self.number[chosen],
            time=self.time[chosen],
            states=self.states[chosen],
            trajectory=self.trajectory[chosen],
        )


class LinearisedFlow(NamedTuple):
    """Paths through segments, and what a change of the field makes of them.

    Args:
        segments: the segments.
        path: states (B, L + 1, M) at the measured times.
        nodes: states (B, 2 L + 1, M) at the measured times and between them, where fields are evaluated.
        by_start: derivatives (B, 2 L + 1, M, M) of the states by the start.
    """

    segments: Segments
    path: np.ndarray
    nodes: np.ndarray
    by_start: np.ndarray

    @classmethod
    def of_data(cls, segments: Segments) -> LinearisedFlow:
        """Return paths at rest, and the measured states as nodes: the first step from no field at all."""
        states = segments.states
        between = (states[:, 1:] + states[:, :-1]) / 2
        if states.shape[1] > 3:
            outer, inner = states[:, :-3] + states[:, 3:], states[:, 1:-2] + states[:, 2:-1]
            between[:, 1:-1] = (9 * inner - outer) / 16
        nodes = np.empty((len(states), 2 * states.shape[1] - 1, states.shape[2]))
        nodes[:, ::2], nodes[:, 1::2] = states, between
        path, unit = np.broadcast_to(states[:, :1], states.shape), np.eye(states.shape[2])
        return cls(segments, path, nodes, np.broadcast_to(unit, (*nodes.shape, len(unit))))

    @classmethod
    def of_field(cls, segments: Segments, start: np.ndarray, field: Field) -> LinearisedFlow:
        """Follow a field from starts (B, M), by two Runge-Kutta steps for each step of the data."""
        state, nodes = start, [start]
        steps = np.diff(segments.time, axis=1)
        for step in steps.T:
            h = step[:, None] / 2
            for _ in range(2):
                a = field(state)
                b = field(state + h / 2 * a)
                c = field(state + h / 2 * b)
                state = state + h / 6 * (a + 2 * b + 2 * c + field(state + h * c))
                nodes.append(state)
        found = np.stack(nodes, axis=1)
        return cls(segments, found[:, ::2], found, _by_start(found, steps, field))

    @property
    def node_times(self) -> np.ndarray:
        """Times (B, 2 L + 1) of the nodes."""
        time = self.segments.time
        out = np.empty((len(time), 2 * time.shape[1] - 1))
        out[:, ::2], out[:, 1::2] = time, (time[:, 1:] + time[:, :-1]) / 2
        return out

    def where(self, chosen: np.ndarray) -> LinearisedFlow:
        """Return the paths through a part of the segments."""
        return LinearisedFlow(self.segments.where(chosen), *(part[chosen] for part in self[1:]))

    def replaced(self, chosen: np.ndarray, other: LinearisedFlow) -> LinearisedFlow:
        """Return the paths with those of chosen segments (B,) from another flow."""
        parts = zip(self[1:], other[1:], strict=True)
        return LinearisedFlow(
            self.segments,
            *(np.where(chosen.reshape(-1, *[1] * (old.ndim - 1)), new, old) for old, new in parts),
        )

    def changes(self, fields: np.ndarray) -> np.ndarray:
        """Return what fields (B, 2 L + 1, F, M), added at the nodes, make of the states (B, L + 1, M, F)."""
        return self._changes(fields, np.eye(fields.shape[3]))

    def _changes(self, fields: np.ndarray, unit: np.ndarray) -> np.ndarray:
        """Return a matrix (M, M) times the changes of the states."""
        pulled = np.matmul(np.linalg.inv(self.by_start), np.swapaxes(fields, 2, 3))
        # Simpson's rule, in place: the arrays are large.
        steps = pulled[:, 1::2]
        steps *= 4
        steps += pulled[:, :-1:2]
        steps += pulled[:, 2::2]
        steps *= np.diff(self.segments.time, axis=1)[:, :, None, None] / 6
        out = np.empty((len(fields), steps.shape[1] + 1, *steps.shape[2:]))
        out[:, 0] = 0.0
        np.cumsum(steps, axis=1, out=steps)
        np.matmul(unit @ self.by_start[:, 2::2], steps, out=out[:, 1:])
        return out

    def rows(self, fields: np.ndarray) -> np.ndarray:
        """Return the rows (B, (L + 1) M, F) of the regression on fields, without what starts explain."""
        white = self._changes(fields, self.segments.unit)
        return self._free(white.reshape(len(white), -1, white.shape[-1]))

    def residual(self) -> np.ndarray:
        """Return the residuals (B, (L + 1) M) of the paths in units of noise, without what starts explain."""
        return self._free(self._white(self._off()))[..., 0]

    def squares(self) -> np.ndarray:
        """Return the sum of squared residuals of each segment (B,)."""
        return np.asarray(np.sum(self.residual() ** 2, axis=1))

    def next_start(self) -> np.ndarray:
        """Return starts (B, M) whose paths fit best."""
        basis, triangle = self._starts()
        off = self._white(self._off())
        change = np.linalg.solve(triangle, np.swapaxes(basis, 1, 2) @ off)
        return np.asarray(self.path[:, 0] + change[..., 0])

    def _off(self) -> np.ndarray:
        return (self.segments.states - self.path)[..., None]

    def _white(self, states: np.ndarray) -> np.ndarray:
        """Return changes of states (B, L + 1, M, F) in units of noise, as columns (B, (L + 1) M, F)."""
        white = np.matmul(self.segments.unit, states)
        return np.asarray(white.reshape(len(states), -1, states.shape[-1]))

    def _starts(self) -> tuple[np.ndarray, np.ndarray]:
        basis, triangle = np.linalg.qr(self._white(self.by_start[:, ::2]))
        return basis, triangle

    def _free(self, columns: np.ndarray) -> np.ndarray:
        basis, _ = self._starts()
        columns -= basis @ (np.swapaxes(basis, 1, 2) @ columns)
        return columns


def _by_start(nodes: np.ndarray, steps: np.ndarray, field: Field) -> np.ndarray:
    """Return the derivatives (B, 2 L + 1, M, M) of nodes by the start, a Runge-Kutta step for each step."""
    count, number, dim = nodes.shape
    points = nodes.reshape(-1, dim)
    shifts = _DIFFERENCE * np.concatenate([np.zeros((1, dim)), np.eye(dim)])
    values = np.stack([field(points + shift) for shift in shifts])
    gradients = np.moveaxis((values[1:] - values[0]) / _DIFFERENCE, 0, -1).reshape(count, number, dim, dim)
    out = np.empty_like(gradients)
    out[:, 0] = here = np.tile(np.eye(dim), (count, 1, 1))
    for k, step in enumerate(steps.T):
        h = step[:, None, None]
        first, middle, last = (gradients[:, 2 * k + i] for i in range(3))
        a = first @ here
        b = middle @ (here + h / 2 * a)
        c = middle @ (here + h / 2 * b)
        after = here + h / 6 * (a + 2 * b + 2 * c + last @ (here + h * c))
        # Halfway, by the cubic with these values and derivatives.
        out[:, 2 * k + 1] = (here + after) / 2 + h / 8 * (a - last @ after)
        out[:, 2 * k + 2] = here = after
    return out
