"""Families of decoders phi: latent point (d,) -> data point (D,), linear in parameters or flax modules."""

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


class Decoder(NamedTuple):
    """A family of maps.

    Args:
        start: parameters of the affine map mean + axes z (D,), (D, d), and a seed.
        value: parameters, z (d,) -> point (D,).
        features: z (d,) -> (n,), where phi = mean + weights features; None where it is not linear in any.
    """

    start: Callable[[np.ndarray, np.ndarray, int], Any]
    value: Callable[[Any, Array], Array]
    features: Callable[[Array], Array] | None = None


class Held:
    """A module without a hash, as those that hold lists: itself and no other for what is compiled."""

    def __init__(self, module: Any) -> None:
        self.module = module


def hashable(kind: Any) -> Any:
    """A kind of family as what is compiled can be kept for it."""
    try:
        hash(kind)
    except TypeError:
        return Held(kind)
    return kind


def decoder_of(kind: Any, latent: str, degree: int) -> Decoder:
    """The family of a kind.

    Args:
        kind: ``affine``, ``chebyshev``, ``fourier`` (on a circle), or a flax module (d,) -> (D,), which is
            added to an affine map.
        degree: of polynomials, in all variables together; highest frequency.
    Raises:
        UsageError: for another kind, or one that does not go with the latent density.
    """
    kind = kind.module if isinstance(kind, Held) else kind
    if hasattr(kind, "apply") and hasattr(kind, "init"):
        if latent == "circle":
            raise UsageError("basis: a module is not periodic; fourier goes with a circle")
        return _with_module(kind)
    if not isinstance(kind, str) or kind not in KINDS:
        name = repr(kind) if isinstance(kind, str) else type(kind).__name__
        raise UsageError(f"basis {name}; expected one of {', '.join(KINDS)} or a flax module")
    if (kind == "fourier") != (latent == "circle"):
        raise UsageError(f"basis {kind!r} with latent {latent!r}; fourier goes with a circle, and only it")
    features = {
        "affine": lambda z: z,
        "chebyshev": lambda z: _chebyshev(z, latent, degree),
        "fourier": lambda z: _fourier(z[0], degree),
    }[kind]
    return _linear(features, on_circle=kind == "fourier")


def _chebyshev(z: Array, latent: str, degree: int) -> Array:
    """The coordinates themselves, then products of Chebyshev polynomials of 2 up to a total degree.

    Of a normal latent coordinate they take its probability, scaled to (-1, 1): bounded in the tails.
    """
    u = z if latent == "uniform" else jax.scipy.special.erf(z / np.sqrt(2))

    def higher(last: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        following = 2 * u * last[1] - last[0]
        return (last[1], following), following

    # A loop of the program: unrolled, high degrees would take minutes to compile.
    first = (jnp.ones_like(u), u)
    table = jnp.concatenate([jnp.stack(first), jax.lax.scan(higher, first, length=degree - 1)[1]])
    # A first degree of the probability is another function than the coordinate.
    least = 2 if latent == "uniform" else 1
    count = number(z.shape[0], degree) - number(z.shape[0], least - 1)
    if count > MOST:
        raise UsageError(f"degree = {degree} in {z.shape[0]} dimensions has {count} polynomials; lower it")
    if not count:
        return z
    powers = exponents(z.shape[0], degree)
    chosen = powers[powers.sum(axis=1) >= least]
    return jnp.concatenate([z, jnp.prod(table[chosen, np.arange(z.shape[0])], axis=1)])


def _fourier(angle: Array, degree: int) -> Array:
    orders = jnp.arange(1, degree + 1)
    return jnp.stack([jnp.cos(orders * angle), jnp.sin(orders * angle)], axis=1).ravel()


def _linear(features: Callable[[Array], Array], on_circle: bool) -> Decoder:
    """phi = mean + W features; the first features are what an affine start fills."""

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
    """An affine map and a tenth of a module added to it."""

    def start(mean: np.ndarray, axes: np.ndarray, seed: int) -> Any:
        inner = module.init(jax.random.key(seed), jnp.zeros(axes.shape[1]))
        shape = jax.eval_shape(module.apply, inner, jnp.zeros(axes.shape[1])).shape
        if shape != mean.shape:
            raise UsageError(f"basis: the module gives {shape}; expected {mean.shape}, a point of the data")
        return {
            "mean": jnp.asarray(mean),
            "axes": jnp.asarray(axes),
            "module": jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), inner),
        }

    def value(params: Any, z: Array) -> Array:
        return params["mean"] + params["axes"] @ z + 0.1 * module.apply(params["module"], z)

    return Decoder(start, value)
