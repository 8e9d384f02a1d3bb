"""A table that compares runs: bounds, quantities, algebras, errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from noethers_razor.data.trajectories import Trajectories
from noethers_razor.inference.result import FitResult
from noethers_razor.inference.rollouts import compare_rollouts
from noethers_razor.symmetry.find import find_symmetries

_COLUMNS = {
    "run": "run",
    "family": "family",
    "seed": "seed",
    "quantities": "quantities",
    "independent": "independent",
    "trusted": "trusted",
    "algebra": "algebra",
    "negative_elbo": "-ELBO",
    "error": "error",
    "gain": "gain over none",
    "largest_angle": "angle to truth",
    "mse_rollout": "rollout MSE",
    "seconds": "seconds",
}


def row_of(
    name: str, result: FitResult, truth: Any | None = None, data: Trajectories | None = None
) -> dict[str, Any]:
    """Return one run as plain JSON values; an unknown value is None.

    Args:
        name: of the run.
        result: of the run.
        truth: a system, for the angle to its quantities in degrees.
        data: trajectories to follow, for the mean squared error of rollouts.
    """
    report = find_symmetries(result, truth)
    bounds = report.bounds
    own = bounds.get(result.model.family.name, {})
    none, mine = bounds.get("none", {}).get("negative_elbo"), -result.elbo
    return {
        "run": name,
        "family": result.model.family.name,
        "seed": result.seed,
        "quantities": report.used,
        "independent": None if report.quadratic is not None else report.rank,
        "trusted": None if report.uncertainty is None else int(report.uncertainty.trusted.sum()),
        "algebra": report.algebra if report.rank else None,
        "negative_elbo": mine,
        "error": own.get("error"),
        "gain": None if none is None else none - mine,
        "largest_angle": report.largest_angle,
        "mse_rollout": None if data is None else _error(result, data),
        "seconds": result.metrics["seconds_total"],
        "data": [result.metadata.get("sha256"), result.metrics["transitions"]],
    }


def _error(result: FitResult, data: Trajectories) -> float | None:
    """Mean squared error of rollouts; None when one is not finite."""
    error = compare_rollouts(result, data, 0).summary["mse_rollout"]
    return error if error is not None and math.isfinite(error) else None


def warnings_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return what makes rows incomparable."""
    if all(row["data"] == rows[0]["data"] for row in rows):
        return []
    return ["the runs use different data: only bounds of the same transitions can be compared"]


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return aligned text, without the columns that no run fills."""
    used = [key for key in _COLUMNS if any(row[key] is not None for row in rows)]
    cells = [[_COLUMNS[key] for key in used], *([_text(row[key]) for key in used] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(used))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
