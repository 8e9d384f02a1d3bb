"""Conserved quantities C(x) = W phi(x), combinations of features: what polynomials and networks share.

Their flows have no closed form: the orbit points of a draw are the path of one integration.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array, Key, Params
from noethers_razor.conserved.base import STARTS, Proposal, Tracks, gradients, thinned
from noethers_razor.conserved.constancy import credible_length
from noethers_razor.conserved.independence import Features, balanced, constant_space, defects, independent
from noethers_razor.data.frame import Frame
from noethers_razor.flows import combination_path
from noethers_razor.orbit import RADIUS, Orbit

SUBSTEPS = 2
"""Runge-Kutta steps from one orbit point to the next."""
SPEED = 4.0
"""Multiple of the root-mean-square speed to which flows are limited: functions grow where no data are."""
SHARED = "shared/"
"""Prefix of parameters that all quantities have in common; the others have a leading axis K."""
_STATES, _CURVED = 2048, 256
_RANDOM_START = 0.02


@dataclasses.dataclass(frozen=True)
class Expansion(ABC):
    """K learnable functions C = W phi with features phi of a subclass.

    Args:
        count: K, the largest number to look for; besides H there are 2 n - 2 independent integrals at most.
        start: ``proposal`` (what is constant along trajectories, then the bound) or ``random``.
    Raises:
        ValueError: for a count below 1 or an unknown start.
    """

    count: int = 15
    start: str = "proposal"
    name = "expansion"
    trainable = True
    radius = RADIUS
    measure = "line"
    besides_energy = True

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(
                f"{self.count} conserved quantities of family {self.name}; expected at least 1 "
                "(family 'none' fits without symmetry)"
            )
        if self.start not in STARTS:
            raise ValueError(f"unknown start {self.start!r}; expected one of {', '.join(STARTS)}")

    @abstractmethod
    def fitted_to(self, frame: Frame, coordinates: Sequence[str] = ()) -> Self:
        """The family in a frame."""

    @classmethod
    @abstractmethod
    def restored(cls, settings: dict[str, Any], params: Params) -> Expansion:
        """From `settings`."""

    @abstractmethod
    def features(self, params: Params, x: Array) -> Array:
        """phi(x): states (..., M) -> (..., D)."""

    @abstractmethod
    def feature_count(self, dim: int) -> int:
        """D on phase space of dimension M."""

    def shared(self, key: Key, dim: int) -> Params:
        """Parameters of the features at the start, named with the prefix `SHARED`."""
        return {}

    def shared_of(self, tracks: Tracks, key: Key) -> Params:
        """Parameters of the features, made for trajectories."""
        return self.shared(key, tracks.states.shape[1])

    def settings(self) -> dict[str, Any]:
        """The fields of the family, as plain JSON values."""
        return dataclasses.asdict(self)

    def in_phase_space(self, dim: int) -> Self:
        """At most as many functions as can be integrals independent of each other and of one Hamiltonian."""
        return dataclasses.replace(self, count=max(1, min(self.count, dim - 2)))

    def init(self, key: Key, dim: int) -> Params:
        """Small random weights (K, D), and the parameters of the features."""
        weight_key, shared_key = jax.random.split(key)
        size = _RANDOM_START * jax.random.normal(weight_key, (self.count, self.feature_count(dim)))
        return {"weights": size, **self.shared(shared_key, dim)}

    def value(self, params: Params, x: Array) -> Array:
        """C(x): (..., M) -> (..., K)."""
        return self.features(params, x) @ params["weights"].T

    def orbit(self, params: Params, tau: Array) -> Orbit:
        """Points at tau (..., S, K) of the flows of tau @ C, the S of one integration in one direction.

        Times beside each other are those of a path, see `flows.combination_path`, in any order.
        """
        samples = tau.shape[-2]
        paths = _within(params["weights"], tau.reshape(-1, samples, tau.shape[-1]))

        def points(x: Array) -> Array:
            # A step of full speed over one of the intervals, and as many times it as the limit says.
            limit = SPEED * math.sqrt(x.shape[-1]) * 2 * self.radius / samples

            def path(times: Array) -> Array:
                along = times @ times[jnp.argmax(jnp.sum(times**2, axis=-1))]
                order = jnp.argsort(along)
                moved = combination_path(
                    lambda y: self.features(params, y),
                    times[order] @ params["weights"],
                    x,
                    substeps=SUBSTEPS,
                    limit=limit,
                )
                return moved[jnp.argsort(order)]

            found = path(paths[0])[None] if len(paths) == 1 else jax.vmap(path)(paths)
            return found.reshape(*tau.shape[:-1], *x.shape)

        return points

    def principal(self, params: Params, states: np.ndarray) -> tuple[np.ndarray, Params]:
        """Singular values (K,) and the parameters in principal directions, by gradients at some states."""
        some = thinned(states, _STATES)
        slopes = gradients(self, params, some)
        rows = slopes.reshape(len(slopes), slopes.shape[1] * slopes.shape[2])
        values, rotation = np.linalg.eigh(rows @ rows.T)
        values = np.sqrt(np.maximum(values[::-1], 0.0) / np.sum(some**2))
        return values, self.mixed(params, rotation[:, ::-1].T)

    def mixed(self, params: Params, weights: np.ndarray) -> Params:
        """Parameters of sum_j weights[i, j] C_j."""
        own = params["weights"]
        return {**params, "weights": jnp.asarray(weights, own.dtype) @ own}

    def sampled(self, shared: Params, tracks: Tracks, key: Key) -> Features:
        """The features on trajectories: values, their changes by noise, gradients, second derivatives."""
        states = tracks.states
        size = float(np.sqrt(np.mean(np.sum(states**2, axis=1))))
        few, fewer = thinned(states, _STATES), thinned(states, _CURVED)
        with jax.enable_x64(True):
            wide = {name: jnp.asarray(np.asarray(value, np.float64)) for name, value in shared.items()}
            function = functools.partial(self.features, wide)
            noise = (
                np.asarray(jax.random.normal(key, states.shape, jnp.float64))
                @ np.linalg.cholesky(tracks.noise).T
            )
            many = jax.jit(function)
            values = np.asarray(many(jnp.asarray(states)))
            shaken = np.asarray(many(jnp.asarray(states + noise))) - values
            slopes = np.asarray(jax.jit(jax.vmap(jax.jacfwd(function)))(jnp.asarray(few)))
            bent = jax.jit(jax.vmap(jax.jacfwd(jax.jacfwd(function))))(jnp.asarray(fewer))
        # Changes of gradients over the spread of a coordinate, as the gradients relative to the data's size.
        flat = np.swapaxes(np.asarray(bent), 0, 1).reshape(values.shape[1], -1)
        curvature = flat @ flat.T / len(fewer) / states.shape[1]
        return Features(values, shaken, slopes, curvature, size)

    def propose(self, tracks: Tracks, key: Key) -> Proposal:
        """Independent functions that vary along trajectories no more than noise, or a random start.

        What depends on H alone is left out where H is known: its flow moves states along their trajectories,
        where the average of a Hamiltonian learns nothing.
        """
        dim = tracks.states.shape[1]
        if self.start == "random":
            nothing = np.full(self.count, np.nan)
            return Proposal(self.init(key, dim), nothing, tracks.deviation, nothing)
        unit_key, noise_key = jax.random.split(key)
        shared = self.shared_of(tracks, unit_key)
        features = balanced(self.sampled(shared, tracks, noise_key), tracks.track)
        space, excess = constant_space(features, tracks)
        energy = None if tracks.slopes is None else thinned(tracks.slopes, _STATES)
        rows = independent(features, space, self.count, energy)
        defect = excess * defects(features, rows, tracks)
        length = credible_length(defect, tracks.deviation)
        empty = self.count - len(rows)
        return Proposal(
            {"weights": jnp.asarray(np.pad(rows * length[:, None], [(0, empty), (0, 0)])), **shared},
            np.concatenate([defect, np.full(empty, np.nan)]),
            tracks.deviation,
            np.concatenate([length, np.zeros(empty)]),
        )


def _within(weights: Array, paths: Array) -> Array:
    """Times (P, S, K) turned to the quantities that are not zero, as long as before.

    Where most places are empty a random direction is mostly theirs, and the path would stand still.
    """
    used = jnp.any(weights != 0, axis=1).astype(paths.dtype)
    kept = paths * used
    size, left = jnp.sum(paths**2, axis=(1, 2)), jnp.sum(kept**2, axis=(1, 2))
    return kept * jnp.sqrt(size / jnp.where(left > 0, left, 1.0))[:, None, None]
