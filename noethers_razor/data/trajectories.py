"""Trajectories of a system in phase space, and the transitions that training uses."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from noethers_razor._optional import extra
from noethers_razor.data.checks import DataProblem, problems
from noethers_razor.data.gaps import ALONE, GAP, alone_in, padded, split_arrays
from noethers_razor.data.summary import Summary, summary_of
from noethers_razor.errors import DataError, UsageError


class Transitions(NamedTuple):
    """Pairs of neighbouring states: start (N, M), duration (N, 1), end (N, M)."""

    start: np.ndarray
    duration: np.ndarray
    end: np.ndarray

    @property
    def total(self) -> int:
        """Number N of transitions."""
        return self.start.shape[0]


def coordinate_names(metadata: dict[str, Any], dof: int) -> list[str]:
    """Return the names of the 2 dof coordinates, positions first: from the metadata, or q1, ..., p1, ..."""
    names = metadata.get("coordinates")
    if isinstance(names, list) and len(names) == 2 * dof:
        return [str(name) for name in names]
    return [f"{half}{i + 1}" for half in "qp" for i in range(dof)]


def coordinate_labels(metadata: dict[str, Any], dof: int) -> list[str]:
    """Return the names of the coordinates, with units if the metadata have a list ``units``."""
    names, units = coordinate_names(metadata, dof), metadata.get("units")
    if not isinstance(units, list) or len(units) != len(names):
        return names
    return [f"{name} ({unit})" if unit else name for name, unit in zip(names, units, strict=True)]


@dataclasses.dataclass(frozen=True, repr=False)
class Trajectories:
    """Positions, momenta and times of trajectories. The arrays are checked when the object is created.

    Args:
        q: positions (trajectory, time, dof).
        p: canonical momenta (trajectory, time, dof), not velocities.
        t: times (time,) or (trajectory, time), strictly increasing.
        mask: booleans (trajectory, time), False where a state is missing; None if all states exist.
        metadata: notes that can be written as JSON. These keys are used: ``coordinates`` and ``units``, lists
            of 2 dof texts, positions first; ``mass``, a list of dof numbers.
        source: origin of the arrays, such as a file, for messages.
    Raises:
        DataError: for shapes, values or times that cannot be used. The message lists all problems.
    """

    q: np.ndarray
    p: np.ndarray
    t: np.ndarray
    mask: np.ndarray | None = None
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)
    source: str = "trajectories"

    def __post_init__(self) -> None:
        found = self.validate(self.q, self.p, self.t, self.mask, self.metadata)
        if found:
            (code, text), *others = found
            raise DataError(code, f"{self.source}: {text}", others)
        for name in ("q", "p", "t"):
            # One precision and memory order, so that the digest does not depend on the origin of the arrays.
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=np.float64))
        if self.mask is not None:
            object.__setattr__(self, "mask", np.asarray(self.mask).astype(bool))

    @staticmethod
    def validate(
        q: np.ndarray,
        p: np.ndarray,
        t: np.ndarray,
        mask: np.ndarray | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> list[DataProblem]:
        """Return all problems of arrays, without raising an error.

        Args:
            q, p, t, mask, metadata: as for `Trajectories`.
        Returns:
            Pairs (code, text); an empty list if the arrays are usable.
        """
        there = None if mask is None else np.asarray(mask)
        return problems(np.asarray(q), np.asarray(p), np.asarray(t), there, metadata or {})

    @classmethod
    def of_pieces(
        cls,
        pieces: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
        metadata: dict[str, Any] | None = None,
        source: str = "trajectories",
    ) -> Trajectories:
        """Return trajectories of unequal lengths.

        Args:
            pieces: times (T,), positions (T, dof) and momenta (T, dof) of each trajectory.
            metadata, source: as for `Trajectories`.
        Raises:
            DataError: for pieces of shapes that do not match, and for data that cannot be used.
        """
        arrays = [(np.asarray(t), np.asarray(q), np.asarray(p)) for t, q, p in pieces]
        for i, (t, q, p) in enumerate(arrays):
            fits = q.ndim == 2 and q.shape == p.shape and t.shape == q.shape[:1]
            if not fits or q.shape[1:] != arrays[0][1].shape[1:]:
                raise DataError(
                    "NR102",
                    f"{source}: piece {i} has t {t.shape}, q {q.shape}, p {p.shape}; expected (T,), "
                    "(T, dof) and (T, dof), with the same dof in all pieces",
                )
        if not arrays:
            raise DataError("NR103", f"{source}: no pieces; expected at least one trajectory")
        return cls(*padded(arrays), metadata=metadata or {}, source=source)

    @property
    def dof(self) -> int:
        """Degrees of freedom n; phase space has dimension M = 2 n."""
        return self.q.shape[-1]

    @property
    def count(self) -> int:
        """Number of trajectories."""
        return self.q.shape[0]

    @property
    def mass(self) -> np.ndarray | None:
        """Masses (dof,) from the metadata, or None."""
        mass = self.metadata.get("mass")
        return None if mass is None else np.asarray(mass, np.float64)

    @property
    def alone(self) -> int:
        """Number of single states that cuts at gaps have removed, from the metadata."""
        return alone_in(self.metadata)

    @property
    def coordinates(self) -> list[str]:
        """Names of the M coordinates, positions first."""
        return coordinate_names(self.metadata, self.dof)

    @property
    def states(self) -> np.ndarray:
        """All states (trajectory, time, M), missing ones included."""
        return np.concatenate([self.q, self.p], axis=-1)

    @property
    def present(self) -> np.ndarray:
        """Booleans (trajectory, time), True where a state exists."""
        return np.ones(self.q.shape[:2], dtype=bool) if self.mask is None else self.mask

    @property
    def times(self) -> np.ndarray:
        """Times (trajectory, time), float64."""
        return np.broadcast_to(self.t, self.q.shape[:2])

    @property
    def digest(self) -> str:
        """SHA-256 of the states that exist and their times. It identifies a data set.

        It does not depend on how the data are stored: padding of short trajectories changes nothing, nor do
        times that are stored once or for each trajectory.
        """
        total = hashlib.sha256()
        present = self.present
        last = int(np.flatnonzero(present.any(axis=0))[-1]) + 1
        for array in (present[:, :last], self.times[present], self.states[present]):
            total.update(str((array.shape, array.dtype.str)).encode())
            total.update(np.ascontiguousarray(array).tobytes())
        return total.hexdigest()

    def observed(self) -> np.ndarray:
        """Return the states that exist (count, M), float64."""
        return self.states[self.present]

    def transitions(self) -> Transitions:
        """Return all pairs of neighbouring states that both exist."""
        states, times, present = self.states, self.times, self.present
        both = present[:, :-1] & present[:, 1:]
        duration = (times[:, 1:] - times[:, :-1])[both]
        return Transitions(states[:, :-1][both], duration[:, None], states[:, 1:][both])

    def select(self, index: np.ndarray | slice) -> Trajectories:
        """Return the trajectories at given indices.

        The metadata are the same, except that the number of removed single states is dropped.

        Args:
            index: indices of trajectories, booleans (trajectory,), or a slice.
        """
        metadata = {name: value for name, value in self.metadata.items() if name != ALONE}
        t = self.t if self.t.ndim == 1 else self.t[index]
        mask = None if self.mask is None else self.mask[index]
        return type(self)(self.q[index], self.p[index], t, mask, metadata, self.source)

    def split_at_gaps(self, gap: float = GAP) -> Trajectories:
        """Return trajectories that are cut where states are missing or a time step is a gap.

        Args:
            gap: length of a gap, in units of the median time step of a trajectory, above 1.
        """
        arrays, alone = split_arrays(self.q, self.p, self.t, self.mask, gap)
        metadata = {**self.metadata, ALONE: self.alone + alone}
        return type(self)(*arrays, metadata=metadata, source=self.source)

    def summary(self) -> Summary:
        """Return a summary of the data: counts, time steps, statistics of coordinates, and warnings."""
        return summary_of(self.times, self.states, self.present, self.coordinates, self.metadata)

    def to_xarray(self) -> Any:
        """Return an xarray data set with variables q, p, t and mask.

        Its method ``to_netcdf`` writes a file that `load_trajectories` reads.

        Raises:
            UsageError: if xarray is not installed.
        """
        xarray = extra("xarray", "netcdf", "to_xarray")
        axes = ("trajectory", "time", "dof")
        variables = {"q": (axes, self.q), "p": (axes, self.p), "t": (axes[2 - self.t.ndim : 2], self.t)}
        if self.mask is not None:
            variables["mask"] = (axes[:2], self.mask)
        return xarray.Dataset(variables, attrs={"metadata": json.dumps(self.metadata)})

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    def __repr__(self) -> str:
        return f"Trajectories({self.count} x {self.q.shape[1]} states, {self.dof} degrees of freedom)"

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write a .npz file that `load_trajectories` reads.

        Args:
            path: file to write. The suffix .npz is added if it is missing.
            overwrite: replace the file if it exists.
        Returns:
            Path of the file.
        Raises:
            UsageError: if the file exists and ``overwrite`` is False, or if its folder is missing.
        """
        target = Path(path)
        if target.suffix != ".npz":
            target = target.with_name(target.name + ".npz")
        if target.exists() and not overwrite:
            raise UsageError(f"{target} exists; choose another name or pass overwrite=True")
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
