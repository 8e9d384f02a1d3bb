"""Whole jobs from the command line: seconds from start to answer, first and later, and peak memory.

Run as `python -m benchmarks.jobs`. A job is `fit` and `inspect`, two processes; the first run finds an empty
folder of compiled programs.
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
"""Title -> system, quantities offered, settings of `simulate`."""


def job(system: System, offered: int, settings: dict[str, float], repeats: int) -> dict[str, Any]:
    """What was found, seconds of the first and the later runs, peak memory."""
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
    """Print the table and write it down."""
    parser = argparse.ArgumentParser(description="whole jobs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--repeats", type=int, default=3, help="later runs, of which the median stands")
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
        title="Whole jobs, start to answer",
        command=f"python -m benchmarks.jobs --repeats {repeats}",
        table=markdown(header, rows),
        remarks="fit and inspect, whole processes, defaults.\n",
        runs=runs,
        spread_of="Medians.",
    )


if __name__ == "__main__":
    main()
