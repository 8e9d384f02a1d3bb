"""What a family of conserved quantities must offer, and what a proposal for it looks like."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from noethers_razor._types import Array, Key, Params
from noethers_razor.data.frame import Frame
from noethers_razor.orbit import Orbit


class FieldSamples(NamedTuple):
    """What the first stage knows of the dynamics: states (B, M) and, for each of W posterior weight
    samples, the velocities J grad H (W, B, M); all in the frame, float64.
    """

    states: np.ndarray
    velocities: np.ndarray


@dataclasses.dataclass(frozen=True)
class Proposal:
    """Parameters to start from, with the evidence for each candidate.

    Args:
        params: as from ``init``.
        defect: (K,) root mean square of {C, H} relative to |grad C| |grad H|, smallest first.
        expected: (K,) the defect that the posterior's uncertainty alone would give.
        length: (K,) initial root-mean-square displacement per unit tau, relative to the data.
    """

    params: Params
    defect: np.ndarray
    expected: np.ndarray
    length: np.ndarray


@runtime_checkable
class ConservedFamily(Protocol):
    """K observables with parameters, whose flows make the orbits that H is averaged over."""

    name: str
    trainable: bool

    @property
    def count(self) -> int:
        """Largest number K of conserved quantities."""
        ...

    def fitted_to(self, frame: Frame) -> ConservedFamily:
        """The family in a frame, with at most as many observables as its phase space can hold."""
        ...

    def settings(self) -> dict[str, Any]:
        """What `restored` needs besides parameters, as plain JSON values."""
        ...

    @classmethod
    def restored(cls, settings: dict[str, Any], params: Params) -> ConservedFamily:
        """The family of a saved fit, in its frame."""
        ...

    def init(self, key: Key, dim: int) -> Params:
        """Small random parameters for phase space of dimension M; each leaf has a leading axis K."""
        ...

    def value(self, params: Params, x: Array) -> Array:
        """C(x): states (..., M) -> (..., K)."""
        ...

    def orbit(self, params: Params, tau: Array) -> Orbit:
        """The flows at tau (S, K): all that does not depend on x is computed here, once."""
        ...

    def propose(self, samples: FieldSamples, key: Key) -> Proposal:
        """A start from the dynamics of the stage without symmetry, or a random one."""
        ...

    def principal(self, params: Params, states: np.ndarray) -> tuple[np.ndarray, Params]:
        """Singular values (K,), largest first, and the parameters in principal directions.

        A singular value is the root-mean-square displacement per unit tau over states (B, M), relative
        to their size; principal directions span the same quantities and are orthogonal in it.
        """
        ...

    def mixed(self, params: Params, weights: np.ndarray) -> Params:
        """Parameters of the combinations sum_j weights[i, j] C_j: weights (K, K)."""
        ...
