"""Where the fields of trajectories are in a file: names, order of axes, masses; and putting them in place."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from noethers_razor.data.gaps import ALONE, alone_in, split_arrays
from noethers_razor.data.trajectories import Trajectories
from noethers_razor.errors import DataError, UsageError

FIELDS = ("q", "p", "v", "t", "mass", "mask", "trajectory")
"""What a file may hold: positions, momenta, velocities, times, masses, which states exist, and, in a table,
which trajectory a row is of."""
AXES = ("trajectory", "time", "dof")


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where things are in a file.

    Args:
        names: field -> its name in the file, or several for a field whose degrees of freedom lie apart; one
            that is left out has its own name.
        axes: order of the axes of positions, momenta and velocities: ``trajectory`` (may be missing: there is
            one), ``time``, and any others, which together are the degrees of freedom (``dof``, or ``body``
            and ``dim``).
        mass: of each degree of freedom, or of each body, or one for all; instead of those in the file.
        split: cut trajectories where the time between states is so many times the usual one, or decreases;
            None leaves them whole.
    Raises:
        UsageError: for fields and axes that do not exist, and masses that are none.
    """

    names: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    axes: tuple[str, ...] = AXES
    mass: tuple[float, ...] = ()
    split: float | None = None

    def __post_init__(self) -> None:
        names = {field: (own,) if isinstance(own, str) else tuple(own) for field, own in self.names.items()}
        object.__setattr__(self, "names", names)
        for field in self.names:
            if field not in FIELDS:
                raise UsageError(f"field {field!r}; expected one of {', '.join(FIELDS)}")
        if len(set(self.axes)) < len(self.axes) or "time" not in self.axes:
            raise UsageError(
                f"axes {','.join(self.axes)}; expected each once, time among them, such as {','.join(AXES)}"
            )
        for field in ("t", "mask", "trajectory"):
            if len(self.of(field)) > 1:
                raise UsageError(f"{field} = {', '.join(self.of(field))}; expected one name")
        if {"p", "v"} <= set(self.names):
            raise UsageError("both p and v are named; momenta are either given or made of velocities")
        if self.split is not None and not 1 < self.split < math.inf:
            raise UsageError(f"split at gaps of {self.split} usual steps; expected more than 1")

    def of(self, field: str) -> tuple[str, ...]:
        """Names of a field in the file."""
        return tuple(self.names.get(field, (field,)))

    @property
    def wanted(self) -> set[str]:
        """All names that may be read from a file."""
        return {name for field in FIELDS for name in self.of(field)}


def parsed_names(entries: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """``q=x,y`` and the like as names of fields.

    Raises:
        UsageError: for what is no such entry.
    """
    found: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        field, separator, names = entry.partition("=")
        given = tuple(name.strip() for name in names.split(",") if name.strip())
        if not separator or not given:
            raise UsageError(f"{entry!r}; expected FIELD=NAME or FIELD=NAME,NAME,..., such as p=px,py")
        # A field may be named in one entry or in several.
        found[field.strip()] = found.get(field.strip(), ()) + given
    return found


def masses_of(given: np.ndarray, shape: tuple[int, ...], source: str) -> np.ndarray:
    """Masses (dof,) of degrees of freedom from one, one each, or one for each body of (body, dim).

    Args:
        shape: of the degrees of freedom, before they are made one axis.
    Raises:
        DataError: for another number, and for what is no mass.
    """
    mass, dof = np.atleast_1d(np.asarray(given)), int(np.prod(shape))
    if mass.dtype.kind not in "fiu" or mass.ndim != 1:
        raise DataError("NR112", f"{source}: mass is {mass.dtype} of shape {mass.shape}; expected (dof,)")
    bad = ~((mass > 0) & np.isfinite(mass))
    if bad.any():
        i = int(np.argmax(bad))
        raise DataError("NR112", f"{source}: mass[{i}] = {mass[i]}; expected a positive number")
    if len(mass) == 1:
        return np.full(dof, float(mass[0]))
    if len(mass) == dof:
        return mass.astype(np.float64)
    if len(shape) == 2 and len(mass) == shape[0]:
        return np.repeat(mass.astype(np.float64), shape[1])
    raise DataError(
        "NR112",
        f"{source}: {len(mass)} masses for {dof} degrees of freedom; give one for each, or name the axes so "
        "that bodies are known: trajectory,time,body,dim",
    )


def _missing(raw: Mapping[str, Any], layout: Layout, field: str) -> list[str]:
    return [name for name in layout.of(field) if name not in raw]


def _required(raw: Mapping[str, Any], layout: Layout, source: str, others: Sequence[str]) -> str:
    """The field that says how fast: p or v.

    Raises:
        DataError: when positions, times or both of these are missing.
    """
    # What was named goes before what happens to be there.
    order = ("v", "p") if "v" in layout.names else ("p", "v")
    fast = next((field for field in order if not _missing(raw, layout, field)), None)
    fast = None if "v" in layout.names and fast == "p" else fast
    missing = [name for field in ("q", "t") for name in _missing(raw, layout, field)]
    if fast is None:
        missing += [name for name in layout.of("v" if "v" in layout.names else "p") if name not in raw]
    if missing or fast is None:
        raise DataError(
            "NR107",
            f"{source}: no array {', '.join(missing)} among "
            f"{', '.join(sorted(map(str, [*raw, *others]))) or 'none'}; expected q, p and t (momenta p, not "
            "velocities; or velocities v with masses): name them, such as --map p=momenta",
        )
    return fast


def _placed(raw: Mapping[str, np.ndarray], layout: Layout, field: str) -> tuple[np.ndarray, tuple[int, ...]]:
    """A field as (trajectory, time, dof), where its axes are as said, and the shape of its dof."""
    parts = [np.asarray(raw[name]) for name in layout.of(field)]
    axes = layout.axes
    if len(parts) > 1:
        # Degrees of freedom that lie apart: the last axis is made of them.
        same = {part.shape for part in parts}
        if len(same) > 1:
            raise DataError(
                "NR102", f"{', '.join(layout.of(field))} have shapes {sorted(same)}; expected one"
            )
        array = np.stack(parts, axis=-1)
        axes = (*(axis for axis in axes if axis in ("trajectory", "time")), "dof")
    else:
        array = parts[0]
    if array.ndim != len(axes):
        return array, array.shape[2:]
    outer = [axis for axis in ("trajectory", "time") if axis in axes]
    inner = [axis for axis in axes if axis not in outer]
    array = array.transpose([axes.index(axis) for axis in (*outer, *inner)])
    if "trajectory" not in axes:
        array = array[None]
    return array.reshape(*array.shape[:2], math.prod(array.shape[2:])), array.shape[2:]


def _by_time(array: np.ndarray, layout: Layout) -> np.ndarray:
    """Times or mask with trajectories first; of one trajectory that has no axis, with one."""
    array = np.asarray(array)
    outer = [axis for axis in layout.axes if axis in ("trajectory", "time")]
    return array.T if array.ndim == 2 and outer == ["time", "trajectory"] else array


def assembled(
    raw: Mapping[str, np.ndarray],
    layout: Layout,
    metadata: dict[str, Any],
    source: str,
    others: Sequence[str] = (),
) -> Trajectories:
    """Trajectories from named arrays of a file.

    Args:
        others: names of what the file holds besides, for messages.
    Raises:
        DataError: when arrays are missing, velocities have no masses, or the data cannot be used.
    """
    fast = _required(raw, layout, source, others)
    q, shape = _placed(raw, layout, "q")
    p, other = _placed(raw, layout, fast)
    if other != shape and q.shape == p.shape:
        raise DataError("NR102", f"{source}: q has inner axes {shape} but {fast} {other}; expected the same")
    given = np.asarray(layout.mass) if layout.mass else None
    if given is None and not _missing(raw, layout, "mass"):
        given = np.concatenate([np.atleast_1d(raw[name]) for name in layout.of("mass")])
    mass = None if given is None else masses_of(given, shape, source)
    if fast == "v":
        if mass is None:
            raise DataError(
                "NR111",
                f"{source}: velocities {', '.join(layout.of('v'))} without masses; momenta are p = m v: give "
                "--mass (1 where they are equal), or momenta",
            )
        p = p * mass if p.shape[-1:] == mass.shape and p.dtype.kind in "fiu" else p
    if mass is not None:
        metadata = {**metadata, "mass": mass.tolist()}
    mask = None
    if not _missing(raw, layout, "mask"):
        mask = _by_time(raw[layout.of("mask")[0]], layout)
        mask = mask[None] if mask.ndim == 1 else mask
    t = _by_time(raw[layout.of("t")[0]], layout)
    if layout.split is not None:
        (q, p, t, mask), alone = split_arrays(q, p, t, mask, layout.split)
        metadata = {**metadata, ALONE: alone_in(metadata) + alone}
    return Trajectories(q, p, t, mask=mask, metadata=metadata, source=source)
