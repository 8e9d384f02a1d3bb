"""Whole jobs from the command line: seconds from start to answer, first and later, and peak memory.

Run as `python -m benchmarks.jobs`. A job is `fit` and `inspect`, two processes; the first run finds an empty
folder of compiled programs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.steps import RESULTS
from experiments.tables import machine, markdown
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


def process(*words: str, cache: str) -> tuple[str, float, float]:
    """Standard output, seconds and peak memory (GB) of one command."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": cache}
    began = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "noethers_razor.cli", *words], stdout=output, env=environment
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        output.seek(0)
        text = output.read().decode()
    if child.returncode:
        raise RuntimeError(f"{' '.join(words)}: exit code {child.returncode}")
    return text, seconds, usage.ru_maxrss / 1e6


def job(system: System, offered: int, settings: dict[str, float], repeats: int) -> list[str]:
    """Cells of a line: found, seconds of the first and the later runs, peak memory."""
    seconds, memory, found = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        file = str(system.simulate(11, **settings).save(Path(folder) / "data.npz"))
        for i in range(1 + repeats):
            run = str(Path(folder) / f"run{i}")
            words = ("fit", file, "--conserved", str(offered), "--seed", "1", "--out", run, "--quiet")
            _, fitting, first = process(*words, cache=f"{folder}/cache")
            text, reading, second = process(
                "inspect", run, "--truth", system.name, "--json", cache=f"{folder}/cache"
            )
            report = json.loads(text)
            seconds.append(fitting + reading)
            memory.append(max(first, second))
            found.append(f"{report['rank']} of {len(system.conserved())}")
    later = f"{np.median(seconds[1:]):.0f}" if repeats else "-"
    return [found[0], f"{seconds[0]:.0f}", later, f"{max(memory):.2f}"]


def main() -> None:
    """Print the table and write it down."""
    parser = argparse.ArgumentParser(description="whole jobs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--repeats", type=int, default=3, help="later runs, of which the median stands")
    arguments = parser.parse_args()
    rows = []
    for title, (system, offered, settings) in JOBS.items():
        rows.append([title, *job(system, offered, settings, arguments.repeats)])
        print(" | ".join(rows[-1]), flush=True)
    about = machine()
    note = (
        f"Command: `python -m benchmarks.jobs --repeats {arguments.repeats}`, {about['cores']} cores, commit "
        f"{about['commit']}. fit and inspect, whole processes; defaults."
    )
    header = ["job", "found", "first run (s)", f"later runs (s, median of {arguments.repeats})"]
    table = markdown([*header, "peak memory (GB)"], rows)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "jobs.md").write_text(f"# Whole jobs, start to answer\n\n{note}\n\n{table}")


if __name__ == "__main__":
    main()
