"""Observables that vary least along the trajectories, by one eigenproblem.

S c = w N c with S the scatter of phi_i along each trajectory and N = mean grad phi_i . Sigma grad phi_j for
noise of covariance Sigma. Noise on the states adds the same w to every observable, so that it does not turn
the conserved ones, and w of a conserved one is the noise itself. No derivative is estimated, and differences
over whole trajectories show a false quantity long before those over one transition do.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from noethers_razor.conserved.base import Proposal
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.mechanics.quadratic_form import (
    basis,
    basis_values,
    embed,
    moving_combinations,
    orbit_scale,
    second_moment,
)

DOUBT, _SHARPNESS = 1.5, 32
"""A defect this many times the noise halves the initial orbit. The step is sharp: the small step size of a
proposal would not mend an orbit that a defect near the noise had shortened."""
_FOLDS = 5


def centred(values: np.ndarray, trajectory: np.ndarray) -> np.ndarray:
    """Values (N, D) less their mean on each trajectory."""
    labels, place, count = np.unique(trajectory, return_inverse=True, return_counts=True)
    sums = np.zeros((len(labels), values.shape[1]))
    np.add.at(sums, place, values)
    return values - (sums / count[:, None])[place]


def scatter(values: np.ndarray, trajectory: np.ndarray) -> tuple[np.ndarray, int]:
    """Squares and products (D, D) of values (N, D) about their mean on each trajectory, and degrees of freedom."""
    off = centred(values, trajectory)
    return off.T @ off, len(values) - len(np.unique(trajectory))


def stretches(trajectory: np.ndarray, parts: int) -> np.ndarray:
    """In which (N,) of so many equal stretches of its trajectory each state is."""
    _, place, count = np.unique(trajectory, return_inverse=True, return_counts=True)
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    return np.asarray((np.arange(len(trajectory)) - first[place]) * parts // count[place])


def folds(trajectory: np.ndarray) -> np.ndarray:
    """Parts (N,) of the data, 0 to 4: whole trajectories, or stretches of them where there are few."""
    labels, place = np.unique(trajectory, return_inverse=True)
    return np.asarray(place % _FOLDS) if len(labels) >= _FOLDS else stretches(trajectory, _FOLDS)


def held_out_defects(values: np.ndarray, trajectory: np.ndarray, count: int) -> np.ndarray:
    """Root-mean-square deviations (count,) along trajectories of the combinations of values (N, D) that vary
    least, each on the fifth of the data that did not choose it.
    """
    fold = folds(trajectory)
    total, degrees = np.zeros(count), 0
    for part in range(_FOLDS):
        seen = fold != part
        _, turned = np.linalg.eigh(scatter(values[seen], trajectory[seen])[0])
        left, own = scatter(values[~seen] @ turned[:, :count], trajectory[~seen])
        total, degrees = total + np.diag(left), degrees + own
    return np.asarray(np.sqrt(total / max(degrees, 1)))


CREDIBLE = 0.5
"""Length from which on a candidate counts as credible, see `credible_length`."""


def credible_length(defect: np.ndarray, expected: float | np.ndarray) -> np.ndarray:
    """Orbit lengths (K,) between 0 and 1 that defects leave credible: 1/2 at 1.5 times the noise."""
    ratio = defect / (DOUBT * np.maximum(expected, 1e-12))
    # A ratio above 100 leaves nothing, and its power might overflow.
    return np.asarray(1.0 / (1.0 + np.minimum(ratio, 100.0) ** _SHARPNESS))


class Observables(NamedTuple):
    """Quadratic observables that move data, the mean product of whose gradients is one in units of noise.

    Args:
        weights: (k, D) of the elements of `basis`.
        rows: (k, E) their embedded vectors.
    """

    weights: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, trajectories: FrameTrajectories, moment: np.ndarray) -> Observables:
        """All of them, embedded with a second moment of the states."""
        form, linear = basis(trajectories.states.shape[-1])
        rows = embed(form, linear, moment)
        moving = moving_combinations(rows)
        # Gradients in coordinates in which noise is isotropic, and of deviation 1 in the mean.
        root = trajectories.noise_root.T
        noisy = embed(root @ form, linear @ root.T, moment)
        noisy *= np.sqrt(np.mean(np.sum(trajectories.states**2, axis=-1)))
        metric = np.linalg.cholesky(moving.T @ (noisy @ noisy.T) @ moving)
        weights = np.linalg.solve(metric, moving.T)
        return cls(weights, weights @ rows)

    def values(self, states: np.ndarray) -> np.ndarray:
        """Of states (N, M): (N, k)."""
        return np.asarray(basis_values(states) @ self.weights.T)


def as_forms(weights: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Observables from weights (K, D) of the elements of `basis`: (K, M, M), (K, M)."""
    form, linear = basis(dim)
    return np.einsum("kd,dij->kij", weights, form), weights @ linear


def candidates(trajectories: FrameTrajectories, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The quadratic observables that vary least along the trajectories, orthogonal and of displacement 1.

    Args:
        trajectories: in the frame.
        count: how many to return, fewer when the states move fewer.
    Returns:
        forms (k, M, M), linear parts (k, M) and their defects (k,): root-mean-square deviations along trajectories
        relative to the gradient in units of the noise, on data that did not choose them.
    """
    observables = Observables.of(trajectories, second_moment(trajectories.states))
    values = observables.values(trajectories.states)
    _, turned = np.linalg.eigh(scatter(values, trajectories.trajectory)[0])
    turned = turned[:, :count].T
    # Orthogonal in displacement, each in the span of those before it and itself.
    triangle = np.asarray(np.linalg.qr((turned @ observables.rows).T, mode="r"))
    weights = np.linalg.solve(triangle.T, turned @ observables.weights)
    defect = held_out_defects(values, trajectories.trajectory, len(weights))
    return *as_forms(weights, trajectories.states.shape[-1]), defect


def least_varying(
    values: np.ndarray, gradients: np.ndarray, trajectories: FrameTrajectories
) -> tuple[np.ndarray, np.ndarray]:
    """Combinations (k, k) of observables by how they vary along trajectories, least first, and defects (k,).

    Args:
        values: (N, k) at the states of the trajectories.
        gradients: gradients (k, B, M) at some of the states, orthonormal in displacement.
        trajectories: in the frame.
    """
    noisy = gradients @ trajectories.noise_root
    rows = noisy.reshape(len(gradients), noisy.shape[1] * noisy.shape[2])
    metric = np.linalg.cholesky(rows @ rows.T / gradients.shape[1])
    total, degrees = scatter(np.linalg.solve(metric, values.T).T, trajectories.trajectory)
    squares, turned = np.linalg.eigh(total / max(degrees, 1))
    # Rows orthonormal in displacement, each in the span of those before it and itself.
    weights, _ = np.linalg.qr(np.linalg.solve(metric.T, turned))
    return weights.T, np.sqrt(np.maximum(squares, 0.0))


def proposal(trajectories: FrameTrajectories, count: int) -> Proposal:
    """The `candidates`, each as long as its defect leaves it credible; count says how many.

    One quantity alone has the interval as its orbit, and a rotation must close on it: it is given its
    natural unit of tau instead of displacement 1.
    """
    form, linear, defect = candidates(trajectories, count)
    length = credible_length(defect, trajectories.deviation)
    if count == 1:
        scale = orbit_scale(form, linear, trajectories.states)
        form, linear = form / scale[:, None, None], linear / scale[:, None]
    # Observables that move no datum leave their places empty: the bound could not tell them apart.
    empty = count - len(defect)
    params = {
        "form": jnp.asarray(np.pad(form * length[:, None, None], [(0, empty), (0, 0), (0, 0)])),
        "linear": jnp.asarray(np.pad(linear * length[:, None], [(0, empty), (0, 0)])),
    }
    return Proposal(
        params,
        np.concatenate([defect, np.full(empty, np.nan)]),
        trajectories.deviation,
        np.concatenate([length, np.zeros(empty)]),
    )
