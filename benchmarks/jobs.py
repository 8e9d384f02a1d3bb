"""Duration and peak memory of whole jobs on the command line, in the first and in later runs.

Run as `python -m benchmarks.jobs`. A job consists of `fit` and `inspect`, two processes. The first run starts
with an empty folder of compiled programs.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.steps import RESULTS
from experiments.pipeline import fitted
from experiments.tables import markdown, write
from noethers_razor.systems import NBody, Oscillators, System

JOBS: dict[str, tuple[System, int, dict[str, float]]] = {
    "oscillator, 7 x 4 transitions": (Oscillators(n=1), 1, {"n_trajectories": 7, "n_steps": 4, "dt": 0.2}),
    "3 oscillators": (Oscillators(n=3), 15, {}),
    "5 oscillators": (Oscillators(n=5), 31, {}),
    "10 oscillators": (Oscillators(n=10), 106, {}),
    "3 bodies, 2-D": (NBody(), 10, {"dt": 0.3}),
    "3 bodies, 3-D": (NBody(dim=3), 20, {"dt": 0.3}),
}
"""Title -> system, number of quantities for `--conserved`, settings of `simulate`."""


def job(system: System, offered: int, settings: dict[str, float], repeats: int) -> dict[str, Any]:
    """Run a job once without compiled programs, then `repeats` times with them.

    Args:
        system: system that generates the data and is the truth.
        offered: number of quantities for `--conserved`.
        settings: arguments of `simulate`.
        repeats: number of later runs, 0 or more.
    Returns:
        Ranks found, seconds and peak memory (GB): lists over the runs, the first run first.
    """
    seconds, memory, found = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        file = system.simulate(11, **settings).save(Path(folder) / "data.npz")
        for i in range(1 + repeats):
            run, words = Path(folder) / f"run{i}", ("--conserved", str(offered))
            report, took = fitted(file, run, system.name, 1, words, Path(folder) / "cache")
            seconds.append(took.seconds)
            memory.append(took.memory)
            found.append(report["rank"])
    return {"found": found, "seconds": seconds, "memory": memory}


def main() -> None:
    """Print the table, and write it to the folder of the results."""
    parser = argparse.ArgumentParser(description="measure duration and memory of whole jobs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    parser.add_argument(
        "--repeats", type=int, default=3, help="number of later runs; the table has their median"
    )
    arguments = parser.parse_args()
    repeats, runs, rows = arguments.repeats, {}, []
    for title, (system, offered, settings) in JOBS.items():
        done = runs[title] = job(system, offered, settings, repeats)
        number, (first, *later) = len(system.conserved()), done["seconds"]
        found = ", ".join(f"{rank} of {number}" for rank in sorted(set(done["found"])))
        medians = f"{np.median(later):.0f}" if later else "-"
        rows.append([title, found, f"{first:.0f}", medians, f"{max(done['memory']):.2f}"])
        print(" | ".join(rows[-1]), flush=True)
    header = ["job", "found", "first run (s)", f"later runs (s, median of {repeats})", "peak memory (GB)"]
    write(
        arguments.out,
        "jobs",
        title="Duration and memory of whole jobs",
        command=f"python -m benchmarks.jobs --repeats {repeats}",
        table=markdown(header, rows),
        remarks="A job is `fit` and `inspect`, two processes with default settings.\n",
        runs=runs,
        spread_of="Memory is the maximum of all runs.",
    )


if __name__ == "__main__":
    main()
