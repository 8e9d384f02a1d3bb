"""The network F on phase space, and the Hamiltonian: its average over orbits."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from noethers_razor._types import Array, Key, VectorField
from noethers_razor.mechanics.orbits import Orbit, orbit_average
from noethers_razor.mechanics.phase_space import apply_j


def squareplus(x: Array) -> Array:
    """Return (x + sqrt(x^2 + 4)) / 2, as smooth as softplus and without an exponential (Barron 2021)."""
    return 0.5 * (x + jnp.sqrt(x * x + 4.0))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "squareplus": squareplus,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
}


class Network(nnx.Module):
    """F: states (..., M) -> energies (...,), a perceptron without physical meaning.

    The last layer has no bias, because a constant energy moves nothing.
    """

    def __init__(self, dim: int, width: int, depth: int, activation: str, *, rngs: nnx.Rngs) -> None:
        sizes = [dim] + [width] * depth
        self.hidden = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in itertools.pairwise(sizes)])
        self.readout = nnx.Linear(sizes[-1], 1, use_bias=False, rngs=rngs)
        self.activation = ACTIVATIONS[activation]

    def __call__(self, x: Array) -> Array:
        for layer in self.hidden:
            x = self.activation(layer(x))
        return self.readout(x)[..., 0]


class NetworkFunction(NamedTuple):
    """F as a pure function of its layers' matrices [W b], each (out, in + 1) or (out, in).

    Args:
        shapes: shapes of the matrices.
        dtype: precision of the matrices.
        init: key -> matrices at initialisation.
        apply: (matrices, states (..., M)) -> energies (...,).
    """

    shapes: tuple[tuple[int, int], ...]
    dtype: jnp.dtype
    init: Callable[[Key], list[Array]]
    apply: Callable[[Sequence[Array], Array], Array]


def network_function(
    dim: int, *, width: int, depth: int, activation: str, dtype: jnp.dtype
) -> NetworkFunction:
    """Split a flax network into its structure and the matrices that the posterior covers.

    Args:
        dim: M.
        width: units of a hidden layer.
        depth: number of hidden layers.
        activation: key of `ACTIVATIONS`.
        dtype: of the matrices.
    """

    def create(rngs: nnx.Rngs) -> Network:
        return Network(dim, width, depth, activation, rngs=rngs)

    structure, _ = nnx.split(nnx.eval_shape(lambda: create(nnx.Rngs(params=0))))

    @jax.jit
    def init(key: Key) -> list[Array]:
        state = nnx.state(create(nnx.Rngs(params=key)))
        matrices = []
        for layer in [*(state["hidden"][i] for i in range(depth)), state["readout"]]:
            columns = [layer["kernel"][...].T]
            if "bias" in layer:
                columns.append(layer["bias"][...][:, None])
            matrices.append(jnp.concatenate(columns, axis=1).astype(dtype))
        return matrices

    def layer_state(matrix: Array, biased: bool) -> dict[str, nnx.Param]:
        if not biased:
            return {"kernel": nnx.Param(matrix.T)}
        return {"bias": nnx.Param(matrix[:, -1]), "kernel": nnx.Param(matrix[:, :-1].T)}

    def apply(weights: Sequence[Array], x: Array) -> Array:
        *hidden, readout = weights
        filled = nnx.State(
            {
                "hidden": {i: layer_state(w, True) for i, w in enumerate(hidden)},
                "readout": layer_state(readout, False),
            }
        )
        return nnx.merge(structure, filled)(x)

    sizes = [dim] + [width] * depth
    shapes = [(after, before + 1) for before, after in itertools.pairwise(sizes)]
    return NetworkFunction((*shapes, (1, sizes[-1])), jnp.dtype(dtype), init, apply)


def orbit_hamiltonian(energy: Callable[[Array], Array], orbit: Orbit) -> Callable[[Array], Array]:
    """Return H(x), the mean of F over orbit points (paper, eq. 6): states (..., M) -> (...,)."""
    return orbit_average(energy, orbit)


def field_of(hamiltonian: Callable[[Array], Array]) -> VectorField:
    """Return J grad H of a batched H: one backward pass serves all states of a batch."""
    return lambda x: apply_j(jax.grad(lambda states: jnp.sum(hamiltonian(states)))(x))
