"""Reader of tables: a line of names, then one line for each state."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from noethers_razor.data.gaps import padded
from noethers_razor.data.layout import Layout, assembled
from noethers_razor.data.readers.base import require_unused, unreadable
from noethers_razor.data.summary import UNUSED
from noethers_razor.data.trajectories import Trajectories
from noethers_razor.errors import DataError

_LONGEST_LINE = 1_000_000
"""Largest length of the line of names, characters."""
_STATES = ("q", "p", "v")
"""Fields with one column for each degree of freedom."""
_DEFAULT = r"{}(\d+|[xyz]\d*|_\w+|)"
"""Pattern of the names of columns that belong to a field without --map."""


def read_table(path: Path, layout: Layout) -> Trajectories:
    """Read trajectories from a table with columns trajectory (optional), t, q..., and p... or v...

    Columns of positions have names such as q, q1, qx, qx1, q_left. Those of momenta begin with p, those of
    velocities with v. The layout may name others. Columns are separated by commas, semicolons or tabs.

    Raises:
        DataError: for missing columns, for a cell that is not a finite number (with its line and column), and
            for data that cannot be used.
    """
    require_unused(layout, (), "a table")
    lines, columns = _columns(path)
    names = list(columns)
    if "mass" in columns and not layout.mass:
        raise DataError(
            "NR112",
            f"{path}: column mass is not used, because a mass is one number and not one for each state: give "
            "it with --mass, such as --mass 1",
        )
    for field in ("trajectory", "mass"):
        if field in layout.names and layout.of(field)[0] not in columns:
            raise DataError(
                "NR107",
                f"{path}: no column {layout.of(field)[0]} among {', '.join(names)}; correct --map",
            )
    owned = {name for field in ("t", "trajectory", "mass") for name in layout.of(field)}
    chosen = {field: _chosen(field, names, layout, owned) for field in _STATES}
    time, label = layout.of("t")[0], layout.of("trajectory")[0]
    fast = "v" if "v" in layout.names or (chosen["v"] and not chosen["p"]) else "p"
    there = {time: time in columns, "q...": bool(chosen["q"]), f"{fast}...": bool(chosen[fast])}
    if missing := [name for name, found in there.items() if not found]:
        raise DataError(
            "NR107",
            f"{path}: no column {', '.join(missing)} among {', '.join(names)}; expected times t, positions "
            "q..., momenta p... (or velocities v... with masses), and trajectory if there are several: name "
            "the columns, such as --map t=time --map q=x,y",
        )
    chosen[fast] = _paired(chosen["q"], chosen[fast], layout, fast, path)
    numbers = {name: _numbers(columns[name]) for name in dict.fromkeys([time, *chosen["q"], *chosen[fast]])}
    known = np.all([np.isfinite(values) for values in numbers.values()], axis=0)
    if not known.any() or (layout.split is None and not known.all()):
        raise _about_cells(path, lines, columns, numbers)
    # A row without numbers is a missing state. Trajectories are cut there.
    rows = [piece for own in _rows_of(columns.get(label), len(known)) for piece in _known_pieces(own, known)]
    q, p = (np.stack([numbers[name] for name in chosen[field]], axis=-1) for field in ("q", fast))
    arrays = padded([(numbers[time][own], q[own], p[own]) for own in rows])
    raw = {"q": arrays.q, fast: arrays.p, "t": arrays.t}
    if arrays.mask is not None:
        raw["mask"] = arrays.mask
    called = [*chosen["q"], *(chosen[fast] if fast == "p" else (f"p_{name}" for name in chosen["q"]))]
    plain = Layout(mass=layout.mass, split=layout.split)
    notes: dict[str, Any] = {"coordinates": called}
    if unused := [
        n for n in names if n not in numbers and n != label and np.isfinite(_numbers(columns[n])).all()
    ]:
        notes[UNUSED] = unused
    return assembled(raw, plain, notes, str(path))


def _paired(q: list[str], other: list[str], layout: Layout, field: str, path: Path) -> list[str]:
    """Return momenta or velocities in the order of their positions: q2, q1 belong to p2, p1.

    Raises:
        DataError: if they do not match.
    """
    named = bool(layout.names.keys() & {"q", field})
    same = len(q) == len(other) if named else {name[1:] for name in q} == {name[1:] for name in other}
    if not same:
        raise DataError(
            "NR102",
            f"{path}: positions {', '.join(q)} do not match {', '.join(other)}; expected one for each: name "
            f"the columns, such as --map q=x,y --map {field}={field}x,{field}y",
        )
    return other if named else [field + name[1:] for name in q]


def _columns(path: Path) -> tuple[list[int], dict[str, list[str]]]:
    """Return the numbers of the lines, and the cells of each column by name."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head = file.readline(_LONGEST_LINE)
            delimiter = max(",;\t", key=head.count)
            names = [name.strip() for name in next(csv.reader([head], delimiter=delimiter), [])]
            reader = csv.reader(file, delimiter=delimiter)
            # The first line is already read.
            rows = [(reader.line_num + 1, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise unreadable(path, "table", error, "write UTF-8 text with a line of names first") from None
    if not names or len(set(names)) < len(names) or not all(names):
        raise DataError(
            "NR117",
            f"{path}: the first line is {', '.join(names)[:200] or 'empty'}; expected a "
            "different name for each column: write them in the first line",
        )
    for number, row in rows:
        if len(row) != len(names):
            raise DataError(
                "NR117",
                f"{path}: line {number} has {len(row)} cells; expected {len(names)}, one for each name in "
                "the first line: correct or delete it",
            )
    if not rows:
        raise DataError("NR103", f"{path}: no line after the line of names; expected one line for each state")
    cells = dict(zip(names, map(list, zip(*(row for _, row in rows), strict=True)), strict=True))
    return [number for number, _ in rows], cells


def _chosen(field: str, names: Sequence[str], layout: Layout, owned: set[str]) -> list[str]:
    """Return the columns of a field: from the layout, or those with a name that begins with the field."""
    if field in layout.names:
        return list(layout.of(field)) if set(layout.of(field)) <= set(names) else []
    others = owned | {name for other in _STATES if other in layout.names for name in layout.of(other)}
    return [name for name in names if re.fullmatch(_DEFAULT.format(field), name) and name not in others]


def _numbers(cells: list[str]) -> np.ndarray:
    """Return a column as float64, with nan for cells that are not numbers."""
    try:
        return np.array(cells, dtype=np.float64)
    except ValueError:
        return np.array([_number(cell) for cell in cells])


def _about_cells(
    path: Path, lines: list[int], columns: Mapping[str, list[str]], numbers: Mapping[str, np.ndarray]
) -> DataError:
    """Return the error for cells that are not finite numbers: the first in each column, and their number."""
    found = []
    for name, values in numbers.items():
        bad = ~np.isfinite(values)
        if bad.any():
            row = int(np.argmax(bad))
            place = f"line {lines[row]}, column {name}: {columns[name][row]!r} is not a finite number"
            remedy = (
                "delete such lines, or cut trajectories there (--split-at-gaps, in Python Layout(split=5))"
            )
            found.append(
                (
                    "NR105",
                    f"{place} ({int(bad.sum())} in this column): {remedy}",
                )
            )
    (code, text), *others = found
    return DataError(code, f"{path}: {text}", others)


def _known_pieces(own: np.ndarray, known: np.ndarray) -> list[np.ndarray]:
    """Return the rows of a trajectory, cut where states are missing."""
    index = np.flatnonzero(known[own])
    return [piece for piece in np.split(own[index], np.flatnonzero(np.diff(index) > 1) + 1) if len(piece)]


def _number(cell: str) -> float:
    """Return a cell as a number, nan if it is none."""
    try:
        return float(cell)
    except ValueError:
        return np.nan


def _rows_of(labels: list[str] | None, count: int) -> list[np.ndarray]:
    """Return the rows of each trajectory, in the order of the table; without labels there is one."""
    if labels is None:
        return [np.arange(count)]
    _, first, place = np.unique(np.array(labels), return_index=True, return_inverse=True)
    order = np.argsort(place, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(place))[:-1])
    return [groups[i] for i in np.argsort(first)]
