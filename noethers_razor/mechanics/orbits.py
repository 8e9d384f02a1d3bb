"""Measures over tau, their samples, and averages over the orbits that tau draws.

tau is a latent variable whose variational distribution is its prior (method, eq. of the bound), so any
joint law of the S points whose marginals are the measure gives a valid bound.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri

from noethers_razor._types import Array, Key

RADIUS = float(np.pi)
"""Half the length of a full turn: K = 1 and a unit rotation then average over the whole circle."""

Orbit = Callable[[Array], Array]
"""States (..., M) -> their S orbit points (S, ..., M)."""


def _uniform(points: Array, count: int) -> Array:
    return RADIUS * (2.0 * points[:, :count] - 1.0)


def _normal(points: Array, count: int) -> Array:
    edge = jnp.finfo(points.dtype).eps
    return ndtri(jnp.clip(points[:, :count], edge, 1.0 - edge))


def _ball(points: Array, count: int) -> Array:
    direction = _normal(points, count)
    direction = direction / jnp.linalg.norm(direction, axis=1, keepdims=True)
    return RADIUS * direction * points[:, count:] ** (1.0 / count)


def _line(points: Array, count: int) -> Array:
    # A lattice is equally spaced in its first coordinate, and a rotation wants times that are.
    direction = _normal(points[:1, 1:], count)
    direction = direction / jnp.linalg.norm(direction)
    return RADIUS * (2.0 * points[:, :1] - 1.0) * direction


MEASURES: dict[str, Callable[[Array, int], Array]] = {
    "uniform": _uniform,
    "ball": _ball,
    "normal": _normal,
    "line": _line,
}
"""Name -> map from points of the unit cube (S, K + 1) to tau (S, K)."""


def _plain_points(key: Key, samples: int, dim: int, dtype: jnp.dtype) -> Array:
    return jax.random.uniform(key, (samples, dim), dtype)


def _quasi_points(key: Key, samples: int, dim: int, dtype: jnp.dtype) -> Array:
    """A rank-one lattice with a random shift; in one dimension the points are equally spaced."""
    # The additive recurrence of the generalised golden ratio, the root of x^dim = x + 1, fills the
    # coordinates after the first evenly for any number of them.
    root = 2.0
    for _ in range(40):
        root = (1.0 + root) ** (1.0 / dim)
    slopes = np.concatenate([[1.0 / samples], root ** -np.arange(1.0, dim)])
    lattice = np.arange(samples)[:, None] * slopes
    shift = jax.random.uniform(key, (dim,), dtype)
    return (jnp.asarray(lattice % 1.0, dtype) + shift) % 1.0


def sample_tau(
    key: Key,
    samples: int,
    count: int,
    *,
    measure: str,
    sampling: str,
    dtype: jnp.dtype = jnp.float32,
) -> Array:
    """Flow times tau of K observables, S draws.

    Args:
        key: random key.
        samples: S.
        count: K.
        measure: ``uniform`` on [-pi, pi]^K, ``ball`` of radius pi, ``normal``, or ``line``: [-pi, pi] in a
            random direction that all draws share, ascending.
        sampling: ``plain``, ``antithetic`` (tau and -tau) or ``quasi`` (randomly shifted lattice).
    Returns:
        (S, K).
    Raises:
        ValueError: for an unknown measure or sampling.
    """
    if measure not in MEASURES:
        raise ValueError(f"unknown orbit measure {measure!r}; expected one of {', '.join(MEASURES)}")
    # On a line the ball is the interval, and only the interval keeps equally spaced points.
    transform = MEASURES["uniform" if measure == "ball" and count == 1 else measure]
    dim = count if transform in (_uniform, _normal) else count + 1
    if sampling == "quasi":
        tau = transform(_quasi_points(key, samples, dim, dtype), count)
    elif sampling == "plain":
        tau = transform(_plain_points(key, samples, dim, dtype), count)
    elif sampling == "antithetic":
        half = transform(_plain_points(key, (samples + 1) // 2, dim, dtype), count)
        tau = jnp.concatenate([half, -half])[:samples]
    else:
        raise ValueError(f"unknown sampling {sampling!r}; expected plain, antithetic or quasi")
    return tau[jnp.argsort(tau @ tau[0])] if transform is _line else tau


def orbit_average(function: Callable[[Array], Array], orbit: Orbit) -> Callable[[Array], Array]:
    """x -> mean over orbit points g x of function(g x): H of the paper's eq. 6 when given F."""
    return lambda x: jnp.mean(function(orbit(x)), axis=0)
