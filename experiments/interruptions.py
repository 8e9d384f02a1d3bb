"""Fits that are killed at random moments and gone on with: whether they end as they would have.

Run as `python -m experiments.interruptions`. For each system and seed one fit runs undisturbed, another is
killed (SIGKILL) at random moments, each time gone on with; the saved models are compared by SHA-256. A last
one gets SIGTERM and SIGINT in turn, which have to leave a checkpoint and exit code 130.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.pipeline import data_seed
from experiments.tables import markdown, parser, write
from noethers_razor.systems import HenonHeiles, Kepler, Oscillators, System

CASES: dict[str, tuple[System, list[str]]] = {
    "2 oscillators": (Oscillators(n=2), []),
    "Kepler, polynomial": (Kepler(), ["--family", "polynomial", "--degree", "2"]),
    "Henon-Heiles": (HenonHeiles(), []),
}
SETTINGS = ["--steps", "1500", "--chunk", "50", "--width", "32", "--quiet", "--checkpoint-seconds", "1"]
KINDS = ("killed", "asked")
_SPAN = 12.0
"""Seconds within which a process is stopped: beyond start-up and compilation."""


def model_of(run: Path) -> str:
    """SHA-256 of the saved model."""
    return hashlib.sha256((run / "model.npz").read_bytes()).hexdigest()


def age(run: Path, began: float) -> float | None:
    """Seconds since the newest record of a training that goes on in a process begun then; None without one.

    A record of the process before is no measure: until the training is gone on with, nothing is done.
    """
    try:
        times = {path: path.stat().st_mtime for path in (run / "checkpoints").glob("*-*")}
    except FileNotFoundError:
        # Replaced by the next one between two looks: as new as can be.
        return 0.0
    newest = max(times, key=lambda path: times[path], default=None)
    if newest is None or newest.name.endswith("end") or times[newest] < began:
        return None
    return time.time() - times[newest]


def started(data: Path, run: Path, seed: int, words: list[str], cache: str) -> subprocess.Popen[str]:
    """A fit in a process of its own, gone on with where it has begun."""
    command = [
        sys.executable,
        "-m",
        "noethers_razor.cli.main",
        "fit",
        str(data),
        "--out",
        str(run),
        "--resume",
    ]
    return subprocess.Popen(
        [*command, "--seed", str(seed), *SETTINGS, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": cache},
    )


def finished(process: subprocess.Popen[str]) -> None:
    """Wait for a fit that has to succeed."""
    _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(errors)


def stopped(
    data: Path, run: Path, seed: int, words: list[str], cache: str, kills: int, signals: list[signal.Signals]
) -> dict[str, Any]:
    """A fit that is stopped so often, or until it ends; what the processes said and how they ended."""
    generator, codes, damaged, done = np.random.default_rng(seed), [], 0, False
    slowest, ages = 0.0, []
    for i in range(kills):
        opened = time.time()
        process = started(data, run, seed, words, cache)
        try:
            _, errors = process.communicate(timeout=float(generator.uniform(3.0, _SPAN)))
            done = True
        except subprocess.TimeoutExpired:
            ages.append(age(run, opened))
            process.send_signal(signals[i % len(signals)])
            began = time.perf_counter()
            _, errors = process.communicate()
            slowest = max(slowest, time.perf_counter() - began)
            # One that was done, and leaving, when the signal came.
            done = process.returncode == 0
        damaged += errors.count("damaged") + errors.count("of other numbers")
        if done:
            break
        codes.append(process.returncode)
    if not done:
        finished(started(data, run, seed, words, cache))
    return {
        "stopped": len(codes),
        "codes": sorted(set(codes)),
        "refused_records": damaged,
        "slowest": slowest,
        "ages": [one for one in ages if one is not None],
    }


def one_case(system: System, words: list[str], seed: int, kills: int) -> dict[str, Any]:
    """Undisturbed, killed, and stopped politely."""
    with tempfile.TemporaryDirectory() as folder:
        home, cache = Path(folder), str(Path(folder) / "cache")
        data = system.simulate(data_seed(seed), n_trajectories=60, n_steps=30).save(home / "d.npz")
        began = time.perf_counter()
        finished(started(data, home / "whole", seed, words, cache))
        seconds = time.perf_counter() - began
        killed = stopped(data, home / "killed", seed, words, cache, kills, [signal.SIGKILL])
        asked = stopped(data, home / "asked", seed, words, cache, 2, [signal.SIGTERM, signal.SIGINT])
        whole = model_of(home / "whole")
        return {
            "killed": killed,
            "asked": asked,
            "seconds": seconds,
            "identical": [model_of(home / name) == whole for name in ("killed", "asked")],
        }


def main() -> None:
    arguments = parser("interrupted fits")
    arguments.add_argument("--kills", type=int, default=3, help="most kills of one fit")
    options = arguments.parse_args()
    # Told to ignore SIGINT, as in the background of a shell, this process would pass that on to the fits.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runs: dict[str, Any] = {}
    rows = []
    for name, (system, words) in CASES.items():
        done = runs[name] = []
        for seed in range(1, options.seeds + 1):
            done.append(one_case(system, words, seed, options.kills))
            print(name, seed, done[-1], flush=True)
        rows.append(
            [
                name,
                str(sum(run["killed"]["stopped"] for run in done)),
                f"{sum(run['identical'][0] for run in done)} of {len(done)}",
                str(sum(run["asked"]["stopped"] for run in done)),
                ", ".join(str(c) for c in sorted({c for run in done for c in run["asked"]["codes"]})),
                f"{max(run['asked']['slowest'] for run in done):.2g}",
                f"{sum(run['identical'][1] for run in done)} of {len(done)}",
                str(sum(run[kind]["refused_records"] for run in done for kind in KINDS)),
            ]
        )
    ages = [age for done in runs.values() for run in done for kind in KINDS for age in run[kind]["ages"]]
    write(
        options.out,
        "interruptions",
        title="Fits that were stopped at random moments and gone on with",
        command=f"python -m experiments.interruptions --seeds {options.seeds} --kills {options.kills}",
        table=markdown(
            [
                "system",
                "killed (SIGKILL)",
                "ended bit-identical",
                "stopped (SIGTERM, SIGINT)",
                "exit codes",
                "seconds from signal to exit, at most",
                "ended bit-identical",
                "records refused",
            ],
            rows,
        ),
        remarks="Identical: SHA-256 of the saved model is that of the fit that nothing stopped. A record is "
        f"written every second, and at the end of each training or estimate. {len(ages)} stops came while a "
        "training went on that had left a record: the newest was at most "
        f"{max(ages, default=0):.2g} s old.\n",
        runs=runs,
    )


if __name__ == "__main__":
    main()
