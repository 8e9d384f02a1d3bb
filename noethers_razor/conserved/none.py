"""No conserved quantity: H is the network itself, the baseline of every comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from noethers_razor._types import Key, Params
from noethers_razor.conserved.base import Block, Family, Proposal
from noethers_razor.data.frame import Frame
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.evidence.answer import Answer


@dataclasses.dataclass(frozen=True)
class NoSymmetry(Family):
    """The empty family: K = 0, and the orbit of a state is the state."""

    name = "none"
    trainable = False

    @property
    def blocks(self) -> tuple[Block, ...]:
        """No block."""
        return ()

    def fitted_to(self, frame: Frame, coordinates: Sequence[str] = ()) -> NoSymmetry:
        """Return the family itself."""
        return self

    @classmethod
    def restored(cls, settings: dict[str, Any], params: Params) -> NoSymmetry:
        """Return the empty family."""
        return cls()

    def init(self, key: Key, dim: int) -> Params:
        """Return no parameters."""
        return {}

    def propose(self, data: FrameTrajectories, key: Key, answer: Answer | None = None) -> Proposal:
        """Return an empty proposal."""
        return Proposal({}, np.zeros(0))
