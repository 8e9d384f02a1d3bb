"""One seed of an experiment, through the command line or in this process.

Seconds of the command line are those of whole processes, from start to answer, as a user sees them. Data
are simulated from seed + 10, so that data and fit share no random number.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import noethers_razor as nr
from experiments.baselines import baselines
from noethers_razor.conserved import thinned
from noethers_razor.inference.rollouts import follow
from noethers_razor.inference.stages import Stage
from noethers_razor.systems import System

_MOST_STATES = 2000
_PICTURES = ("spectrum", "generators")
OFF_DISTRIBUTION = {"moved": {"move": 1.0}, "wider": {"widen": 3.0}}
"""Test sets beside the one from the training distribution (paper, section 5.3)."""


class Done(NamedTuple):
    """Standard output, seconds and peak memory (GB) of a process or of several after each other."""

    output: str
    seconds: float
    memory: float


def command(*words: str, cache: Path) -> Done:
    """One command of the package in a process of its own."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "noethers_razor.cli.main", *words],
            stdout=output,
            stderr=errors,
            env=environment,
        )
        # wait4 and not wait: it knows the memory of this process alone.
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        output.seek(0)
        errors.seek(0)
        if child.returncode:
            raise RuntimeError(f"{' '.join(words)}: {errors.read().strip()}")
        return Done(output.read(), seconds, usage.ru_maxrss * 1024 / 1e9)


def data_seed(seed: int) -> int:
    """The seed of the data that a fit of this seed gets."""
    return seed + 10


def fitted(
    file: Path,
    run: Path,
    truth: str,
    seed: int,
    words: Sequence[str],
    cache: Path,
    pictures: Path | None = None,
) -> tuple[dict[str, Any], Done]:
    """The answer sheet after `fit` with further words and `inspect`, and what the two took.

    Pictures of spectrum and generators are kept under a path without ending: PATH_spectrum.png and so on.
    """
    arguments = ["--out", str(run), "--seed", str(seed), "--quiet", *words]
    fit = command("fit", str(file), *arguments, cache=cache)
    read = command("inspect", str(run), "--truth", truth, "--json", cache=cache)
    took = Done(read.output, fit.seconds + read.seconds, max(fit.memory, read.memory))
    if pictures is not None:
        # A command of its own, so that seconds do not depend on pictures being kept.
        drawn = run.with_name(f"{run.name}_figures")
        command("inspect", str(run), "--truth", truth, "--figures", str(drawn), cache=cache)
        pictures.parent.mkdir(parents=True, exist_ok=True)
        for kind in _PICTURES:
            shutil.copy(drawn / f"{kind}.png", pictures.with_name(f"{pictures.name}_{kind}.png"))
    return json.loads(read.output), took


def in_process(
    system: System,
    family: nr.Quadratic,
    seed: int,
    stages: Sequence[Stage] | None = None,
    **settings: Any,
) -> tuple[nr.SymmetryReport, dict[str, Any]]:
    """The answer sheet of a fit in this process, and its numbers; settings of `System.simulate`."""
    data = system.simulate(data_seed(seed), **settings)
    result = nr.fit(data, seed=seed, conserved=family, stages=stages)
    report = nr.find_symmetries(result, system)
    return report, {
        "rank": report.rank,
        "learned": report.bounds["quadratic"]["negative_elbo"],
        "none": report.bounds["none"]["negative_elbo"],
        "worst_angle": max((report.truth_angles or {}).values()),
        "judgements": report.judgements,
        "seconds": result.metrics["seconds_total"],
    }


def compared(
    system: System,
    families: Mapping[str, Sequence[str]],
    seed: int,
    cache: Path,
    *,
    settings: Mapping[str, Any],
    tests: Sequence[str] = (),
    pictures: Path | None = None,
) -> dict[str, Any]:
    """Numbers of one seed: a record for each family by name, see `one_family`.

    Args:
        system: made the data, and is the truth.
        families: name -> words of `noethers-razor fit`.
        seed: of the fits; the data have another.
        cache: folder of compiled programs.
        settings: of `System.simulate` for training and, but for counts and noise, for tests.
        tests: names of further test sets, of `OFF_DISTRIBUTION`.
        pictures: where to keep those of the learned quantities, see `fitted`.
    """
    data = system.simulate(data_seed(seed), **settings)
    usual = {"n_trajectories": 100, "n_steps": 20, "dt": settings.get("dt", 0.2), "stream": "test"}
    kinds: dict[str, dict[str, float]] = {"test": {}} | {name: OFF_DISTRIBUTION[name] for name in tests}
    sets = {name: system.simulate(data_seed(seed), **usual, **kind) for name, kind in kinds.items()}
    numbers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = data.save(Path(folder) / "data.npz")
        for name, words in families.items():
            run = Path(folder) / name
            kept = pictures if name == "learned" else None
            report, took = fitted(file, run, system.name, seed, words, cache, kept)
            result = nr.load_result(run)
            numbers[name] = one_family(result, report, data, sets) | {"seconds": took.seconds}
            if name == "none":
                numbers |= baselines(result, system, data)
    return numbers


def one_family(
    result: nr.FitResult, report: dict[str, Any], data: nr.Trajectories, sets: Mapping[str, nr.Trajectories]
) -> dict[str, Any]:
    """Bound, its terms, errors on training transitions and test rollouts, and the answer sheet's numbers."""
    metrics, pairs = result.metrics, data.transitions()
    start, end = thinned(pairs.start, _MOST_STATES), thinned(pairs.end, _MOST_STATES)
    step = result.predict(start, [0.0, float(pairs.duration[0, 0])], samples=0)
    record: dict[str, Any] = {
        "train_mse": float(np.mean((step.mean[:, 1] - end) ** 2)),
        "negative_elbo": -result.elbo,
        "error": metrics["elbo_standard_error"],
        "negative_elbo_total": -metrics["elbo_total"],
        "nll": metrics["nll"],
        "kl": metrics["kl"],
    }
    for name, test in sets.items():
        record[f"{name}_mse"] = follow(result, test, samples=0).summary["mse_rollout"]
    keys = (
        "rank",
        "algebra",
        "singular_values",
        "gap",
        "parallelness",
        "largest_angle",
        "truth_angles",
        "closure_defect",
        "conservation_defect",
        "judgements",
    )
    return record | {key: report[key] for key in keys}
