"""Variation of quantities along trajectories: folds, scatter, quadratic observables.

The defect of a quantity is the noise of the states that would make it vary as much as it does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.evidence.variation import centred
from noethers_razor.mechanics.quadratic_form import (
    basis,
    basis_values,
    embed,
    moving_combinations,
)

_FOLDS = 5
"""Number of folds that measure defects on data that did not choose the candidates."""


def scatter(values: np.ndarray, trajectory: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the scatter of values along trajectories.

    Args:
        values: values (N, D).
        trajectory: number of the trajectory of each row (N,).
    Returns:
        Sums of products (D, D) of deviations from the mean of each trajectory, and the degrees of freedom.
    """
    off = centred(values, trajectory)
    return off.T @ off, len(values) - len(np.unique(trajectory))


def stretches(trajectory: np.ndarray, parts: int) -> np.ndarray:
    """Divide each trajectory into equal stretches.

    Args:
        trajectory: number of the trajectory of each state (N,).
        parts: number of stretches of a trajectory.
    Returns:
        Number (N,) of the stretch of each state, from 0.
    """
    _, place, count = np.unique(trajectory, return_inverse=True, return_counts=True)
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    return np.asarray((np.arange(len(trajectory)) - first[place]) * parts // count[place])


def folds(trajectory: np.ndarray) -> np.ndarray:
    """Assign states to five folds.

    A fold consists of whole trajectories. If there are fewer than five, it consists of stretches of them.

    Args:
        trajectory: number of the trajectory of each state (N,).
    Returns:
        Fold (N,) of each state, 0 to 4.
    """
    labels, place = np.unique(trajectory, return_inverse=True)
    return np.asarray(place % _FOLDS) if len(labels) >= _FOLDS else stretches(trajectory, _FOLDS)


class Observables(NamedTuple):
    """Quadratic observables that move data, orthonormal in the mean product of gradients in units of noise.

    Args:
        weights: weights (k, D) of the elements of `basis`.
        rows: embedded vectors (k, E) of the observables.
    """

    weights: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, trajectories: FrameTrajectories, moment: np.ndarray) -> Observables:
        """Return all observables that move the data.

        Args:
            trajectories: trajectories in the frame, with their noise.
            moment: second moment (M+1, M+1) of the states, see `second_moment`.
        """
        form, linear = basis(trajectories.states.shape[-1])
        rows = embed(form, linear, moment)
        moving = moving_combinations(rows)
        # Express gradients in coordinates where the noise is isotropic, with mean standard deviation 1.
        root = trajectories.noise_root.T
        noisy = embed(root @ form, linear @ root.T, moment)
        noisy *= np.sqrt(np.mean(np.sum(trajectories.states**2, axis=-1)))
        metric = np.linalg.cholesky(moving.T @ (noisy @ noisy.T) @ moving)
        weights = np.linalg.solve(metric, moving.T)
        return cls(weights, weights @ rows)

    def values(self, states: np.ndarray) -> np.ndarray:
        """Return the values (N, k) of the observables at states (N, M)."""
        return np.asarray(basis_values(states) @ self.weights.T)


def least_varying(
    values: np.ndarray, gradients: np.ndarray, trajectories: FrameTrajectories
) -> tuple[np.ndarray, np.ndarray]:
    """Order combinations of observables by their variation along trajectories.

    Args:
        values: values (N, k) of the observables at the states of the trajectories.
        gradients: gradients (k, B, M) at some of the states, orthonormal in displacement.
        trajectories: trajectories in the frame, with their noise.
    Returns:
        Combinations as rows (k, k), the least varying first, and their defects (k,).
    """
    noisy = gradients @ trajectories.noise_root
    rows = noisy.reshape(len(gradients), noisy.shape[1] * noisy.shape[2])
    metric = np.linalg.cholesky(rows @ rows.T / gradients.shape[1])
    total, degrees = scatter(np.linalg.solve(metric, values.T).T, trajectories.trajectory)
    squares, turned = np.linalg.eigh(total / max(degrees, 1))
    # Make rows orthonormal in displacement. Each stays in the span of itself and the previous ones.
    weights, _ = np.linalg.qr(np.linalg.solve(metric.T, turned))
    return weights.T, np.sqrt(np.maximum(squares, 0.0))
