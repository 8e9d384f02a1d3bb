"""`fit`: from trajectories to a posterior over Hamiltonians and their conserved quantities."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
import numpy as np

from noethers_razor.config import FitConfig
from noethers_razor.conserved.base import Family
from noethers_razor.conserved.quadratic import Quadratic
from noethers_razor.data.trajectories import Trajectories
from noethers_razor.errors import TrainingDiverged, UsageError
from noethers_razor.inference.directions import gradients_in_use, moved_by_training
from noethers_razor.inference.history import Estimate, Watcher
from noethers_razor.inference.problem import Problem
from noethers_razor.inference.result import FitResult
from noethers_razor.inference.runtime import Runtime
from noethers_razor.inference.selection import Select
from noethers_razor.inference.stages import (
    Answering,
    ChooseOrbits,
    Control,
    Joint,
    Propose,
    Stage,
    WithoutSymmetry,
)
from noethers_razor.inference.state import State
from noethers_razor.inference.training import Rates
from noethers_razor.model.parameters import precision
from noethers_razor.numerics.subspaces import largest_angle
from noethers_razor.storage.journal import Journal
from noethers_razor.storage.run_folder import versions
from noethers_razor.symmetry.answer_sheet import AnswerSheet

_STATES_SAVED = 20_000
"""States of trajectories that a result keeps."""
_REFINE = 0.00005
"""Step size of conserved quantities after a proposal, which larger steps would move away from the truth."""
_GROW = 0.003
"""Step size of conserved quantities from a random start, which has to turn and to grow."""
_FIRST_STAGE = 0.6
"""Share of the first stage before a proposal."""
_FIRST_STAGE_OF_RANDOM = 0.05
"""Share of the first stage before a random start: a network trained to convergence holds it down."""
_TRIAL = 0.25
"""Share of the joint stage for which each choice of orbits is tried."""


def plan(config: FitConfig, family: Family) -> list[Stage]:
    """Return the stages of a fit in order.

    They are answer, initial network, proposal, orbits, joint training and control. Only families with
    integrated flows have the stage of the orbits. The bound selects quantities only after a random start,
    where the trajectories were not asked.
    """
    random_start, rates = family.start == "random", config.optimiser
    share = config.first_stage
    if share is None:
        share = _FIRST_STAGE_OF_RANDOM if random_start else _FIRST_STAGE
    first = round(share * config.steps)
    conserved_rate = rates.conserved_learning_rate
    if conserved_rate is None:
        conserved_rate = _GROW if random_start else _REFINE
    joint_rates = Rates(rates.joint_learning_rate, conserved_rate, rates.noise_learning_rate)
    first_rates = Rates(rates.learning_rate, 0.0, rates.noise_learning_rate)
    stages: list[Stage] = []
    if family.trainable:
        stages.append(Answering())
    if first:
        stages.append(WithoutSymmetry(first, first_rates, stop_when_slow=True))
    if family.count:
        stages.append(Propose())
        if family.integrated.any():
            stages.append(ChooseOrbits(int(_TRIAL * (config.steps - first)), joint_rates))
        stages.append(Joint(config.steps - first, joint_rates))
    stages.append(Control(config.steps - first, joint_rates._replace(conserved=0.0)))
    if family.trainable and config.selection and random_start:
        stages.append(Select(config.steps - first, joint_rates))
    return stages


def fit(
    data: Trajectories,
    *,
    seed: int | Sequence[int],
    conserved: Family | int | None = None,
    config: FitConfig | None = None,
    stages: Sequence[Stage] | None = None,
    watch: Watcher | None = None,
    answered: Callable[[AnswerSheet], None] | None = None,
    journal: Journal | str | os.PathLike[str] | None = None,
) -> FitResult:
    """Train a Hamiltonian and its conserved quantities together under the lower bound.

    Args:
        data: trajectories in data units.
        seed: of initialisation, minibatches, weights and orbits; the same seed gives the same result. Several
            seeds share compiled programs. The fit with the best bound is returned: ``others`` has the rest,
            and ``evidence["seeds"]`` compares all.
        conserved: family of conserved quantities, a number of quadratic ones, or None for `Quadratic()`.
            ``NoSymmetry()`` fits without, ``KnownQuadratic.of(system.conserved())`` with given ones.
        config: settings. The defaults suit noise from 0 to a twentieth of the spread.
        stages: of the fit, those of `plan` by default.
        watch: called after each chunk of steps, for progress.
        answered: called with the quantities that the trajectories alone show, before any training.
        journal: a folder for checkpoints. An interrupted fit resumes from them, and ends as it would have
            ended without the interruption.
    Raises:
        TrainingDiverged: when the bound is not finite, in every one of several fits.
        UsageError: when the family does not fit the phase space, the journal is of another fit, or a seed is
            given twice.
    """
    if not isinstance(data, Trajectories):
        raise UsageError(f"data are {type(data).__name__}; expected Trajectories, see load_trajectories")
    seeds = [seed] if isinstance(seed, int | np.integer) else list(seed)
    if not seeds or len(set(seeds)) < len(seeds):
        raise UsageError(f"seeds = {seeds}; expected at least one, each once")
    family = Quadratic(conserved) if isinstance(conserved, int) else conserved or Quadratic()
    if journal is not None and not isinstance(journal, Journal):
        journal = Journal(Path(journal))
    config = config or FitConfig()
    several, fits, lost = len(seeds) > 1, [], []
    with journal or nullcontext(), Runtime.opened(watch, answered) as runtime:
        for one in seeds:
            own = journal.part(f"seed-{one}") if journal is not None and several else journal
            try:
                problem, state, result = _fit(data, int(one), family, config, stages, runtime.for_fit(own))
            except TrainingDiverged as error:
                lost.append((one, error))
            else:
                fits.append((result, gradients_in_use(problem, state) if several else np.zeros(0)))
    if not fits:
        raise lost[0][1]
    fits.sort(key=lambda one: -one[0].elbo)
    results = [result for result, _ in fits]
    if several:
        best = fits[0][1]
        spread = [_seed_record(result, gradients, best) for result, gradients in fits]
        spread += [{"seed": one, "diverged": str(error)} for one, error in lost]
        results = [
            dataclasses.replace(result, evidence={**result.evidence, "seeds": spread}) for result in results
        ]
    return dataclasses.replace(results[0], others=tuple(results[1:]))


def fit_seeds(
    data: Trajectories,
    *,
    seeds: Sequence[int],
    conserved: Family | int | None = None,
    config: FitConfig | None = None,
    watch: Watcher | None = None,
    journal: Journal | None = None,
) -> list[FitResult]:
    """Return the fits of several seeds, best bound first. Deprecated: use ``fit(seed=[...])``."""
    best = fit(data, seed=seeds, conserved=conserved, config=config, watch=watch, journal=journal)
    return [best, *best.others]


def _seed_record(result: FitResult, gradients: np.ndarray, best: np.ndarray) -> dict[str, Any]:
    return {
        "seed": result.seed,
        "rank": len(gradients),
        "negative_elbo": -result.elbo,
        "none": result.evidence["bounds"].get("none", {}).get("negative_elbo"),
        "angle": largest_angle(gradients, best),
    }


def _fit(
    data: Trajectories,
    seed: int,
    family: Family,
    config: FitConfig,
    stages: Sequence[Stage] | None,
    runtime: Runtime,
) -> tuple[Problem, State, FitResult]:
    """The fit of one seed."""
    with precision(config.dtype):
        problem = Problem.of(data, family, config, seed)
        if runtime.journal is not None:
            runtime.journal.begin(_job(data, problem), _circumstances())
        start = problem.first_params()
        state = State(problem.family, start, dict(start), problem.trajectories)
        runtime.prepare(problem, start)
        for stage in plan(config, problem.family) if stages is None else stages:
            state = stage.run(problem, state, runtime)
        if state.family.name not in state.bounds:
            last = "Control" if state.family.count == 0 else "Joint"
            raise UsageError(
                f"the stages leave no bound of family {state.family.name}; expected {last} among them"
            )
        return problem, state, _result(problem, state, runtime)


def _job(data: Trajectories, problem: Problem) -> dict[str, Any]:
    """Everything that the outcome of a fit depends on."""
    return {
        "data": data.digest,
        "family": f"{problem.family.name} {problem.family.settings()}",
        "seed": problem.seed,
        **problem.config.flat(),
    }


def _circumstances() -> dict[str, Any]:
    """Everything that the last digits of a fit may depend on in addition."""
    return {"backend": jax.default_backend(), "devices": jax.local_device_count(), **versions()}


def _result(problem: Problem, state: State, runtime: Runtime) -> FitResult:
    frame = problem.frame
    deviation = runtime.trainer(problem, state.family).noise_deviation(state.params)
    evidence = state.evidence()
    if "functions" in evidence:
        evidence["functions"]["moved"] = moved_by_training(problem, state)
    return FitResult(
        model=problem.model(state.family),
        params=state.params,
        frame=frame,
        config=problem.config,
        seed=problem.seed,
        metrics=_metrics(
            state.bounds[state.family.name],
            deviation**2 * float(np.mean(frame.noise_scale**2)),
            problem.total,
            runtime,
        ),
        evidence=evidence,
        history=runtime.history,
        moment=problem.moment,
        states=problem.held_out.states,
        held_out=problem.held_out.unseen,
        trajectories=None if state.proposal is None else state.trajectories.sample(_STATES_SAVED),
        step=problem.step,
        metadata=problem.metadata,
    )


def _metrics(best: Estimate, noise: float, total: int, runtime: Runtime) -> dict[str, Any]:
    clock = runtime.clock
    return {
        "elbo_per_transition": -best.negative_elbo,
        "elbo_standard_error": best.error,
        "elbo_total": -best.negative_elbo * total,
        "nll": best.nll,
        "kl": best.kl,
        "noise_variance": noise,
        "transitions": total,
        "steps": clock.steps,
        "seconds_total": clock.total,
        "seconds_compile": clock.compiling,
        "seconds_per_step": clock.training / max(clock.steps, 1),
    }
