"""Interrupted fits: whether a resumed fit saves the same model as an uninterrupted fit.

Run as `python -m experiments.interruptions`. For each system and seed, the first fit runs without
interruption. The second fit is killed (SIGKILL) at random moments and resumed each time. The third fit
receives SIGTERM and SIGINT in turn; each has to leave a checkpoint and exit code 130. The saved models are
compared by their SHA-256 hashes.
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
"""Latest second at which a process is stopped: later than start-up and compilation."""


def model_of(run: Path) -> str:
    """Return the SHA-256 hash of the saved model."""
    return hashlib.sha256((run / "model.npz").read_bytes()).hexdigest()


def age(run: Path, began: float) -> float | None:
    """Return the age in seconds of the newest checkpoint of a training in progress; None without one.

    Checkpoints of the previous process do not count: the present one has not resumed the training yet.

    Args:
        run: folder of the fit.
        began: start of the present process, in seconds since the epoch.
    """
    try:
        times = {path: path.stat().st_mtime for path in (run / "checkpoints").glob("*-*")}
    except FileNotFoundError:
        # The fit replaced a checkpoint between the two calls, so the newest one has just been written.
        return 0.0
    newest = max(times, key=lambda path: times[path], default=None)
    if newest is None or newest.name.endswith("end") or times[newest] < began:
        return None
    return time.time() - times[newest]


def started(data: Path, run: Path, seed: int, words: list[str], cache: str) -> subprocess.Popen[str]:
    """Start a fit in its own process; it resumes if the folder has checkpoints."""
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
    """Wait for a fit.

    Raises:
        RuntimeError: if the fit fails, with its standard error.
    """
    _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(errors)


def stopped(
    data: Path, run: Path, seed: int, words: list[str], cache: str, kills: int, signals: list[signal.Signals]
) -> dict[str, Any]:
    """Run a fit that is stopped and resumed. Return exit codes, unusable checkpoints, delays and ages.

    Args:
        data: file of the data.
        run: folder of the fit.
        seed: seed of the fit and of the random moments.
        words: further arguments of `noethers-razor fit`.
        cache: folder for compiled programs.
        kills: largest number of stops.
        signals: signals to send, in turn.
    """
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
            # The fit may have ended just before the signal.
            done = process.returncode == 0
        damaged += errors.count("checkpoint corrupted") + errors.count("checkpoint of other inputs")
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
    """Run an uninterrupted fit, a killed fit, and a fit stopped by SIGTERM and SIGINT. Compare the models."""
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
    arguments.add_argument("--kills", type=int, default=3, help="largest number of kills of one fit")
    options = arguments.parse_args()
    # Background jobs of a shell ignore SIGINT, and the fits would inherit that.
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
        title="Fits that are stopped at random moments and resumed",
        command=f"python -m experiments.interruptions --seeds {options.seeds} --kills {options.kills}",
        table=markdown(
            [
                "system",
                "kills (SIGKILL)",
                "killed fits that end bit-identical",
                "stops (SIGTERM, SIGINT)",
                "exit codes",
                "seconds from signal to exit, at most",
                "stopped fits that end bit-identical",
                "unusable checkpoints",
            ],
            rows,
        ),
        remarks="Bit-identical: the saved model has the SHA-256 hash of the uninterrupted fit's model. "
        "A fit writes a checkpoint every second, and at the end of each training or estimate. "
        f"{len(ages)} stops came during a training that had already written a checkpoint. "
        f"The newest checkpoint was at most {max(ages, default=0):.2g} s old.\n",
        runs=runs,
    )


if __name__ == "__main__":
    main()
