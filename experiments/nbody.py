"""n gravitating bodies (paper, table 3 and figures 4, 5): no symmetry, learned, true symmetry, two baselines.

Run as `python -m experiments.nbody`. Some cases go beyond the paper. Tests are rollouts of 20 steps from 100
initial states of another random stream: from the training distribution, moved (positions + 1) and wider
(positions x 3). In all three, momenta have standard deviation .5 sqrt(mass).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from experiments.pipeline import compared
from experiments.tables import comparison_rows, markdown, parser, spread, write
from noethers_razor.systems import NBody

CASES: dict[str, tuple[NBody, int, str]] = {
    "nbody": (NBody(n_bodies=3, dim=2), 10, "3 bodies in 2 dimensions"),
    "nbody_3d": (NBody(n_bodies=3, dim=3), 20, "3 bodies in 3 dimensions"),
    "nbody_five": (NBody(n_bodies=5, dim=2), 10, "5 bodies in 2 dimensions"),
    "nbody_masses": (NBody(n_bodies=3, dim=2, masses=(1.0, 2.0, 3.0)), 10, "3 bodies, masses 1, 2, 3"),
}
"""Name of the result -> system, value of --conserved, title."""

BASELINES = {
    "null space": "baseline: null space of the brackets",
    "constancy": "baseline: constancy along trajectories",
}
COLUMNS = {
    "train_mse": "train MSE, one step",
    "nll": "nll",
    "kl": "KL",
    "negative_elbo": "-ELBO per transition",
    "negative_elbo_total": "-ELBO",
    "test_mse": "test MSE",
    "moved_mse": "moved MSE",
    "wider_mse": "wider MSE",
    "seconds": "fit + inspect (s)",
}


def learned_rows(runs: list[dict[str, Any]], number: int) -> list[list[str]]:
    """Return the table rows on the learned quantities and on the baselines.

    Args:
        runs: numbers of each seed, see `compared`.
        number: true number of quantities.
    """
    learned = [run["learned"] for run in runs]
    ratios = [r["singular_values"][number] / r["singular_values"][number - 1] for r in learned]
    rounds = [sum(judged["accepted"] for judged in r["judgements"]) for r in learned]
    return [
        ["quantities found, each seed (learned)", ", ".join(str(r["rank"]) for r in learned)],
        ["smallest parallelness", spread([min(r["parallelness"], default=0.0) for r in learned], 4)],
        [f"singular value {number + 1} over {number}", spread(ratios)],
        ["largest angle (degrees)", spread([r["largest_angle"] for r in learned])],
        ["rounds of model selection, each seed", ", ".join(map(str, rounds))],
        ["algebra", ", ".join(sorted({str(r["algebra"]) for r in learned}))],
    ] + [
        row
        for name, label in BASELINES.items()
        for row in (
            [
                f"quantities at the largest gap, each seed ({label})",
                ", ".join(str(run[name]["rank"]) for run in runs),
            ],
            [
                f"largest angle of the first {number} (degrees), same baseline",
                spread([run[name]["largest_angle_true_rank"] for run in runs]),
            ],
        )
    ]


def main() -> None:
    options = parser("n bodies: no symmetry, learned, true symmetry (oracle), and baselines")
    options.add_argument("--case", nargs="*", choices=CASES, default=list(CASES), help="names of systems")
    options.add_argument("--noise", type=float, default=0.0, help="standard deviation of the noise")
    arguments = options.parse_args()
    for name in arguments.case:
        system, offered, title = CASES[name]
        families = {
            "none": ["--family", "none"],
            "learned": ["--conserved", str(offered)],
            "oracle": ["--oracle", "nbody"],
        }
        suffix = f"_noise_{arguments.noise:g}" if arguments.noise else ""
        settings = {"dt": 0.3, "noise": arguments.noise}
        runs = []
        with tempfile.TemporaryDirectory() as cache:
            for seed in range(1, arguments.seeds + 1):
                pictures = arguments.out / (name + suffix) if seed == 1 else None
                runs.append(
                    compared(
                        system,
                        families,
                        seed,
                        Path(cache),
                        settings=settings,
                        tests=("moved", "wider"),
                        pictures=pictures,
                    )
                )
                found = runs[-1]["learned"]
                print(name, seed, found["rank"], found["largest_angle"], found["seconds"], flush=True)
        number = len(system.conserved())
        extra = f" --noise {arguments.noise:g}" if arguments.noise else ""
        write(
            arguments.out,
            name + suffix,
            title=f"{title}, noise {arguments.noise:g}, 200 x 50 transitions: {number} of {offered} offered",
            command=f"python -m experiments.nbody --case {name} --seeds {arguments.seeds}{extra}",
            table=markdown(["", *COLUMNS.values()], comparison_rows(runs, COLUMNS))
            + "\n"
            + markdown(["", ""], learned_rows(runs, number)),
            remarks=(
                "Seconds are wall-clock times of whole processes. The first seed includes compilation. "
                "A round of model selection trains the learned quantities further. "
                "The fits none and oracle have no such round.\n"
            ),
            runs={str(i + 1): run for i, run in enumerate(runs)},
        )


if __name__ == "__main__":
    main()
