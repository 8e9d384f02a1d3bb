"""What makes trajectories unusable: every problem with its code, place, value and remedy."""

from __future__ import annotations

import numpy as np

Problem = tuple[str, str]


def _shape_problems(q: np.ndarray, p: np.ndarray, t: np.ndarray, mask: np.ndarray | None) -> list[Problem]:
    found: list[Problem] = []
    for name, array in (("q", q), ("p", p), ("t", t)):
        if array.dtype.kind not in "fiu":
            found.append(("NR101", f"{name} holds {array.dtype}; expected real numbers"))
    for name, array in (("q", q), ("p", p)):
        if array.ndim != 3:
            found.append(
                (
                    "NR102",
                    f"{name} has shape {array.shape}; expected (trajectory, time, dof): add the missing axes",
                )
            )
    if found:
        return found
    if q.shape != p.shape:
        found.append(
            ("NR102", f"q has shape {q.shape} but p {p.shape}; expected one momentum for each position")
        )
    elif 0 in q.shape or q.shape[1] < 2:
        found.append(
            ("NR103", f"q has shape {q.shape}; a trajectory needs at least 2 times and 1 degree of freedom")
        )
    if t.shape not in (q.shape[1:2], q.shape[:2]):
        found.append(
            ("NR102", f"t has shape {t.shape}; expected {q.shape[1:2]} or {q.shape[:2]} to go with q")
        )
    if mask is not None and mask.shape != q.shape[:2]:
        found.append(("NR102", f"mask has shape {mask.shape}; expected {q.shape[:2]} to go with q"))
    return found


def _value_problems(q: np.ndarray, p: np.ndarray, present: np.ndarray) -> list[Problem]:
    found: list[Problem] = []
    for name, array in (("q", q), ("p", p)):
        bad = ~np.isfinite(array) & present[..., None]
        if bad.any():
            i, k, d = np.argwhere(bad)[0]
            found.append(
                (
                    "NR105",
                    f"{name}[{i}, {k}, {d}] = {array[i, k, d]} ({int(bad.sum())} values not finite): "
                    "remove those states, or mark them False in mask",
                )
            )
    if not found and present.any():
        states = np.concatenate([q, p], axis=-1)[present].astype(np.float64)
        if np.all(states == states[0]):
            found.append(("NR106", "no state differs from another; expected motion"))
    return found


def _time_problems(t: np.ndarray, present: np.ndarray) -> list[Problem]:
    times = np.broadcast_to(t, present.shape).astype(np.float64)
    both = present[:, 1:] & present[:, :-1]
    if not both.any():
        return [("NR103", "no two neighbouring states are present; expected at least one transition")]
    steps = np.subtract(times[:, 1:], times[:, :-1], where=both, out=np.ones(both.shape))
    bad = ~((steps > 0) & np.isfinite(steps))
    if not bad.any():
        return []
    i, k = np.argwhere(bad)[0]
    return [
        (
            "NR104",
            f"t is not increasing: t[{k + 1}] = {times[i, k + 1]:.6g} after t[{k}] = {times[i, k]:.6g} "
            f"(trajectory {i}): sort by time",
        )
    ]


def problems(q: np.ndarray, p: np.ndarray, t: np.ndarray, mask: np.ndarray | None) -> list[Problem]:
    """Everything wrong with trajectory arrays, as (code, sentence); empty when they are usable."""
    found = _shape_problems(q, p, t, mask)
    if found:
        return found
    present = np.ones(q.shape[:2], dtype=bool) if mask is None else mask
    return _value_problems(q, p, present) + _time_problems(t, present)
