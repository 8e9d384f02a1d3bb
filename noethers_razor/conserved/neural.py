"""Neural conserved quantities: combinations of a network's units, in addition to quadratic quantities.

This network is one of its own, not F.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from noethers_razor._deprecated import old_names
from noethers_razor._types import Array, Key, Params
from noethers_razor.conserved.base import flagged
from noethers_razor.conserved.expansion import Expansion
from noethers_razor.conserved.features import SHARED, WEIGHTS
from noethers_razor.data.frame import Frame
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.numerics.linear_algebra import log_determinant
from noethers_razor.numerics.polynomials import monomials

STEPS = 6000
"""Adam steps of the training that makes the units; the step size falls to zero by cosine."""
RATE = 0.003
"""Largest step size of that training."""
BATCH = 256
"""Pairs of states per step."""
_INDEPENDENCE = 0.2
"""Weight of the log determinant of the normalised gradients, relative to the log of the scatter."""


class Units(nnx.Module):
    """Hidden units: states (..., M) -> (..., width), tanh layers."""

    def __init__(self, dim: int, width: int, depth: int, *, rngs: nnx.Rngs) -> None:
        sizes = [dim] + [width] * depth
        # Biases differ, so that units bend in different places from the start.
        bias = nnx.initializers.normal(0.5)
        self.hidden = nnx.List(
            [nnx.Linear(a, b, bias_init=bias, rngs=rngs) for a, b in itertools.pairwise(sizes)]
        )

    def __call__(self, x: Array) -> Array:
        for layer in self.hidden:
            x = jnp.tanh(layer(x))
        return x


@functools.cache
def _structure(dim: int, width: int, depth: int) -> nnx.GraphDef[Units]:
    return nnx.split(nnx.eval_shape(lambda: Units(dim, width, depth, rngs=nnx.Rngs(0))))[0]


@old_names(forms="quadratic", functions="non_quadratic")
@dataclasses.dataclass(frozen=True)
class Neural(Expansion):
    """Quadratic quantities, and combinations of shared tanh units and of monomials up to degree 2.

    Args:
        count, start, quadratic, non_quadratic, reach, averaged: see `Expansion`.
        width: units of a layer.
        depth: number of layers.
    Raises:
        ValueError: for a width or depth below 1, or see `Expansion`.
    """

    width: int = flagged(64, "units", "Units of a layer.")
    depth: int = flagged(2, "layers", "Number of layers.")
    name = "neural"
    accuracy = 0.01
    splits_features = False
    """In two parts their many small operations take 1.2 to 1.5 times as long."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for label, value in (("width", self.width), ("depth", self.depth)):
            if value < 1:
                raise ValueError(f"{label} = {value} of family neural; expected at least 1")

    def fitted_to(self, frame: Frame, coordinates: Sequence[str] = ()) -> Neural:
        """Return the family in the phase space of a frame."""
        return self.in_phase_space(frame.dim)

    def feature_count(self, dim: int) -> int:
        """Return the number of units and monomials."""
        return self.width + dim * (dim + 3) // 2

    def shared(self, key: Key, dim: int) -> Params:
        """Return the weights of the units at initialisation."""
        state = nnx.state(Units(dim, self.width, self.depth, rngs=nnx.Rngs(params=key)))
        return {
            f"{SHARED}{leaf}{i}": jnp.asarray(state["hidden"][i][leaf][...], float)
            for i in range(self.depth)
            for leaf in ("kernel", "bias")
        }

    def features(self, params: Params, x: Array) -> Array:
        """Return the units of the last layer, then the monomials up to degree 2."""
        layers = {
            i: {leaf: nnx.Param(params[f"{SHARED}{leaf}{i}"]) for leaf in ("kernel", "bias")}
            for i in range(self.depth)
        }
        units = nnx.merge(_structure(x.shape[-1], self.width, self.depth), nnx.State({"hidden": layers}))
        return jnp.concatenate([units(x), monomials(x, 2)], axis=-1)

    def shared_of(self, data: FrameTrajectories, known: np.ndarray, key: Key) -> Params:
        """Train units whose combinations are constant along trajectories and independent of known integrals.

        The loss is the mean log of the scatter of the combinations over their change by noise. A multiple of
        the mean log determinant of their normalised gradients is subtracted.
        """
        start_key, train_key = jax.random.split(key)
        params = self.init(start_key, data.states.shape[1])
        params = {name: value for name, value in params.items() if name not in ("form", "linear")}
        params[WEIGHTS] = params[WEIGHTS] * 10.0
        return _trained(self, params, data, known, train_key)


def _trained(family: Neural, params: Params, data: FrameTrajectories, known: np.ndarray, key: Key) -> Params:
    _, first, place, count = np.unique(
        data.trajectory, return_index=True, return_inverse=True, return_counts=True
    )
    dtype = params[WEIGHTS].dtype
    states, others = jnp.asarray(data.states, dtype), jnp.asarray(known, dtype)
    root = jnp.asarray(np.linalg.cholesky(data.noise).T, dtype)
    begin, length = jnp.asarray(first[place], jnp.int32), jnp.asarray(count[place], jnp.int32)

    def values(params: Params, x: Array) -> Array:
        return family.features(params, x) @ params[WEIGHTS].T

    def loss(params: Params, key: Key) -> Array:
        keys = jax.random.split(key, 3)
        here = jax.random.randint(keys[0], (BATCH,), 0, len(states))
        along = jax.random.uniform(keys[1], (BATCH,), dtype) * length[here]
        there = begin[here] + jnp.minimum(along.astype(jnp.int32), length[here] - 1)
        near, far = values(params, states[here]), values(params, states[there])
        gradients = jax.vmap(jax.jacrev(lambda x: values(params, x)))(states[here])
        shaken = states[here] + jax.random.normal(keys[2], states[here].shape, dtype) @ root
        moved = jnp.mean((values(params, shaken) - near) ** 2, axis=0)
        scatter = jnp.mean((near - far) ** 2, axis=0) / 2 / moved
        unit = gradients / jnp.sqrt(jnp.mean(jnp.sum(gradients**2, axis=-1), axis=0))[:, None]
        # Quantities that depend on H and the quadratic ones alone are known already.
        unit = jnp.concatenate([unit, others[here]], axis=1)
        gram = unit @ jnp.swapaxes(unit, 1, 2) + 0.01 * jnp.eye(unit.shape[1], dtype=dtype)
        return jnp.mean(jnp.log(scatter + 0.1)) - _INDEPENDENCE * jnp.mean(log_determinant(gram))

    optimiser = optax.adam(optax.cosine_decay_schedule(RATE, STEPS))

    def one(carry: Any, key: Key) -> tuple[Any, Array]:
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, key)
        updates, state = optimiser.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), value

    @jax.jit
    def run(params: Params, key: Key) -> Params:
        return jax.lax.scan(one, (params, optimiser.init(params)), jax.random.split(key, STEPS))[0][0]

    trained = run(params, key)
    return {name: value for name, value in trained.items() if name.startswith(SHARED)}
