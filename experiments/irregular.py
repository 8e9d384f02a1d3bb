"""Irregular times and unequal lengths of trajectories: whether u(3) is still found.

Run as `python -m experiments.irregular`. Times between states are drawn from U[.05, .4], lengths from 5 to
80 states. Regular data have about the same number of transitions, all .2 long, in trajectories of 51 states.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import noethers_razor as nr
from experiments.pipeline import data_seed
from experiments.tables import markdown, named, parser, spread, write
from noethers_razor.cli import host
from noethers_razor.systems import Oscillators

SYSTEM = Oscillators(n=3)
_COUNT = 200
"""Number of irregular trajectories."""
NOISES = (0.0, 0.03)
"""Standard deviations of the noise on the states."""


def turned(states: np.ndarray, times: np.ndarray | float) -> np.ndarray:
    """Return the exact states of oscillators of frequency 1 after given times.

    Args:
        states: (..., M), positions and momenta at the start.
        times: one time, or an array that broadcasts with the positions (..., M / 2).
    """
    q, p = np.split(states, 2, axis=-1)
    cos, sin = np.cos(times), np.sin(times)
    return np.concatenate([q * cos + p * sin, p * cos - q * sin], axis=-1)


def irregular(seed: int, noise: float) -> nr.Trajectories:
    """Simulate trajectories of 5 to 80 states at irregular times."""
    generator = np.random.default_rng(data_seed(seed))
    pieces = []
    for _ in range(_COUNT):
        count = int(generator.integers(5, 81))
        times = np.concatenate([[0.0], np.cumsum(generator.uniform(0.05, 0.4, count - 1))])
        states = turned(generator.normal(size=6), times[:, None])
        states += noise * generator.normal(size=states.shape)
        pieces.append((times, states[:, :3], states[:, 3:]))
    return nr.Trajectories.of_pieces(pieces)


def regular(seed: int, noise: float) -> nr.Trajectories:
    """Simulate about as many transitions of equal length."""
    count = round(irregular(seed, noise).transitions().total / 50)
    return SYSTEM.simulate(data_seed(seed), n_trajectories=count, n_steps=50, dt=0.2, noise=noise)


CASES = {"irregular": irregular, "regular": regular}


def one_run(data: nr.Trajectories, seed: int) -> dict[str, Any]:
    """Fit one data set with the default settings. Return counts, angles, bound and seconds."""
    result = nr.fit(data, seed=seed)
    report = nr.find_symmetries(result, SYSTEM)
    return {
        "transitions": data.transitions().total,
        "rank": report.rank,
        "algebra": report.algebra,
        "parallelness": float(np.min(report.parallelness)),
        "largest_angle": report.largest_angle,
        "negative_elbo": -result.elbo,
        "seconds": result.metrics["seconds_total"],
    }


def main() -> None:
    options = parser("irregular times and unequal lengths").parse_args()
    host.prepare()
    runs: dict[str, Any] = {}
    rows = []
    for noise in NOISES:
        for name, make in CASES.items():
            done = runs[f"{name}, noise {noise:g}"] = []
            for seed in range(1, options.seeds + 1):
                done.append(one_run(make(seed, noise), seed))
                print(name, noise, seed, done[-1], flush=True)
            rows.append(
                [
                    f"{name}, noise {noise:g}",
                    spread([run["transitions"] for run in done], 5),
                    ", ".join(str(run["rank"]) for run in done),
                    named([run["algebra"] for run in done]),
                    spread([run["parallelness"] for run in done], 5),
                    spread([run["largest_angle"] for run in done]),
                    spread([run["seconds"] for run in done]),
                ]
            )
    write(
        options.out,
        "irregular",
        title="Three oscillators: times between states from U[.05, .4], 5 to 80 states per trajectory",
        command=f"python -m experiments.irregular --seeds {options.seeds}",
        table=markdown(
            [
                "data",
                "transitions",
                "quantities found, each seed",
                "algebra",
                "smallest parallelness",
                "largest angle (degrees)",
                "seconds",
            ],
            rows,
        ),
        remarks="Regular data have about as many transitions, all .2 long, in trajectories of 51 states.\n",
        runs=runs,
    )


if __name__ == "__main__":
    main()
