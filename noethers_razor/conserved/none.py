"""No conserved quantity: H is the network itself, the baseline of every table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array, Key, Params
from noethers_razor.conserved.base import Proposal, Tracks
from noethers_razor.data.frame import Frame
from noethers_razor.mechanics.orbits import Orbit


@dataclasses.dataclass(frozen=True)
class NoSymmetry:
    """The empty family: K = 0, the orbit of a state is the state."""

    name = "none"
    trainable = False
    functions = 0

    @property
    def count(self) -> int:
        """Zero."""
        return 0

    def fitted_to(self, frame: Frame, coordinates: Sequence[str] = ()) -> NoSymmetry:
        """Itself."""
        return self

    def settings(self) -> dict[str, Any]:
        """None."""
        return {}

    @classmethod
    def restored(cls, settings: dict[str, Any], params: Params) -> NoSymmetry:
        """The empty family."""
        return cls()

    def init(self, key: Key, dim: int) -> Params:
        """No parameters."""
        return {}

    def value(self, params: Params, x: Array) -> Array:
        """(..., M) -> (..., 0)."""
        return jnp.zeros((*x.shape[:-1], 0), x.dtype)

    def orbit(self, params: Params, tau: Array) -> Orbit:
        """One point, the state itself."""
        return lambda x: x[None]

    def propose(self, tracks: Tracks, key: Key) -> Proposal:
        """Nothing."""
        nothing = np.zeros(0)
        return Proposal({}, nothing, 0.0, nothing)

    def principal(self, params: Params, states: np.ndarray) -> tuple[np.ndarray, Params]:
        """Nothing."""
        return np.zeros(0), {}

    def mixed(self, params: Params, weights: np.ndarray) -> Params:
        """Nothing."""
        return {}
