"""One seed of an experiment, through the command line or in this process.

Seconds of the command line are wall-clock times of whole processes, as a user sees them. Data are simulated
from seed + 10, so that data and fit share no random number.
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
from noethers_razor.data.frame_trajectories import thinned
from noethers_razor.inference.rollouts import compare_rollouts
from noethers_razor.inference.stages import Stage
from noethers_razor.systems import System

_MOST_STATES = 2000
"""Largest number of transitions for the training error."""
_PICTURES = ("spectrum", "generators")
"""Figures of `inspect` that are kept."""
OFF_DISTRIBUTION = {"moved": {"move": 1.0}, "wider": {"widen": 3.0}}
"""Test sets outside the training distribution (paper, section 5.3): name -> settings of `System.simulate`."""


class Done(NamedTuple):
    """Standard output, seconds and peak memory (GB) of one process, or of several in sequence."""

    output: str
    seconds: float
    memory: float


def command(*words: str, cache: Path) -> Done:
    """Run one command of the package in its own process.

    Args:
        words: arguments of `noethers-razor`.
        cache: folder for compiled programs.
    Raises:
        RuntimeError: if the command fails, with its standard error.
    """
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "noethers_razor.cli.main", *words],
            stdout=output,
            stderr=errors,
            env=environment,
        )
        # Unlike wait, wait4 returns the peak memory of this one process.
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        output.seek(0)
        errors.seek(0)
        if child.returncode:
            raise RuntimeError(f"{' '.join(words)}: {errors.read().strip()}")
        return Done(output.read(), seconds, usage.ru_maxrss * 1024 / 1e9)


def data_seed(seed: int) -> int:
    """Return the seed of the data for a fit of this seed."""
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
    """Run `fit` and `inspect`.

    Args:
        file: file of the data.
        run: run folder for the fit.
        truth: name of the true system.
        seed: seed of the fit.
        words: further arguments of `fit`.
        cache: folder for compiled programs.
        pictures: path without ending, for PATH_spectrum.png and PATH_generators.png; None keeps no pictures.
    Returns:
        The report, and the output, seconds and memory of both commands together.
    """
    arguments = ["--out", str(run), "--seed", str(seed), "--quiet", *words]
    fit = command("fit", str(file), *arguments, cache=cache)
    read = command("inspect", str(run), "--truth", truth, "--json", cache=cache)
    took = Done(read.output, fit.seconds + read.seconds, max(fit.memory, read.memory))
    if pictures is not None:
        # A separate command, so that the seconds do not include pictures.
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
    """Fit one data set in this process.

    Args:
        system: system that makes the data; its conserved quantities are the truth.
        family: quantities to learn.
        seed: seed of the fit, see `data_seed`.
        stages: stages of the fit; the default ones if None.
        settings: settings of `System.simulate`.
    Returns:
        The report and its main numbers.
    """
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
    """Fit several families to the data of one seed, and compare them.

    Args:
        system: system that makes the data; its conserved quantities are the truth.
        families: name -> arguments of `noethers-razor fit`.
        seed: seed of the fits, see `data_seed`.
        cache: folder for compiled programs.
        settings: settings of `System.simulate` for the training data; tests use the same time step.
        tests: names of further test sets, keys of `OFF_DISTRIBUTION`.
        pictures: path for pictures of the learned quantities, see `fitted`.
    Returns:
        Name of the family -> numbers, see `one_family`; with a family "none", also numbers of `baselines`.
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
    """Return the bound and its terms, errors on training and test data, and the numbers of the report."""
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
        record[f"{name}_mse"] = compare_rollouts(result, test, samples=0).summary["mse_rollout"]
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
