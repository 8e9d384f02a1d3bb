"""Quadratic conserved quantities C(x) = x'Ax/2 + b'x: their flows are affine and exact."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array, Key, Params
from noethers_razor.conserved.base import STARTS, Proposal, Tracks
from noethers_razor.conserved.proposal import constancy
from noethers_razor.data.frame import Frame
from noethers_razor.errors import UsageError
from noethers_razor.mechanics.flows import affine_flow, affine_generator, apply_affine
from noethers_razor.mechanics.orbits import Orbit
from noethers_razor.mechanics.quadratic_form import (
    QuadraticForm,
    embed,
    largest_count,
    orbit_scale,
    quadratic_value,
    second_moment,
    stack_forms,
)

_RANDOM_START = 0.02
"""Deviation of the entries of a random start: small, so that a direction grows by evidence only."""


AUTOMATIC = -1
"""A count that follows from the phase space, see `offered`."""
_FEWEST, _SPARE, _MOST = 15, 6, 128


def offered(count: int, dim: int) -> int:
    """How many quadratic quantities to look for: a count, or those of U(n) and a few more, at least 15.

    More cost little, see the benchmark of steps, and the evidence decides how many stay.
    """
    if count == AUTOMATIC:
        count = min(max(_FEWEST, (dim // 2) ** 2 + _SPARE), _MOST)
    return min(count, largest_count(dim))


def quadratic_orbit(form: Array, linear: Array, tau: Array) -> Orbit:
    """Orbit points under the flows of sum_k tau_k C_k, tau (..., S, K); exponentials are taken once, here."""
    maps = affine_flow(affine_generator(form, linear), tau.reshape(-1, tau.shape[-1]))
    return lambda x: apply_affine(maps, x).reshape(*tau.shape[:-1], *x.shape)


def initial_forms(key: Key, count: int, dim: int) -> Params:
    """Entries N(0, .02^2), the paper's kind of start: form (K, M, M), linear (K, M)."""
    form_key, linear_key = jax.random.split(key)
    return {
        "form": _RANDOM_START * jax.random.normal(form_key, (count, dim, dim)),
        "linear": _RANDOM_START * jax.random.normal(linear_key, (count, dim)),
    }


def symmetric(params: Params) -> tuple[Array, Array]:
    """The symmetric A (K, M, M) and b (K, M) that parameters stand for."""
    form = params["form"]
    return 0.5 * (form + jnp.swapaxes(form, -1, -2)), params["linear"]


def principal_forms(form: Array, linear: Array, states: np.ndarray) -> tuple[np.ndarray, Params]:
    """Displacement singular values (K,) of forms (K, M, M), (K, M), and the forms rotated to them."""
    wide, tall = np.asarray(form, np.float64), np.asarray(linear, np.float64)
    rows = embed(wide, tall, second_moment(states))
    rotation, values, _ = np.linalg.svd(rows, full_matrices=False)
    rotated = {
        "form": jnp.asarray(np.einsum("kr,kij->rij", rotation, wide), form.dtype),
        "linear": jnp.asarray(rotation.T @ tall, linear.dtype),
    }
    return values, rotated


def mixed_forms(params: Params, weights: np.ndarray) -> Params:
    """Forms and linear parts of sum_j weights[i, j] C_j: weights (K, K)."""
    return {
        name: jnp.tensordot(jnp.asarray(weights, value.dtype), value, 1) for name, value in params.items()
    }


@dataclasses.dataclass(frozen=True)
class Quadratic:
    """K learnable quadratic conserved quantities (paper, section 3.2).

    Args:
        count: K, the largest number to look for, see `offered`; the evidence decides how many stay.
        start: ``proposal`` (what is constant along trajectories, then the bound) or ``random`` (the paper's).
    Raises:
        ValueError: for a count below 1 or an unknown start.
    """

    count: int = AUTOMATIC
    start: str = "proposal"
    name = "quadratic"
    trainable = True
    functions = 0

    def __post_init__(self) -> None:
        if self.count < 1 and self.count != AUTOMATIC:
            raise ValueError(
                f"{self.count} quadratic conserved quantities; expected at least 1 "
                "(family 'none' fits without symmetry)"
            )
        if self.start not in STARTS:
            raise ValueError(f"unknown start {self.start!r}; expected one of {', '.join(STARTS)}")

    def fitted_to(self, frame: Frame, coordinates: Sequence[str] = ()) -> Quadratic:
        """At most as many as there are independent quadratics on this phase space."""
        return dataclasses.replace(self, count=offered(self.count, frame.dim))

    def settings(self) -> dict[str, Any]:
        """Count and start."""
        return {"count": self.count, "start": self.start}

    @classmethod
    def restored(cls, settings: dict[str, Any], params: Params) -> Quadratic:
        """From `settings`."""
        return cls(**settings)

    def init(self, key: Key, dim: int) -> Params:
        """Entries N(0, .02^2), the paper's kind of start.

        Raises:
            ValueError: before `fitted_to` has said how many there are.
        """
        if self.count == AUTOMATIC:
            raise ValueError(f"family {self.name} in no phase space yet; call fitted_to, or give a count")
        return initial_forms(key, self.count, dim)

    def value(self, params: Params, x: Array) -> Array:
        """C(x): (..., M) -> (..., K)."""
        return quadratic_value(*symmetric(params), x)

    def orbit(self, params: Params, tau: Array) -> Orbit:
        """Affine maps of tau (S, K), exponentiated once."""
        return quadratic_orbit(*symmetric(params), tau)

    def principal(self, params: Params, states: np.ndarray) -> tuple[np.ndarray, Params]:
        """Singular values (K,) and the parameters in principal directions, see `principal_forms`."""
        return principal_forms(*symmetric(params), states)

    def mixed(self, params: Params, weights: np.ndarray) -> Params:
        """Combinations sum_j weights[i, j] C_j, see `mixed_forms`."""
        return mixed_forms(params, weights)

    def propose(self, tracks: Tracks, key: Key) -> Proposal:
        """The K directions that vary least along trajectories, or a random start."""
        found = constancy.proposal(tracks, self.count)
        if self.start == "proposal":
            return found
        length = np.full(self.count, np.nan)
        return dataclasses.replace(found, params=self.init(key, tracks.states.shape[-1]), length=length)


@dataclasses.dataclass(frozen=True)
class KnownQuadratic:
    """Given quadratic quantities, kept fixed: the oracle of the paper's tables.

    Args:
        form: A (K, M, M), symmetric, in data units.
        linear: b (K, M).
    """

    form: np.ndarray
    linear: np.ndarray
    name = "oracle"
    trainable = False
    functions = 0

    @classmethod
    def of(cls, named: Mapping[str, QuadraticForm]) -> KnownQuadratic:
        """From named quantities, such as ``system.conserved()``.

        Raises:
            UsageError: when there is none.
        """
        if not named:
            raise UsageError("no quadratic quantity is given; expected a system that conserves one")
        return cls(*stack_forms(named))

    @property
    def count(self) -> int:
        """Number K of given quantities."""
        return self.form.shape[0]

    def fitted_to(self, frame: Frame, coordinates: Sequence[str] = ()) -> KnownQuadratic:
        """The same quantities in the frame.

        Raises:
            ValueError: when the quantities belong to another phase space.
        """
        if self.form.shape[-1] != frame.dim:
            raise ValueError(
                f"the given quantities live on phase space of dimension {self.form.shape[-1]}, "
                f"the data on {frame.dim}; choose the system that made the data"
            )
        return KnownQuadratic(*frame.quadratic_into(self.form, self.linear))

    def settings(self) -> dict[str, Any]:
        """Nothing: the quantities are the parameters."""
        return {}

    @classmethod
    def restored(cls, settings: dict[str, Any], params: Params) -> KnownQuadratic:
        """From the parameters."""
        return cls(np.asarray(params["form"]), np.asarray(params["linear"]))

    def init(self, key: Key, dim: int) -> Params:
        """The given quantities; nothing is random."""
        return {"form": jnp.asarray(self.form), "linear": jnp.asarray(self.linear)}

    def value(self, params: Params, x: Array) -> Array:
        """C(x): (..., M) -> (..., K)."""
        return quadratic_value(params["form"], params["linear"], x)

    def orbit(self, params: Params, tau: Array) -> Orbit:
        """Affine maps of tau (S, K), exponentiated once."""
        return quadratic_orbit(params["form"], params["linear"], tau)

    def principal(self, params: Params, states: np.ndarray) -> tuple[np.ndarray, Params]:
        """Singular values (K,) and the parameters in principal directions, see `principal_forms`."""
        return principal_forms(params["form"], params["linear"], states)

    def mixed(self, params: Params, weights: np.ndarray) -> Params:
        """Combinations sum_j weights[i, j] C_j, see `mixed_forms`."""
        return mixed_forms(params, weights)

    def propose(self, tracks: Tracks, key: Key) -> Proposal:
        """The given quantities, each scaled to a natural unit of tau, see `orbit_scale`."""
        scale = orbit_scale(self.form, self.linear, tracks.states)
        params = {
            "form": jnp.asarray(self.form / scale[:, None, None]),
            "linear": jnp.asarray(self.linear / scale[:, None]),
        }
        nothing = np.full(self.count, np.nan)
        return Proposal(params, nothing, tracks.deviation, np.ones(self.count))
