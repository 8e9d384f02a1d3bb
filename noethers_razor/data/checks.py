"""Checks of trajectories. Every problem has a code, a place, a value and a remedy."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np

_LARGEST = 1e100
"""Largest absolute value that is accepted: sums of squares stay far below the limit of float64, 1e308."""


class DataProblem(NamedTuple):
    """A problem of a data set: a code such as ``NR104``, and a message with place, value and remedy."""

    code: str
    text: str


def _shape_problems(
    q: np.ndarray, p: np.ndarray, t: np.ndarray, mask: np.ndarray | None
) -> list[DataProblem]:
    """Return the problems of types and shapes."""
    found: list[DataProblem] = []
    for name, array in (("q", q), ("p", p), ("t", t)):
        if array.dtype.kind not in "fiu":
            found.append(
                DataProblem(
                    "NR101", f"{name} holds {array.dtype}; expected real numbers: store it as float64"
                )
            )
    if mask is not None and mask.dtype.kind not in "biu":
        found.append(
            DataProblem("NR101", f"mask holds {mask.dtype}; expected True and False: store it as bool")
        )
    for name, array in (("q", q), ("p", p)):
        if array.ndim != 3:
            found.append(
                DataProblem(
                    "NR102",
                    f"{name} has shape {array.shape}; expected (trajectory, time, dof): add the missing "
                    "axes, or name the axes of the file, such as --axes time,dof or "
                    "--axes trajectory,time,body,dim",
                )
            )
    if found:
        return found
    if q.shape != p.shape:
        found.append(
            DataProblem(
                "NR102",
                f"q has shape {q.shape} but p has shape {p.shape}; expected equal shapes: give one momentum "
                "for each position",
            )
        )
    elif 0 in q.shape or q.shape[1] < 2:
        found.append(
            DataProblem(
                "NR103",
                f"q has shape {q.shape}; expected at least 1 trajectory, 2 times and 1 degree of freedom: "
                "add states, or name the axes of the file with --axes",
            )
        )
    if t.shape not in (q.shape[1:2], q.shape[:2]):
        found.append(
            DataProblem(
                "NR102",
                f"t has shape {t.shape}; expected {q.shape[1:2]} or {q.shape[:2]} to match q: give one time "
                "for each state",
            )
        )
    if mask is not None and mask.shape != q.shape[:2]:
        found.append(
            DataProblem(
                "NR102",
                f"mask has shape {mask.shape}; expected {q.shape[:2]} to match q: give one value for each "
                "state",
            )
        )
    return found


def _value_problems(q: np.ndarray, p: np.ndarray, present: np.ndarray) -> list[DataProblem]:
    """Return the problems of values that are present: not finite, too large, or without motion."""
    found: list[DataProblem] = []
    for name, array in (("q", q), ("p", p)):
        finite = np.isfinite(array)
        for bad, what, remedy in (
            (~finite, "not finite", "remove these states, or set mask to False there"),
            (
                finite & (np.abs(array.astype(np.float64)) > _LARGEST),
                f"larger than {_LARGEST:g}",
                "use other units",
            ),
        ):
            bad &= present[..., None]
            if bad.any():
                i, k, d = np.argwhere(bad)[0]
                where, count = f"{name}[{i}, {k}, {d}] = {array[i, k, d]}", int(bad.sum())
                found.append(DataProblem("NR105", f"{where} is {what} ({count} in total): {remedy}"))
    if not found and present.any():
        states = np.concatenate([q, p], axis=-1)[present].astype(np.float64)
        if np.all(states == states[0]):
            found.append(
                DataProblem("NR106", "all states are equal; expected motion: check that q and p are right")
            )
    return found


def _time_problems(t: np.ndarray, present: np.ndarray) -> list[DataProblem]:
    """Return the problems of times: no transition, or times that do not increase."""
    if not (present[:, 1:] & present[:, :-1]).any():
        return [
            DataProblem(
                "NR103",
                "no two neighbouring states are present; expected at least one transition: add states, or "
                "correct mask, which is True where a state exists",
            )
        ]
    # Only states that exist must be in order: the time of a missing state has no meaning.
    row, place = np.nonzero(present)
    times = np.broadcast_to(t, present.shape)[row, place].astype(np.float64)
    with np.errstate(invalid="ignore"):
        steps = np.diff(times)
    bad = (row[1:] == row[:-1]) & ~((steps > 0) & np.isfinite(steps))
    if not bad.any():
        return []
    i = int(np.argmax(bad))
    first = (
        f"t does not increase: t[{place[i + 1]}] = {times[i + 1]:.10g} after t[{place[i]}] = {times[i]:.10g} "
        f"(trajectory {row[i]}"
    )
    bad_count = int(bad.sum())
    more = f", {bad_count} such places" if bad_count > 1 else ""
    remedy = (
        "sort the states by time, name the column of a table that numbers trajectories "
        "(--map trajectory=COLUMN), or cut trajectories there (--split-at-gaps, in Python Layout(split=5))"
    )
    return [DataProblem("NR104", f"{first}{more}): {remedy}")]


def _metadata_problems(metadata: dict[str, Any], dof: int) -> list[DataProblem]:
    """Return the problems of metadata: no JSON, masses or names of coordinates that do not fit."""
    try:
        json.dumps(metadata, allow_nan=False)
    except (TypeError, ValueError) as error:
        return [DataProblem("NR115", f"metadata cannot be written as JSON ({error}): remove such values")]
    mass = metadata.get("mass")
    if mass is not None and (
        not isinstance(mass, list)
        or len(mass) != dof
        or not all(isinstance(m, int | float) and 0 < m < np.inf for m in mass)
    ):
        return [
            DataProblem(
                "NR112",
                f"mass in the metadata is {str(mass)[:60]}; expected {dof} positive numbers: correct it, or "
                "give --mass",
            )
        ]
    names = metadata.get("coordinates")
    if names is None:
        return []
    if not isinstance(names, list) or not all(isinstance(n, str) and n and n.isprintable() for n in names):
        return [
            DataProblem(
                "NR115",
                f"coordinates in the metadata are {str(names)[:60]!r}; expected a list of {2 * dof} "
                "printable names: correct or remove it",
            )
        ]
    if len(names) != 2 * dof or len(set(names)) < len(names):
        return [
            DataProblem(
                "NR115",
                f"coordinates in the metadata (number {len(names)}, different {len(set(names))}) are "
                f"{', '.join(names)[:60]}; expected {2 * dof} different names, positions first: correct or "
                "remove the list",
            )
        ]
    return []


def problems(
    q: np.ndarray, p: np.ndarray, t: np.ndarray, mask: np.ndarray | None, metadata: dict[str, Any]
) -> list[DataProblem]:
    """Return all problems of trajectory arrays.

    Args:
        q, p: positions and momenta (trajectory, time, dof).
        t: times (time,) or (trajectory, time).
        mask: (trajectory, time), True where a state exists; None if all exist.
        metadata: notes on the data, see `Trajectories`.
    Returns:
        The problems; an empty list if the arrays are usable.
    """
    found = _shape_problems(q, p, t, mask)
    if found:
        return found
    present = np.ones(q.shape[:2], dtype=bool) if mask is None else mask.astype(bool)
    return [
        *_value_problems(q, p, present),
        *_time_problems(t, present),
        *_metadata_problems(metadata, q.shape[2]),
    ]
