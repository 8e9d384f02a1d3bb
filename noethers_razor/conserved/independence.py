"""Functionally independent functions among those that vary least along trajectories.

Products and functions of conserved quantities are conserved too, so what is constant spans many functions of
few independent ones. Independence is a matter of gradients at each state: a function of others has its
gradient in their span there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg

from noethers_razor.conserved.base import Tracks
from noethers_razor.conserved.constancy import credible_length, folds, scatter

_CREDIBLE = 0.5
"""Initial length from which on a function counts as constant, see `constancy.credible_length`."""
INDEPENDENT = 0.05
"""Share of a squared gradient, in the mean, that lies off the gradients of others from which on it is new."""
_TRIVIAL = 1e-10
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


def off_span(slopes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The parts of gradients (B, k, M) that lie off the span of others (B, j, M) at each state."""
    if not others.shape[1]:
        return slopes
    _, values, basis = np.linalg.svd(others, full_matrices=False)
    # A gradient that all but vanishes has no direction.
    basis = basis * (values > 1e-3 * np.sqrt(np.mean(values[:, :1] ** 2)))[..., None]
    return slopes - (slopes @ np.swapaxes(basis, 1, 2)) @ basis


def _gram(slopes: np.ndarray) -> np.ndarray:
    """Mean inner products (D, D) of gradients (B, D, M)."""
    flat = np.swapaxes(slopes, 0, 1).reshape(slopes.shape[1], -1)
    return np.asarray(flat @ flat.T / len(slopes))


def constant_space(features: Features, tracks: Tracks) -> tuple[np.ndarray, float]:
    """Combinations (m, D) that vary along tracks by no more than noise, and their held-out excess.

    The excess is the ratio of held-out to own deviations: what is chosen among many looks more constant than
    it is. Rows are orthonormal in displacement relative to the size of the data.
    """
    values, vectors = np.linalg.eigh(features.shaken.T @ features.shaken / len(features.shaken))
    moving = values > _TRIVIAL * values[-1]
    whiten = vectors[:, moving] / np.sqrt(values[moving]) * tracks.deviation
    along, shaken = features.values @ whiten, features.shaken @ whiten
    squares, turned = least_scatter(along, shaken, tracks.track, tracks.deviation)
    held = held_out_defects(along, shaken, tracks)
    credible = credible_length(np.maximum.accumulate(held), tracks.deviation) >= _CREDIBLE
    count = int(credible.sum())
    if not count:
        return np.zeros((0, len(whiten))), 1.0
    rows = turned[:, :count].T @ whiten.T
    excess = float(np.sqrt(np.sum(held[:count] ** 2) / max(float(np.sum(squares[:count])), 1e-300)))
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


def held_out_defects(values: np.ndarray, shaken: np.ndarray, tracks: Tracks) -> np.ndarray:
    """Defects (D,) of the combinations that vary least, on the fifth of the data that did not choose them.

    Scatter and change by noise are of the same states, so that a few far-off ones weigh in both.
    """
    fold = folds(tracks.track)
    above, below = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for part in np.unique(fold):
        out = fold == part
        _, turned = least_scatter(values[~out], shaken[~out], tracks.track[~out], tracks.deviation)
        total, degrees = scatter(values[out] @ turned, tracks.track[out])
        moved = np.mean((shaken[out] @ turned) ** 2, axis=0)
        above, below = above + np.diag(total) / max(degrees, 1), below + moved / tracks.deviation**2
    return np.asarray(np.sqrt(above / np.maximum(below, 1e-300)))


def independent(features: Features, space: np.ndarray, count: int) -> np.ndarray:
    """At most count functionally independent combinations (k, D) of rows (m, D), the simplest first.

    Each is the one of which most, relative to its own and its second derivatives' size, lies off the gradients
    of those before it.
    """
    chosen = np.zeros((0, space.shape[1]))
    if not len(space):
        return chosen
    slopes = np.einsum("md,bdi->bmi", space, features.slopes) / features.size
    cost = np.eye(len(space)) + space @ features.curvature @ space.T
    root = np.linalg.inv(np.linalg.cholesky(cost))
    picked = np.zeros((0, len(space)))
    while len(picked) < min(count, len(space)):
        new = _gram(off_span(slopes, np.einsum("km,bmi->bki", picked, slopes)))
        row = np.linalg.eigh(root @ new @ root.T)[1][:, -1] @ root
        row = row / np.linalg.norm(row)
        if row @ new @ row < INDEPENDENT:
            break
        picked = np.concatenate([picked, row[None]])
    return picked @ space


def defects(features: Features, rows: np.ndarray, tracks: Tracks) -> np.ndarray:
    """Defects (k,) of combinations (k, D): the noise that would make them vary along tracks as they do."""
    total, degrees = scatter(features.values @ rows.T, tracks.track)
    moved = np.mean((features.shaken @ rows.T) ** 2, axis=0) / tracks.deviation**2
    return np.asarray(np.sqrt(np.diag(total) / max(degrees, 1) / moved))
