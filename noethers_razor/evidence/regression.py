"""Bayesian linear regression in closed form: the log evidence of weights with a Gaussian prior.

The model is y = Phi w + noise with w ~ N(0, P^-1) and noise of variance v. Only the products Phi'Phi, Phi'y
and y'y enter, so that data of any length become one matrix. Precisions and variance maximise the evidence
(MacKay 1992).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg

_ROUNDS = 60
"""Largest number of updates of the precisions."""
_CONVERGED = 0.01
"""Change of the log evidence, in nats, that ends the updates."""
_LARGEST = 1e12
"""Largest precision of a group, relative to that of a single feature that explains all."""
_JITTER = 1e-12
"""Share of a diagonal that is added to it, so that rounding leaves a Cholesky factor."""


class Products(NamedTuple):
    """Products of a regression with D features and n values.

    Args:
        gram: Phi'Phi (D, D).
        cross: Phi'y (D,).
        square: y'y ().
        number: number n of values, or of their degrees of freedom.
    """

    gram: np.ndarray
    cross: np.ndarray
    square: float
    number: int

    @classmethod
    def of(cls, features: np.ndarray, values: np.ndarray) -> Products:
        """Return the products of features (n, D) and values (n,)."""
        square = float(values @ values)
        return cls(features.T @ features, features.T @ values, square, len(values))

    def joined(self, other: Products) -> Products:
        """Return the products of two sets of rows together."""
        return Products(
            self.gram + other.gram,
            self.cross + other.cross,
            self.square + other.square,
            self.number + other.number,
        )

    def scaled(self, size: np.ndarray) -> Products:
        """Return the products of the features over their sizes (D,)."""
        return self._replace(gram=self.gram / np.outer(size, size), cross=self.cross / size)

    def part(self, chosen: np.ndarray) -> Products:
        """Return the products of chosen features."""
        return self._replace(gram=self.gram[np.ix_(chosen, chosen)], cross=self.cross[chosen])


class Regression(NamedTuple):
    """A regression whose prior and noise maximise the evidence.

    Args:
        mean: posterior mean (D,) of the weights.
        covariance: their posterior covariance (D, D).
        precisions: prior precision of each group (G,).
        variance: variance of the noise.
        log_evidence: nats.
    """

    mean: np.ndarray
    covariance: np.ndarray
    precisions: np.ndarray
    variance: float
    log_evidence: float


def log_evidence(products: Products, precision: np.ndarray, variance: float) -> float:
    """Return the log density of the values, with the weights integrated out.

    Args:
        products: products of the data.
        precision: prior precision P (D, D), positive definite.
        variance: variance v of the noise.
    """
    prior = _factor(precision)
    posterior = _factor(precision + products.gram / variance)
    explained = scipy.linalg.solve_triangular(posterior, products.cross / variance, lower=True)
    residual = products.square / variance - explained @ explained
    return _density(products, np.sum(np.log(np.diag(prior))), posterior, residual, variance)


def _density(
    products: Products, log_prior: float, posterior: np.ndarray, penalty: float, variance: float
) -> float:
    """Return a log evidence from half the log determinant of the prior and the factor of the posterior."""
    log_ratio = log_prior - np.sum(np.log(np.diag(posterior)))
    return float(log_ratio - (products.number * np.log(2 * np.pi * variance) + penalty) / 2)


def _factor(matrix: np.ndarray) -> np.ndarray:
    """Return the Cholesky factor of a positive matrix, but for rounding."""
    lifted = matrix.copy()
    lifted.flat[:: len(matrix) + 1] *= 1.0 + _JITTER
    return np.linalg.cholesky(lifted)


def fitted(products: Products, groups: np.ndarray, least: float) -> Regression:
    """Maximise the evidence over one prior precision for each group of features, and the noise.

    Args:
        products: products of the data. Features have similar sizes.
        groups: group (D,) of each feature, numbers 0, 1, ...
        least: smallest variance of the noise.
    """
    count = int(groups.max()) + 1
    level = products.square / max(products.number, 1)
    precisions, variance = np.full(count, 1.0 / level), max(1e-3 * level, least)
    before = -np.inf
    for _ in range(_ROUNDS):
        factor = _factor(np.diag(precisions[groups]) + products.gram / variance)
        # The rounds need only the diagonal of the covariance, root @ root.T.
        root = scipy.linalg.lapack.dtrtri(factor.T)[0]
        mean = root @ (root.T @ products.cross) / variance
        residual = max(products.square - 2 * mean @ products.cross + mean @ products.gram @ mean, 0.0)
        squares = np.bincount(groups, mean**2, count)
        penalty = residual / variance + precisions @ squares
        now = _density(products, np.sum(np.log(precisions[groups])) / 2, factor, penalty, variance)
        if abs(now - before) < _CONVERGED:
            break
        before = now
        known = np.bincount(groups, minlength=count) - precisions * np.bincount(
            groups, np.sum(root**2, axis=1), count
        )
        known = np.maximum(known, 1e-6)
        precisions = np.minimum(known / np.maximum(squares, 1e-300), _LARGEST / level)
        variance = max(residual / max(products.number - known.sum(), 1.0), least)
    evidence = log_evidence(products, np.diag(precisions[groups]), variance)
    return Regression(mean, root @ root.T, precisions, float(variance), evidence)
