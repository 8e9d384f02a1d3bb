"""Coverage of the interval of the largest angle to the true span, over repeated data sets.

Run as `python -m experiments.coverage`. The system is two oscillators. The first data set has seed 1001. Each
fit uses the default settings.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import noethers_razor as nr
from experiments.tables import markdown, parser, spread, write
from experiments.threshold import candidates
from noethers_razor.cli import host
from noethers_razor.mechanics.quadratic_form import embed, stack_forms
from noethers_razor.numerics.subspaces import orthonormal
from noethers_razor.symmetry.uncertainty import LEVEL
from noethers_razor.systems import Oscillators

_SEEDS_OF_DATA = 1000
"""Seed of a data set minus seed of its fit."""


def one_set(seed: int, noise: float, count: int) -> dict[str, Any]:
    """Fit one data set. Return the true angle in degrees, its interval, and squared angles between spans.

    Args:
        seed: seed of the fit.
        noise: standard deviation of the noise on the states.
        count: number of trajectories.
    """
    system = Oscillators(n=2)
    data = system.simulate(_SEEDS_OF_DATA + seed, n_trajectories=count, noise=noise)
    result = nr.fit(data, seed=seed)
    report = nr.find_symmetries(result, system)
    unsure = report.uncertainty
    assert result.trajectories is not None, "a fit with a proposal stores its trajectories"
    learned = report.span.vectors[: report.rank]
    least = embed(*candidates(result.trajectories, report.rank)[:2], result.moment)
    truth = embed(*result.frame.quadratic_into(*stack_forms(system.conserved())), result.moment)
    low, middle, high = (0.0, 0.0, 0.0) if unsure is None or unsure.angle is None else unsure.angle.tolist()
    return {
        "rank": report.rank,
        "angle": report.largest_angle,
        "low": low,
        "median": middle,
        "high": high,
        "holds": low <= (report.largest_angle or 0.0) <= high,
        "named": 0 if unsure is None else unsure.names.get("u(2)", 0),
        "squared_error_of_least_varying": apart(least, truth),
        "squared_error": apart(learned, truth),
        "squared_move": apart(learned, least),
    }


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Return the sum of squared principal angles (square degrees) of spans (r, E); for small angles only."""
    one, other = orthonormal(one), orthonormal(other)
    return float(np.degrees(np.linalg.norm(one - (one @ other.T) @ other)) ** 2)


def main() -> None:
    arguments = parser("coverage of the interval of the largest angle")
    arguments.add_argument(
        "--noise", type=float, default=0.05, help="standard deviation of the noise on the states"
    )
    arguments.add_argument(
        "--trajectories", type=int, default=60, help="number of trajectories of each data set"
    )
    arguments.set_defaults(seeds=30)
    chosen = arguments.parse_args()
    host.prepare()
    runs = []
    for seed in range(1, chosen.seeds + 1):
        runs.append(one_set(seed, chosen.noise, chosen.trajectories))
        print(seed, runs[-1], flush=True)
    kept = sum(run["holds"] for run in runs)
    below = sum(run["angle"] < run["low"] for run in runs)
    write(
        chosen.out,
        "coverage",
        title=f"Coverage of the {100 * LEVEL:.0f} % interval of the largest angle, 2 oscillators",
        command=f"python -m experiments.coverage --seeds {chosen.seeds} --noise {chosen.noise} "
        f"--trajectories {chosen.trajectories}",
        table=markdown(
            [
                "data sets",
                "data sets with 4 quantities found",
                "interval contains the angle",
                "angle below the interval",
                "angle above the interval",
                "angle (degrees)",
                "median of the draws (degrees)",
            ],
            [
                [
                    str(len(runs)),
                    str(sum(run["rank"] == 4 for run in runs)),
                    f"{kept} ({100 * kept / len(runs):.0f} %)",
                    str(below),
                    str(len(runs) - kept - below),
                    spread([run["angle"] for run in runs]),
                    spread([run["median"] for run in runs]),
                ]
            ],
        ),
        remarks="Mean sums of squared principal angles (square degrees): "
        + ", ".join(
            f"{label} {np.mean([run[key] for run in runs]):.3g}"
            for label, key in (
                ("least-varying span to true span", "squared_error_of_least_varying"),
                ("learned span to true span", "squared_error"),
                ("learned span to least-varying span", "squared_move"),
            )
        )
        + ".\n",
        runs={"sets": runs},
    )


if __name__ == "__main__":
    main()
