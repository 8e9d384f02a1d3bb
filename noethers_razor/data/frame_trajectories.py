"""Trajectories in the frame, as one list of states. Proposal, selection and report use them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from noethers_razor.data.frame import Frame
from noethers_razor.data.noise import noise_of
from noethers_razor.data.trajectories import Trajectories

ROUNDING = 1e-7
"""Deviation, relative to the size of the data, that passes as rounding."""


class FrameTrajectories(NamedTuple):
    """States of all trajectories in the frame. A conserved quantity is constant along each, up to noise.

    Args:
        states: states (N, M), float64. States of one trajectory are adjacent and in order of time.
        trajectory: number of the trajectory of each state (N,).
        noise: covariance (M, M) of the measurement noise of a state, or an estimate of it.
        gradients: gradients (N, M) of the energy of the network without symmetry at the states, if a family
            needs them.
        time: time of each state (N,), in the frame.
        noise_error: relative standard error of the variances of the noise.
    """

    states: np.ndarray
    trajectory: np.ndarray
    noise: np.ndarray
    gradients: np.ndarray | None = None
    time: np.ndarray | None = None
    noise_error: float = 0.0

    @classmethod
    def of(cls, frame: Frame, data: Trajectories) -> FrameTrajectories:
        """Return trajectories of data units in a frame, with the noise that `noise_of` finds.

        The noise of different coordinates of the data is independent. Rounding is part of it.
        """
        trajectory, time, observed = np.nonzero(data.present)[0], data.times[data.present], data.observed()
        states = frame.into(observed)
        found = noise_of(observed, trajectory, time)
        deviation = np.minimum(found.deviation, observed.std(axis=0))
        noise = (frame.matrix * deviation**2) @ frame.matrix.T
        noise += ROUNDING**2 * np.mean(states**2) * np.eye(frame.dim)
        error = float(np.max(found.error))
        return cls(states, trajectory, noise, time=time / frame.time, noise_error=error)

    @property
    def deviation(self) -> float:
        """Root-mean-square standard deviation of the noise of a coordinate, relative to that of the data."""
        return float(np.sqrt(np.trace(self.noise) / len(self.noise)))

    @property
    def noise_factor(self) -> np.ndarray:
        """Factor L (M, M) of the noise, L L' = noise: L' grad C is a gradient in units of noise."""
        return np.linalg.cholesky(self.noise)

    @property
    def noise_root(self) -> np.ndarray:
        """Factor L (M, M) of the noise at deviation 1: L' grad C is a gradient in isotropic noise units."""
        return self.noise_factor / self.deviation

    @property
    def free(self) -> int:
        """Degrees of freedom of deviations from the mean of each trajectory."""
        return len(self.states) - len(np.unique(self.trajectory))

    @property
    def times(self) -> np.ndarray:
        """Times (N,). Raises `ValueError` if they are unknown."""
        if self.time is None:
            raise ValueError("trajectories without times have no windows and no rates")
        return self.time

    def where(self, chosen: np.ndarray) -> FrameTrajectories:
        """Return a part of the states.

        Args:
            chosen: True for each state of the part (N,).
        """
        gradients, time = (None if part is None else part[chosen] for part in (self.gradients, self.time))
        return self._replace(
            states=self.states[chosen], trajectory=self.trajectory[chosen], gradients=gradients, time=time
        )

    def blurred(self, deviation: float) -> FrameTrajectories:
        """Return the same states, known to a further independent error of this deviation."""
        return self._replace(noise=self.noise + deviation**2 * np.eye(len(self.noise)))

    def shaken_states(self, seed: int) -> np.ndarray:
        """Return the states (N, M) with more noise of the same covariance added."""
        draw = np.random.default_rng(seed).normal(size=self.states.shape)
        return self.states + draw @ self.noise_factor.T

    def sample(self, most: int) -> FrameTrajectories:
        """Return evenly spaced whole trajectories of at most `most` states; cut one that is longer."""
        labels, count = np.unique(self.trajectory, return_counts=True)
        chosen = thinned(labels, max(int(most / count.mean()), 1))
        kept = np.isin(self.trajectory, chosen)
        return self.where(kept & (np.cumsum(kept) <= most))._replace(gradients=None)


def thinned(states: Any, most: int) -> Any:
    """Return at most `most` rows of an array (N, ...), evenly spaced."""
    return states[np.linspace(0, len(states) - 1, min(len(states), most)).astype(int)]
