"""The log evidence of nested sets of conserved quantities: a second opinion that sees the field.

A conserved quantity is a prior on the field. For fields f_j with weights w, C changes at the rate
sum_j w_j grad C . f_j. With B the mean over states of the products of these rates, the prior precision
diag(alpha) + beta B has no symmetry at beta = 0 and an exact one for beta to infinity. In between, the
evidence measures how much C is broken. Sets of K quantities share one beta.

It does not decide what is exact. The quantities have errors, and exact invariance under a slightly wrong C is
false: for beta to infinity the evidence of true sets falls without bound.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg
from scipy.special import chdtri

from noethers_razor.data.frame_trajectories import thinned
from noethers_razor.evidence.field import FittedField
from noethers_razor.evidence.regression import Products
from noethers_razor.evidence.variation import natural_rate

_LOG_BETAS = np.arange(0.0, 40.0, 3.0)
"""Logarithms of beta that are tried. Rates are relative: 0 is a weak constraint, and 40 an exact one."""
_STATES = 4000
"""States that sizes of rates are averaged over."""
_QUANTILE = 1.6448536269514722
"""Normal quantile of intervals with 90 %."""
_LEVEL = 0.05
"""Probability with which friction that is not there changes a quantity."""
_ROUNDING = 1e-13
"""Eigenvalue of a constraint, relative to the largest, below which it is none."""


def nested_evidence(fit: FittedField, form: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """Return the log evidence (K,) of the first 1, ..., K quantities, less that of none, in nats.

    Args:
        fit: the fitted field. Its prior and noise are kept.
        form: matrices A (K, M, M) of quadratic quantities in the frame, in the order in which they are added.
        linear: linear parts b (K, M).
    """
    nodes = fit.flow.path.reshape(-1, fit.flow.path.shape[2])
    states = np.asarray(thinned(nodes, 3 * len(fit.size)))
    fields = fit.model.fields(states) / fit.size[:, None]
    velocity = fit.model.field(states, fit.weights)
    root = 1.0 / np.sqrt(fit.regression.precisions[fit.model.groups])
    unit = fit.products.scaled(1.0 / root)
    unit = unit._replace(gram=unit.gram / fit.regression.variance, cross=unit.cross / fit.regression.variance)
    total = np.zeros((len(root), len(root)))
    none, found, place = _log_evidence(unit, total)(0.0), [], len(_LOG_BETAS) // 2
    for a, b in zip(form, linear, strict=True):
        gradient = states @ a + b
        rates = (fields @ (gradient / natural_rate(gradient, velocity))[..., None])[..., 0] * root
        total = total + rates.T @ rates / len(states)
        place, best = _highest(_log_evidence(unit, total), place)
        found.append(best - none)
    return np.array(found)


def breakings(fit: FittedField, form: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """Return the root-mean-square rates of quantities by the fitted field, and intervals with 90 % (K, 3).

    A rate is relative to that of a quantity that nothing keeps constant. The interval has the error of the
    field, and that of the mean over trajectories.

    Args:
        fit: the fitted field.
        form, linear: A (K, M, M) and b (K, M) of quadratic quantities in the frame.
    """
    segments, path = fit.flow.segments, fit.flow.path
    chosen = thinned(np.arange(len(path)), max(_STATES // path.shape[1], 1))
    states, count = path[chosen].reshape(-1, path.shape[2]), path.shape[1]
    labels = np.unique(np.repeat(segments.trajectory[chosen], count), return_inverse=True)[1]
    fields = fit.model.fields(states) / fit.size[:, None]
    velocity = fit.model.field(states, fit.weights)
    mean, covariance = fit.regression.mean, fit.regression.covariance
    found = []
    for a, b in zip(form, linear, strict=True):
        gradient = states @ a + b
        rates = (fields @ gradient[..., None])[..., 0]
        squares = (rates @ mean) ** 2
        product = rates.T @ rates / len(states) @ covariance
        along = rates.T @ (rates @ mean) / len(states)
        # Errors of the weights add to the mean square.
        square = np.mean(squares) - np.trace(product)
        error = 4 * along @ covariance @ along + 2 * np.sum(product * product.T)
        each = np.bincount(labels, squares) / np.bincount(labels)
        error = _QUANTILE * np.sqrt(error + np.var(each) / len(each))
        ends = np.sqrt(np.maximum([square, square - error, square + error], 0.0))
        found.append(ends / natural_rate(gradient, velocity))
    return np.array(found).reshape(-1, 3)


def unchanged(fit: FittedField, form: np.ndarray, linear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divide quantities by whether the fitted friction changes them.

    Args:
        fit: the fitted field.
        form, linear: A (K, M, M) and b (K, M) of quadratic quantities in the frame.
    Returns:
        Orthonormal combinations (r, K) with a rate within its error, and those (K - r, K) with a larger one.
    """
    states = np.asarray(thinned(fit.flow.path.reshape(-1, fit.flow.path.shape[2]), _STATES))
    friction = fit.model.friction
    covariance = (fit.regression.covariance / np.outer(fit.size, fit.size))[np.ix_(friction, friction)]
    gradients = np.tensordot(states, form, axes=(1, 1)) + linear
    rates = np.einsum("nkm,nem->kne", gradients, fit.model.fields(states)[:, friction])
    total = rates @ fit.weights[friction]
    error = np.einsum("kne,ef,lnf->kl", rates, covariance, rates, optimize=True)
    if not np.trace(error) > 0:
        return np.eye(len(form)), np.zeros((0, len(form)))
    ratio, vectors = scipy.linalg.eigh(
        total @ total.T, error + _ROUNDING * np.trace(error) * np.eye(len(error))
    )
    # Combinations are chosen, so the largest ratio has several degrees of freedom.
    count = int(np.sum(ratio < chdtri(min(len(form), friction.sum()), _LEVEL)))
    basis, _ = np.linalg.qr(vectors)
    return basis[:, :count].T, basis[:, count:].T


def _highest(evidence: Callable[[float], float], place: int) -> tuple[int, float]:
    """Return the place among the tried values of beta with a maximum near a place, and the maximum."""
    known: dict[int, float] = {}

    def of(place: int) -> float:
        if not 0 <= place < len(_LOG_BETAS):
            return -np.inf
        if place not in known:
            known[place] = evidence(float(np.exp(_LOG_BETAS[place])))
        return known[place]

    while True:
        best = max((place, place + 1, place - 1), key=of)
        if best == place:
            return place, of(place)
        place = best


def _log_evidence(products: Products, constraint: np.ndarray) -> Callable[[float], float]:
    """Return the log evidence for a prior precision 1 + beta B as a function of beta, up to a constant.

    In the eigenvectors of B the prior is diagonal, so no beta is too large.

    Args:
        products: products of the data, over the variance of the noise.
        constraint: B (D, D).
    """
    values, vectors = np.linalg.eigh(constraint)
    values = np.where(values > _ROUNDING * values[-1], values, 0.0)
    gram, cross = vectors.T @ products.gram @ vectors, vectors.T @ products.cross

    def of(beta: float) -> float:
        width = 1.0 / np.sqrt(1.0 + beta * values)
        matrix = gram * width
        matrix *= width[:, None]
        matrix.flat[:: len(width) + 1] += 1.0
        # The matrix is symmetric, and LAPACK overwrites its transpose without a copy.
        factor, _ = scipy.linalg.cho_factor(matrix.T, lower=True, overwrite_a=True, check_finite=False)
        explained = scipy.linalg.solve_triangular(factor, width * cross, lower=True, check_finite=False)
        return float(explained @ explained / 2 - np.sum(np.log(np.diag(factor))))

    return of
