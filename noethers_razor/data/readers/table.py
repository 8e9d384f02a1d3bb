"""Long tables: a line of names, then one line for each state."""

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
_STATES = ("q", "p", "v")
_DEFAULT = r"{}(\d+|[xyz]\d*|_\w+|)"
"""Names of columns of a field that are found without being told."""


def read_table(path: Path, layout: Layout) -> Trajectories:
    """Trajectories from a table with columns trajectory (optional), t, q..., and p... or v...

    Columns of positions, momenta and velocities are those called q, q1, qx, qx1, q_anything and so on, unless
    the layout names others. Columns are separated by commas, semicolons or tabs.

    Raises:
        DataError: naming line and column of a cell that is no finite number, or what is missing.
    """
    require_unused(layout, (), "a table")
    lines, columns = _columns(path)
    names = list(columns)
    if "mass" in columns and not layout.mass:
        raise DataError(
            "NR112", f"{path}: a column mass is not read, of a body it is one number; give it with --mass"
        )
    for field in ("trajectory", "mass"):
        if field in layout.names and layout.of(field)[0] not in columns:
            raise DataError("NR107", f"{path}: no column {layout.of(field)[0]} among {', '.join(names)}")
    owned = {name for field in ("t", "trajectory", "mass") for name in layout.of(field)}
    chosen = {field: _chosen(field, names, layout, owned) for field in _STATES}
    time, label = layout.of("t")[0], layout.of("trajectory")[0]
    fast = "v" if "v" in layout.names or (chosen["v"] and not chosen["p"]) else "p"
    there = {time: time in columns, "q...": bool(chosen["q"]), f"{fast}...": bool(chosen[fast])}
    if missing := [name for name, found in there.items() if not found]:
        raise DataError(
            "NR107",
            f"{path}: no column {', '.join(missing)} among {', '.join(names)}; expected t, positions q..., "
            "momenta p... (or velocities v... with masses), trajectory where there are several: name them, "
            "such as --map q=x,y",
        )
    chosen[fast] = _paired(chosen["q"], chosen[fast], layout, fast, path)
    numbers = {name: _numbers(columns[name]) for name in dict.fromkeys([time, *chosen["q"], *chosen[fast]])}
    known = np.all([np.isfinite(values) for values in numbers.values()], axis=0)
    if not known.any() or (layout.split is None and not known.all()):
        raise _about_cells(path, lines, columns, numbers)
    # A state without numbers is one that is missing: there trajectories are cut.
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
    """Momenta or velocities in the order of their positions: q2, q1 go with p2, p1.

    Raises:
        DataError: where they do not go together.
    """
    if layout.names.keys() & {"q", field}:
        same = len(q) == len(other)
    else:
        same = {name[1:] for name in q} == {name[1:] for name in other}
        other = [field + name[1:] for name in q]
    if not same:
        raise DataError(
            "NR102",
            f"{path}: positions {', '.join(q)} but {', '.join(other)}; expected one for each: name them, "
            "such as --map q=x,y",
        )
    return other


def _columns(path: Path) -> tuple[list[int], dict[str, list[str]]]:
    """Numbers of the lines, and cells by name."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head = file.readline(_LONGEST_LINE)
            delimiter = max(",;\t", key=head.count)
            names = [name.strip() for name in next(csv.reader([head], delimiter=delimiter), [])]
            reader = csv.reader(file, delimiter=delimiter)
            # The first line was read before.
            rows = [(reader.line_num + 1, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise unreadable(path, "table", error, "write UTF-8 text with a line of names first") from None
    if not names or len(set(names)) < len(names) or not all(names):
        raise DataError(
            "NR117",
            f"{path}: the first line is {', '.join(names)[:200] or 'empty'}; expected one name a column",
        )
    for number, row in rows:
        if len(row) != len(names):
            raise DataError(
                "NR117",
                f"{path}: line {number} has {len(row)} cells; expected {len(names)}, one for each name",
            )
    if not rows:
        raise DataError("NR103", f"{path}: no line below the names; expected one for each state")
    cells = dict(zip(names, map(list, zip(*(row for _, row in rows), strict=True)), strict=True))
    return [number for number, _ in rows], cells


def _chosen(field: str, names: Sequence[str], layout: Layout, owned: set[str]) -> list[str]:
    """Columns of a field: those that the layout names, or those whose names begin with it."""
    if field in layout.names:
        return list(layout.of(field)) if set(layout.of(field)) <= set(names) else []
    others = owned | {name for other in _STATES if other in layout.names for name in layout.of(other)}
    return [name for name in names if re.fullmatch(_DEFAULT.format(field), name) and name not in others]


def _numbers(cells: list[str]) -> np.ndarray:
    """A column as float64, what is no number as not one."""
    try:
        return np.array(cells, dtype=np.float64)
    except ValueError:
        return np.array([_number(cell) for cell in cells])


def _about_cells(
    path: Path, lines: list[int], columns: Mapping[str, list[str]], numbers: Mapping[str, np.ndarray]
) -> DataError:
    """What is no finite number in the columns that are used: the first of each, and how many."""
    found = []
    for name, values in numbers.items():
        bad = ~np.isfinite(values)
        if bad.any():
            row = int(np.argmax(bad))
            place = f"line {lines[row]}, column {name}: {columns[name][row]!r}"
            remedy = "delete such lines, or cut trajectories there: Layout(split=5), --split-at-gaps"
            found.append(("NR105", f"{place} ({int(bad.sum())} cells there are no finite numbers): {remedy}"))
    (code, text), *others = found
    return DataError(code, f"{path}: {text}", others)


def _known_pieces(own: np.ndarray, known: np.ndarray) -> list[np.ndarray]:
    """Rows of a trajectory, cut where some are not known."""
    index = np.flatnonzero(known[own])
    return [piece for piece in np.split(own[index], np.flatnonzero(np.diff(index) > 1) + 1) if len(piece)]


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan


def _rows_of(labels: list[str] | None, count: int) -> list[np.ndarray]:
    """Rows of each trajectory in the order of the table; all of one where no column says."""
    if labels is None:
        return [np.arange(count)]
    _, first, place = np.unique(np.array(labels), return_index=True, return_inverse=True)
    order = np.argsort(place, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(place))[:-1])
    return [groups[i] for i in np.argsort(first)]
