"""Sparse conserved functions: of all combinations of terms that the data leave possible, one of few terms.

Terms that a function does not need cost nothing where there are data, and lead its flow astray where there
are none: an exact integral has few.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg

from noethers_razor.conserved.proposal.independence import (
    INDEPENDENT,
    NOTHING,
    ConstantSpace,
    Features,
    Moments,
    constant_space,
    moments_off,
    most_independent,
)

_TURNS = 40
_SMALL = 1e-3
"""Share of the largest contribution at which a term counts as half there while weights are still changing."""


def independent_functions(
    features: Features,
    moments: Moments,
    space: ConstantSpace,
    known: np.ndarray,
    most: int,
    *,
    sparse: bool,
) -> np.ndarray:
    """At most so many functionally independent combinations (k, D) of a space, off known gradients (B, J, M).

    Args:
        moments: of the features.
        space: their `constant_space`.
        sparse: whether each is to have few terms.
    """
    rows = np.zeros((0, len(moments.gradients)))
    # A row that a later one makes redundant gives its place away, which happens a few times at most.
    for _ in range(2 * most):
        if len(rows) == most:
            break
        off = moments_off(features, _beside(known, rows, features))
        row = most_independent(space, moments, off)
        if row is None:
            break
        rows = np.concatenate([rows, (sparsest(row, moments, off) if sparse else row)[None]])
        for i in reversed(range(len(rows) - 1)):
            others = np.delete(rows, i, axis=0)
            off = moments_off(features, _beside(known, others, features))
            if rows[i] @ off @ rows[i] < INDEPENDENT * (rows[i] @ moments.gradients @ rows[i]):
                rows = others
    return rows


def _beside(known: np.ndarray, rows: np.ndarray, features: Features) -> np.ndarray:
    """Known gradients (B, J, M) and those of combinations (k, D), of unit size."""
    own = np.einsum("kd,bdi->bki", rows, features.gradients) / features.size
    return np.concatenate([known, own], axis=1)


def sparsest(row: np.ndarray, moments: Moments, off: np.ndarray) -> np.ndarray:
    """A combination (D,) of few terms, constant where a row is, and independent of known functions.

    Each term must make up for log N / N of the squared deviation along trajectories, as in the Bayesian information
    criterion with N degrees of freedom. First terms compete by reweighted ridge, then those that contribute
    least are left out, as many at a time as can be, and the others fitted anew.

    Args:
        row: (D,), from `most_independent`.
        off: (D, D), see `moments_off`.
    """
    degrees = float(moments.degrees[-1])
    price = np.log(degrees) / degrees
    for start in (_competing(row, moments, off, price), row):
        support = np.flatnonzero(start)
        if (found := _on(support, moments, off)) is not None:
            break
    else:
        return row
    drop = len(support) // 2
    while drop:
        order = np.argsort(np.abs(found[0]) * np.sqrt(np.diag(moments.gradients)[support]))
        tries = [order[drop:]] if drop > 1 else [np.delete(order, i) for i in range(len(order))]
        for kept in tries:
            fewer = np.sort(support[kept])
            shorter = _on(fewer, moments, off)
            if shorter is not None and shorter[1] <= found[1] * (1 + price * drop):
                support, found = fewer, shorter
                break
        else:
            drop //= 2
        drop = min(drop, len(support) // 2)
    out = np.zeros(len(row))
    out[support] = found[0]
    return out


def _competing(row: np.ndarray, moments: Moments, off: np.ndarray, price: float) -> np.ndarray:
    along = moments.along[-1] / max(moments.degrees[-1], 1)
    # Exact polynomials of clean data cost nothing, and combinations of others neither.
    along = along + (NOTHING * moments.deviation) ** 2 * moments.shaken[-1]
    along += 1e-11 * np.trace(along) * np.eye(len(along))
    return competing(
        row, along, off, np.diag(moments.gradients), lambda own: price * float(own @ along @ own)
    )


def competing(
    row: np.ndarray,
    cost: np.ndarray,
    gain: np.ndarray,
    size: np.ndarray,
    price: Callable[[np.ndarray], float],
) -> np.ndarray:
    """The combination (D,) of most gain for its cost, after turns in which terms compete; losers are zero.

    Reweighted ridge: a term costs its price as far as it is there.

    Args:
        row: (D,) to start from.
        cost, gain: (D, D).
        size: (D,) squared sizes of the terms.
        price: of a term, given a combination, in units of its cost.
    """
    share = _shares(row, size)
    for _ in range(_TURNS):
        # The penalty of a term far above the small share is its price, and of one far below nothing.
        penalty = price(row) * size / np.max(row**2 * size) / (share + _SMALL)
        row = most_gain(gain, cost + np.diag(penalty))
        share = _shares(row, size)
    return np.where(share > _SMALL, row, 0.0)


def most_gain(gain: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """The combination (D,) of the largest ratio of two quadratic forms (D, D), the second positive."""
    last = [len(cost) - 1] * 2
    return np.asarray(scipy.linalg.eigh(gain, cost, subset_by_index=last)[1][:, 0])


def _shares(row: np.ndarray, size: np.ndarray) -> np.ndarray:
    contribution = row**2 * size
    return np.asarray(contribution / contribution.max())


def _on(support: np.ndarray, moments: Moments, off: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Coefficients on some terms, and their squared defect; None where nothing constant is independent."""
    own = moments.of(support)
    row = most_independent(constant_space(own), own, off[np.ix_(support, support)])
    if row is None:
        return None
    return row, max(float(own.defects(-1, row[:, None])[0]), (NOTHING * moments.deviation) ** 2)
