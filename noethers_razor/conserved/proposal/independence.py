"""Functionally independent quantities among the functions that vary least along trajectories.

Functions of conserved quantities are conserved too. So the constant functions are many, but few of them are
independent. Gradients decide on independence: a function of other functions has its gradient in the span of
their gradients at each state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from noethers_razor.conserved.proposal.constancy import folds, scatter
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.evidence.candidates import CLOSE

INDEPENDENT = 0.05
"""Smallest share of the mean squared gradient off the gradients of others, for an independent function."""
_OFFERED = 0.1
"""The same for a combination of features that is proposed: errors of its coefficients look independent."""
_PARALLEL = 0.2
"""Smallest singular value of known gradients, relative to the largest, that counts as a direction.

A direction that follows from the difference of two such gradients has five times their error.
"""
# Cubics in exponentials, 100 trajectories: after three rescalings, held-out defects are up to 4 times the
# noise; after six, at most 1.3 times.
_BALANCING = 8
"""Number of rescalings in `balanced`."""
NOTHING = 1e-3
"""Deviation that counts as zero, relative to the noise."""
_TRIVIAL = 1e-12
"""Threshold relative to the largest squared change by noise; noise does not move combinations below it."""


class Features(NamedTuple):
    """Samples of D functions on phase space.

    Args:
        values: values (N, D) at the states of the trajectories.
        shaken: changes (N, D) of the values by more noise of the same distribution on the states.
        bent: parts (N, D) of these changes that are even in the noise.
        gradients: gradients (B, D, M) at some of the states.
        curvature: mean inner products (D, D) of second derivatives, which are smaller for simpler functions.
        size: root-mean-square length of a state.
    """

    values: np.ndarray
    shaken: np.ndarray
    bent: np.ndarray
    gradients: np.ndarray
    curvature: np.ndarray
    size: float

    def share_bent(self, rows: np.ndarray) -> float:
        """Return the largest share of the squared changes of rows (k, D) that is even in the noise."""
        total, even = (np.sum((part @ rows.T) ** 2, axis=0) for part in (self.shaken, self.bent))
        return float(np.max(even / np.maximum(total, 1e-300), initial=0.0))


def off_span(gradients: np.ndarray, others: np.ndarray, least: float = 1e-3) -> np.ndarray:
    """Return the parts of gradients orthogonal to the span of other gradients at each state.

    Args:
        gradients: gradients (B, k, M).
        others: other gradients (B, j, M).
        least: smallest singular value of the others that counts as a direction, relative to the root mean
            square over states of the largest one.
    Returns:
        Parts (B, k, M).
    """
    if not others.shape[1]:
        return gradients
    _, values, basis = np.linalg.svd(others, full_matrices=False)
    # A nearly vanishing gradient has no direction.
    basis = basis * (values > least * np.sqrt(np.mean(values[:, :1] ** 2)))[..., None]
    return gradients - (gradients @ np.swapaxes(basis, 1, 2)) @ basis


def gram(gradients: np.ndarray) -> np.ndarray:
    """Return the mean inner products (D, D) of gradients (B, D, M)."""
    flat = np.swapaxes(gradients, 0, 1).reshape(gradients.shape[1], -1)
    return np.asarray(flat @ flat.T / len(gradients))


def balanced(features: Features, trajectory: np.ndarray) -> tuple[Features, np.ndarray]:
    """Return features with values and changes by noise scaled, so that trajectories have about equal weight.

    Otherwise high powers are dominated by a few distant trajectories, and a feature that is constant only on
    those is accepted. Values and changes on one trajectory get the same factor, so constants stay constant.

    Args:
        features: features at N states.
        trajectory: number of the trajectory of each state (N,).
    Returns:
        The features, and the factor (N,) of each state.
    """
    shaken, factor = features.shaken, np.ones(len(features.values))
    _, place, count = np.unique(trajectory, return_inverse=True, return_counts=True)
    for _ in range(_BALANCING):
        whitened = shaken @ _whitening(shaken.T @ shaken / len(shaken))
        leverage = np.bincount(place, np.sum(whitened**2, axis=1)) / count / whitened.shape[1]
        factor = factor / np.sqrt(np.maximum(leverage, 1.0))[place]
        shaken = features.shaken * factor[:, None]
    scaled = {name: factor[:, None] * getattr(features, name) for name in ("values", "shaken", "bent")}
    return features._replace(**scaled), factor


def _whitening(moment: np.ndarray) -> np.ndarray:
    """Return combinations (D, k) in which a second moment (D, D) of changes by noise is the identity."""
    values, vectors = np.linalg.eigh(moment)
    moving = values > _TRIVIAL * values[-1]
    return np.asarray(vectors[:, moving] / np.sqrt(values[moving]))


class Moments(NamedTuple):
    """Second moments of features on each of P held-out parts of the data and, last, on all data.

    Args:
        along: scatter (P + 1, D, D) along trajectories.
        degrees: degrees of freedom (P + 1,) of the scatter.
        shaken: mean products (P + 1, D, D) of changes by noise, divided by the variance of the noise.
        gradients: mean inner products (D, D) of gradients, relative to the size of the data.
        curvature: mean inner products (D, D) of second derivatives.
        deviation: standard deviation of the noise.
    """

    along: np.ndarray
    degrees: np.ndarray
    shaken: np.ndarray
    gradients: np.ndarray
    curvature: np.ndarray
    deviation: float

    def of(self, columns: np.ndarray) -> Moments:
        """Return the moments of the features with these indices (d,)."""
        here = (..., columns[:, None], columns[None])
        return self._replace(
            along=self.along[here],
            shaken=self.shaken[here],
            gradients=self.gradients[here],
            curvature=self.curvature[here],
        )

    def without(self, part: int) -> tuple[np.ndarray, int]:
        """Return the scatter (D, D) and degrees of freedom of all data except one part."""
        return self.along[-1] - self.along[part], int(self.degrees[-1] - self.degrees[part])

    def defects(self, part: int, columns: np.ndarray) -> np.ndarray:
        """Return the squared defects (k,) of combinations (D, k) on a part of the data, or on all with -1."""
        above = np.einsum("dk,de,ek->k", columns, self.along[part], columns)
        below = np.einsum("dk,de,ek->k", columns, self.shaken[part], columns)
        # Without noise these are rounding errors of either sign.
        return np.asarray(np.maximum(above, 0.0) / max(self.degrees[part], 1) / np.maximum(below, 1e-300))


def moments_of(features: Features, trajectories: FrameTrajectories, parts: Sequence[int]) -> Moments:
    """Compute the moments of features on trajectories.

    Args:
        features: features at the states of the trajectories.
        trajectories: trajectories in the frame, with their noise.
        parts: numbers of the `folds` to hold out. The features must not be trained on these folds.
    """
    fold = folds(trajectories.trajectory)
    along, degrees, shaken = [], [], []
    for inside in [*(fold == part for part in parts), np.full(len(fold), True)]:
        total, free = scatter(features.values[inside], trajectories.trajectory[inside])
        changed = features.shaken[inside]
        along.append(total)
        degrees.append(free)
        shaken.append(changed.T @ changed / len(changed) / trajectories.deviation**2)
    return Moments(
        np.array(along),
        np.array(degrees),
        np.array(shaken),
        gram(features.gradients) / features.size**2,
        features.curvature,
        trajectories.deviation,
    )


def least_varying_rows(moments: Moments) -> tuple[np.ndarray, int]:
    """Return the combinations of features that noise moves, the least varying first, and how many are close.

    Those are close that vary by at most twice the noise on a part of the data that did not choose them. Their
    variation is the median over parts: the part with the most distant trajectory needs extrapolation.

    Returns:
        Combinations as rows (k, D), of unit change by noise, and the number of close ones.
    """
    whiten, parts = _whitening(moments.shaken[-1]), len(moments.along) - 1
    chosen = [_least(*moments.without(part), whiten)[1] for part in range(parts)]
    outside = np.median([moments.defects(part, own) for part, own in enumerate(chosen)], axis=0)
    close = int(np.sum(np.maximum.accumulate(outside) < CLOSE * moments.deviation**2))
    # Of one part alone, the others made the features: they choose the combinations too.
    columns = chosen[0] if parts == 1 else _least(moments.along[-1], int(moments.degrees[-1]), whiten)[1]
    return columns.T, close


def least_varying_terms(moments: Moments, most: float) -> np.ndarray:
    """Return combinations (m, D), orthonormal in displacement, with squared defects of at most `most`."""
    squares, columns = _least(moments.along[-1], int(moments.degrees[-1]), _whitening(moments.shaken[-1]))
    return orthonormal_in_displacement(columns[:, squares <= most].T, moments)


def orthonormal_in_displacement(rows: np.ndarray, moments: Moments) -> np.ndarray:
    """Return rows (m, D) of the same span, orthonormal in displacement relative to the size of the data."""
    if not len(rows):
        return rows
    root = np.linalg.cholesky(rows @ moments.gradients @ rows.T)
    return np.asarray(np.linalg.solve(root, rows))


def _least(along: np.ndarray, degrees: int, whiten: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return squared defects (k,), the smallest first, and combinations (D, k) that noise moves."""
    squares, turned = np.linalg.eigh(whiten.T @ along @ whiten / max(degrees, 1))
    return np.maximum(squares, 0.0), whiten @ turned


def most_independent(rows: np.ndarray, moments: Moments, off: np.ndarray) -> np.ndarray | None:
    """Return the combination with the largest part of its gradient off the known gradients.

    The part is relative to the size of the gradient and of the second derivatives. This prefers simple
    functions.

    Args:
        rows: constant combinations (m, D), orthonormal in displacement.
        moments: moments of the features.
        off: moments (D, D) of the parts of gradients off the known gradients, see `moments_off`.
    Returns:
        Coefficients (D,), or None if no combination is independent, see `_OFFERED`.
    """
    if not len(rows):
        return None
    cost = np.eye(len(rows)) + rows @ moments.curvature @ rows.T
    root = np.linalg.inv(np.linalg.cholesky(cost))
    new = rows @ off @ rows.T
    picked = np.linalg.eigh(root @ new @ root.T)[1][:, -1] @ root
    picked = picked / np.linalg.norm(picked)
    return picked @ rows if picked @ new @ picked >= _OFFERED else None


def moments_off(features: Features, known: np.ndarray) -> np.ndarray:
    """Return the moments (D, D) of the parts of gradients off known gradients (B, J, M) at each state."""
    return gram(off_span(features.gradients, known, _PARALLEL)) / features.size**2


def independent_rank(gradients: np.ndarray) -> int:
    """Return the number of functions with unit gradients (B, K, M) that are independent of previous ones."""
    kept = gradients[:, :0]
    for k in range(gradients.shape[1]):
        own = gradients[:, k : k + 1]
        if np.sum(off_span(own, kept) ** 2) >= INDEPENDENT * np.sum(own**2):
            kept = np.concatenate([kept, own], axis=1)
    return int(kept.shape[1])


def defects(values: np.ndarray, shaken: np.ndarray, trajectories: FrameTrajectories) -> np.ndarray:
    """Return the defects of functions: the noise that would make them vary as much as they do.

    Args:
        values: values (N, k) at the states of the trajectories.
        shaken: changes (N, k) of the values by more noise, see `Features`.
        trajectories: trajectories in the frame, with their noise.
    Returns:
        Defects (k,).
    """
    total, degrees = scatter(values, trajectories.trajectory)
    moved = np.mean(shaken**2, axis=0)
    return np.asarray(trajectories.deviation * np.sqrt(np.diag(total) / max(degrees, 1) / moved))
