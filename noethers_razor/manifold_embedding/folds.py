"""Folds of a manifold: parts that cover the same data as another part.

Two points of the manifold form a fold if they are far apart along the manifold and one place of the data.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.distance import cdist

from noethers_razor._types import Array
from noethers_razor.manifold_embedding.density import Density
from noethers_razor.manifold_embedding.latent import Nodes
from noethers_razor.manifold_embedding.training import DecoderFamily, decoded, descended

_POINTS = 576
"""Largest number of latent points that are tested. The cost grows as its square, since pairs are compared."""
_APART = 3.0
"""Ratio of the distance along the manifold to the straight distance, above which two points form a fold."""
_PIECES = 8
"""Straight pieces of a path along the manifold in the comparison of all pairs, where speed matters."""
_FINE = 64
"""Straight pieces of a path along the manifold in the final test, where accuracy matters."""
_RARE = 0.01
"""Quantile of the log density of the data, below which a point counts as a place without data."""
_BATCH = 1024
"""Paths whose lengths are computed at once; this limits the memory."""
_VALLEY = 0.1
"""Decrease of log p between two points, nats, above which the data distinguish the two places."""


def least_of(density: Density, x: np.ndarray) -> float:
    """Return the log density that 99 % of the data exceed.

    Args:
        density: density of the data, standard units.
        x: data (N, D), standard units.
    Returns:
        Log density, nats.
    """
    return float(np.quantile(np.asarray(_heights(density, x)), _RARE))


@jax.jit
def _heights(density: Density, x: Array) -> Array:
    """Return log p (N,) at points (N, D)."""
    return jax.lax.map(density.log_density, x, batch_size=_BATCH // 4)


def share(family: DecoderFamily, params: Any, density: Density, nodes: Nodes, least: float) -> float:
    """Return the share of the latent space whose image covers the same data as another part of the manifold.

    For each image, a search descends to a nearest point elsewhere on the manifold. It starts at the point
    with the smallest ratio of straight distance to distance along the manifold. The point found belongs to
    another part if its distance along the manifold exceeds 3 times the straight distance. The two points are
    one place of the data under two conditions. Data are at both points, and the density has no valley between
    them. The straight distance alone is no criterion: noise in many features keeps data far from every
    manifold.

    Args:
        family: family of decoders.
        params: parameters of the decoder, standard units.
        density: density of the data, standard units.
        nodes: latent points and weights. The first 576 are tested.
        least: smallest log density of a place with data, nats; see `least_of`.
    Returns:
        Share from 0 to 1, weighted with the latent density.
    """
    z = nodes.z[:_POINTS]
    weights = nodes.weights[:_POINTS] / nodes.weights[:_POINTS].sum()
    image = decoded(family, params, z)
    along = _between_all(family, params, z)
    nearness = cdist(image, image) / np.where(along > 0, along, np.inf) + np.diag(np.full(len(z), np.inf))
    # Search only where the latent density has points: beyond them a polynomial is arbitrary.
    ends = (-np.inf, np.inf) if family.latent == "circle" else (float(z.min()), float(z.max()))
    other = descended(family, params, image, z[np.argmin(nearness, axis=1)], ends)
    there = decoded(family, params, other)
    gap = np.linalg.norm(there - image, axis=1)
    # The constant keeps rounding errors at distance zero from counting as a fold.
    sheets = _along(family, params, z, other, _FINE) > _APART * gap + 1e-6
    way = image + np.linspace(0.0, 1.0, 5)[:, None, None] * (there - image)
    heights = np.asarray(_heights(density, way.reshape(-1, image.shape[1]))).reshape(5, -1)
    lower = np.minimum(heights[0], heights[-1])
    one_place = (lower >= least) & (lower - heights.min(axis=0) <= _VALLEY)
    return float(weights @ (sheets & one_place))


def _between_all(family: DecoderFamily, params: Any, z: np.ndarray) -> np.ndarray:
    """Return lengths (K, K) of paths along the manifold between all pairs of latent points (K, d)."""
    first, second = np.triu_indices(len(z), 1)
    lengths = np.zeros((len(z), len(z)))
    lengths[first, second] = _along(family, params, z[first], z[second], _PIECES)
    return lengths + lengths.T


def _along(family: DecoderFamily, params: Any, z: np.ndarray, other: np.ndarray, pieces: int) -> np.ndarray:
    """Return lengths (P,) of images of straight latent paths; on a circle, the shorter way counts."""
    ways = [other - z]
    if family.latent == "circle":
        forward = np.mod(other - z, 2 * np.pi)
        ways = [forward, forward - 2 * np.pi]
    return np.min([np.asarray(_lengths(family, params, z, way, pieces)) for way in ways], axis=0)


@functools.partial(jax.jit, static_argnames=("family", "pieces"))
def _lengths(family: DecoderFamily, params: Any, z: Array, way: Array, pieces: int) -> Array:
    """Return lengths (P,) of images of latent paths from z (P, d) to z + way (P, d), in straight pieces."""

    def one(path: tuple[Array, Array]) -> Array:
        start, way = path
        image = jax.vmap(lambda share: family.value(params, start + share * way))(
            jnp.linspace(0.0, 1.0, pieces + 1)
        )
        return jnp.sum(jnp.linalg.norm(jnp.diff(image, axis=0), axis=1))

    # Compute in batches: the images of all pairs at once would fill the memory.
    return jax.lax.map(one, (z, way), batch_size=_BATCH)
