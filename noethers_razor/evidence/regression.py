"""Bayesian linear regression in closed form: the log evidence of weights with a Gaussian prior.

The model is y = Phi w + noise with w ~ N(0, P^-1) and noise of variance v. Only the products Phi'Phi, Phi'y
and y'y enter, so that data of any length become one matrix.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from noethers_razor._types import Array

_NOISE_BELOW = (2.0, 8.0, 20.0)
"""Logarithms of the variance of the values over that of the noise, from which the maximisation starts."""

_ROUNDING = 1e-12
"""Smallest variance of the noise, relative to that of the values: below it, only rounding is left."""


class Products(NamedTuple):
    """Products of a regression with D features and n values.

    Args:
        gram: Phi'Phi (D, D).
        cross: Phi'y (D,).
        square: y'y ().
        number: number n of values.
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


class Evidence(NamedTuple):
    """The largest log evidence over the hyperparameters.

    Args:
        log_evidence: log evidence, nats.
        log_precisions: logarithms (r,) of the factors of the r parts of the prior precision.
        log_variance: logarithm of the variance of the noise.
    """

    log_evidence: float
    log_precisions: np.ndarray
    log_variance: float


def log_evidence(products: Products, precision: Array, variance: Array) -> Array:
    """Return the log evidence of a regression, nats.

    Args:
        products: products of the data.
        precision: precision P (D, D) of the prior, positive definite.
        variance: variance v () of the noise.
    """
    gram, cross = jnp.asarray(products.gram), jnp.asarray(products.cross)
    prior_root = jnp.linalg.cholesky(precision)
    posterior_root = jnp.linalg.cholesky(precision + gram / variance)
    explained = jax.scipy.linalg.solve_triangular(posterior_root, cross / variance, lower=True)
    residual = products.square / variance - explained @ explained
    log_ratio = jnp.sum(jnp.log(jnp.diagonal(prior_root)) - jnp.log(jnp.diagonal(posterior_root)))
    return log_ratio - 0.5 * (products.number * jnp.log(2 * jnp.pi * variance) + residual)


def posterior(products: Products, precision: np.ndarray, variance: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the posterior mean (D,) and covariance (D, D) of the weights; arguments as in `log_evidence`."""
    covariance = np.linalg.inv(precision + products.gram / variance)
    return covariance @ products.cross / variance, covariance


@jax.jit
@jax.value_and_grad
def _loss(hyper: Array, products: Products, parts: Array) -> Array:
    """Return minus the log evidence for log factors of the parts (r, D, D), then the log variance."""
    precision = jnp.einsum("r,rij->ij", jnp.exp(hyper[:-1]), parts)
    return -log_evidence(products, precision, jnp.exp(hyper[-1]))


def maximised(products: Products, parts: np.ndarray, start: np.ndarray) -> Evidence:
    """Maximise the log evidence over the factors of the prior precision and the variance of the noise.

    Args:
        products: products of the data.
        parts: positive matrices (r, D, D). The precision is their sum with positive factors, and the first
            part is positive definite.
        start: logarithms (r + 1,) of the factors and of the variance to start from.
    """
    with jax.enable_x64(True):
        known, matrices = jax.tree.map(jnp.asarray, (products, parts))

        def loss(hyper: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = _loss(jnp.asarray(hyper), known, matrices)
            # Without a Cholesky factor there is no evidence. The line search then takes a shorter step.
            return (float(value), np.asarray(slope)) if np.isfinite(value) else (1e300, np.zeros_like(hyper))

        options = {"maxiter": 200, "ftol": 1e-13}
        least = np.log(_ROUNDING * products.square / products.number)
        bounds = [(None, None)] * len(parts) + [(least, None)]
        done = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return Evidence(-float(done.fun), done.x[:-1], float(done.x[-1]))


def with_plain_prior(products: Products) -> Evidence:
    """Maximise the log evidence for a prior precision that is a multiple of the identity.

    The evidence may have several maxima, so the search starts with much noise, and with less and less of it.

    Args:
        products: products of the data. Features have similar sizes.
    """
    level = np.log(products.square / products.number)
    plain = np.eye(len(products.cross))[None]
    tries = [maximised(products, plain, np.array([-level, level - less])) for less in _NOISE_BELOW]
    return max(tries, key=lambda found: found.log_evidence)
