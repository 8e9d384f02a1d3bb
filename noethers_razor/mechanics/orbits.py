"""Measures of the flow times tau, samples of them, and averages over orbits.

tau is a latent variable. Its variational distribution equals its prior. The bound is therefore valid for
every joint distribution of the S samples whose marginals are the measure.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri

from noethers_razor._types import Array, Key

RADIUS = float(np.pi)
"""Half the period of a unit rotation. For K = 1 the flow times [-pi, pi] then cover the circle once."""

Orbit = Callable[[Array], Array]
"""Map from states (..., M) to S points on the orbit of each (S, ..., M)."""


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
    # Rotations are averaged best at equally spaced times: take them from the first coordinate, in which a
    # lattice is equally spaced.
    direction = _normal(points[:1, 1:], count)
    direction = direction / jnp.linalg.norm(direction)
    return RADIUS * (2.0 * points[:, :1] - 1.0) * direction


MEASURES: dict[str, Callable[[Array, int], Array]] = {
    "uniform": _uniform,
    "ball": _ball,
    "normal": _normal,
    "line": _line,
}
"""Measures by name, each a map from points of the unit cube (S, K + 1) to flow times tau (S, K)."""


def _plain_points(key: Key, samples: int, dim: int, dtype: jnp.dtype) -> Array:
    return jax.random.uniform(key, (samples, dim), dtype)


def _quasi_points(key: Key, samples: int, dim: int, dtype: jnp.dtype) -> Array:
    """Return a randomly shifted rank-one lattice; in one dimension its points are equally spaced."""
    # The coordinates after the first follow the additive recurrence of the generalised golden ratio, the root
    # of x^dim = x + 1. It covers them evenly in any dimension.
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
    """Draw S vectors of flow times tau for K observables.

    Args:
        key: random key.
        samples: number S of draws.
        count: number K of observables.
        measure: ``uniform`` on [-pi, pi]^K, ``ball`` of radius pi, ``normal`` (standard normal) or ``line``.
            For ``line`` all draws are multiples of one random direction. The factors are uniform on
            [-pi, pi] and in ascending order.
        sampling: ``plain``, ``antithetic`` (tau and -tau) or ``quasi`` (randomly shifted lattice).
        dtype: floating-point type.
    Returns:
        Flow times (S, K).
    Raises:
        ValueError: if the measure or the sampling is unknown.
    """
    if measure not in MEASURES:
        raise ValueError(f"unknown orbit measure {measure!r}; expected one of {', '.join(MEASURES)}")
    # For K = 1 the ball is the interval [-pi, pi]. Only the uniform map keeps lattice points equally spaced.
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
    """Return the average of a function over orbits; for the network F it is H of the paper's equation 6.

    Args:
        function: states (..., M) -> values (...).
        orbit: states (..., M) -> orbit points (S, ..., M).
    Returns:
        Function of states (..., M): the mean of the values at the S orbit points.
    """
    return lambda x: jnp.mean(function(orbit(x)), axis=0)
