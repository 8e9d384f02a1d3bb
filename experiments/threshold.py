"""The rule of version 0.1 for quadratic quantities: variation up to 1.5 times the noise.

Folds of the data find candidates and measure their variation on trajectories that did not choose them.
"""

from __future__ import annotations

import numpy as np

from noethers_razor.conserved.proposal.constancy import Observables, folds, scatter
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.mechanics.quadratic_form import as_forms, second_moment

_FLOOR = 0.01
"""Smallest noise, relative to the spread of the data."""
_DOUBT = 1.5
"""Variation, relative to the noise, above which a quantity was not proposed."""


def held_out_defects(values: np.ndarray, trajectory: np.ndarray, count: int) -> np.ndarray:
    """Return held-out deviations of the combinations of values that vary least along trajectories.

    Each fold tests the combinations that the other folds choose.

    Args:
        values: values (N, D) of observables.
        trajectory: number of the trajectory of each state (N,).
        count: number of combinations.
    Returns:
        Root-mean-square deviations (count,), in the order of the deviations on the data that choose.
    """
    fold = folds(trajectory)
    total, degrees = np.zeros(count), 0
    for part in np.unique(fold):
        seen = fold != part
        _, turned = np.linalg.eigh(scatter(values[seen], trajectory[seen])[0])
        left, own = scatter(values[~seen] @ turned[:, :count], trajectory[~seen])
        total, degrees = total + np.diag(left), degrees + own
    return np.asarray(np.sqrt(total / max(degrees, 1)))


def candidates(trajectories: FrameTrajectories, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the quadratic observables that vary least along the trajectories.

    They are orthonormal in displacement, see `embed`.

    Args:
        trajectories: trajectories in the frame, with their noise.
        count: number of candidates. There are fewer if fewer observables move the data.
    Returns:
        Symmetric matrices A (k, M, M), linear parts b (k, M) and defects (k,). A defect is the root mean
        square of deviations along trajectories, relative to the gradient in units of noise. It is measured on
        data that did not choose the candidate.
    """
    observables = Observables.of(trajectories, second_moment(trajectories.states))
    values = observables.values(trajectories.states)
    _, turned = np.linalg.eigh(scatter(values, trajectories.trajectory)[0])
    turned = turned[:, :count].T
    # Orthonormalise in displacement. Each candidate stays in the span of itself and the previous ones.
    triangle = np.asarray(np.linalg.qr((turned @ observables.rows).T, mode="r"))
    weights = np.linalg.solve(triangle.T, turned @ observables.weights)
    defect = held_out_defects(values, trajectories.trajectory, len(weights))
    return *as_forms(weights, trajectories.states.shape[-1]), defect


def count_below_threshold(trajectories: FrameTrajectories, most: int = 14) -> int:
    """Return the number of quantities that version 0.1 proposed, of at most so many."""
    defect = candidates(trajectories, most)[2]
    varied = np.flatnonzero(defect > _DOUBT * max(trajectories.deviation, _FLOOR))
    return int(varied[0]) if len(varied) else len(defect)
