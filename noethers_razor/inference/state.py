"""The state of a fit: what its stages hand on to each other. It is immutable; a stage returns a new one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from noethers_razor.conserved.base import Family, Proposal
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.inference.history import Estimate
from noethers_razor.model.parameters import FlatParams
from noethers_razor.symmetry.answer_sheet import AnswerSheet


@dataclasses.dataclass(frozen=True)
class ComparedSet:
    """A set of conserved quantities that the bound was asked about.

    Args:
        name: what was done to the learned set.
        kept: number of directions in use after training it again.
        singular_values: of all directions before.
        removed: displacements of the directions that were taken out.
        estimate: the bound after training it again.
        accepted: whether the fit continued with it.
    """

    name: str
    kept: int
    singular_values: tuple[float, ...]
    removed: tuple[float, ...]
    estimate: Estimate
    accepted: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "name": self.name,
            "kept": self.kept,
            "removed": list(self.removed),
            "accepted": self.accepted,
            "singular_values": list(self.singular_values),
            **self.estimate.as_json(),
        }


@dataclasses.dataclass(frozen=True)
class State:
    """Results of the stages so far.

    Args:
        family: of conserved quantities, as far as they are still in the fit.
        params: parameters after the last stage.
        control: parameters of the network without symmetry, trained for as long as ``params``.
        trajectories: the data, with their noise.
        proposal: what the family proposed.
        bounds: estimates by name (``none``, and the family's) after equal numbers of steps.
        compared: sets that the bound compared, the accepted one of each round last.
        sheet: the quadratic quantities that the trajectories show; None for families that do not ask.
    """

    family: Family
    params: FlatParams
    control: FlatParams
    trajectories: FrameTrajectories
    proposal: Proposal | None = None
    bounds: Mapping[str, Estimate] = dataclasses.field(default_factory=dict)
    compared: tuple[ComparedSet, ...] = ()
    sheet: AnswerSheet | None = None

    def with_bound(self, name: str, estimate: Estimate) -> State:
        """Return the state with one more estimate."""
        return dataclasses.replace(self, bounds={**self.bounds, name: estimate})

    def exact_part(self) -> State:
        """Return the state with the blocks of exact flows alone, and what was proposed for them."""
        family, params = exact_part(self.family, self.params)
        names = [name for block in family.blocks for name in block.leaves]
        proposal = None if self.proposal is None else self.proposal.first(family.count, names)
        return dataclasses.replace(self, family=family, params=params, proposal=proposal)

    def evidence(self) -> dict[str, Any]:
        """Return bounds, compared sets and proposal as plain JSON values."""
        record: dict[str, Any] = {
            "bounds": {name: value.as_json() for name, value in self.bounds.items()},
            "judgements": [one.as_json() for one in self.compared],
        }
        if self.sheet is not None:
            record["answer"] = self.sheet.as_json()
        if self.proposal is not None:
            record["proposal"] = {"length": _plain(self.proposal.length)}
            if self.proposal.test is not None:
                record["functions"] = {**self.proposal.test._asdict(), "averaged": self.family.averaged}
        return record


def exact_part(family: Family, params: FlatParams) -> tuple[Family, FlatParams]:
    """Return the blocks of a family with exact flows, and flat parameters without those of other blocks."""
    exact = family.exact_part()
    kept = {f"conserved/{name}" for block in exact.blocks for name in block.leaves}
    return exact, {k: v for k, v in params.items() if not k.startswith("conserved/") or k in kept}


def _plain(values: np.ndarray) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]
