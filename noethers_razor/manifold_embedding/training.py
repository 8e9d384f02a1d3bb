"""Maximisation of the objective by L-BFGS, from a blurred density to the density of the data.

Programs are compiled once for each family of decoders.
"""

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
"""Relative gain of an iteration, below which the optimisation with a blurred density ends."""
_NO_GAIN = 1e-7
"""Gradient relative to the objective that counts as zero: it could gain about 1e-14 of the objective."""
_STEPS = 30
"""Iterations of the search for the nearest point."""


class DecoderFamily(NamedTuple):
    """A family of decoders without parameters. It has a hash, so that programs are compiled once.

    Args:
        basis: name of the basis, or a module; see `decoder_of`.
        latent: name of the latent density, a key of `latent.VARIANCE`.
        degree: total degree of the polynomials, or highest frequency.
    """

    basis: Any
    latent: str
    degree: int

    def decoder(self) -> Decoder:
        """Return the functions of the family."""
        return decoder_of(self.basis, self.latent, self.degree)

    def value(self, params: Any, z: Array) -> Array:
        """Return phi(z) (D,) at a latent point z (d,)."""
        return self.decoder().value(params, z)

    def log_q(self, z: Array) -> Array:
        """Return the log latent density () at a latent point z (d,), nats."""
        return log_density(self.latent, z)


def maps(family: DecoderFamily, params: Any, density: Density, blur: Any = 0.0) -> tuple[Any, Any, Any]:
    """Return phi, log p and log q, as the functions of `functional` take them.

    Args:
        family: family of decoders.
        params: parameters of the decoder.
        density: density of the data, standard units.
        blur: standard deviation of the noise that blurs the density, standard units.
    """
    return (
        functools.partial(family.value, params),
        functools.partial(density.log_density, blur=blur),
        family.log_q,
    )


class DecoderFeatures(NamedTuple):
    """Features of a decoder that is linear in its parameters, at K nodes.

    Args:
        value: features (K, n).
        first: derivatives of the features (K, n, d).
        bent: means (n, n) of products of second derivatives. Bending is a quadratic form of the weights with
            this matrix.
    """

    value: Array
    first: Array
    bent: Array


@functools.partial(jax.jit, static_argnames="family")
def _at(family: DecoderFamily, nodes: Nodes) -> DecoderFeatures:
    """Return the features of a family at nodes."""
    features: Any = family.decoder().features
    z = jnp.asarray(nodes.z)

    def add(total: Array, node: tuple[Array, Array]) -> tuple[Array, None]:
        flat = functional.second(features, node[0]).reshape(total.shape[0], -1)
        return total + node[1] * flat @ flat.T, None

    # Add node by node: the second derivatives at all nodes would fill the memory.
    count = jax.eval_shape(features, z[0]).shape[0]
    bent, _ = jax.lax.scan(add, jnp.zeros((count, count)), (z, jnp.asarray(nodes.weights)))
    return DecoderFeatures(jax.vmap(features)(z), jax.vmap(jax.jacfwd(features))(z), bent)


@functools.partial(jax.jit, static_argnames="family")
@functools.partial(jax.value_and_grad, argnums=1)
def _cost(
    family: DecoderFamily,
    params: Any,
    known: DecoderFeatures | None,
    density: Density,
    nodes: Nodes,
    blur: Any,
    stiff: Any,
) -> Array:
    """Return minus J plus the bending penalty, and the gradient with respect to the parameters.

    Args:
        family: family of decoders.
        params: parameters of the decoder.
        known: features at the nodes, or None if the decoder is not linear in its parameters.
        density: density of the data, standard units.
        nodes: K weighted latent points.
        blur: standard deviation of the noise that blurs the density, standard units.
        stiff: weight of the mean bending.
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
    # Scale latent coordinates to variance 1, so that the weight means the same for each latent density.
    return stiff * VARIANCE[family.latent] ** 2 * bent - nodes.weights @ energy


@functools.partial(jax.jit, static_argnames="family")
def energies(family: DecoderFamily, params: Any, density: Density, nodes: Nodes) -> Array:
    """Return energies e (K,) at K nodes, nats.

    Args:
        family: family of decoders.
        params: parameters of the decoder.
        density: density of the data, standard units.
        nodes: K weighted latent points.
    """
    phi, log_p, log_q = maps(family, params, density)
    return jax.vmap(lambda z: functional.energy(phi(z), jax.jacfwd(phi)(z), log_p, log_q(z)))(nodes.z)


class Climbed(NamedTuple):
    """The result of an optimisation.

    Args:
        params: parameters of the decoder.
        iterations: number of iterations for all blurs together.
        converged: True if the last optimisation, without blur, has converged.
        message: reason why the last optimisation ended.
    """

    params: Any
    iterations: int
    converged: bool
    message: str


def _stiffness(bending: float, blur: float) -> float:
    """Return the weight of bending at a blur; 0 if `bending` is 0.

    A fold that appears in a blurred density remains when the blur decreases. The weight is therefore at least
    lambda_2 / (2 lambda_1^2), which prevents wiggles of an affine map. Here lambda_2 is the variance of the
    noise, blur^2, and lambda_1 is 1 in standard units.
    """
    return max(bending, blur**2 / 2) if bending else 0.0


def climb(
    family: DecoderFamily,
    start: Any,
    density: Density,
    nodes: Nodes,
    blurs: Sequence[float],
    bending: float,
    most: int,
    tolerance: float,
) -> Climbed:
    """Maximise the objective minus the bending penalty by L-BFGS, for each blur in the given order.

    Args:
        family: family of decoders.
        start: parameters at the start.
        density: density of the data, standard units.
        nodes: weighted latent points.
        blurs: standard deviations of the noise that blurs the density, standard units; the last is 0.
        bending: weight of the mean bending, 0 or more.
        most: largest number of iterations for each blur.
        tolerance: absolute limit of the gradient at which an optimisation ends, nats.
    Returns:
        Parameters after the last blur, and how the optimisation ended.
    Raises:
        UsageError: if the objective or its gradient is not finite at the start.
    """
    known = _at(family, nodes) if family.decoder().features else None
    first = _cost(family, start, known, density, nodes, blurs[0], _stiffness(bending, blurs[0]))
    if not all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(first)):
        raise UsageError(
            "the objective or its gradient is not finite at the start; give a density that is positive and "
            "smooth near the data, and an init with linearly independent columns"
        )
    flat, unravel = ravel_pytree(start)
    x, total = np.asarray(flat), 0
    done: Any = None
    for blur in blurs:

        def value(x: np.ndarray, blur: float = blur) -> tuple[float, np.ndarray]:
            stiff = _stiffness(bending, blur)
            cost, slope = _cost(family, unravel(jnp.asarray(x)), known, density, nodes, blur, stiff)
            gradient = np.asarray(ravel_pytree(slope)[0])
            # A singular map has no finite cost. With a huge one, the line search takes a shorter step.
            return (float(cost), gradient) if np.isfinite(cost) else (1e300, np.zeros_like(gradient))

        # The optimum of a blurred density only starts the next optimisation, so it may be rough.
        gain = 1e-15 if blur == blurs[-1] else _ROUGH
        options = {"maxiter": most, "gtol": tolerance, "ftol": gain, "maxcor": 20}
        done = minimize(value, x, jac=True, method="L-BFGS-B", options=options)
        x, total = done.x, total + max(1, int(done.nit))
    # At the optimum, rounding may end the line search. A gradient this small gains no more than rounding.
    exact = np.max(np.abs(done.jac)) <= _NO_GAIN * max(1.0, abs(done.fun))
    params = jax.tree.map(np.asarray, unravel(jnp.asarray(x)))
    return Climbed(params, total, bool(done.success or exact), str(done.message))


@functools.partial(jax.jit, static_argnames=("family", "low", "high"))
def _descended(family: DecoderFamily, params: Any, x: Array, start: Array, low: float, high: float) -> Array:
    """Return the latent points (N, d) of `descended`."""
    phi = functools.partial(family.value, params)

    def one(x: Array, z: Array) -> Array:
        def step(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
            z, damping = carry
            off, jacobian = x - phi(z), jax.jacfwd(phi)(z)
            slope = jacobian.T @ off
            # Keep coordinates at a bound if the step would cross it, and move only the others.
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
    family: DecoderFamily, params: Any, x: np.ndarray, start: np.ndarray, bounds: tuple[float, float]
) -> np.ndarray:
    """Return latent points whose images are locally nearest to given points, by damped Gauss-Newton steps.

    Args:
        family: family of decoders.
        params: parameters of the decoder.
        x: points (N, D), standard units.
        start: latent points (N, d) at which the search starts.
        bounds: lower and upper bound of the latent coordinates.
    Returns:
        Latent points (N, d).
    """
    return np.asarray(_descended(family, params, x, start, *bounds))


def nearest(
    family: DecoderFamily, params: Any, x: np.ndarray, grid: np.ndarray, bounds: tuple[float, float]
) -> np.ndarray:
    """Return the latent points of the points of the manifold nearest to given points.

    Args:
        family: family of decoders.
        params: parameters of the decoder.
        x: points (N, D), standard units.
        grid: latent points (K, d). The search for each point starts at the nearest image of the grid.
        bounds: lower and upper bound of the latent coordinates.
    Returns:
        Latent points (N, d).
    """
    image = decoded(family, params, grid)
    found = []
    for part in np.array_split(x, max(1, len(x) // 2048)):
        # Squared distances of all pairs of a part, from one matrix product; |part|^2 does not matter.
        square = np.sum(image**2, axis=1) - 2 * part @ image.T
        found.append(descended(family, params, part, grid[np.argmin(square, axis=1)], bounds))
    return np.concatenate(found)


@functools.partial(jax.jit, static_argnames="family")
def _decoded(family: DecoderFamily, params: Any, z: Array) -> Array:
    """Return phi at latent points, as `decoded`."""
    return jax.vmap(functools.partial(family.value, params))(z)


def decoded(family: DecoderFamily, params: Any, z: np.ndarray) -> np.ndarray:
    """Return the images (N, D) of latent points (N, d) under phi, standard units."""
    return np.asarray(_decoded(family, params, jnp.asarray(z)))
