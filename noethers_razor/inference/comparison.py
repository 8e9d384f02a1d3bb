"""Several runs beside each other: bounds, quantities, algebras, errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from noethers_razor.data.trajectories import Trajectories
from noethers_razor.inference.result import FitResult
from noethers_razor.inference.rollouts import follow
from noethers_razor.symmetry.report import SymmetryReport, find_symmetries

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
    """One run in plain JSON values; what is not known is None.

    Args:
        name: of the run.
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
        "quantities": report.rank if isinstance(report, SymmetryReport) else report.used,
        "independent": None if isinstance(report, SymmetryReport) else report.rank,
        "trusted": None if report.uncertainty is None else int(report.uncertainty.trusted.sum()),
        "algebra": report.algebra if isinstance(report, SymmetryReport) and report.rank else None,
        "negative_elbo": mine,
        "error": own.get("error"),
        "gain": None if none is None else none - mine,
        "largest_angle": report.largest_angle,
        "mse_rollout": None if data is None else _error(result, data),
        "seconds": result.metrics["seconds_total"],
        "data": [result.metadata.get("sha256"), result.metrics["transitions"]],
    }


def _error(result: FitResult, data: Trajectories) -> float | None:
    """Mean squared error of rollouts; None when one runs off."""
    error = follow(result, data, 0).summary["mse_rollout"]
    return error if error is not None and math.isfinite(error) else None


def warnings_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What makes rows incomparable."""
    if all(row["data"] == rows[0]["data"] for row in rows):
        return []
    return ["the runs are of different data: bounds compare only between runs of the same transitions"]


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """Aligned text, without the columns that no run fills."""
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
