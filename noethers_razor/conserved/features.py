"""Non-quadratic conserved quantities C = W phi(x) of features phi, with integrated flows.

Their flows have no closed form: the orbit points of one draw are the path of one integration.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array, Key, Params
from noethers_razor.conserved.base import INTEGRATED, Block, gradients_of
from noethers_razor.conserved.proposal.independence import Features
from noethers_razor.data.frame_trajectories import FrameTrajectories, thinned
from noethers_razor.errors import UsageError
from noethers_razor.mechanics.flows import combination_path
from noethers_razor.mechanics.orbits import RADIUS, Orbit

# Full paths of Toda's quantity run away, and those of the Laplace-Runge-Lenz vector cost the bound.
REACH = 0.125
"""Flow times relative to those of exact flows: paths stay where the data are."""
_LONG = 0.5
"""Reach above which two Runge-Kutta steps, and not one, lead from one orbit point to the next."""
SPEED = 4.0
"""Multiple of the root-mean-square speed that limits flows: quantities may grow where there are no data."""
SHARED = "shared/"
"""Prefix of parameters that all quantities of a block have in common."""
WEIGHTS = "weights"
"""Name of W (count, D)."""
_STATES = 2048
"""States at which gradients of features are sampled."""
_CURVED = 256
"""States at which second derivatives of features are sampled."""
_RANDOM_START = 0.02
"""Standard deviation of the weights of a random start."""

FeatureMap = Callable[[Params, Array], Array]
"""phi: (parameters, states (..., M)) -> (..., D)."""


@dataclasses.dataclass(frozen=True)
class FeatureBlock(Block):
    """Quantities C = W phi(x) with parameters ``weights`` (count, D) and those of phi, ``shared/...``.

    Args:
        count: number of quantities.
        features: phi.
        sparse: whether a weight of zero stays zero.
        reach: flow times relative to those of exact flows.
        averaged: whether orbits move states along the flows; if not, they leave states where they are.
        splits: whether a training step gains when it is split over the processors.
    """

    count: int
    features: FeatureMap
    sparse: bool = False
    reach: float = REACH
    averaged: bool = True
    splits: bool = True
    flow: ClassVar[str] = INTEGRATED
    step_size: ClassVar[float] = 0.03
    """Each quantity has many entries, each of which moves a little. After a step size of .1 the quantities
    of Kepler vary along trajectories by half as much again, and the bound gains no more than its error."""
    leaves: ClassVar[tuple[str, ...]] = (WEIGHTS,)

    def init(self, key: Key, width: int) -> Params:
        """Return small random weights (count, width)."""
        return {WEIGHTS: _RANDOM_START * jax.random.normal(key, (self.count, width))}

    def value(self, params: Params, x: Array) -> Array:
        """Return C(x): (..., M) -> (..., count)."""
        return self.features(params, x) @ self._weights(params).T

    def _weights(self, params: Params) -> Array:
        weights = params[WEIGHTS]
        # A term that was left out stays out: its derivative is zero.
        return jnp.where(weights != 0, weights, 0.0) if self.sparse else weights

    def orbit(self, params: Params, tau: Array) -> Orbit:
        """Return points at tau (..., S, count); the times of one draw lie on a path, in any order."""
        if not self.averaged:
            return lambda x: jnp.broadcast_to(x, (*tau.shape[:-1], *x.shape))
        samples = tau.shape[-2]
        times = self.reach * tau.reshape(-1, samples, self.count)
        weights = self._weights(params)
        paths = _within(weights, times)

        def points(x: Array) -> Array:
            # A step at full speed over one of the intervals, times the limit.
            limit = SPEED * math.sqrt(x.shape[-1]) * 2 * RADIUS * self.reach / samples

            def path(times: Array) -> Array:
                along = times @ times[jnp.argmax(jnp.sum(times**2, axis=-1))]
                order = jnp.argsort(along)
                moved = combination_path(
                    lambda y: self.features(params, y),
                    times[order] @ weights,
                    x,
                    substeps=2 if self.reach > _LONG else 1,
                    limit=limit,
                )
                return moved[jnp.argsort(order)]

            found = path(paths[0])[None] if len(paths) == 1 else jax.vmap(path)(paths)
            return found.reshape(*tau.shape[:-1], *x.shape)

        return points

    def principal(self, params: Params, states: np.ndarray) -> tuple[np.ndarray, Params]:
        """Return displacement singular values (count,), and the weights in principal directions."""
        some = thinned(states, _STATES)
        gradients = gradients_of(self, params, some)
        rows = gradients.reshape(len(gradients), gradients.shape[1] * gradients.shape[2])
        squares, rotation = np.linalg.eigh(rows @ rows.T)
        weights = jnp.asarray(params[WEIGHTS])
        rotated = {WEIGHTS: jnp.asarray(rotation[:, ::-1].T, weights.dtype) @ weights}
        return np.sqrt(np.maximum(squares[::-1], 0.0) / np.sum(some**2)), rotated

    def mixed(self, params: Params, weights: np.ndarray) -> Params:
        """Return the weights of sum_j weights[i, j] C_j: weights (count, count)."""
        own = jnp.asarray(params[WEIGHTS])
        return {WEIGHTS: jnp.asarray(weights, own.dtype) @ own}


def gradients_of_combinations(
    features: FeatureMap, shared: Params, rows: np.ndarray, states: np.ndarray
) -> np.ndarray:
    """Return gradients (N, k, M) of combinations rows (k, D) of features at states (N, M), float64."""
    with jax.enable_x64(True):
        wide = {name: jnp.asarray(np.asarray(value, np.float64)) for name, value in shared.items()}
        combined = jax.jacrev(lambda x: jnp.asarray(rows) @ features(wide, x))
        return np.asarray(jax.jit(jax.vmap(combined))(jnp.asarray(states)))


def sampled(features: FeatureMap, name: str, shared: Params, data: FrameTrajectories, key: Key) -> Features:
    """Sample features on trajectories: values, their changes by noise, gradients, second derivatives.

    Noise changes the mean of a function by half its second derivatives. Values are without this change.

    Args:
        features: phi.
        name: of the family, for the message.
        shared: parameters of phi.
        data: trajectories with known noise.
        key: of the noise that is added.
    Raises:
        UsageError: when a feature is not finite where noise moves the states.
    """
    states = data.states
    size = float(np.sqrt(np.mean(np.sum(states**2, axis=1))))
    few, fewer = thinned(states, _STATES), thinned(states, _CURVED)
    with jax.enable_x64(True):
        wide = {name: jnp.asarray(np.asarray(value, np.float64)) for name, value in shared.items()}
        function = functools.partial(features, wide)
        noise = (
            np.asarray(jax.random.normal(key, states.shape, jnp.float64)) @ np.linalg.cholesky(data.noise).T
        )
        many = jax.jit(function)
        values = np.asarray(many(jnp.asarray(states)))
        shaken, back = (np.asarray(many(jnp.asarray(states + sign * noise))) - values for sign in (1, -1))
        bias = np.asarray(jax.jit(lambda x: _bias(function, data.noise_factor, x))(jnp.asarray(states)))
        gradients = np.asarray(jax.jit(jax.vmap(jax.jacfwd(function)))(jnp.asarray(few)))
        bent = jax.jit(jax.vmap(jax.jacfwd(jax.jacfwd(function))))(jnp.asarray(fewer))
    if not np.isfinite(shaken).all():
        raise UsageError(
            f"a quantity of family {name} is not finite where noise moves the states of the data; "
            "name terms that are defined beyond the data"
        )
    # Changes of gradients over the spread of a coordinate, in the unit of the gradients.
    flat = np.swapaxes(np.asarray(bent), 0, 1).reshape(values.shape[1], -1)
    curvature = flat @ flat.T / len(fewer) / states.shape[1]
    return Features(values - bias, shaken, (shaken + back) / 2, gradients, curvature, size)


def _bias(function: Callable[[Array], Array], factor: np.ndarray, x: Array) -> Array:
    """Return the mean change of a function (..., D) of states (..., M) by noise of a factor (M, M)."""

    def bent(direction: Array) -> Array:
        def slope(x: Array) -> Array:
            return jax.jvp(function, (x,), (jnp.broadcast_to(direction, x.shape),))[1]

        return jax.jvp(slope, (x,), (jnp.broadcast_to(direction, x.shape),))[1]

    columns = jnp.asarray(factor.T)
    return jnp.sum(jax.lax.map(bent, columns), axis=0) / 2


def _within(weights: Array, paths: Array) -> Array:
    """Set times of quantities with zero weights to zero; scale the rest so that each path keeps its length.

    Where most places are empty a random direction lies mostly along them, and the path would hardly move.

    Args:
        weights: W (K, D).
        paths: times (P, S, K).
    """
    used = jnp.any(weights != 0, axis=1).astype(paths.dtype)
    kept = paths * used
    size, left = jnp.sum(paths**2, axis=(1, 2)), jnp.sum(kept**2, axis=(1, 2))
    # At time zero the ratio has no derivative, and none is needed.
    ratio = jnp.where(left > 0, size, 1.0) / jnp.where(left > 0, left, 1.0)
    return kept * jnp.sqrt(ratio)[:, None, None]
