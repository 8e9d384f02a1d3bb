"""Climbing the objective: compiled once for each family, from a blurred density to the sharp one."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.optimize import minimize

from noethers_razor._types import Array
from noethers_razor.errors import UsageError
from noethers_razor.manifold_embedding import functional
from noethers_razor.manifold_embedding.basis import Decoder, decoder_of
from noethers_razor.manifold_embedding.density import Density
from noethers_razor.manifold_embedding.latent import VARIANCE, Nodes, log_density
from noethers_razor.numerics.linear_algebra import inverted

_ROUGH = 1e-7
"""Relative gain of an iteration below which a climb at a blur ends."""
_STEPS = 30
"""Of a descent to the nearest point."""


class Family(NamedTuple):
    """What a decoder is, without its parameters; hashable, so that programs are compiled once.

    Args:
        basis: see `decoder_of`.
        latent: see `latent.VARIANCE`.
        degree: of polynomials, or the highest frequency.
    """

    basis: Any
    latent: str
    degree: int

    def decoder(self) -> Decoder:
        """What it does with parameters."""
        return decoder_of(self.basis, self.latent, self.degree)

    def value(self, params: Any, z: Array) -> Array:
        """phi(z): (d,) -> (D,)."""
        return self.decoder().value(params, z)

    def log_q(self, z: Array) -> Array:
        """Log latent density of a point (d,)."""
        return log_density(self.latent, z)


def maps(family: Family, params: Any, density: Density, blur: Any = 0.0) -> tuple[Any, Any, Any]:
    """phi, log p, log q, as `functional` takes them."""
    return (
        functools.partial(family.value, params),
        functools.partial(density.log_density, blur=blur),
        family.log_q,
    )


class Features(NamedTuple):
    """What a decoder that is linear in its parameters is made of, at nodes.

    Args:
        value, first: (K, n) and (K, n, d), features and their derivatives.
        bent: (n, n) mean products of their second derivatives: bending is quadratic in parameters.
    """

    value: Array
    first: Array
    bent: Array


@functools.partial(jax.jit, static_argnames="family")
def _at(family: Family, nodes: Nodes) -> Features:
    features: Any = family.decoder().features
    z = jnp.asarray(nodes.z)

    def add(total: Array, node: tuple[Array, Array]) -> tuple[Array, None]:
        flat = functional.second(features, node[0]).reshape(total.shape[0], -1)
        return total + node[1] * flat @ flat.T, None

    # One node after the other: second derivatives of all would fill memory.
    count = jax.eval_shape(features, z[0]).shape[0]
    bent, _ = jax.lax.scan(add, jnp.zeros((count, count)), (z, jnp.asarray(nodes.weights)))
    return Features(jax.vmap(features)(z), jax.vmap(jax.jacfwd(features))(z), bent)


@functools.partial(jax.jit, static_argnames="family")
@functools.partial(jax.value_and_grad, argnums=1)
def _cost(
    family: Family,
    params: Any,
    known: Features | None,
    density: Density,
    nodes: Nodes,
    blur: Any,
    stiff: Any,
) -> Array:
    """Minus J, with the penalty, and its gradient.

    Args:
        known: where decoders are linear in features.
        stiff: factor of the mean bending.
    """
    phi, log_p, log_q = maps(family, params, density, blur)
    if known is None:
        value, first = jax.vmap(phi)(nodes.z), jax.vmap(jax.jacfwd(phi))(nodes.z)
        squares = jax.vmap(lambda z: jnp.sum(functional.second(phi, z) ** 2))(nodes.z)
        bent = jnp.asarray(nodes.weights) @ squares
    else:
        value = params["mean"] + known.value @ params["weights"].T
        first = jnp.einsum("knj,in->kij", known.first, params["weights"])
        bent = jnp.sum((params["weights"] @ known.bent) * params["weights"])
    energy = jax.vmap(lambda x, slope, z: functional.energy(x, slope, log_p, log_q(z)))(value, first, nodes.z)
    # Latent coordinates of variance 1, so that the factor means the same for each latent density.
    return stiff * VARIANCE[family.latent] ** 2 * bent - nodes.weights @ energy


@functools.partial(jax.jit, static_argnames="family")
def energies(family: Family, params: Any, density: Density, nodes: Nodes) -> Array:
    """e (K,) at nodes, nats."""
    phi, log_p, log_q = maps(family, params, density)
    return jax.vmap(lambda z: functional.energy(phi(z), jax.jacfwd(phi)(z), log_p, log_q(z)))(nodes.z)


class Climbed(NamedTuple):
    """Parameters, iterations of all levels, and why the last one ended."""

    params: Any
    iterations: int
    converged: bool
    message: str


def _stiffness(bending: float, blur: float) -> float:
    """Factor of the bending at a blur: more in a blurred density, whose folds stay when it is sharpened.

    lambda_2 / (2 lambda_1^2), what keeps an affine map from wiggling, with the variance of the noise for
    lambda_2 and lambda_1 of 1 in standard units.
    """
    return max(bending, blur**2 / 2) if bending else 0.0


def climb(
    family: Family,
    start: Any,
    density: Density,
    nodes: Nodes,
    blurs: Sequence[float],
    bending: float,
    most: int,
    tolerance: float,
) -> Climbed:
    """Maximises the objective less the penalty, by L-BFGS, for one blur after the other.

    Args:
        most: iterations for each blur.
        tolerance: of the gradient, relative to nothing: the objective is in nats.
    """
    known = _at(family, nodes) if family.decoder().features else None
    first = _cost(family, start, known, density, nodes, blurs[0], _stiffness(bending, blurs[0]))
    if not all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(first)):
        raise UsageError(
            "the objective or its gradient is not finite at the start: a density that is zero or not smooth "
            "near the data, or an init of less rank than latent coordinates"
        )
    flat, unravel = ravel_pytree(start)
    x, total = np.asarray(flat), 0
    done: Any = None
    for blur in blurs:

        def value(x: np.ndarray, blur: float = blur) -> tuple[float, np.ndarray]:
            stiff = _stiffness(bending, blur)
            cost, slope = _cost(family, unravel(jnp.asarray(x)), known, density, nodes, blur, stiff)
            gradient = np.asarray(ravel_pytree(slope)[0])
            # A step into a singular map is a step too far: the line search takes a shorter one.
            return (float(cost), gradient) if np.isfinite(cost) else (1e300, np.zeros_like(gradient))

        # A blurred optimum is only where the next climb starts.
        exact = 1e-15 if blur == blurs[-1] else _ROUGH
        options = {"maxiter": most, "gtol": tolerance, "ftol": exact, "maxcor": 20}
        done = minimize(value, x, jac=True, method="L-BFGS-B", options=options)
        x, total = done.x, total + max(1, int(done.nit))
    return Climbed(
        jax.tree.map(np.asarray, unravel(jnp.asarray(x))), total, bool(done.success), str(done.message)
    )


@functools.partial(jax.jit, static_argnames=("family", "low", "high"))
def _descended(family: Family, params: Any, x: Array, start: Array, low: float, high: float) -> Array:
    phi = functools.partial(family.value, params)

    def one(x: Array, z: Array) -> Array:
        def step(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
            z, damping = carry
            off, jacobian = x - phi(z), jax.jacfwd(phi)(z)
            slope = jacobian.T @ off
            # Coordinates that a bound holds stay there, and leave the step to the others.
            free = ~(((z <= low) & (slope < 0)) | ((z >= high) & (slope > 0)))
            metric = jnp.where(free[:, None] & free[None, :], jacobian.T @ jacobian, 0.0)
            size = jnp.maximum(jnp.trace(metric) / len(z), jnp.finfo(metric.dtype).tiny)
            metric = metric + jnp.diag(jnp.where(free, damping * size, size))
            trial = jnp.clip(z + inverted(metric)[0] @ jnp.where(free, slope, 0.0), low, high)
            better = jnp.sum((x - phi(trial)) ** 2) <= off @ off
            return (jnp.where(better, trial, z), jnp.where(better, damping / 10, damping * 10)), None

        return jax.lax.scan(step, (z, jnp.asarray(1e-3)), None, length=_STEPS)[0][0]

    return jax.vmap(one)(x, start)


def descended(
    family: Family, params: Any, x: np.ndarray, start: np.ndarray, bounds: tuple[float, float]
) -> np.ndarray:
    """Latent points (N, d) of a least distance to x (N, D), by damped Gauss-Newton steps from others."""
    return np.asarray(_descended(family, params, x, start, *bounds))


def nearest(
    family: Family, params: Any, x: np.ndarray, grid: np.ndarray, bounds: tuple[float, float]
) -> np.ndarray:
    """Latent points (N, d) of the points of the manifold nearest to x (N, D).

    Args:
        grid: (K, d) latent points that the search starts from: the nearest of them.
    """
    image = decoded(family, params, grid)
    found = []
    for part in np.array_split(x, max(1, len(x) // 2048)):
        # All pairs of a part: squares of differences by a product.
        square = np.sum(image**2, axis=1) - 2 * part @ image.T
        found.append(descended(family, params, part, grid[np.argmin(square, axis=1)], bounds))
    return np.concatenate(found)


@functools.partial(jax.jit, static_argnames="family")
def _decoded(family: Family, params: Any, z: Array) -> Array:
    return jax.vmap(functools.partial(family.value, params))(z)


def decoded(family: Family, params: Any, z: np.ndarray) -> np.ndarray:
    """phi at latent points (N, d): (N, D)."""
    return np.asarray(_decoded(family, params, jnp.asarray(z)))
