"""Layout of a file: names of fields, order of axes, masses. Trajectories from the arrays of a file."""

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
"""Fields of a file: positions, momenta, velocities, times, masses, mask, and trajectories of table rows."""
AXES = ("trajectory", "time", "dof")
"""Default order of the axes of positions, momenta and velocities."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Names, axes and masses of the arrays of a file.

    Args:
        names: field -> its name in the file, or several names if each degree of freedom has its own array.
            The default name of a field is the field itself.
        axes: order of the axes of positions, momenta and velocities. ``time`` is required. Without
            ``trajectory`` the file has one trajectory. All other axes (``dof``, or ``body`` and ``dim``)
            together are the degrees of freedom.
        mass: masses that replace those of the file: one for each degree of freedom, one for each body, or
            one for all.
        split: cut trajectories where a time step is this many times the median step, where time does not
            increase, and where states are missing. None leaves trajectories whole.
    Raises:
        UsageError: for an unknown field, impossible axes, two names of a field that has one, or a bad split.
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
                raise UsageError(f"unknown field {field!r}; expected one of {', '.join(FIELDS)}")
        if len(set(self.axes)) < len(self.axes) or "time" not in self.axes:
            raise UsageError(
                f"axes {','.join(self.axes)}; expected different names that include time, such as "
                f"{','.join(AXES)}"
            )
        for field in ("t", "mask", "trajectory"):
            if len(self.of(field)) > 1:
                raise UsageError(
                    f"field {field} has the names {', '.join(self.of(field))}; expected one name"
                )
        if {"p", "v"} <= set(self.names):
            raise UsageError("p and v are both named; name momenta p, or velocities v with masses")
        if self.split is not None and not 1 < self.split < math.inf:
            raise UsageError(f"split at gaps of {self.split} time steps; expected a finite number above 1")

    def of(self, field: str) -> tuple[str, ...]:
        """Return the names of a field in the file."""
        return tuple(self.names.get(field, (field,)))

    @property
    def wanted(self) -> set[str]:
        """Names of all arrays that may be read from the file."""
        return {name for field in FIELDS for name in self.of(field)}


def parsed_names(entries: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the names of fields from entries such as ``q=x,y``, the values of the flag --map.

    Args:
        entries: texts FIELD=NAME or FIELD=NAME,NAME,...
    Returns:
        Field -> names, as for `Layout`.
    Raises:
        UsageError: for a text of another form.
    """
    found: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        field, separator, names = entry.partition("=")
        given = tuple(name.strip() for name in names.split(",") if name.strip())
        if not separator or not given:
            raise UsageError(f"--map {entry!r}; expected FIELD=NAME or FIELD=NAME,NAME,..., such as p=px,py")
        # Several entries may name the arrays of one field.
        found[field.strip()] = found.get(field.strip(), ()) + given
    return found


def masses_of(given: np.ndarray, shape: tuple[int, ...], source: str) -> np.ndarray:
    """Return the masses of all degrees of freedom.

    Args:
        given: one mass for all, one for each degree of freedom, or one for each body.
        shape: shape of the degrees of freedom in the file, (dof,) or (body, dim).
        source: name of the file, for messages.
    Returns:
        Masses (dof,), float64.
    Raises:
        DataError: for a wrong number of masses, or one that is not a positive number.
    """
    mass, dof = np.atleast_1d(np.asarray(given)), int(np.prod(shape))
    if mass.dtype.kind not in "fiu" or mass.ndim != 1:
        raise DataError(
            "NR112",
            f"{source}: mass holds {mass.dtype} of shape {mass.shape}; expected real numbers of shape "
            "(dof,): correct it, or give --mass",
        )
    bad = ~((mass > 0) & np.isfinite(mass))
    if bad.any():
        i = int(np.argmax(bad))
        raise DataError(
            "NR112",
            f"{source}: mass[{i}] = {mass[i]}; expected a positive number: correct it, or give --mass",
        )
    if len(mass) == 1:
        return np.full(dof, float(mass[0]))
    if len(mass) == dof:
        return mass.astype(np.float64)
    if len(shape) == 2 and len(mass) == shape[0]:
        return np.repeat(mass.astype(np.float64), shape[1])
    raise DataError(
        "NR112",
        f"{source}: {len(mass)} masses for {dof} degrees of freedom; expected one for each: give one for "
        "each, or, for arrays of bodies, name the axes, such as --axes trajectory,time,body,dim",
    )


def _missing(raw: Mapping[str, Any], layout: Layout, field: str) -> list[str]:
    """Return the names of a field that the file does not have."""
    return [name for name in layout.of(field) if name not in raw]


def _required(raw: Mapping[str, Any], layout: Layout, source: str, others: Sequence[str]) -> str:
    """Return the field of momenta or velocities, p or v.

    Raises:
        DataError: if positions, times, or both momenta and velocities are missing.
    """
    # A name in the layout has priority over an array of the default name.
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
            f"{', '.join(sorted(map(str, [*raw, *others]))) or 'none'}; expected positions q, times t "
            "and momenta p (or velocities v with masses): name the arrays, such as --map p=momenta",
        )
    return fast


def _placed(
    raw: Mapping[str, np.ndarray], layout: Layout, field: str, source: str
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return a field as (trajectory, time, dof), and the shape of its degrees of freedom in the file.

    An array with another number of axes than the layout is returned unchanged, so that the checks report it.
    """
    parts = [np.asarray(raw[name]) for name in layout.of(field)]
    axes = layout.axes
    if len(parts) > 1:
        # Each degree of freedom has its own array: stack them along the last axis.
        same = {part.shape for part in parts}
        if len(same) > 1:
            raise DataError(
                "NR102",
                f"{source}: {', '.join(layout.of(field))} have shapes {sorted(same)}; expected equal shapes: "
                "check the names in --map",
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
    """Return times or mask with the axis of trajectories first."""
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
    """Return trajectories from the arrays of a file.

    Args:
        raw: name in the file -> array.
        layout: names, axes and masses of the arrays.
        metadata: notes of the file, see `Trajectories`.
        source: name of the file, for messages.
        others: names of further contents of the file, for messages.
    Raises:
        DataError: if arrays are missing, velocities have no masses, or the data cannot be used.
    """
    fast = _required(raw, layout, source, others)
    q, shape = _placed(raw, layout, "q", source)
    p, other = _placed(raw, layout, fast, source)
    if other != shape and q.shape == p.shape:
        raise DataError(
            "NR102",
            f"{source}: q has inner axes {shape} but {fast} has {other}; expected the same: transpose one of "
            "the arrays",
        )
    given = np.asarray(layout.mass) if layout.mass else None
    if given is None and not _missing(raw, layout, "mass"):
        given = np.concatenate([np.atleast_1d(raw[name]) for name in layout.of("mass")])
    mass = None if given is None else masses_of(given, shape, source)
    if fast == "v":
        if mass is None:
            raise DataError(
                "NR111",
                f"{source}: velocities {', '.join(layout.of('v'))} have no masses; momenta are p = m v: give "
                "masses, such as --mass 1,1,2 (--mass 1 if all are equal), or give momenta",
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
