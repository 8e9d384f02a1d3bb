"""What a fit has while it runs: checkpoints, clock, history, compiled programs, progress."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import jax
import numpy as np

from noethers_razor._types import Key
from noethers_razor.conserved.base import Family
from noethers_razor.conserved.none import NoSymmetry
from noethers_razor.inference.history import Checkpoint, Clock, Estimate, Row, Watcher
from noethers_razor.inference.problem import Problem
from noethers_razor.inference.training import Schedule, Trainer
from noethers_razor.model.parameters import FlatParams
from noethers_razor.storage.journal import Call, Journal
from noethers_razor.symmetry.answer_sheet import AnswerSheet
from noethers_razor.symmetry.span import number_in_use

Program = TypeVar("Program")


@dataclasses.dataclass
class Runtime:
    """Mutable objects of a running fit.

    Args:
        programs: compiled programs by name, and the answer of the data. Fits of the same data, family and
            settings share them.
        pool: thread that compiles while a stage trains.
        journal: checkpoints to resume from.
        watch: called after each chunk of steps.
        answered: called with what the trajectories alone show, before any training.
        clock: seconds and steps.
        history: rows of all stages.
    """

    programs: dict[str, Any] = dataclasses.field(default_factory=dict)
    pool: Executor | None = None
    journal: Journal | None = None
    watch: Watcher | None = None
    answered: Callable[[AnswerSheet], None] | None = None
    clock: Clock = dataclasses.field(default_factory=Clock)
    history: list[Row] = dataclasses.field(default_factory=list)

    @classmethod
    @contextmanager
    def opened(
        cls, watch: Watcher | None = None, answered: Callable[[AnswerSheet], None] | None = None
    ) -> Iterator[Runtime]:
        """Provide a runtime with a thread that compiles. An interrupted fit does not wait for the thread."""
        pool = ThreadPoolExecutor(1)
        try:
            yield cls(pool=pool, watch=watch, answered=answered)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def for_fit(self, journal: Journal | None) -> Runtime:
        """Return the runtime of one more fit with the same programs."""
        return dataclasses.replace(self, journal=journal, clock=Clock(), history=[])

    def program(self, name: str, make: Callable[[], Program]) -> Program:
        """Return a program by name, made when it is first asked for."""
        if name not in self.programs:
            self.programs[name] = make()
        return self.programs[name]

    def trainer(self, problem: Problem, family: Family) -> Trainer:
        """Return the trainer of a family."""
        optimiser = problem.config.optimiser

        def make() -> Trainer:
            return Trainer(
                problem.model(family),
                problem.transitions,
                optimiser.batch,
                optimiser.weight_samples,
                problem.config.chunk,
            )

        return self.program(f"train {family.signature}", make)

    def prepare(self, problem: Problem, params: FlatParams) -> None:
        """Start to compile the programs of both models, the one without symmetry first.

        The program of non-quadratic quantities waits: only the proposal knows whether there are any.
        """
        self.trainer(problem, NoSymmetry()).prepare(params, self.pool)
        family = problem.family
        if family.count and not family.integrated.any():
            own = {**params, **problem.small_params(family)}
            self.trainer(problem, family).prepare(own, self.pool)

    def train(self, problem: Problem, family: Family, params: FlatParams, schedule: Schedule) -> FlatParams:
        """Return the parameters after a training, resumed from the journal where it has a checkpoint."""
        trainer, key = self.trainer(problem, family), problem.key_for(schedule.stream or schedule.stage)
        at, call = trainer.start(params), None
        if self.journal is not None:
            settings = np.array([*schedule.rates, schedule.steps, schedule.stop_when_slow, family.averaged])
            mask = schedule.mask_of(family.count)
            call = self._call(schedule.stage, params, key, {"rates": settings, "active": mask})
            if (found := call.found()) is not None:
                at = Checkpoint.of_record(found.arrays, found.document, at.optimiser)
                self.clock.at_least(found.document["clock"])
                if found.ended:
                    self.history += at.rows
                    return at.params

        def rank_of(params: FlatParams) -> int:
            return number_in_use(problem.in_principal_directions(family, params)[0]) if family.count else 0

        total = trainer.whole_chunks(schedule.steps)
        try:
            for after in trainer.chunks(at, key, schedule, self.clock, rank_of):
                at = after
                if call is not None and call.due:
                    self._keep(call, at)
                if self.watch is not None:
                    self.watch(at.rows[-1], total)
        except KeyboardInterrupt:
            if call is not None:
                self._keep(call, at)
            raise
        at = at._replace(params=trainer.gathered(at.params))
        if call is not None:
            self._keep(call, at, ended=True)
        self.history += at.rows
        return at.params

    def _keep(self, call: Call, at: Checkpoint, *, ended: bool = False) -> None:
        arrays, own = at.as_record()
        call.keep(arrays, {**own, "clock": self.clock.reading()}, ended=ended)

    def _call(self, name: str, params: FlatParams, key: Key, settings: dict[str, np.ndarray]) -> Call:
        """The entry of the journal for a call with these inputs."""
        assert self.journal is not None, "asked before"
        inputs = {name: np.asarray(value) for name, value in params.items()}
        return self.journal.call(name, {**inputs, **settings, "key": np.asarray(jax.random.key_data(key))})

    def estimate(self, problem: Problem, family: Family, params: FlatParams) -> Estimate:
        """Return the bound at parameters, on the same batches and draws each time."""
        trainer, key = self.trainer(problem, family), problem.key_for("estimate")
        if self.journal is None:
            return Estimate.of(*trainer.losses(params, key, self.clock))
        call = self._call(f"estimate of {family.name}", params, key, {})
        if (found := call.found()) is not None:
            return Estimate.of(found.arrays["losses"], float(found.arrays["kl"]))
        losses, kl = trainer.losses(params, key, self.clock)
        call.keep({"losses": losses, "kl": np.array(kl)}, {}, ended=True)
        return Estimate.of(losses, kl)
