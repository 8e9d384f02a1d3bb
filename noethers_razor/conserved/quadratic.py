"""Quadratic conserved quantities C(x) = x'Ax/2 + b'x. Their flows are affine and exact."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array, Key, Params
from noethers_razor.conserved.base import EXACT, STARTS, Block, Family, Proposal, flagged
from noethers_razor.data.frame import Frame
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.errors import UsageError
from noethers_razor.evidence.answer import Answer, answer_of
from noethers_razor.mechanics.flows import affine_flow, affine_generator, apply_affine, move_affine
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
"""Standard deviation of the entries of a random start: small, so that a direction grows by evidence only."""
AUTOMATIC = -1
"""A count that follows from the phase space, see `count_to_look_for`."""
_FEWEST = 15
"""Smallest automatic count. More quantities cost little, see `benchmarks.steps`."""
_SPARE = 6
"""Quantities that are looked for in addition to those of U(n)."""
_MOST = 128
"""Largest automatic count."""


def count_to_look_for(count: int, dim: int) -> int:
    """Return how many quadratic quantities to look for on phase space of dimension M.

    Args:
        count: a number, or `AUTOMATIC`: those of U(n) and a few more, at least 15.
        dim: M.
    """
    if count == AUTOMATIC:
        count = min(max(_FEWEST, (dim // 2) ** 2 + _SPARE), _MOST)
    return min(count, largest_count(dim))


def require_count(name: str, count: int) -> None:
    """Check the largest number of quantities of a family.

    Raises:
        ValueError: for a count below 1 that is not `AUTOMATIC`.
    """
    if count < 1 and count != AUTOMATIC:
        raise ValueError(
            f"{count} conserved quantities of family {name}; expected at least 1 "
            "(family 'none' fits without symmetry)"
        )


def require_start(start: str) -> None:
    """Check the name of a start.

    Raises:
        ValueError: for an unknown one.
    """
    if start not in STARTS:
        raise ValueError(f"unknown start {start!r}; expected one of {', '.join(STARTS)}")


def count_field() -> Any:
    """Return the field for the largest number of quantities."""
    return flagged(AUTOMATIC, "conserved", "Largest number of conserved quantities.")


def start_field() -> Any:
    """Return the field for the kind of start."""
    return flagged(
        "proposal",
        "start",
        "Start from what is constant along trajectories, or from the paper's small random numbers.",
        choices=STARTS,
    )


@dataclasses.dataclass(frozen=True)
class QuadraticBlock(Block):
    """Quadratic quantities with parameters ``form`` (K, M, M) and ``linear`` (K, M).

    Args:
        count: K.
    """

    count: int
    flow: ClassVar[str] = EXACT
    leaves: ClassVar[tuple[str, ...]] = ("form", "linear")

    def init(self, key: Key, dim: int) -> Params:
        """Return entries drawn from N(0, .02^2), the paper's kind of start."""
        form_key, linear_key = jax.random.split(key)
        return {
            "form": _RANDOM_START * jax.random.normal(form_key, (self.count, dim, dim)),
            "linear": _RANDOM_START * jax.random.normal(linear_key, (self.count, dim)),
        }

    def symmetric(self, params: Params) -> tuple[Array, Array]:
        """Return the symmetric A (K, M, M) and b (K, M) of parameters."""
        form = params["form"]
        return 0.5 * (form + jnp.swapaxes(form, -1, -2)), params["linear"]

    def forms(self, params: Params) -> tuple[np.ndarray, np.ndarray]:
        """Return A (K, M, M) and b (K, M), float64."""
        form = np.asarray(params["form"], np.float64)
        return 0.5 * (form + form.transpose(0, 2, 1)), np.asarray(params["linear"], np.float64)

    def value(self, params: Params, x: Array) -> Array:
        """Return C(x): (..., M) -> (..., K)."""
        return quadratic_value(*self.symmetric(params), x)

    def orbit(self, params: Params, tau: Array) -> Orbit:
        """Return the affine maps of tau (..., S, K), exponentiated once."""
        maps = self._maps(params, tau)
        return lambda x: apply_affine(maps, x).reshape(*tau.shape[:-1], *x.shape)

    def move(self, params: Params, tau: Array) -> Orbit:
        """Return the map of points (..., S, ..., M), each set moved by its own affine map."""
        maps, samples = self._maps(params, tau), tau.shape[:-1]

        def moved(points: Array) -> Array:
            flat = points.reshape(-1, *points.shape[len(samples) :])
            return move_affine(maps, flat).reshape(points.shape)

        return moved

    def _maps(self, params: Params, tau: Array) -> Array:
        return affine_flow(affine_generator(*self.symmetric(params)), tau.reshape(-1, tau.shape[-1]))

    def principal(self, params: Params, states: np.ndarray) -> tuple[np.ndarray, Params]:
        """Return displacement singular values (K,), and the parameters in principal directions."""
        form, linear = self.symmetric(params)
        wide, tall = np.asarray(form, np.float64), np.asarray(linear, np.float64)
        rows = embed(wide, tall, second_moment(states))
        rotation, values, _ = np.linalg.svd(rows, full_matrices=False)
        rotated = {
            "form": jnp.asarray(np.einsum("kr,kij->rij", rotation, wide), form.dtype),
            "linear": jnp.asarray(rotation.T @ tall, linear.dtype),
        }
        return values, rotated

    def mixed(self, params: Params, weights: np.ndarray) -> Params:
        """Return the parameters of sum_j weights[i, j] C_j: weights (K, K)."""
        return {
            name: jnp.tensordot(jnp.asarray(weights, params[name].dtype), params[name], 1)
            for name in self.leaves
        }

    def propose(self, data: FrameTrajectories, answer: Answer | None = None) -> Proposal:
        """Return the quantities that are exactly conserved, and zeros for the others.

        If the data cannot tell, all are zeros.

        The orbit of a single quantity is an interval, on which a rotation must close. Such a quantity gets
        its natural unit of tau instead of displacement 1.

        Args:
            data: trajectories in the frame, with their noise and times.
            answer: quadratic quantities that they show; found here if it is None.
        """
        answer = answer_of(data) if answer is None else answer
        kept = 0 if answer.cannot_tell else min(self.count, answer.count)
        form, linear = answer.form[:kept], answer.linear[:kept]
        if self.count == 1 and kept:
            scale = orbit_scale(form, linear, data.states)
            form, linear = form / scale[:, None, None], linear / scale[:, None]
        empty = self.count - kept
        params = {
            "form": jnp.asarray(np.pad(form, [(0, empty), (0, 0), (0, 0)])),
            "linear": jnp.asarray(np.pad(linear, [(0, empty), (0, 0)])),
        }
        return Proposal(params, np.pad(np.ones(kept), (0, empty)))


@dataclasses.dataclass(frozen=True)
class Quadratic(Family):
    """K learnable quadratic conserved quantities (paper, section 3.2).

    Args:
        count: K, the largest number to look for, see `count_to_look_for`. Model selection decides how many
            stay.
        start: ``proposal`` (what is constant along trajectories) or ``random`` (the paper's start).
    Raises:
        ValueError: for a count below 1 or an unknown start.
    """

    count: int = count_field()
    start: str = start_field()
    name = "quadratic"

    def __post_init__(self) -> None:
        require_count(self.name, self.count)
        require_start(self.start)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """One block.

        Raises:
            ValueError: before `fitted_to` has set the count.
        """
        return (self._block,)

    @property
    def _block(self) -> QuadraticBlock:
        if self.count == AUTOMATIC:
            raise ValueError(f"family {self.name} has no phase space yet; call fitted_to, or give a count")
        return QuadraticBlock(self.count)

    def fitted_to(self, frame: Frame, coordinates: Sequence[str] = ()) -> Quadratic:
        """Return the family with at most as many quantities as there are independent quadratic ones."""
        return dataclasses.replace(self, count=count_to_look_for(self.count, frame.dim))

    def settings(self) -> dict[str, Any]:
        """Return count and start."""
        return {"count": self.count, "start": self.start}

    @classmethod
    def restored(cls, settings: dict[str, Any], params: Params) -> Quadratic:
        """Return the family of `settings`."""
        return cls(**settings)

    def init(self, key: Key, dim: int) -> Params:
        """Return small random parameters, see `QuadraticBlock.init`."""
        return self._block.init(key, dim)

    def propose(self, data: FrameTrajectories, key: Key, answer: Answer | None = None) -> Proposal:
        """Return the exactly conserved quantities, or a random start."""
        if self.start == "proposal":
            return self._block.propose(data, answer)
        return Proposal(self.init(key, data.states.shape[-1]), np.full(self.count, np.nan))


@dataclasses.dataclass(frozen=True)
class KnownQuadratic(Family):
    """Given quadratic quantities that training does not change: the oracle of the paper's tables.

    Args:
        form: A (K, M, M), symmetric, in data units.
        linear: b (K, M).
    """

    form: np.ndarray
    linear: np.ndarray
    name = "oracle"
    trainable = False

    @classmethod
    def of(cls, named: Mapping[str, QuadraticForm]) -> KnownQuadratic:
        """Return the family of named quantities, such as ``system.conserved()``.

        Raises:
            UsageError: when there is none.
        """
        if not named:
            raise UsageError("no quadratic quantity is given; expected a system that conserves one")
        return cls(*stack_forms(named))

    @property
    def blocks(self) -> tuple[Block, ...]:
        """One block."""
        return (QuadraticBlock(len(self.form)),)

    def fitted_to(self, frame: Frame, coordinates: Sequence[str] = ()) -> KnownQuadratic:
        """Return the same quantities in the frame.

        Raises:
            ValueError: when the quantities belong to another phase space.
        """
        if self.form.shape[-1] != frame.dim:
            raise ValueError(
                f"the given quantities live on phase space of dimension {self.form.shape[-1]}, "
                f"the data on {frame.dim}; choose the system that made the data"
            )
        return KnownQuadratic(*frame.quadratic_into(self.form, self.linear))

    @classmethod
    def restored(cls, settings: dict[str, Any], params: Params) -> KnownQuadratic:
        """Return the family of parameters."""
        return cls(np.asarray(params["form"]), np.asarray(params["linear"]))

    def init(self, key: Key, dim: int) -> Params:
        """Return the given quantities."""
        return {"form": jnp.asarray(self.form), "linear": jnp.asarray(self.linear)}

    def propose(self, data: FrameTrajectories, key: Key, answer: Answer | None = None) -> Proposal:
        """Return the given quantities, each scaled to a natural unit of tau, see `orbit_scale`."""
        scale = orbit_scale(self.form, self.linear, data.states)
        params = {
            "form": jnp.asarray(self.form / scale[:, None, None]),
            "linear": jnp.asarray(self.linear / scale[:, None]),
        }
        return Proposal(params, np.ones(self.count))
