"""Quadratic observables in the order of their variation along trajectories, in units of noise.

They solve the eigenproblem S c = w N c. S is the scatter of the observables along each trajectory. N is what
measurement noise alone makes of it: the mean of grad C_i . Sigma grad C_j. A conserved quantity has w = 1.
Noise adds the same w to every observable, so it does not rotate the conserved ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg

from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.evidence.variation import centred
from noethers_razor.mechanics.quadratic_form import basis, basis_values, embed, moving_combinations

CLOSE = 4.0
"""Variance along trajectories, in units of noise, below which noise may hide what tells observables apart."""
_STILL = 2.0
"""Variance of a coordinate, in units of its noise, below which it shows no motion."""
_CURVED = 0.3
"""Smallest share of the gradient metric that is left where curvature is subtracted from it."""


class Observed(NamedTuple):
    """Functions at the states of trajectories; the first m of them are to be tested for drift.

    Args:
        values: values (N, E).
        gradients: gradients (N, m, M) of the first ones.
        weights: weight of each state (N,), see `Candidates`.
    """

    values: np.ndarray
    gradients: np.ndarray
    weights: np.ndarray

    @property
    def close(self) -> int:
        """Number m of functions to be tested."""
        return self.gradients.shape[1]


class Candidates(NamedTuple):
    """Quadratic observables x'Ax/2 + b'x, the least varying first.

    Args:
        form: symmetric matrices A (E, M, M). Noise makes a mean variance of 1 of each observable.
        linear: linear parts b (E, M).
        variance: variances (E,) along trajectories, in units of noise.
        weights: weight of each state (N,), the same along a trajectory, of mean 1. Noise makes more of a
            quantity on some trajectories than on others.
    """

    form: np.ndarray
    linear: np.ndarray
    variance: np.ndarray
    weights: np.ndarray

    @property
    def close(self) -> int:
        """Number of observables that vary by no more than twice the noise."""
        return int(np.sum(self.variance < CLOSE))

    def observed(self, states: np.ndarray) -> Observed:
        """Return the observables at states (N, M); the close ones are to be tested."""
        return Observed(self.values(states), self.gradients(states, self.close), self.weights)

    def values(self, states: np.ndarray) -> np.ndarray:
        """Return values (N, E) at states (N, M)."""
        columns, rows = np.triu_indices(states.shape[1])
        weights = self.form[:, columns, rows] * np.where(columns == rows, 1.0, 2.0)
        return basis_values(states) @ np.concatenate([weights, self.linear], axis=1).T

    def gradients(self, states: np.ndarray, count: int) -> np.ndarray:
        """Return gradients (N, count, M) of the first observables at states (N, M)."""
        gradients = np.tensordot(states, self.form[:count], axes=(1, 1)) + self.linear[:count]
        return np.asarray(gradients)


def candidates(trajectories: FrameTrajectories) -> Candidates:
    """Return all quadratic observables of the coordinates that move, the least varying first.

    Args:
        trajectories: trajectories in the frame, with their noise.
    """
    states = trajectories.states
    unweighted, axes = np.ones(len(states)), moving_axes(trajectories)
    form, linear = basis(axes.shape[1])
    form, linear = axes @ form @ axes.T, linear @ axes.T
    moving = moving_combinations(embed(form, linear, _moment(states, unweighted))).T
    found = _solved(np.tensordot(moving, form, axes=1), moving @ linear, trajectories, unweighted)
    if not found.close:
        return found
    return _solved(found.form, found.linear, trajectories, _weights(found, trajectories))


def moving_axes(trajectories: FrameTrajectories) -> np.ndarray:
    """Return axes (M, r) whose coordinates move by more than their noise; others have constant quantities."""
    dim = trajectories.states.shape[1]
    values, vectors = scipy.linalg.eigh(np.atleast_2d(np.cov(trajectories.states.T)), trajectories.noise)
    moving = values > _STILL
    if moving.all() or not moving.any():
        return np.eye(dim)
    return np.asarray(vectors[:, moving] / np.linalg.norm(vectors[:, moving], axis=0))


def _moment(states: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean of (x, 1)(x, 1)' (M+1, M+1) with weights (N,)."""
    lifted = np.concatenate([states, np.ones((len(states), 1))], axis=1)
    return (lifted * weights[:, None]).T @ lifted / len(states)


def _solved(
    form: np.ndarray, linear: np.ndarray, trajectories: FrameTrajectories, weights: np.ndarray
) -> Candidates:
    """Solve the eigenproblem in the span of observables, with weights of the states."""
    states, root = trajectories.states, trajectories.noise_factor
    here = Candidates(form, linear, np.zeros(len(form)), weights)
    off = centred(here.values(states), trajectories.trajectory)
    scatter = (off * weights[:, None]).T @ off / trajectories.free
    metric = _noise_metric(form, linear, root, _moment(states, weights))
    variance, turned = scipy.linalg.eigh(scatter, metric)
    return Candidates(np.tensordot(turned.T, form, axes=1), turned.T @ linear, variance, weights)


def _noise_metric(form: np.ndarray, linear: np.ndarray, root: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """Return the covariance (E, E) that noise of covariance root root' makes of observables, on average.

    The gradients at noisy states contain the noise twice of what the observables do: tr(A Sigma B Sigma) / 2
    is subtracted, if it is a small part.
    """
    rows = embed(root.T @ form, linear @ root, moment)
    metric = np.asarray(rows @ rows.T)
    curved = (root.T @ form @ root).reshape(len(form), root.shape[0] ** 2)
    less = metric - curved @ curved.T / 2
    inner = scipy.linalg.eigh(less, metric, eigvals_only=True)
    return less if inner[0] > _CURVED else metric


def _weights(found: Candidates, trajectories: FrameTrajectories) -> np.ndarray:
    """Return weights (N,): one over the mean variance that noise makes of the close observables."""
    gradients = found.gradients(trajectories.states, found.close)
    noisy = gradients @ trajectories.noise_factor
    size = np.mean(np.sum(noisy**2, axis=-1), axis=1)
    # One weight for a trajectory. A weight of each state would depend on its noise, and bias the means.
    _, place, count = np.unique(trajectories.trajectory, return_inverse=True, return_counts=True)
    weights = 1.0 / (np.bincount(place, size) / count)[place]
    return np.asarray(weights / weights.mean())
