"""Families of conserved quantities. A family is a sequence of blocks; a block has one kind of flow.

Masks, step sizes, principal directions and orbits depend on the kind of flow, so they are properties of a
block. The order of the K quantities of a family is the order of its blocks.
"""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array, Key, Params
from noethers_razor.data.frame import Frame
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.errors import UsageError
from noethers_razor.evidence.answer import Answer
from noethers_razor.mechanics.orbits import Orbit

STARTS = ("proposal", "random")
"""Starts of learnable families: what is constant along trajectories, or the paper's small random start."""
EXACT = "exact"
"""A flow in closed form."""
INTEGRATED = "integrated"
"""A flow that is integrated in steps."""


def flagged(default: Any, flag: str, text: str, **details: Any) -> Any:
    """Return a dataclass field that the command line offers as a flag of ``fit``.

    Args:
        default: of the field.
        flag: name of the flag, without dashes.
        text: for the help, one sentence.
        details: ``metavar``, or ``choices`` of a text.
    """
    return dataclasses.field(default=default, metadata={"flag": flag, "help": text, **details})


class FunctionTest(NamedTuple):
    """What the tests of drift say of the functions of a family that are not quadratic.

    Args:
        close: number of combinations of features that vary by at most twice the noise.
        exact: number of combinations that are exactly conserved; functions of others are among them.
        p_value: p-value for "all of these are exact"; None without one.
        resolution: smallest relative rate that would show with 90 %; None if no rate would show.
        accuracy: deviation, relative to the spread of the states, that passes as an error of the features.
        tells: whether a rate of a tenth would have shown, and noise changes these functions linearly.
        offered: number of independent functions, in addition to H and the quadratic quantities.
    """

    close: int = 0
    exact: int = 0
    p_value: float | None = None
    resolution: float | None = None
    accuracy: float = 0.0
    tells: bool = False
    offered: int = 0


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A start for training, and what the trajectories say of it.

    Args:
        params: parameters as returned by ``init``.
        length: (K,) 1 for the quantities that the trajectories conserve and 0 for the others; nan after a
            random start.
        test: of functions that are not quadratic; None if none were tested.
    """

    params: Params
    length: np.ndarray
    test: FunctionTest | None = None

    def first(self, count: int, names: Sequence[str]) -> Proposal:
        """Return the proposal of the first quantities, with the parameters of these names."""
        params = {name: self.params[name] for name in names}
        return Proposal(params, self.length[:count], self.test)


class Block(ABC):
    """Some conserved quantities with parameters and one kind of flow.

    Attributes:
        flow: `EXACT` or `INTEGRATED`.
        step_size: step size of the optimiser, relative to that of quadratic quantities.
        leaves: names of the parameters that have a leading axis of length ``count``.
        count: number of quantities.
        splits: whether a training step gains when it is split over the processors.
    """

    flow: ClassVar[str]
    leaves: ClassVar[tuple[str, ...]]
    step_size: ClassVar[float] = 1.0
    count: int
    splits: bool = True

    @abstractmethod
    def value(self, params: Params, x: Array) -> Array:
        """Return C(x): states (..., M) -> (..., count)."""

    @abstractmethod
    def orbit(self, params: Params, tau: Array) -> Orbit:
        """Return the flows at times tau (..., S, count). Whatever does not depend on x is computed once."""

    def move(self, params: Params, tau: Array) -> Orbit:
        """Return the map of points (..., S, ..., M), each moved by its own time of tau (..., S, count).

        Blocks that stand before another one need it.

        Raises:
            UsageError: for a block that does not offer it.
        """
        raise UsageError(f"{type(self).__name__} does not move points of another block; expected it last")

    def forms(self, params: Params) -> tuple[np.ndarray, np.ndarray] | None:
        """Return A (count, M, M) and b (count, M), float64, of quadratic quantities; None for others."""
        return None

    @abstractmethod
    def principal(self, params: Params, states: np.ndarray) -> tuple[np.ndarray, Params]:
        """Return singular values (count,), and the parameters in principal directions."""

    @abstractmethod
    def mixed(self, params: Params, weights: np.ndarray) -> Params:
        """Return the parameters of sum_j weights[i, j] C_j: weights (count, count)."""


class Family(ABC):
    """K conserved quantities with parameters. Their flows make the orbits that the network is averaged over.

    Subclasses are frozen dataclasses. Fields made by `flagged` become flags of ``noethers-razor fit``.

    Attributes:
        name: on the command line and in run folders.
        trainable: whether training changes the quantities.
        start: ``proposal``, ``random`` or ``given``.
        averaged: whether orbits follow integrated flows too.
        terms: formulas of further variables, checked on the data before training.
    """

    name: ClassVar[str]
    trainable: ClassVar[bool] = True
    start: str = "given"
    averaged: bool = True
    terms: tuple[str, ...] = ()

    @property
    @abstractmethod
    def blocks(self) -> tuple[Block, ...]:
        """Blocks of the family in its phase space, those with exact flows first."""

    @abstractmethod
    def fitted_to(self, frame: Frame, coordinates: Sequence[str] = ()) -> Family:
        """Return the family in a frame, with at most as many quantities as its phase space can hold.

        Args:
            frame: of the data.
            coordinates: names of the M coordinates of the data, for families that read formulas.
        Raises:
            UsageError: when the family does not fit the phase space.
        """

    @abstractmethod
    def init(self, key: Key, dim: int) -> Params:
        """Return small random parameters for phase space of dimension M.

        Each has a leading axis, as `Block.leaves` says, except those named ``shared/...``.
        """

    @abstractmethod
    def propose(self, data: FrameTrajectories, key: Key, answer: Answer | None = None) -> Proposal:
        """Return a start: what is conserved along the trajectories, or a random one.

        Args:
            data: trajectories in the frame, with their noise.
            key: of a random start.
            answer: quadratic quantities that the trajectories show; found here if needed and not given.
        """

    def settings(self) -> dict[str, Any]:
        """Return what `restored` needs in addition to parameters, as plain JSON values."""
        return {}

    @classmethod
    @abstractmethod
    def restored(cls, settings: dict[str, Any], params: Params) -> Family:
        """Return the family of a saved fit, in its frame."""

    @property
    def count(self) -> int:
        """Number K of quantities; the largest number to look for, where they are learned."""
        return sum(block.count for block in self.blocks)

    @property
    def parts(self) -> list[tuple[Block, slice]]:
        """Each block with the places of its quantities among the K."""
        ends = np.cumsum([block.count for block in self.blocks]).tolist()
        return [(block, slice(end - block.count, end)) for block, end in zip(self.blocks, ends, strict=True)]

    @property
    def integrated(self) -> np.ndarray:
        """(K,) True for quantities whose flow is integrated."""
        kinds = [np.full(block.count, block.flow == INTEGRATED) for block in self.blocks]
        return np.concatenate([np.zeros(0, bool), *kinds])

    @property
    def splits(self) -> bool:
        """Whether a training step gains when it is split over the processors."""
        return all(block.splits for block in self.blocks)

    @property
    def signature(self) -> str:
        """Text that differs between families with different programs."""
        return f"{self.name} {[(block.flow, block.count) for block in self.blocks]}"

    def exact_part(self) -> Family:
        """Return the family of the blocks with exact flows alone."""
        if not self.integrated.any():
            return self
        raise UsageError(f"family {self.name} has no quantities with an exact flow")

    def with_integrated_flows(self, used: bool) -> Family:
        """Return the family whose orbits do or do not follow integrated flows."""
        return self

    def forms(self, params: Params) -> tuple[np.ndarray, np.ndarray] | None:
        """Return A (K, M, M) and b (K, M), float64, if all quantities are quadratic; None otherwise."""
        found = [block.forms(params) for block in self.blocks if block.count]
        known = [pair for pair in found if pair is not None]
        if not known or len(known) < len(found):
            return None
        return np.concatenate([form for form, _ in known]), np.concatenate([b for _, b in known])

    def value(self, params: Params, x: Array) -> Array:
        """Return C(x): states (..., M) -> (..., K)."""
        values = [block.value(params, x) for block in self.blocks]
        if not values:
            return jnp.zeros((*x.shape[:-1], 0), x.dtype)
        return values[0] if len(values) == 1 else jnp.concatenate(values, axis=-1)

    def orbit(self, params: Params, tau: Array) -> Orbit:
        """Return the flows at times tau (..., S, K): that of the last block first, then those before it."""
        used = [(block, tau[..., part]) for block, part in self.parts if block.count]
        if not used:
            return lambda x: x[None]
        (last, times), moves = used[-1], []
        start = last.orbit(params, times)
        for block, own in reversed(used[:-1]):
            moves.append(block.move(params, own))

        def points(x: Array) -> Array:
            return functools.reduce(lambda found, move: move(found), moves, start(x))

        return points

    def principal(self, params: Params, states: np.ndarray) -> tuple[np.ndarray, Params]:
        """Return singular values (K,), and the parameters in principal directions of each block.

        A singular value is the root-mean-square displacement per unit tau over states (B, M), relative
        to their size. Principal directions span the same quantities and are orthogonal in displacement.
        """
        values, rotated = [np.zeros(0)], dict(params)
        for block in self.blocks:
            own, turned = block.principal(params, states)
            values.append(own)
            rotated |= turned
        return np.concatenate(values), rotated

    def mixed(self, params: Params, weights: np.ndarray) -> Params:
        """Return the parameters of sum_j weights[i, j] C_j: weights (K, K); blocks do not mix."""
        mixed = dict(params)
        for block, part in self.parts:
            mixed |= block.mixed(params, weights[part, part])
        return mixed

    def masked(self, params: Params, mask: Array) -> Params:
        """Return parameters, or changes of them, multiplied by a mask (K,); shared ones stay."""
        masked = dict(params)
        for block, part in self.parts:
            own = mask[part]
            for name in block.leaves:
                if name in params:
                    value = params[name]
                    masked[name] = value * own.reshape((-1,) + (1,) * (value.ndim - 1))
        return masked

    def step_sizes(self, params: Params) -> dict[str, float]:
        """Return the relative step size of each parameter; shared ones take that of the last block."""
        sizes = dict.fromkeys(params, self.blocks[-1].step_size if self.blocks else 1.0)
        for block in self.blocks:
            sizes |= {name: block.step_size for name in block.leaves if name in params}
        return sizes


Values = Callable[[Params, Array], Array]


@functools.partial(jax.jit, static_argnums=0)
def _jacobians(value: Values, params: Params, states: jax.Array) -> jax.Array:
    return jax.vmap(jax.jacobian(lambda x: value(params, x)))(states)


def gradients_of(quantities: Family | Block, params: Params, states: np.ndarray) -> np.ndarray:
    """Return grad C at states (B, M): (K, B, M), float64."""
    found = _jacobians(quantities.value, params, jnp.asarray(states))
    return np.swapaxes(np.asarray(found, np.float64), 0, 1)
