"""Quadratic forms, and beside them functions W phi(x) of features: what polynomials and networks share.

Flows of functions have no closed form: the orbit points of a draw are the path of one integration, each then
moved by the exact flow of the forms.
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
from noethers_razor.conserved.proposal.constancy import CREDIBLE, credible_length, folds
from noethers_razor.conserved.proposal.independence import (
    Features,
    balanced,
    constant_space,
    defects,
    independent_rank,
    moments_of,
)
from noethers_razor.conserved.proposal.sparsity import independent_functions
from noethers_razor.conserved.quadratic import (
    AUTOMATIC,
    Quadratic,
    initial_forms,
    mixed_forms,
    offered,
    principal_forms,
    quadratic_orbit,
    symmetric,
)
from noethers_razor.data.frame import Frame
from noethers_razor.errors import UsageError
from noethers_razor.mechanics.flows import affine_flow, affine_generator, combination_path, move_affine
from noethers_razor.mechanics.orbits import RADIUS, Orbit
from noethers_razor.mechanics.quadratic_form import quadratic_value

_LONG = 0.5
"""Reach above which two Runge-Kutta steps lead from one orbit point to the next, and not one."""
SPEED = 4.0
"""Multiple of the root-mean-square speed to which flows are limited: functions grow where no data are."""
SHARED = "shared/"
"""Prefix of parameters that all functions have in common."""
LENGTH = f"{SHARED}length"
"""Name of the share of the reach that orbits of functions have: the bound chooses it, no gradient."""
WEIGHTS = "weights"
"""Name of W (functions, D)."""
_STATES, _CURVED = 2048, 256
_RANDOM_START = 0.02


@dataclasses.dataclass(frozen=True)
class Expansion(ABC):
    """Learnable quadratic forms, and functions C = W phi with features phi of a subclass.

    Args:
        count: largest number of forms, see `offered`, and of functions, of which there are 2 n - 2 at
            most; in a phase space the sum K of both.
        start: ``proposal`` (what is constant along trajectories, then the bound) or ``random``.
        forms: whether quadratic forms stand beside the functions.
        functions: largest number of functions, where it is another; in a phase space how many of the K are
            functions, the last.
        reach: flow times of functions relative to those of forms; known after a proposal.
    Raises:
        ValueError: for a count below 1 or an unknown start.
    """

    count: int = AUTOMATIC
    start: str = "proposal"
    forms: bool = True
    functions: int = AUTOMATIC
    reach: float = 1.0
    name = "expansion"
    trainable = True
    sparse = False

    def __post_init__(self) -> None:
        if self.count < 1 and self.count != AUTOMATIC:
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

    def shared_of(self, tracks: Tracks, known: np.ndarray, key: Key) -> Params:
        """Parameters of the features, made for trajectories, gradients (N, J, M) of integrals being known."""
        return self.shared(key, tracks.states.shape[1])

    def settings(self) -> dict[str, Any]:
        """The fields of the family, as plain JSON values."""
        return dataclasses.asdict(self)

    def in_phase_space(self, dim: int) -> Self:
        """At most as many functions as can be integrals independent of each other and of one Hamiltonian.

        Raises:
            UsageError: when that is none, and forms are not asked for.
        """
        forms = offered(self.count, dim) if self.forms else 0
        most = self.count if self.functions < 0 else self.functions
        functions = dim - 2 if most == AUTOMATIC else min(most, dim - 2)
        if not forms and not functions:
            raise UsageError(
                f"family {self.name} without forms in one degree of freedom, where H is the only integral; "
                "expected forms or family none"
            )
        return dataclasses.replace(self, count=forms + functions, functions=functions)

    @property
    def splits(self) -> bool:
        """Always, if a subclass does not say otherwise."""
        return True

    def without_functions(self) -> Self:
        """The forms alone."""
        return dataclasses.replace(self, count=self._quadratics, functions=0)

    def with_reach(self, reach: float) -> Self:
        """With other flow times of the functions."""
        return dataclasses.replace(self, reach=reach)

    @property
    def _quadratics(self) -> int:
        return self.count - self.functions

    def init(self, key: Key, dim: int) -> Params:
        """Small random forms and weights (functions, D), and the parameters of the features.

        Raises:
            ValueError: before `in_phase_space` has said how many are functions.
        """
        if self.functions < 0:
            raise ValueError(f"family {self.name} in no phase space yet; call in_phase_space({dim}) first")
        form_key, weight_key, shared_key = jax.random.split(key, 3)
        params = initial_forms(form_key, self._quadratics, dim)
        if self.functions:
            shape = (self.functions, self.feature_count(dim))
            params[WEIGHTS] = _RANDOM_START * jax.random.normal(weight_key, shape)
            params |= {LENGTH: jnp.ones(()), **self.shared(shared_key, dim)}
        return params

    def value(self, params: Params, x: Array) -> Array:
        """C(x): (..., M) -> (..., K)."""
        quadratic = quadratic_value(*symmetric(params), x)
        if not self.functions:
            return quadratic
        return jnp.concatenate([quadratic, self.functions_of(params, x)], axis=-1)

    def functions_of(self, params: Params, x: Array) -> Array:
        """Those of C(x) that are no forms: (..., M) -> (..., functions)."""
        return self.features(params, x) @ self._weights(params).T

    def _weights(self, params: Params) -> Array:
        weights = params[WEIGHTS]
        # A term that was left out stays out: the derivative by it is zero.
        return jnp.where(weights != 0, weights, 0.0) if self.sparse else weights

    def orbit(self, params: Params, tau: Array) -> Orbit:
        """Points at tau (..., S, K): moved by the flow of the functions, then by that of the forms.

        Times of functions beside each other are those of a path, see `flows.combination_path`, in any order.
        """
        if not self.functions:
            return quadratic_orbit(*symmetric(params), tau)
        samples, forms = tau.shape[-2], self._quadratics
        if forms:
            maps = affine_flow(affine_generator(*symmetric(params)), tau[..., :forms].reshape(-1, forms))
        reach = self.reach * jax.lax.stop_gradient(params[LENGTH])
        times = reach * tau[..., forms:].reshape(-1, samples, self.functions)
        weights = self._weights(params)
        paths = _within(weights, times)

        def points(x: Array) -> Array:
            # A step of full speed over one of the intervals, and as many times it as the limit says.
            limit = SPEED * math.sqrt(x.shape[-1]) * 2 * RADIUS * reach / samples

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
            if forms:
                found = move_affine(maps, found.reshape(-1, *x.shape))
            return found.reshape(*tau.shape[:-1], *x.shape)

        return points

    def principal(self, params: Params, states: np.ndarray) -> tuple[np.ndarray, Params]:
        """Singular values (K,) and the parameters in principal directions, forms first."""
        values, own = principal_forms(*symmetric(params), states)
        rotated = {**params, **own}
        if not self.functions:
            return values, rotated
        some = thinned(states, _STATES)
        slopes = gradients(self, params, some)[self._quadratics :]
        rows = slopes.reshape(len(slopes), slopes.shape[1] * slopes.shape[2])
        squares, rotation = np.linalg.eigh(rows @ rows.T)
        weights = jnp.asarray(params[WEIGHTS])
        rotated[WEIGHTS] = jnp.asarray(rotation[:, ::-1].T, weights.dtype) @ weights
        sizes = np.sqrt(np.maximum(squares[::-1], 0.0) / np.sum(some**2))
        return np.concatenate([values, sizes]), rotated

    def mixed(self, params: Params, weights: np.ndarray) -> Params:
        """Parameters of sum_j weights[i, j] C_j, of forms among forms and of functions among functions."""
        forms = self._quadratics
        own = {name: params[name] for name in ("form", "linear")}
        mixed = {**params, **mixed_forms(own, weights[:forms, :forms])}
        if self.functions:
            mine = jnp.asarray(params[WEIGHTS])
            mixed[WEIGHTS] = jnp.asarray(weights[forms:, forms:], mine.dtype) @ mine
        return mixed

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
        if not np.isfinite(shaken).all():
            raise UsageError(
                f"functions of family {self.name} are not finite where noise moves states of the data; "
                "name terms that are defined beyond them"
            )
        # Changes of gradients over the spread of a coordinate, as the gradients relative to the data's size.
        flat = np.swapaxes(np.asarray(bent), 0, 1).reshape(values.shape[1], -1)
        curvature = flat @ flat.T / len(fewer) / states.shape[1]
        return Features(values, shaken, slopes, curvature, size)

    def propose(self, tracks: Tracks, key: Key) -> Proposal:
        """Forms, then functions independent of them that vary along trajectories no more than noise.

        What depends on H alone is left out of the functions where H is known: its flow moves states along
        their trajectories, where the average of a Hamiltonian learns nothing.
        """
        dim, forms = tracks.states.shape[1], self._quadratics
        if self.start == "random":
            nothing = np.full(self.count, np.nan)
            return Proposal(self.init(key, dim), nothing, tracks.deviation, nothing)
        params = initial_forms(key, 0, dim)
        defect, length = np.zeros(0), np.zeros(0)
        if forms:
            found = Quadratic(forms).propose(tracks, key)
            params, defect, length = dict(found.params), found.defect, found.length
        if not self.functions:
            return Proposal(params, defect, tracks.deviation, length)
        known = self._known(tracks, params, length)
        rows, own, shared = self._functions(tracks, known, key)
        size = credible_length(own, tracks.deviation)
        empty = self.functions - len(rows)
        weights = np.pad(rows * size[:, None], [(0, empty), (0, 0)])
        params |= {WEIGHTS: jnp.asarray(weights), LENGTH: jnp.ones(()), **shared}
        return Proposal(
            params,
            np.concatenate([defect, own, np.full(empty, np.nan)]),
            tracks.deviation,
            np.concatenate([length, size, np.zeros(empty)]),
        )

    def _known(self, tracks: Tracks, params: Params, length: np.ndarray) -> np.ndarray:
        """Gradients (N, J, M), of unit size, of H where it is known and of the credible forms."""
        form, linear = (np.asarray(part, np.float64)[length >= CREDIBLE] for part in symmetric(params))
        slopes = np.einsum("kij,nj->nki", form, tracks.states) + linear
        if tracks.slopes is not None:
            slopes = np.concatenate([tracks.slopes[:, None], slopes], axis=1)
        return slopes / np.sqrt(np.mean(np.sum(slopes**2, axis=-1), axis=0))[:, None]

    def _functions(
        self, tracks: Tracks, known: np.ndarray, key: Key
    ) -> tuple[np.ndarray, np.ndarray, Params]:
        """Weights (k, D) of functions independent of known ones, their defects, and the shared parameters."""
        unit_key, noise_key = jax.random.split(key)
        dim = tracks.states.shape[1]
        if independent_rank(thinned(known, _STATES)) >= dim - 1:
            # There are no more integrals than that.
            return np.zeros((0, self.feature_count(dim))), np.zeros(0), self.shared(unit_key, dim)
        parts = np.unique(fold := folds(tracks.track)).tolist()
        seen = fold != parts[0]
        shared = self.shared_of(tracks.where(seen), known[seen], unit_key)
        if shared:
            # Units can be made constant along any few tracks: those that made them say nothing of them.
            parts = parts[:1]
        features = balanced(self.sampled(shared, tracks, noise_key), tracks.track)
        moments = moments_of(features, tracks, parts)
        space = constant_space(moments)
        rows = independent_functions(
            features, moments, space, thinned(known, _STATES), self.functions, sparse=self.sparse
        )
        own = defects(features.values @ rows.T, features.shaken @ rows.T, tracks)
        return rows, space.excess * own, shared


def _within(weights: Array, paths: Array) -> Array:
    """Times (P, S, K) turned to the quantities that are not zero, as long as before.

    Where most places are empty a random direction is mostly theirs, and the path would stand still.
    """
    used = jnp.any(weights != 0, axis=1).astype(paths.dtype)
    kept = paths * used
    size, left = jnp.sum(paths**2, axis=(1, 2)), jnp.sum(kept**2, axis=(1, 2))
    # At time zero the ratio has no derivative, and is not needed.
    ratio = jnp.where(left > 0, size, 1.0) / jnp.where(left > 0, left, 1.0)
    return kept * jnp.sqrt(ratio)[:, None, None]
