"""One seed of a comparison through the command line: simulate, fit each family, read, predict.

The seconds are those of whole processes, from start to answer, as a user sees them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import noethers_razor as nr
from noethers_razor.conserved.nullspace import candidates, embed
from noethers_razor.conserved.quadratic import stack_forms
from noethers_razor.stages import thinned
from noethers_razor.symmetry.span import largest_angle
from noethers_razor.systems import System

_MOST_STATES = 2000
OFF_DISTRIBUTION = {"moved": {"move": 1.0}, "wider": {"widen": 3.0}}
"""Test sets beside the one from the training distribution (paper, section 5.3)."""


def command(*words: str, cache: Path) -> tuple[str, float]:
    """Standard output and seconds of one command of the package."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "noethers_razor.cli", *words], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout, time.perf_counter() - began


def simulated(system: System, seed: int, **settings: Any) -> nr.Trajectories:
    """Training data of a seed of the fit; data and fit share no random number."""
    return system.simulate(seed + 10, **settings)


def compared(
    system: System,
    families: Mapping[str, Sequence[str]],
    seed: int,
    cache: Path,
    *,
    settings: Mapping[str, Any],
    tests: Sequence[str] = (),
) -> dict[str, Any]:
    """Numbers of one seed: a record for each family by name, see `one_family`.

    Args:
        system: made the data, and is the truth.
        families: name -> words of `noethers-razor fit`.
        seed: of the fits; the data have another.
        cache: folder of compiled programs.
        settings: of `System.simulate` for training and, but for counts and noise, for tests.
        tests: names of further test sets, of `OFF_DISTRIBUTION`.
    """
    data = simulated(system, seed, **settings)
    usual = {"n_trajectories": 100, "n_steps": 20, "dt": settings.get("dt", 0.2), "stream": "test"}
    sets = {"test": system.simulate(seed + 10, **usual)}
    sets |= {name: system.simulate(seed + 10, **usual, **OFF_DISTRIBUTION[name]) for name in tests}
    numbers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = data.save(Path(folder) / "data.npz")
        for name, words in families.items():
            run = Path(folder) / name
            arguments = ["--out", str(run), "--seed", str(seed), "--quiet", *words]
            _, fitting = command("fit", str(file), *arguments, cache=cache)
            text, reading = command("inspect", str(run), "--truth", system.name, "--json", cache=cache)
            numbers[name] = one_family(nr.load(run), json.loads(text), data, sets)
            numbers[name]["seconds"] = fitting + reading
            if name == "none":
                numbers["null space"] = null_space(nr.load(run), system, data)
    return numbers


def one_family(
    result: nr.Result, report: dict[str, Any], data: nr.Trajectories, sets: Mapping[str, nr.Trajectories]
) -> dict[str, Any]:
    """Bound, its terms, errors on training transitions and test rollouts, and the answer sheet's numbers."""
    metrics, pairs = result.metrics, data.transitions()
    start, end = thinned(pairs.start, _MOST_STATES), thinned(pairs.end, _MOST_STATES)
    step = result.predict(start, [0.0, float(pairs.duration[0, 0])], samples=0)
    record = {
        "train_mse": float(np.mean((step.mean[:, 1] - end) ** 2)),
        "negative_elbo": -result.elbo,
        "error": metrics["elbo_standard_error"],
        "negative_elbo_total": -metrics["elbo_total"],
        "nll": metrics["nll"],
        "kl": metrics["kl"],
    }
    for name, test in sets.items():
        rollout = result.predict(test.states[:, 0], test.t, samples=0)
        record[f"{name}_mse"] = float(np.mean((rollout.mean - test.states)[:, 1:] ** 2))
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


def null_space(bare: nr.Result, system: System, data: nr.Trajectories) -> dict[str, Any]:
    """The stand-alone baseline: candidates of least bracket with the Hamiltonian fitted without symmetry.

    For quadratic quantities it is also what a penalty {C, H}^2 with a constraint on the norm of C leads to
    after H is fitted: the penalty's minimisers are these eigenvectors. It is cut where successive
    defects differ most; the angle is given for that cut and for the true number.
    """
    frame = bare.frame
    observed = thinned(data.observed(), _MOST_STATES)
    states = frame.into(observed)
    velocity = bare.field(observed) @ frame.matrix.T * frame.time
    named = system.conserved()
    truth = embed(*frame.quadratic_into(*stack_forms(named)), bare.moment)
    form, linear, defect = candidates(states, velocity, 2 * len(named) + 3)
    vectors = embed(form, linear, bare.moment)
    ratios = defect[1:] / np.maximum(defect[:-1], 1e-12)
    rank = int(np.argmax(ratios)) + 1
    return {
        "rank": rank,
        "gap": float(ratios.max()),
        "defect": defect.tolist(),
        "largest_angle": largest_angle(vectors[:rank], truth),
        "largest_angle_true_rank": largest_angle(vectors[: len(named)], truth),
    }
