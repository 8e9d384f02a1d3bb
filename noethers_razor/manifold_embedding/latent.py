"""Latent densities q(z), and weighted points for averages over them."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.stats import norm, qmc

from noethers_razor._types import Array
from noethers_razor.errors import UsageError

VARIANCE = {"normal": 1.0, "uniform": 1 / 3, "circle": 1 / 2}
"""Latent density -> variance of a latent coordinate; for a circle, variance of the cosine of the angle."""
_LINE = 256
"""Number of points for one latent dimension."""
_SQUARE = 24
"""Number of points on each axis for two latent dimensions, 576 together."""
_MORE = 4096
"""Number of points together for more dimensions; a power of 2, as Sobol's sequence requires for balance."""


class Nodes(NamedTuple):
    """Weighted points of a latent space. Their weighted mean approximates the mean over q.

    Args:
        z: latent points (K, d).
        weights: weights (K,) with sum 1.
    """

    z: np.ndarray
    weights: np.ndarray


def log_density(kind: str, z: Array) -> Array:
    """Return log q at a latent point.

    Args:
        kind: ``normal`` (standard normal), ``uniform`` on (-1, 1)^d, or ``circle`` (uniform angle).
        z: latent point (d,); for ``circle`` an angle (1,) in radians.
    Returns:
        Log density (), nats.
    """
    if kind == "normal":
        return -0.5 * jnp.sum(z**2 + jnp.log(2 * jnp.pi))
    return jnp.full((), -jnp.log(2.0) * z.shape[0] if kind == "uniform" else -jnp.log(2 * jnp.pi))


def nodes(kind: str, dim: int) -> Nodes:
    """Return points for averages: a grid in one and two dimensions, Sobol's sequence in more.

    Args:
        kind: name of the latent density, a key of `VARIANCE`.
        dim: number d of latent dimensions, 1 or more.
    Returns:
        Points and weights: 256 points for d = 1, 576 for d = 2, 4096 for more.
    Raises:
        UsageError: if the density is unknown, or ``circle`` has more than one dimension.
    """
    if not isinstance(kind, str) or kind not in VARIANCE:
        raise UsageError(f"latent {kind!r}; expected one of {', '.join(VARIANCE)}")
    if kind == "circle":
        if dim > 1:
            raise UsageError(f"latent 'circle' has one dimension; n_components = {dim}, set it to 1")
        return Nodes(np.linspace(0, 2 * np.pi, _LINE, endpoint=False)[:, None], np.full(_LINE, 1 / _LINE))
    if dim > 2:
        cube = qmc.Sobol(dim, seed=0).random(_MORE)
        z = norm.ppf(cube) if kind == "normal" else 2 * cube - 1
        return Nodes(_standard(z) if kind == "normal" else z, np.full(_MORE, 1 / _MORE))
    count = _LINE if dim == 1 else _SQUARE
    if kind == "normal":
        # Quantiles of equal probability put the points where the data are, and none far out in the tails.
        axis = _standard(norm.ppf((np.arange(count) + 0.5) / count)[:, None])[:, 0]
        share = np.full(count, 1 / count)
    else:
        axis, share = np.polynomial.legendre.leggauss(count)
        share = share / 2
    grid = np.stack(np.meshgrid(*[axis] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    weights = np.prod(np.stack(np.meshgrid(*[share] * dim, indexing="ij"), axis=-1), axis=-1).ravel()
    return Nodes(grid, weights)


def _standard(z: np.ndarray) -> np.ndarray:
    """Return points (K, d) shifted and scaled to mean 0 and covariance 1; an affine optimum is then PCA."""
    z = z - z.mean(axis=0)
    return np.linalg.solve(np.linalg.cholesky(z.T @ z / len(z)), z.T).T


def bounds(kind: str) -> tuple[float, float]:
    """Return lower and upper bound of a latent coordinate; an angle has none."""
    return (-1.0, 1.0) if kind == "uniform" else (-np.inf, np.inf)
