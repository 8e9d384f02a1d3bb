"""Functionally independent functions among those that vary least along trajectories.

Products and functions of conserved quantities are conserved too, so what is constant spans many functions of
few independent ones. Independence is a matter of gradients at each state: a function of others has its
gradient in their span there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.linalg

from noethers_razor.conserved.base import Tracks
from noethers_razor.conserved.constancy import CREDIBLE, credible_length, folds, scatter

INDEPENDENT = 0.05
"""Share of a squared gradient, in the mean, that lies off the gradients of others from which on it is new."""
_PARALLEL = 0.2
"""Share of the larger of two gradients by which the other may lie off it for both to count as one direction:
what is known of a third from their difference is known five times worse."""
_BALANCING = 8
"""Turns of scaling. After three, cubics in exponentials still had held-out defects of up to four times the
noise on a hundred tracks; after six of at most 1.3 times."""
_NOTHING = 1e-3
"""Share of the noise below which a deviation counts as none."""
_TRIVIAL = 1e-8
"""Share of the largest squared gradient below which a combination of features moves no datum."""


class Features(NamedTuple):
    """D functions on phase space, sampled.

    Args:
        values: (N, D) at the states of the tracks.
        shaken: (N, D) their changes when noise of the tracks' law is added to the states.
        slopes: gradients (B, D, M) at some of the states.
        curvature: (D, D) mean inner products of second derivatives: the simpler of two functions has less.
        size: root-mean-square length of a state.
    """

    values: np.ndarray
    shaken: np.ndarray
    slopes: np.ndarray
    curvature: np.ndarray
    size: float


def off_span(slopes: np.ndarray, others: np.ndarray, least: float = 1e-3) -> np.ndarray:
    """The parts of gradients (B, k, M) that lie off the span of others (B, j, M) at each state.

    Args:
        least: singular value of the others, relative to typical largest ones, that counts as a direction.
    """
    if not others.shape[1]:
        return slopes
    _, values, basis = np.linalg.svd(others, full_matrices=False)
    # A gradient that all but vanishes has no direction.
    basis = basis * (values > least * np.sqrt(np.mean(values[:, :1] ** 2)))[..., None]
    return slopes - (slopes @ np.swapaxes(basis, 1, 2)) @ basis


def _gram(slopes: np.ndarray) -> np.ndarray:
    """Mean inner products (D, D) of gradients (B, D, M)."""
    flat = np.swapaxes(slopes, 0, 1).reshape(slopes.shape[1], -1)
    return np.asarray(flat @ flat.T / len(slopes))


def balanced(features: Features, track: np.ndarray) -> Features:
    """Values and changes by noise scaled by one number a track, so that no few tracks outweigh the others.

    High powers are largest on the far-off tracks, of which there are few: what is constant on those alone
    would pass for constant. Scatter and noise of a track are scaled alike, so that a constant stays one.
    """
    values, shaken = features.values, features.shaken
    _, place, count = np.unique(track, return_inverse=True, return_counts=True)
    for _ in range(_BALANCING):
        whitened = shaken @ _whitening(shaken)
        leverage = np.bincount(place, np.sum(whitened**2, axis=1)) / count / whitened.shape[1]
        scale = 1.0 / np.sqrt(np.maximum(leverage, 1.0))[place, None]
        values, shaken = values * scale, shaken * scale
    return features._replace(values=values, shaken=shaken)


def _whitening(shaken: np.ndarray) -> np.ndarray:
    """Combinations (D, k) of features that noise changes, each by 1 in the mean and independently."""
    values, vectors = np.linalg.eigh(shaken.T @ shaken / len(shaken))
    moving = values > _TRIVIAL * values[-1]
    return np.asarray(vectors[:, moving] / np.sqrt(values[moving]))


def constant_space(features: Features, tracks: Tracks, parts: Sequence[int]) -> tuple[np.ndarray, float]:
    """Combinations (m, D) that vary along tracks by no more than noise, and their held-out excess.

    The excess is the ratio of held-out to own deviations: what is chosen among many looks more constant than
    it is. Rows are orthonormal in displacement relative to the size of the data.

    Args:
        parts: the `folds` to hold out in turn, which the features must not have been made for.
    """
    whiten = tracks.deviation * _whitening(features.shaken)
    along, shaken = features.values @ whiten, features.shaken @ whiten
    squares, turned = least_scatter(along, shaken, tracks.track, tracks.deviation)
    held = held_out_defects(along, shaken, tracks, parts)
    credible = credible_length(np.maximum.accumulate(held), tracks.deviation) >= CREDIBLE
    count = int(credible.sum())
    if not count:
        return np.zeros((0, len(whiten))), 1.0
    rows = turned[:, :count].T @ whiten.T
    # Exact polynomials of clean data vary by nothing, which leaves no ratio.
    least = (_NOTHING * tracks.deviation) ** 2
    excess = float(np.sqrt(np.mean(held[:count] ** 2 + least) / np.mean(squares[:count] + least)))
    gram = rows @ _gram(features.slopes) @ rows.T / features.size**2
    return np.linalg.solve(np.linalg.cholesky(gram), rows), max(excess, 1.0)


def least_scatter(
    values: np.ndarray, shaken: np.ndarray, track: np.ndarray, deviation: float
) -> tuple[np.ndarray, np.ndarray]:
    """Squared defects (D,), least first, and combinations (D, D) as columns."""
    total, degrees = scatter(values, track)
    metric = shaken.T @ shaken / len(shaken) / deviation**2
    ridge = 1e-9 * np.trace(metric) / len(metric) * np.eye(len(metric))
    squares, turned = scipy.linalg.eigh(total / max(degrees, 1), metric + ridge)
    return np.maximum(squares, 0.0), turned


def held_out_defects(
    values: np.ndarray, shaken: np.ndarray, tracks: Tracks, parts: Sequence[int]
) -> np.ndarray:
    """Defects (D,) of the combinations that vary least, on fifths of the data that did not choose them."""
    fold = folds(tracks.track)
    above, below = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for part in parts:
        out = fold == part
        _, turned = least_scatter(values[~out], shaken[~out], tracks.track[~out], tracks.deviation)
        total, degrees = scatter(values[out] @ turned, tracks.track[out])
        above = above + np.diag(total) / max(degrees, 1)
        below = below + np.mean((shaken[out] @ turned) ** 2, axis=0)
    return np.asarray(tracks.deviation * np.sqrt(above / np.maximum(below, 1e-300)))


def independent(
    features: Features, space: np.ndarray, count: int, known: np.ndarray | None = None
) -> np.ndarray:
    """At most count functionally independent combinations (k, D) of rows (m, D), the simplest first.

    Each is the one of whose gradient most, relative to its and its second derivatives' size, lies off the
    gradients of those before it, and off known ones (B, J, M), of unit size.
    """
    chosen = np.zeros((0, space.shape[1]))
    if not len(space):
        return chosen
    slopes = np.einsum("md,bdi->bmi", space, features.slopes) / features.size
    cost = np.eye(len(space)) + space @ features.curvature @ space.T
    root = np.linalg.inv(np.linalg.cholesky(cost))
    known = slopes[:, :0] if known is None else known
    picked = np.zeros((0, len(space)))
    while len(picked) < min(count, len(space)):
        others = np.concatenate([known, np.einsum("km,bmi->bki", picked, slopes)], axis=1)
        new = _gram(off_span(slopes, others, _PARALLEL))
        row = np.linalg.eigh(root @ new @ root.T)[1][:, -1] @ root
        row = row / np.linalg.norm(row)
        if row @ new @ row < INDEPENDENT:
            break
        picked = np.concatenate([picked, row[None]])
    return picked @ space


def independent_rank(slopes: np.ndarray) -> int:
    """How many of functions with gradients (B, K, M), of unit size, are independent of those before them."""
    kept = slopes[:, :0]
    for k in range(slopes.shape[1]):
        own = slopes[:, k : k + 1]
        if np.sum(off_span(own, kept) ** 2) >= INDEPENDENT * np.sum(own**2):
            kept = np.concatenate([kept, own], axis=1)
    return int(kept.shape[1])


def defects(values: np.ndarray, shaken: np.ndarray, tracks: Tracks) -> np.ndarray:
    """Defects (k,) of functions: the noise that would make them vary along tracks as they do.

    Args:
        values, shaken: (N, k), see `Features`.
    """
    total, degrees = scatter(values, tracks.track)
    moved = np.mean(shaken**2, axis=0)
    return np.asarray(tracks.deviation * np.sqrt(np.diag(total) / max(degrees, 1) / moved))
