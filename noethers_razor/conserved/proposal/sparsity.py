"""Sparse non-quadratic quantities: of all combinations that the data permit, one with few terms.

An unneeded term costs nothing on the data, but makes the flow wrong where there are no data. Exact integrals
have few terms.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg

from noethers_razor.conserved.proposal.independence import (
    INDEPENDENT,
    NOTHING,
    Features,
    Moments,
    least_varying_terms,
    moments_off,
    most_independent,
)

_TURNS = 40
"""Number of steps of reweighted ridge regression in `competing`."""
_SMALL = 1e-3
"""Contribution at which a term pays half its price, relative to the largest; smaller terms become zero."""
_TRIED = 3
"""Number of terms that are tried at a time when terms come back."""
_ERRORS = 3.0
"""Standard errors by which a squared deviation may exceed what removed terms explain by chance."""


def independent_functions(
    features: Features,
    moments: Moments,
    constant: np.ndarray,
    known: np.ndarray,
    most: int,
    *,
    sparse: bool,
) -> np.ndarray:
    """Return functionally independent combinations of features that are constant along trajectories.

    Args:
        features: D features.
        moments: moments of the features.
        constant: constant combinations (m, D) of the features, orthonormal in displacement.
        known: unit gradients (B, J, M) of known quantities, from which the combinations are independent.
        most: largest number of combinations.
        sparse: whether to look for combinations with few terms.
    Returns:
        Coefficients (k, D), k <= most.
    """
    rows = np.zeros((0, len(moments.gradients)))
    # A later row may make an earlier one redundant. Such a row is removed, which happens a few times at most.
    for _ in range(2 * most):
        if len(rows) == most:
            break
        off = moments_off(features, _beside(known, rows, features))
        row = most_independent(constant, moments, off)
        if row is None:
            break
        rows = np.concatenate([rows, (sparsest(row, moments, off, constant) if sparse else row)[None]])
        for i in reversed(range(len(rows) - 1)):
            others = np.delete(rows, i, axis=0)
            off = moments_off(features, _beside(known, others, features))
            if rows[i] @ off @ rows[i] < INDEPENDENT * (rows[i] @ moments.gradients @ rows[i]):
                rows = others
    return rows


def _beside(known: np.ndarray, rows: np.ndarray, features: Features) -> np.ndarray:
    """Return known gradients (B, J, M), then the unit gradients of combinations (k, D): (B, J + k, M)."""
    own = np.einsum("kd,bdi->bki", rows, features.gradients) / features.size
    return np.concatenate([known, own], axis=1)


def sparsest(row: np.ndarray, moments: Moments, off: np.ndarray, constant: np.ndarray) -> np.ndarray:
    """Return a combination of few terms that is constant and independent of known quantities.

    First, terms compete in a reweighted ridge regression. Then those that contribute least are removed, as
    many at a time as possible, while the others have a combination as constant as the given ones. At last,
    terms come back that are worth their price. It is a share log N / N of the squared deviation along
    trajectories, as in the Bayesian information criterion with N degrees of freedom.

    Args:
        row: coefficients (D,) to start from, see `most_independent`.
        moments: moments of the features.
        off: moments (D, D) of the parts of gradients off the known gradients, see `moments_off`.
        constant: constant combinations (m, D) of the features, orthonormal in displacement.
    Returns:
        Coefficients (D,); ``row`` if no sparse combination is constant and independent.
    """
    degrees, count = float(moments.degrees[-1]), len(row)
    price = np.log(degrees) / degrees
    nothing = (NOTHING * moments.deviation) ** 2
    worst = max(float(moments.defects(-1, constant.T).max()), nothing)

    def on(support: np.ndarray, most: float = np.inf) -> tuple[np.ndarray, float] | None:
        # Terms that are not needed add about their number, over the degrees of freedom.
        removed = count - len(support)
        most = min(most, worst * (1 + (removed + _ERRORS * np.sqrt(2 * removed)) / degrees))
        own = moments.of(support)
        found = most_independent(least_varying_terms(own, most), own, off[np.ix_(support, support)])
        return None if found is None else (found, max(float(own.defects(-1, found[:, None])[0]), nothing))

    for start in (_competing(row, moments, off, price), row):
        support = np.flatnonzero(start)
        if (found := on(support)) is not None:
            break
    else:
        return row
    drop = len(support) // 2
    while drop:
        order = np.argsort(np.abs(found[0]) * np.sqrt(np.diag(moments.gradients)[support]))
        tries = [order[drop:]] if drop > 1 else [np.delete(order, i) for i in range(len(order))]
        for kept in tries:
            fewer = np.sort(support[kept])
            shorter = on(fewer)
            if shorter is not None:
                support, found = fewer, shorter
                break
        else:
            drop //= 2
        drop = min(drop, len(support) // 2)
    while found[1] > nothing:
        more = [np.union1d(support, [term]) for term in _missed(support, *found, moments)]
        tried = [(one, on(one, found[1] * (1 - price))) for one in more]
        better = [(one, own) for one, own in tried if own is not None]
        if not better:
            break
        support, found = min(better, key=lambda pair: pair[1][1])
    out = np.zeros(count)
    out[support] = found[0]
    return out


def _missed(support: np.ndarray, row: np.ndarray, defect: float, moments: Moments) -> np.ndarray:
    """Return the few terms whose addition to a combination lowers its squared defect most, to first order."""
    excess = moments.along[-1] / max(moments.degrees[-1], 1) - defect * moments.shaken[-1]
    others = np.setdiff1d(np.arange(len(excess)), support)
    slope = excess[np.ix_(others, support)] @ row
    return others[np.argsort(-(slope**2) / np.maximum(np.diag(excess)[others], 1e-300))[:_TRIED]]


def _competing(row: np.ndarray, moments: Moments, off: np.ndarray, price: float) -> np.ndarray:
    """Return a sparse start (D,) for `sparsest`."""
    along = moments.along[-1] / max(moments.degrees[-1], 1)
    # Without noise, exact polynomials and trivial combinations cost nothing: keep the matrix positive.
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
    """Return a sparse combination with a large ratio of gain to cost, by reweighted ridge regression.

    Each term costs its price, in proportion to its presence. Terms with a small contribution become zero.

    Args:
        row: coefficients (D,) to start from.
        cost: positive quadratic form (D, D).
        gain: quadratic form (D, D).
        size: squared sizes (D,) of the terms.
        price: function that returns the price of a term in a combination (D,), in units of ``cost``.
    Returns:
        Coefficients (D,).
    """
    share = _shares(row, size)
    for _ in range(_TURNS):
        # The penalty of a term with a share far above `_SMALL` is its price; far below it is zero.
        penalty = price(row) * size / np.max(row**2 * size) / (share + _SMALL)
        row = most_gain(gain, cost + np.diag(penalty))
        share = _shares(row, size)
    return np.where(share > _SMALL, row, 0.0)


def most_gain(gain: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Return the combination (D,) with the largest ratio of gain (D, D) to positive cost (D, D)."""
    last = [len(cost) - 1] * 2
    return np.asarray(scipy.linalg.eigh(gain, cost, subset_by_index=last)[1][:, 0])


def _shares(row: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return the squared contributions (D,) of terms, relative to the largest."""
    contribution = row**2 * size
    return np.asarray(contribution / contribution.max())
