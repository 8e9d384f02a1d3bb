"""Functionally independent functions among those that vary least along trajectories.

Products and functions of conserved quantities are conserved too, so what is constant spans many functions of
few independent ones. Independence is a matter of gradients at each state: a function of others has its
gradient in their span there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from noethers_razor.conserved.proposal.constancy import CREDIBLE, credible_length, folds, scatter
from noethers_razor.data.frame_trajectories import FrameTrajectories

INDEPENDENT = 0.05
"""Share of a squared gradient, in the mean, that lies off the gradients of others from which on it is new."""
_PARALLEL = 0.2
"""Share of the larger of two gradients by which the other may lie off it for both to count as one direction:
what is known of a third from their difference is known five times worse."""
_BALANCING = 8
"""Turns of scaling. After three, cubics in exponentials still had held-out defects of up to four times the
noise on a hundred trajectories; after six of at most 1.3 times."""
NOTHING = 1e-3
"""Share of the noise below which a deviation counts as none."""
_TRIVIAL = 1e-8
"""Share of the largest squared gradient below which a combination of features moves no datum."""


class Features(NamedTuple):
    """D functions on phase space, sampled.

    Args:
        values: (N, D) at the states of the trajectories.
        shaken: (N, D) their changes when noise of the trajectories' law is added to the states.
        gradients: gradients (B, D, M) at some of the states.
        curvature: (D, D) mean inner products of second derivatives: the simpler of two functions has less.
        size: root-mean-square length of a state.
    """

    values: np.ndarray
    shaken: np.ndarray
    gradients: np.ndarray
    curvature: np.ndarray
    size: float


def off_span(gradients: np.ndarray, others: np.ndarray, least: float = 1e-3) -> np.ndarray:
    """The parts of gradients (B, k, M) that lie off the span of others (B, j, M) at each state.

    Args:
        least: singular value of the others, relative to typical largest ones, that counts as a direction.
    """
    if not others.shape[1]:
        return gradients
    _, values, basis = np.linalg.svd(others, full_matrices=False)
    # A gradient that all but vanishes has no direction.
    basis = basis * (values > least * np.sqrt(np.mean(values[:, :1] ** 2)))[..., None]
    return gradients - (gradients @ np.swapaxes(basis, 1, 2)) @ basis


def gram(gradients: np.ndarray) -> np.ndarray:
    """Mean inner products (D, D) of gradients (B, D, M)."""
    flat = np.swapaxes(gradients, 0, 1).reshape(gradients.shape[1], -1)
    return np.asarray(flat @ flat.T / len(gradients))


def balanced(features: Features, trajectory: np.ndarray) -> Features:
    """Values and changes by noise scaled by one number a trajectory, so that no few trajectories outweigh the others.

    High powers are largest on the far-off trajectories, of which there are few: what is constant on those alone
    would pass for constant. Scatter and noise of a trajectory are scaled alike, so that a constant stays one.
    """
    values, shaken = features.values, features.shaken
    _, place, count = np.unique(trajectory, return_inverse=True, return_counts=True)
    for _ in range(_BALANCING):
        whitened = shaken @ _whitening(shaken.T @ shaken / len(shaken))
        leverage = np.bincount(place, np.sum(whitened**2, axis=1)) / count / whitened.shape[1]
        scale = 1.0 / np.sqrt(np.maximum(leverage, 1.0))[place, None]
        values, shaken = values * scale, shaken * scale
    return features._replace(values=values, shaken=shaken)


def _whitening(moment: np.ndarray) -> np.ndarray:
    """Combinations (D, k) in which a second moment (D, D) of changes by noise is one."""
    values, vectors = np.linalg.eigh(moment)
    moving = values > _TRIVIAL * values[-1]
    return np.asarray(vectors[:, moving] / np.sqrt(values[moving]))


class Moments(NamedTuple):
    """Second moments of features, by the parts of the data that are held out in turn, and of the rest.

    Args:
        along: (P + 1, D, D) scatter along trajectories, the last where nothing is held out.
        degrees: (P + 1,) their degrees of freedom.
        shaken: (P + 1, D, D) mean products of changes by noise, over the squared deviation of the noise.
        gradients: (D, D) of gradients, relative to the size of the data.
        curvature: (D, D), see `Features`.
        deviation: of the noise.
    """

    along: np.ndarray
    degrees: np.ndarray
    shaken: np.ndarray
    gradients: np.ndarray
    curvature: np.ndarray
    deviation: float

    def of(self, columns: np.ndarray) -> Moments:
        """Of some of the features."""
        here = (..., columns[:, None], columns[None])
        return self._replace(
            along=self.along[here],
            shaken=self.shaken[here],
            gradients=self.gradients[here],
            curvature=self.curvature[here],
        )

    def without(self, part: int) -> tuple[np.ndarray, int]:
        """Scatter and degrees of freedom of all data but a part."""
        return self.along[-1] - self.along[part], int(self.degrees[-1] - self.degrees[part])

    def defects(self, part: int, columns: np.ndarray) -> np.ndarray:
        """Defects (k,), squared, of combinations (D, k) on a part of the data."""
        above = np.einsum("dk,de,ek->k", columns, self.along[part], columns)
        below = np.einsum("dk,de,ek->k", columns, self.shaken[part], columns)
        # Without noise rounding alone is left, of either sign.
        return np.asarray(np.maximum(above, 0.0) / max(self.degrees[part], 1) / np.maximum(below, 1e-300))


def moments_of(features: Features, trajectories: FrameTrajectories, parts: Sequence[int]) -> Moments:
    """The moments of features on trajectories; the parts of `folds` must not have made the features."""
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


class ConstantSpace(NamedTuple):
    """Combinations of features that vary along trajectories by no more than noise.

    Args:
        rows: (m, D), orthonormal in displacement relative to the size of the data.
        excess: ratio of held-out to own deviations: what is chosen among many looks more constant than it is.
    """

    rows: np.ndarray
    excess: float


def constant_space(moments: Moments) -> ConstantSpace:
    """The combinations whose held-out defects the noise makes credible.

    In the median over parts: one that holds the trajectory farthest off is extrapolated to.
    """
    deviation = moments.deviation
    whiten = _whitening(moments.shaken[-1])
    squares, columns = _least(moments.along[-1], moments.degrees[-1], whiten)
    every = [
        moments.defects(part, _least(*moments.without(part), whiten)[1])
        for part in range(len(moments.along) - 1)
    ]
    out = np.sqrt(np.median(every, axis=0))
    count = int(np.sum(credible_length(np.maximum.accumulate(out), deviation) >= CREDIBLE))
    if not count:
        return ConstantSpace(np.zeros((0, len(columns))), 1.0)
    # Exact polynomials of clean data vary by nothing, which leaves no ratio.
    least = (NOTHING * deviation) ** 2
    excess = float(np.sqrt(np.mean(out[:count] ** 2 + least) / np.mean(squares[:count] + least)))
    rows = columns[:, :count].T
    root = np.linalg.cholesky(rows @ moments.gradients @ rows.T)
    return ConstantSpace(np.linalg.solve(root, rows), max(excess, 1.0))


def _least(along: np.ndarray, degrees: int, whiten: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared defects, least first, and combinations as columns, of those that noise moves."""
    squares, turned = np.linalg.eigh(whiten.T @ along @ whiten / max(degrees, 1))
    return np.maximum(squares, 0.0), whiten @ turned


def most_independent(space: ConstantSpace, moments: Moments, off: np.ndarray) -> np.ndarray | None:
    """The combination (D,) of whose gradient most lies off known ones, or None when of none enough does.

    Most is relative to the size of the gradient and of the second derivatives: the simplest is taken.

    Args:
        off: (D, D) as the moments of gradients, of the parts of gradients that lie off known ones.
    """
    rows = space.rows
    if not len(rows):
        return None
    cost = np.eye(len(rows)) + rows @ moments.curvature @ rows.T
    root = np.linalg.inv(np.linalg.cholesky(cost))
    new = rows @ off @ rows.T
    picked = np.linalg.eigh(root @ new @ root.T)[1][:, -1] @ root
    picked = picked / np.linalg.norm(picked)
    return picked @ rows if picked @ new @ picked >= INDEPENDENT else None


def moments_off(features: Features, known: np.ndarray) -> np.ndarray:
    """Moments (D, D) of the parts of gradients that lie off known ones (B, J, M) at each state."""
    return gram(off_span(features.gradients, known, _PARALLEL)) / features.size**2


def independent_rank(gradients: np.ndarray) -> int:
    """How many of functions with gradients (B, K, M), of unit size, are independent of those before them."""
    kept = gradients[:, :0]
    for k in range(gradients.shape[1]):
        own = gradients[:, k : k + 1]
        if np.sum(off_span(own, kept) ** 2) >= INDEPENDENT * np.sum(own**2):
            kept = np.concatenate([kept, own], axis=1)
    return int(kept.shape[1])


def defects(values: np.ndarray, shaken: np.ndarray, trajectories: FrameTrajectories) -> np.ndarray:
    """Defects (k,) of functions: the noise that would make them vary along trajectories as they do.

    Args:
        values, shaken: (N, k), see `Features`.
    """
    total, degrees = scatter(values, trajectories.trajectory)
    moved = np.mean(shaken**2, axis=0)
    return np.asarray(trajectories.deviation * np.sqrt(np.diag(total) / max(degrees, 1) / moved))
