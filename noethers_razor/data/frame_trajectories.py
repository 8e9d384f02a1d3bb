"""Trajectories in the frame, as one list of states: what proposal, selection and report read."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from noethers_razor.data.frame import Frame
from noethers_razor.data.trajectories import Trajectories


class FrameTrajectories(NamedTuple):
    """States of all trajectories in the frame. A conserved quantity is constant along each, up to noise.

    Args:
        states: (N, M), float64. States of one trajectory are adjacent and in order of time.
        trajectory: (N,) number of the trajectory of each state.
        noise: (M, M) covariance of the measurement noise of a state, or an estimate of it.
        gradients: (N, M) gradient of a first Hamiltonian at the states, where a family needs it.
        time: (N,) time of each state, in the frame.
    """

    states: np.ndarray
    trajectory: np.ndarray
    noise: np.ndarray
    gradients: np.ndarray | None = None
    time: np.ndarray | None = None

    @classmethod
    def of(cls, frame: Frame, data: Trajectories) -> FrameTrajectories:
        """Return trajectories of data units in a frame. Their noise is unknown and set to one."""
        trajectory = np.nonzero(data.present)[0]
        time = data.times[data.present] / frame.time
        return cls(frame.into(data.observed()), trajectory, np.eye(frame.dim), time=time)

    @property
    def deviation(self) -> float:
        """Root-mean-square noise of a coordinate, relative to the spread of the data."""
        return float(np.sqrt(np.trace(self.noise) / len(self.noise)))

    @property
    def noise_root(self) -> np.ndarray:
        """Factor L (M, M) of the noise at deviation 1: L' grad C is a gradient where noise is isotropic."""
        return np.linalg.cholesky(self.noise) / self.deviation

    def where(self, chosen: np.ndarray) -> FrameTrajectories:
        """Return some of the states.

        Args:
            chosen: (N,) bool.
        """
        gradients, time = (None if part is None else part[chosen] for part in (self.gradients, self.time))
        return self._replace(
            states=self.states[chosen], trajectory=self.trajectory[chosen], gradients=gradients, time=time
        )

    def with_noise(self, seed: int) -> np.ndarray:
        """Return the states (N, M) with more noise of the same covariance added."""
        draw = np.random.default_rng(seed).normal(size=self.states.shape)
        return self.states + draw @ np.linalg.cholesky(self.noise).T

    def sample(self, most: int) -> FrameTrajectories:
        """Return whole trajectories, evenly spaced, of at most so many states; the start of a longer one."""
        labels, count = np.unique(self.trajectory, return_counts=True)
        chosen = thinned(labels, max(int(most / count.mean()), 1))
        kept = np.isin(self.trajectory, chosen)
        return self.where(kept & (np.cumsum(kept) <= most))._replace(gradients=None)


def thinned(states: Any, most: int) -> Any:
    """Return at most so many of the rows (N, ...) of an array, evenly spaced."""
    return states[np.linspace(0, len(states) - 1, min(len(states), most)).astype(int)]
