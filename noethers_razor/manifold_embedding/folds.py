"""Whether a manifold comes back to data that another part of it holds already."""

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
from noethers_razor.manifold_embedding.training import Family, decoded, descended

_POINTS = 576
"""Latent points that are asked, at most: their pairs are looked at."""
_APART = 3.0
"""Times their straight distance that two points are apart along the manifold, where it folds between them."""
_PIECES, _FINE = 8, 64
"""Pieces of a path along the manifold, in a first look and in the last."""
_RARE = 0.01
"""Share of data where the density is less than at what counts as a place of them."""
_BATCH = 1024
"""Paths that are walked at once."""
_VALLEY = 0.1
"""Nats that the density has to fall by between two sheets for the data to tell them apart."""


def least_of(density: Density, x: np.ndarray) -> float:
    """log p that nearly all of data (N, D) have, standard units."""
    return float(np.quantile(np.asarray(_heights(density, x)), _RARE))


@jax.jit
def _heights(density: Density, x: Array) -> Array:
    return jax.lax.map(density.log_density, x, batch_size=_BATCH // 4)


def share(family: Family, params: Any, density: Density, nodes: Nodes, least: float) -> float:
    """Share of the latent space whose image lies on another sheet of the manifold, by the data.

    From each image a search goes down to a nearest point elsewhere on the manifold, from where it is nearest
    for its distance along the manifold. That is another sheet where it is far along, and one place of the
    data with it where data are at both and the density has no valley on the way. Of no use is the distance
    itself, since noise in many features keeps data far from any manifold.

    Args:
        params: of the family, standard units.
        least: log p that places of data have, at least.
    """
    z = nodes.z[:_POINTS]
    weights = nodes.weights[:_POINTS] / nodes.weights[:_POINTS].sum()
    image = decoded(family, params, z)
    along = _between_all(family, params, z)
    nearness = cdist(image, image) / np.where(along > 0, along, np.inf) + np.diag(np.full(len(z), np.inf))
    # No farther out than what the latent density fills: in its tails a polynomial goes anywhere.
    ends = (-np.inf, np.inf) if family.latent == "circle" else (float(z.min()), float(z.max()))
    other = descended(family, params, image, z[np.argmin(nearness, axis=1)], ends)
    there = decoded(family, params, other)
    gap = np.linalg.norm(there - image, axis=1)
    # A rounding error beside a distance of zero is no sheet.
    sheets = _along(family, params, z, other, _FINE) > _APART * gap + 1e-6
    way = image + np.linspace(0.0, 1.0, 5)[:, None, None] * (there - image)
    heights = np.asarray(_heights(density, way.reshape(-1, image.shape[1]))).reshape(5, -1)
    lower = np.minimum(heights[0], heights[-1])
    one_place = (lower >= least) & (lower - heights.min(axis=0) <= _VALLEY)
    return float(weights @ (sheets & one_place))


def _between_all(family: Family, params: Any, z: np.ndarray) -> np.ndarray:
    """Lengths (K, K) of paths along the manifold between latent points (K, d)."""
    first, second = np.triu_indices(len(z), 1)
    lengths = np.zeros((len(z), len(z)))
    lengths[first, second] = _along(family, params, z[first], z[second], _PIECES)
    return lengths + lengths.T


def _along(family: Family, params: Any, z: np.ndarray, other: np.ndarray, pieces: int) -> np.ndarray:
    """Lengths (P,) of images of straight latent paths, on a circle of the shorter way around."""
    ways = [other - z]
    if family.latent == "circle":
        forward = np.mod(other - z, 2 * np.pi)
        ways = [forward, forward - 2 * np.pi]
    return np.min([np.asarray(_lengths(family, params, z, way, pieces)) for way in ways], axis=0)


@functools.partial(jax.jit, static_argnames=("family", "pieces"))
def _lengths(family: Family, params: Any, z: Array, way: Array, pieces: int) -> Array:
    """Lengths (P,) of images of paths from z (P, d) along ways (P, d), in so many straight pieces."""

    def one(path: tuple[Array, Array]) -> Array:
        start, way = path
        image = jax.vmap(lambda share: family.value(params, start + share * way))(
            jnp.linspace(0.0, 1.0, pieces + 1)
        )
        return jnp.sum(jnp.linalg.norm(jnp.diff(image, axis=0), axis=1))

    # In batches: all images of all pairs at once would fill memory.
    return jax.lax.map(one, (z, way), batch_size=_BATCH)
