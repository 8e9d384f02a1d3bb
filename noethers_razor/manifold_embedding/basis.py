"""Families of decoders phi, maps from latent points (d,) to data points (D,).

A decoder is linear in its parameters, or it contains a flax module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array
from noethers_razor.errors import UsageError
from noethers_razor.numerics.polynomials import MOST, exponents, number

KINDS = ("affine", "chebyshev", "fourier")
"""Names of the decoders that are linear in their parameters."""


class Decoder(NamedTuple):
    """A family of decoders, given by its functions.

    Args:
        start: mean (D,), axes (D, d) and seed -> parameters of the affine map mean + axes z. For `fourier`,
            axes (D, 2) belong to the cosine and the sine of the angle. A module adds to the affine map.
        value: parameters and latent point z (d,) -> data point (D,).
        features: z (d,) -> features (n,), with phi = mean + weights features. None for a decoder that is not
            linear in its parameters.
    """

    start: Callable[[np.ndarray, np.ndarray, int], Any]
    value: Callable[[Any, Array], Array]
    features: Callable[[Array], Array] | None = None


class Held:
    """A wrapper with a hash for a module without one, such as a module that contains a list.

    JAX needs a hash to reuse compiled programs. Two wrappers are equal only if they are the same object.
    """

    def __init__(self, module: Any) -> None:
        self.module = module


def hashable(kind: Any) -> Any:
    """Return the basis itself if it has a hash, otherwise a wrapper that has one."""
    try:
        hash(kind)
    except TypeError:
        return Held(kind)
    return kind


def decoder_of(kind: Any, latent: str, degree: int) -> Decoder:
    """Return the family of decoders of a basis.

    Args:
        kind: ``affine``, ``chebyshev``, ``fourier`` (with latent density ``circle``), or a flax module
            (d,) -> (D,), which is added to an affine map.
        latent: name of the latent density, a key of `latent.VARIANCE`.
        degree: total degree of the polynomials, or highest frequency; 1 or more.
    Returns:
        The functions of the family.
    Raises:
        UsageError: if the basis is unknown, or does not fit the latent density.
    """
    kind = kind.module if isinstance(kind, Held) else kind
    if hasattr(kind, "apply") and hasattr(kind, "init"):
        if latent == "circle":
            raise UsageError("basis: a module is not periodic; use basis 'fourier' with latent 'circle'")
        return _with_module(kind)
    if not isinstance(kind, str) or kind not in KINDS:
        name = repr(kind) if isinstance(kind, str) else type(kind).__name__
        raise UsageError(f"basis {name}; expected one of {', '.join(KINDS)} or a flax module")
    if (kind == "fourier") != (latent == "circle"):
        raise UsageError(
            f"basis {kind!r} with latent {latent!r}; use basis 'fourier' if and only if latent is 'circle'"
        )
    features = {
        "affine": lambda z: z,
        "chebyshev": lambda z: _chebyshev(z, latent, degree),
        "fourier": lambda z: _fourier(z[0], degree),
    }[kind]
    return _linear(features, on_circle=kind == "fourier")


def _chebyshev(z: Array, latent: str, degree: int) -> Array:
    """Return the coordinates, then products of Chebyshev polynomials of a total degree from 2 to `degree`.

    The polynomials of a normal latent coordinate take its cumulative probability, scaled to (-1, 1). They are
    therefore bounded in the tails, and products of degree 1 are included.
    """
    u = z if latent == "uniform" else jax.scipy.special.erf(z / np.sqrt(2))

    def higher(last: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        following = 2 * u * last[1] - last[0]
        return (last[1], following), following

    # A compiled loop: without it, high degrees would take minutes to compile.
    first = (jnp.ones_like(u), u)
    table = jnp.concatenate([jnp.stack(first), jax.lax.scan(higher, first, length=degree - 1)[1]])
    # For a normal density, the polynomial of degree 1 is erf, which differs from the coordinate.
    least = 2 if latent == "uniform" else 1
    count = number(z.shape[0], degree) - number(z.shape[0], least - 1)
    if count > MOST:
        raise UsageError(
            f"degree = {degree} in {z.shape[0]} dimensions has {count} polynomials, too many; lower degree"
        )
    if not count:
        return z
    powers = exponents(z.shape[0], degree)
    chosen = powers[powers.sum(axis=1) >= least]
    return jnp.concatenate([z, jnp.prod(table[chosen, np.arange(z.shape[0])], axis=1)])


def _fourier(angle: Array, degree: int) -> Array:
    """Return cosines and sines (2 degree,) of an angle (), in ascending order of frequency."""
    orders = jnp.arange(1, degree + 1)
    return jnp.stack([jnp.cos(orders * angle), jnp.sin(orders * angle)], axis=1).ravel()


def _linear(features: Callable[[Array], Array], on_circle: bool) -> Decoder:
    """Return the family mean + weights features; the affine start sets the weights of the first features."""

    def start(mean: np.ndarray, axes: np.ndarray, _: int) -> Any:
        latents = axes.shape[1] // 2 if on_circle else axes.shape[1]
        count = jax.eval_shape(features, jax.ShapeDtypeStruct((latents,), jnp.float64)).shape[0]
        weights = np.zeros((len(mean), count))
        weights[:, : axes.shape[1]] = axes
        return {"mean": jnp.asarray(mean), "weights": jnp.asarray(weights)}

    def value(params: Any, z: Array) -> Array:
        return params["mean"] + params["weights"] @ features(z)

    return Decoder(start, value, features)


def _with_module(module: Any) -> Decoder:
    """Return the family mean + axes z + 0.1 module(z)."""

    def start(mean: np.ndarray, axes: np.ndarray, seed: int) -> Any:
        inner = module.init(jax.random.key(seed), jnp.zeros(axes.shape[1]))
        shape = jax.eval_shape(module.apply, inner, jnp.zeros(axes.shape[1])).shape
        if shape != mean.shape:
            raise UsageError(
                f"basis: the module returns shape {shape}; expected {mean.shape}, the shape of a data point"
            )
        return {
            "mean": jnp.asarray(mean),
            "axes": jnp.asarray(axes),
            "module": jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), inner),
        }

    def value(params: Any, z: Array) -> Array:
        return params["mean"] + params["axes"] @ z + 0.1 * module.apply(params["module"], z)

    return Decoder(start, value)
