"""What makes trajectories unusable: every problem with its code, place, value and remedy."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np

_LARGEST = 1e100
"""Beyond, squares leave the range of numbers."""


class Problem(NamedTuple):
    """A code such as ``NR104``, and one sentence: place, value, reason, remedy."""

    code: str
    text: str


def _shape_problems(q: np.ndarray, p: np.ndarray, t: np.ndarray, mask: np.ndarray | None) -> list[Problem]:
    found: list[Problem] = []
    for name, array in (("q", q), ("p", p), ("t", t)):
        if array.dtype.kind not in "fiu":
            found.append(Problem("NR101", f"{name} holds {array.dtype}; expected real numbers"))
    if mask is not None and mask.dtype.kind not in "biu":
        found.append(Problem("NR101", f"mask holds {mask.dtype}; expected True and False"))
    for name, array in (("q", q), ("p", p)):
        if array.ndim != 3:
            found.append(
                Problem(
                    "NR102",
                    f"{name} has shape {array.shape}; expected (trajectory, time, dof): add missing axes, or "
                    "name those of a file with --axes",
                )
            )
    if found:
        return found
    if q.shape != p.shape:
        found.append(
            Problem("NR102", f"q has shape {q.shape} but p {p.shape}; expected a momentum for each position")
        )
    elif 0 in q.shape or q.shape[1] < 2:
        found.append(
            Problem("NR103", f"q has shape {q.shape}; expected at least 2 times and 1 degree of freedom")
        )
    if t.shape not in (q.shape[1:2], q.shape[:2]):
        found.append(
            Problem("NR102", f"t has shape {t.shape}; expected {q.shape[1:2]} or {q.shape[:2]} to go with q")
        )
    if mask is not None and mask.shape != q.shape[:2]:
        found.append(Problem("NR102", f"mask has shape {mask.shape}; expected {q.shape[:2]} to go with q"))
    return found


def _value_problems(q: np.ndarray, p: np.ndarray, present: np.ndarray) -> list[Problem]:
    found: list[Problem] = []
    for name, array in (("q", q), ("p", p)):
        finite = np.isfinite(array)
        for bad, what, remedy in (
            (~finite, "not finite", "remove those states, or mark them False in mask"),
            (
                finite & (np.abs(array.astype(np.float64)) > _LARGEST),
                f"beyond {_LARGEST:g}",
                "choose other units",
            ),
        ):
            bad &= present[..., None]
            if bad.any():
                i, k, d = np.argwhere(bad)[0]
                where, count = f"{name}[{i}, {k}, {d}] = {array[i, k, d]}", int(bad.sum())
                found.append(Problem("NR105", f"{where} ({count} values {what}): {remedy}"))
    if not found and present.any():
        states = np.concatenate([q, p], axis=-1)[present].astype(np.float64)
        if np.all(states == states[0]):
            found.append(Problem("NR106", "no state differs from another; expected motion"))
    return found


def _time_problems(t: np.ndarray, present: np.ndarray) -> list[Problem]:
    if not (present[:, 1:] & present[:, :-1]).any():
        return [Problem("NR103", "no two neighbouring states are present; expected at least one transition")]
    # Of the states that are there, the order counts: a missing one between them changes nothing.
    row, place = np.nonzero(present)
    times = np.broadcast_to(t, present.shape)[row, place].astype(np.float64)
    with np.errstate(invalid="ignore"):
        steps = np.diff(times)
    bad = (row[1:] == row[:-1]) & ~((steps > 0) & np.isfinite(steps))
    if not bad.any():
        return []
    i = int(np.argmax(bad))
    first = (
        f"t is not increasing: t[{place[i + 1]}] = {times[i + 1]:.10g} after t[{place[i]}] = {times[i]:.10g} "
        f"(trajectory {row[i]}"
    )
    bad_count = int(bad.sum())
    more = f", {bad_count} places in all" if bad_count > 1 else ""
    remedy = (
        "sort by time, name what tells trajectories apart (--map trajectory=COLUMN in a table), or split at "
        "the jumps: split_at_gaps, --split-at-gaps"
    )
    return [Problem("NR104", f"{first}{more}): {remedy}")]


def _metadata_problems(metadata: dict[str, Any], dof: int) -> list[Problem]:
    try:
        json.dumps(metadata, allow_nan=False)
    except (TypeError, ValueError) as error:
        return [Problem("NR115", f"metadata are no JSON ({error}): leave out what is none")]
    mass = metadata.get("mass")
    if mass is not None and (
        not isinstance(mass, list)
        or len(mass) != dof
        or not all(isinstance(m, int | float) and 0 < m < np.inf for m in mass)
    ):
        return [
            Problem("NR112", f"mass in the metadata is {str(mass)[:60]}; expected {dof} positive numbers")
        ]
    names = metadata.get("coordinates")
    if names is None:
        return []
    if not isinstance(names, list) or not all(isinstance(n, str) and n and n.isprintable() for n in names):
        return [Problem("NR115", f"coordinates are {str(names)[:60]!r}; expected {2 * dof} printable names")]
    if len(names) != 2 * dof or len(set(names)) < len(names):
        return [
            Problem(
                "NR115",
                f"{len(names)} coordinates, {len(set(names))} different: {', '.join(names)[:60]}; expected "
                f"{2 * dof} names, those of positions first",
            )
        ]
    return []


def problems(
    q: np.ndarray, p: np.ndarray, t: np.ndarray, mask: np.ndarray | None, metadata: dict[str, Any]
) -> list[Problem]:
    """Everything wrong with trajectory arrays; empty when they are usable."""
    found = _shape_problems(q, p, t, mask)
    if found:
        return found
    present = np.ones(q.shape[:2], dtype=bool) if mask is None else mask.astype(bool)
    return [
        *_value_problems(q, p, present),
        *_time_problems(t, present),
        *_metadata_problems(metadata, q.shape[2]),
    ]
