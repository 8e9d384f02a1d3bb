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
from noethers_razor.manifold_embedding.latent import Nodes, log_density

_SHARE = 1 / 8
"""Of the bending that keeps affine maps from wiggling in the noise of a blur: what a blur has at least."""
_ROUGH = 1e-7
"""Relative gain of an iteration below which a climb at a blur ends."""


class Family(NamedTuple):
    """What a decoder is, without its parameters; hashable, so that programs are compiled once.

    Args:
        basis: see `decoder_of`.
        latent: see `latent.KINDS`.
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


@functools.partial(jax.jit, static_argnames="family")
@functools.partial(jax.value_and_grad, argnums=1)
def _cost(
    family: Family,
    params: Any,
    known: functional.Jet | None,
    density: Density,
    nodes: Nodes,
    blur: Any,
    stiff: Any,
) -> Array:
    """Minus J, with the penalty, and its gradient.

    Args:
        known: of the features at the nodes, where decoders are linear in them.
        stiff: factor of the mean bending.
    """
    value, log_p, log_q = maps(family, params, density, blur)
    if known is None:
        phi = jax.vmap(functools.partial(functional.jet, value))(jnp.asarray(nodes.z))
    else:
        phi = functional.Jet(*(jnp.einsum("kn...,in->ki...", part, params["weights"]) for part in known))
        phi = phi._replace(value=phi.value + params["mean"])
    energies = jax.vmap(lambda own, z: functional.energy(own, log_p, log_q(z)))(phi, nodes.z)
    return -(nodes.weights @ (energies - stiff * jax.vmap(functional.bending)(phi)))


@functools.partial(jax.jit, static_argnames="family")
def energies(family: Family, params: Any, density: Density, nodes: Nodes) -> Array:
    """e (K,) at nodes, nats."""
    phi, log_p, log_q = maps(family, params, density)
    return jax.vmap(lambda z: functional.energy(functional.jet(phi, z), log_p, log_q(z)))(nodes.z)


class Climbed(NamedTuple):
    """Parameters, iterations of all levels, and why the last one ended."""

    params: Any
    iterations: int
    converged: bool
    message: str


def _stiffness(bending: float, blur: float) -> float:
    """Factor of the bending at a blur: more in a blurred density, whose folds stay when it is sharpened.

    lambda_2 / (2 lambda_1^2) keeps an affine map from wiggling, with the variance of the noise for lambda_2
    and lambda_1 about 1 in standard units. All of it keeps arcs from bending too, an eighth is enough.
    """
    return max(bending, _SHARE * blur**2 / 2) if bending else 0.0


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
    features = family.decoder().features
    known = features and jax.vmap(functools.partial(functional.jet, features))(jnp.asarray(nodes.z))
    first = _cost(family, start, known, density, nodes, blurs[0], _stiffness(bending, blurs[0]))
    if not all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(first)):
        raise UsageError(
            "the objective or its gradient is not finite at the start: a density that is zero or not smooth "
            "near the data, or numbers that are none in bending or anneal"
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


@functools.partial(jax.jit, static_argnames=("family", "steps", "low", "high"))
def _descended(
    family: Family, params: Any, x: Array, start: Array, steps: int, low: float, high: float
) -> Array:
    phi = functools.partial(family.value, params)

    def one(x: Array, z: Array) -> Array:
        def step(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
            z, damping = carry
            off, jacobian = x - phi(z), jax.jacfwd(phi)(z)
            metric = jacobian.T @ jacobian
            size = jnp.trace(metric) / len(z)
            trial = jnp.clip(
                z + jnp.linalg.solve(metric + damping * size * jnp.eye(len(z)), jacobian.T @ off), low, high
            )
            better = jnp.sum((x - phi(trial)) ** 2) <= off @ off
            return (jnp.where(better, trial, z), jnp.where(better, damping / 10, damping * 10)), None

        return jax.lax.scan(step, (z, jnp.asarray(1e-3)), None, length=steps)[0][0]

    return jax.vmap(one)(x, start)


def descended(
    family: Family, params: Any, x: np.ndarray, start: np.ndarray, bounds: tuple[float, float]
) -> np.ndarray:
    """Latent points (N, d) of a least distance to x (N, D), by damped Gauss-Newton steps from others."""
    return np.asarray(_descended(family, params, x, start, 30, *bounds))


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
