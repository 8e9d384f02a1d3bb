"""Latent densities q(z), with points that average over them."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.stats import norm, qmc

from noethers_razor._types import Array
from noethers_razor.errors import UsageError

VARIANCE = {"normal": 1.0, "uniform": 1 / 3, "circle": 1 / 2}
"""Kind -> variance of a latent coordinate; of a circle, of a cosine of it."""
_LINE, _SQUARE, _MORE = 256, 24, 4096
"""Points for one latent dimension, on each axis for two, and in all for more."""


class Nodes(NamedTuple):
    """Points of a latent space whose weighted mean is the mean over q.

    Args:
        z: (K, d).
        weights: (K,), sum 1.
    """

    z: np.ndarray
    weights: np.ndarray


def log_density(kind: str, z: Array) -> Array:
    """log q of a point (d,): standard normal, uniform on (-1, 1)^d, or uniform on angles."""
    if kind == "normal":
        return -0.5 * jnp.sum(z**2 + jnp.log(2 * jnp.pi))
    return jnp.full((), -jnp.log(2.0) * z.shape[0] if kind == "uniform" else -jnp.log(2 * jnp.pi))


def nodes(kind: str, dim: int) -> Nodes:
    """Quadrature for one and two dimensions, a low-discrepancy sequence for more.

    Raises:
        UsageError: for another kind, and a circle of more than one dimension.
    """
    if not isinstance(kind, str) or kind not in VARIANCE:
        raise UsageError(f"latent {kind!r}; expected one of {', '.join(VARIANCE)}")
    if kind == "circle":
        if dim > 1:
            raise UsageError(f"latent 'circle' has one dimension; n_components = {dim}")
        return Nodes(np.linspace(0, 2 * np.pi, _LINE, endpoint=False)[:, None], np.full(_LINE, 1 / _LINE))
    if dim > 2:
        cube = qmc.Sobol(dim, seed=0).random(_MORE)
        z = norm.ppf(cube) if kind == "normal" else 2 * cube - 1
        return Nodes(_standard(z) if kind == "normal" else z, np.full(_MORE, 1 / _MORE))
    count = _LINE if dim == 1 else _SQUARE
    if kind == "normal":
        # Levels of equal probability: where the data are, and nothing in tails that no datum reaches.
        axis = _standard(norm.ppf((np.arange(count) + 0.5) / count)[:, None])[:, 0]
        share = np.full(count, 1 / count)
    else:
        axis, share = np.polynomial.legendre.leggauss(count)
        share = share / 2
    grid = np.stack(np.meshgrid(*[axis] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    weights = np.prod(np.stack(np.meshgrid(*[share] * dim, indexing="ij"), axis=-1), axis=-1).ravel()
    return Nodes(grid, weights)


def _standard(z: np.ndarray) -> np.ndarray:
    """Points (K, d) with mean 0 and covariance 1 exactly: then an affine optimum is PCA to rounding."""
    z = z - z.mean(axis=0)
    return np.linalg.solve(np.linalg.cholesky(z.T @ z / len(z)), z.T).T


def bounds(kind: str) -> tuple[float, float]:
    """Between which a latent coordinate lies."""
    return (-1.0, 1.0) if kind == "uniform" else (-np.inf, np.inf)
