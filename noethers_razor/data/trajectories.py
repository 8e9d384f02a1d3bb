"""Trajectories of a phase-space system, and the transitions that training sees."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from noethers_razor.data.checks import problems
from noethers_razor.errors import DataError, UsageError


class Transitions(NamedTuple):
    """Pairs of states a time dt apart: start (N, M), duration (N, 1), end (N, M)."""

    start: np.ndarray
    duration: np.ndarray
    end: np.ndarray

    @property
    def total(self) -> int:
        """Number N of transitions."""
        return self.start.shape[0]


def coordinate_names(metadata: dict[str, Any], dof: int) -> list[str]:
    """Names of the 2 dof coordinates, positions first, as metadata give them or q1, ..., p1, ..."""
    names = metadata.get("coordinates")
    if isinstance(names, list) and len(names) == 2 * dof:
        return [str(name) for name in names]
    return [f"{half}{i + 1}" for half in "qp" for i in range(dof)]


@dataclasses.dataclass(frozen=True)
class Trajectories:
    """Positions, momenta and times of trajectories; refuses what cannot be trained on.

    Args:
        q: positions (trajectory, time, dof).
        p: canonical momenta (trajectory, time, dof), not velocities.
        t: times (time,) or (trajectory, time), strictly increasing.
        mask: optional (trajectory, time) booleans, False where a state is missing.
        metadata: JSON-serialisable notes (names, units, source, seed).
        source: where the arrays came from, for messages.
    Raises:
        DataError: for shapes, values or times that cannot be used; all problems in one message.
    """

    q: np.ndarray
    p: np.ndarray
    t: np.ndarray
    mask: np.ndarray | None = None
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)
    source: str = "trajectories"

    def __post_init__(self) -> None:
        for name in ("q", "p", "t"):
            object.__setattr__(self, name, np.asarray(getattr(self, name)))
        if self.mask is not None:
            object.__setattr__(self, "mask", np.asarray(self.mask, dtype=bool))
        found = problems(self.q, self.p, self.t, self.mask)
        if found:
            code, first = found[0]
            rest = "".join(f"; {other} {text}" for other, text in found[1:])
            raise DataError(code, f"{self.source}: {first}{rest}")

    @property
    def dof(self) -> int:
        """Degrees of freedom n; phase space has dimension M = 2 n."""
        return self.q.shape[-1]

    @property
    def count(self) -> int:
        """Number of trajectories."""
        return self.q.shape[0]

    @property
    def coordinates(self) -> list[str]:
        """Names of the M coordinates, positions first."""
        return coordinate_names(self.metadata, self.dof)

    @property
    def states(self) -> np.ndarray:
        """All states (trajectory, time, M), float64, missing ones included."""
        return np.concatenate([self.q, self.p], axis=-1).astype(np.float64)

    @property
    def present(self) -> np.ndarray:
        """Which states exist, (trajectory, time) booleans."""
        return np.ones(self.q.shape[:2], dtype=bool) if self.mask is None else self.mask

    @property
    def times(self) -> np.ndarray:
        """Times (trajectory, time), float64."""
        return np.broadcast_to(self.t, self.q.shape[:2]).astype(np.float64)

    @property
    def digest(self) -> str:
        """SHA-256 of the arrays, to tell data sets apart."""
        total = hashlib.sha256()
        for array in (self.q, self.p, self.t, self.present):
            total.update(str((array.shape, array.dtype.str)).encode())
            total.update(np.ascontiguousarray(array).tobytes())
        return total.hexdigest()

    def observed(self) -> np.ndarray:
        """The states that exist, (count, M), float64."""
        return self.states[self.present]

    def transitions(self) -> Transitions:
        """All pairs of neighbouring states that both exist."""
        states, times, present = self.states, self.times, self.present
        both = present[:, :-1] & present[:, 1:]
        duration = (times[:, 1:] - times[:, :-1])[both]
        return Transitions(states[:, :-1][both], duration[:, None], states[:, 1:][both])

    def select(self, index: np.ndarray | slice) -> Trajectories:
        """The trajectories at some indices, with the same metadata."""
        t = self.t if self.t.ndim == 1 else self.t[index]
        mask = None if self.mask is None else self.mask[index]
        return dataclasses.replace(self, q=self.q[index], p=self.p[index], t=t, mask=mask)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write a .npz file that `load_trajectories` reads back.

        Raises:
            UsageError: when the file exists and ``overwrite`` is False, or its folder is missing.
        """
        target = Path(path)
        if target.suffix != ".npz":
            target = target.with_name(target.name + ".npz")
        if target.exists() and not overwrite:
            raise UsageError(f"{target} exists; choose another name or ask for overwriting")
        if not target.parent.is_dir():
            raise UsageError(f"folder {target.parent} does not exist; create it first")
        arrays = {"q": self.q, "p": self.p, "t": self.t}
        arrays["metadata"] = np.array(json.dumps(self.metadata))
        if self.mask is not None:
            arrays["mask"] = self.mask
        beside = target.with_name(f".{target.name}.partial")
        with beside.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        beside.replace(target)
        return target
