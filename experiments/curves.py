"""3 bodies in 2 dimensions at several noises and numbers of trajectories, with and without symmetry.

Run as `python -m experiments.curves`. It shows at which noise the algebra is lost, and from how many
trajectories on learned quantities improve the prediction.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from experiments.pipeline import compared
from experiments.tables import markdown, parser, spread, write
from noethers_razor import plot
from noethers_razor.systems import NBody

NOISES = (0.001, 0.003, 0.01, 0.03, 0.1)
"""Standard deviations of the noise on the states."""
COUNTS = (10, 30, 100, 300, 1000)
"""Numbers of trajectories."""
_NOISE = 0.01
"""Noise of the curve over the number of trajectories."""
_COUNT = 200
"""Number of trajectories of the curve over the noise."""
FAMILIES = {"none": ["--family", "none"], "learned": ["--conserved", "10"]}


def point(noise: float, count: int, seeds: int, cache: Path) -> list[dict[str, Any]]:
    """Fit all seeds at one noise and number of trajectories; `cache` is a folder for compiled programs."""
    settings = {"dt": 0.3, "noise": noise, "n_trajectories": count}
    done = []
    for seed in range(1, seeds + 1):
        done.append(compared(NBody(), FAMILIES, seed, cache, settings=settings))
        learned = done[-1]["learned"]
        print(
            f"noise {noise:g} count {count} seed {seed}",
            learned["rank"],
            learned["largest_angle"],
            flush=True,
        )
    return done


def row(label: str, done: list[dict[str, Any]]) -> list[str]:
    """Return one row of the table, from the runs at one point of a curve."""
    learned, none = ([run[name] for run in done] for name in ("learned", "none"))
    worst = [max(run["truth_angles"].values()) for run in learned]
    return [
        label,
        ", ".join(str(run["rank"]) for run in learned),
        spread(worst),
        spread([run["negative_elbo"] for run in learned], 4),
        spread([run["negative_elbo"] for run in none], 4),
        spread([run["test_mse"] for run in learned]),
        spread([run["test_mse"] for run in none]),
    ]


def main() -> None:
    arguments = parser("3 bodies at several noises and data sizes").parse_args()
    header = [
        "",
        "rank, each seed",
        "worst angle of a true quantity (degrees)",
        "-ELBO learned",
        "-ELBO none",
    ]
    header += ["test MSE learned", "test MSE none"]
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        by_noise = {noise: point(noise, _COUNT, arguments.seeds, cache) for noise in NOISES}
        by_count = {count: point(_NOISE, count, arguments.seeds, cache) for count in COUNTS}
    tables = [
        markdown([label, *header[1:]], [row(f"{value:g}", done) for value, done in curve.items()])
        for label, curve in (
            (f"noise, {_COUNT} trajectories", by_noise),
            (f"trajectories, noise {_NOISE}", by_count),
        )
    ]
    write(
        arguments.out,
        "curves",
        title="3 bodies in 2 dimensions: noise and data size (7 of 10 offered)",
        command=f"python -m experiments.curves --seeds {arguments.seeds}",
        table="\n".join(tables),
        remarks="A trajectory has 50 transitions. "
        "Test rollouts have 20 steps and come from another random stream.\n",
        runs={"noise": by_noise, "count": by_count},
    )
    panels = {}
    for label, curve in (("noise (standard deviation)", by_noise), ("trajectories", by_count)):
        lines = {
            name: [[run[name]["test_mse"] for run in done] for done in curve.values()] for name in FAMILIES
        }
        panels[label] = (np.array(list(curve)), {name: np.array(values) for name, values in lines.items()})
    plot.curves(panels, "test MSE, 20 steps").savefig(arguments.out / "curves.png", dpi=130)


if __name__ == "__main__":
    main()
