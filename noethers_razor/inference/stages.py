"""The stages of a fit: answer, initial network, proposal, orbits, joint training, control.

Each is ``run(problem, state, runtime) -> State``. Model selection is in `selection`.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from noethers_razor.conserved.none import NoSymmetry
from noethers_razor.errors import TrainingDiverged
from noethers_razor.evidence.answer import answer_with_field
from noethers_razor.inference.problem import Problem
from noethers_razor.inference.runtime import Runtime
from noethers_razor.inference.state import State
from noethers_razor.inference.training import Rates, Schedule
from noethers_razor.inference.without_symmetry import with_gradients
from noethers_razor.model.parameters import prefixed
from noethers_razor.symmetry.answer_sheet import AnswerSheet, sheet_of


class Stage(Protocol):
    """One step of a fit."""

    def run(self, problem: Problem, state: State, runtime: Runtime) -> State:
        """Return the state after the stage."""
        ...


@dataclasses.dataclass(frozen=True)
class Answering:
    """Find which quadratic quantities the trajectories conserve. It needs no network, so it comes first."""

    name: str = "answer"

    def run(self, problem: Problem, state: State, runtime: Runtime) -> State:
        """Return the state with the answer, and tell it to whoever waits for it."""

        def ask() -> AnswerSheet:
            data = state.trajectories
            sheet = sheet_of(answer_with_field(data, problem.frame), problem.frame, data, problem.metadata)
            if runtime.answered is not None:
                runtime.answered(sheet)
            return sheet

        # The seed of a fit does not enter: fits of several seeds share one answer.
        return dataclasses.replace(state, sheet=runtime.program("answer", ask))


@dataclasses.dataclass(frozen=True)
class WithoutSymmetry:
    """The first stage: train the network without orbits until the bound improves slowly."""

    steps: int
    rates: Rates
    stop_when_slow: bool
    name: str = "without symmetry"

    def run(self, problem: Problem, state: State, runtime: Runtime) -> State:
        """Return the state with the trained posterior in ``params`` and in ``control``."""
        schedule = Schedule(self.name, self.steps, self.rates, stop_when_slow=self.stop_when_slow)
        params = runtime.train(problem, NoSymmetry(), state.params, schedule)
        return dataclasses.replace(state, params=params, control=dict(params))


@dataclasses.dataclass(frozen=True)
class Propose:
    """Ask the family for a start: what the trajectories showed, and what else is constant along them."""

    name: str = "proposal"

    def run(self, problem: Problem, state: State, runtime: Runtime) -> State:
        """Return the state with the parameters of the family in ``params``."""
        family, data = state.family, state.trajectories
        if family.integrated.any():
            data = with_gradients(problem, runtime, data, state.params)
        answer = None if state.sheet is None else state.sheet.answer
        found = family.propose(data, problem.key_for("start"), answer)
        state = dataclasses.replace(state, trajectories=data, proposal=found)
        functions = found.length[family.integrated]
        if len(functions) and not functions.any() and not family.integrated.all():
            state = state.exact_part()
        assert state.proposal is not None, "made above"
        params = {**state.params, **prefixed(state.proposal.params, problem.dtype)}
        return dataclasses.replace(state, params=params)


@dataclasses.dataclass(frozen=True)
class ChooseOrbits:
    """Let the bound decide, after short trainings, whether orbits follow the flows of all quantities.

    An integrated flow may lead to places without trajectories, where a network learns nothing. Then orbits
    follow the exact flows alone, and the other quantities stay as the trajectories show them.
    """

    steps: int
    rates: Rates
    name: str = "orbits"

    def run(self, problem: Problem, state: State, runtime: Runtime) -> State:
        """Return the state with the better choice for its family; training starts again."""
        found, family = state.proposal, state.family
        if found is None or not np.any(found.length[family.integrated] > 0):
            return state
        bounds = {}
        for used in (True, False):
            chosen = family.with_integrated_flows(used)
            label = f"{self.name} {'of all' if used else 'of exact flows'}"
            schedule = Schedule(label, self.steps, self.rates, stream=self.name)
            try:
                params = runtime.train(problem, chosen, state.params, schedule)
            except TrainingDiverged:
                bounds[used] = np.inf
            else:
                bounds[used] = runtime.estimate(problem, chosen, params).negative_elbo
        return dataclasses.replace(state, family=family.with_integrated_flows(bounds[True] < bounds[False]))


@dataclasses.dataclass(frozen=True)
class Joint:
    """Train posterior, noise and conserved quantities together under the bound (paper, eq. 9)."""

    steps: int
    rates: Rates
    name: str = "joint"

    def run(self, problem: Problem, state: State, runtime: Runtime) -> State:
        """Return the state with parameters in principal directions, and the bound under the family's name."""
        family = state.family
        rates = self.rates if family.trainable else self.rates._replace(conserved=0.0)
        params = runtime.train(problem, family, state.params, Schedule(self.name, self.steps, rates))
        # Ball and normal laws do not depend on a rotation of the quantities; the cube does.
        if problem.config.orbits.measure != "uniform":
            params = problem.in_principal_directions(family, params)[1]
        state = dataclasses.replace(state, params=params)
        return state.with_bound(family.name, runtime.estimate(problem, family, params))


@dataclasses.dataclass(frozen=True)
class Control:
    """Train without symmetry for as long as the joint stage, so that the two bounds can be compared."""

    steps: int
    rates: Rates
    name: str = "control"
    stream: str | None = None

    def run(self, problem: Problem, state: State, runtime: Runtime) -> State:
        """Return the state with the bound ``none``; its parameters are the result of the empty family."""
        none = NoSymmetry()
        schedule = Schedule(self.name, self.steps, self.rates, stream=self.stream)
        params = runtime.train(problem, none, state.control, schedule)
        state = dataclasses.replace(state, control=params)
        if state.family.count == 0:
            state = dataclasses.replace(state, params=params)
        return state.with_bound("none", runtime.estimate(problem, none, params))
