"""The stages of a fit: answer, initial network, proposal, reach, joint training, control.

Each is ``run(problem, state, runtime) -> State``. Model selection is in `selection`.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor.conserved.base import Family, Proposal
from noethers_razor.conserved.none import NoSymmetry
from noethers_razor.data.frame_trajectories import thinned
from noethers_razor.errors import TrainingDiverged
from noethers_razor.evidence.answer import answer_with_field
from noethers_razor.inference.problem import Problem
from noethers_razor.inference.runtime import Runtime
from noethers_razor.inference.state import State
from noethers_razor.inference.training import Rates, Schedule
from noethers_razor.inference.without_symmetry import energy_of, with_estimated_noise, with_gradients
from noethers_razor.mechanics.orbits import RADIUS
from noethers_razor.model.parameters import FlatParams, conserved_of, prefixed
from noethers_razor.symmetry.answer_sheet import AnswerSheet, sheet_of

_STATES = 512
"""States whose energy along proposed paths is looked at."""
_SHARES = np.array([1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0])
"""Shares of the longest flow times at which that energy is looked at."""
_KEPT = 0.25
"""Largest median change of energy along a path, as a share of the change by noise. At .67 orbits of the
Laplace-Runge-Lenz vector still worsen the bound."""
_REACH_SHARES = (1.0, 0.25)
"""Shares of the reach between which the bound chooses."""


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
            data = with_estimated_noise(problem, runtime, data, state.params)
            data = with_gradients(problem, runtime, data, state.params)
        found = family.propose(
            data, problem.key_for("start"), None if state.sheet is None else state.sheet.answer
        )
        state = dataclasses.replace(state, trajectories=data, proposal=found)
        lengths = found.length[family.integrated]
        if np.isfinite(lengths).any():
            if lengths.any() or family.integrated.all():
                family = family.with_reach(_reach(problem, state, found))
                state = dataclasses.replace(state, family=family)
            else:
                state = state.exact_part()
        assert state.proposal is not None, "made above"
        params = {**state.params, **prefixed(state.proposal.params, problem.dtype)}
        return dataclasses.replace(state, params=params)


def _reach(problem: Problem, state: State, found: Proposal) -> float:
    """Reach of integrated flows, 1/32 to 1, within which energy changes by a quarter of its change by noise.

    A quantity is known where there are data, and its flow may lead away from them. Longer orbits would worsen
    the bound, although the quantity is conserved.
    """
    data, dtype = state.trajectories, problem.dtype
    assert data.gradients is not None, "made before the proposal"
    longest: Family = state.family.with_reach(1.0)
    states = jnp.asarray(thinned(data.states, _STATES), dtype)
    energy = energy_of(problem, state.params)
    shares = np.concatenate([-_SHARES[::-1], _SHARES])

    @jax.jit
    def changes(params: FlatParams, tau: jax.Array) -> jax.Array:
        return jnp.median(jnp.abs(energy(longest.orbit(params, tau)(states)) - energy(states)), axis=-1)

    by_noise = np.median(np.linalg.norm(data.gradients @ np.linalg.cholesky(data.noise), axis=1))
    params = {name: jnp.asarray(value, dtype) for name, value in found.params.items()}
    reach = len(_SHARES)
    for k in np.flatnonzero(longest.integrated & (found.length != 0)):
        tau = np.outer(RADIUS * shares, np.eye(longest.count)[k])
        moved = np.asarray(changes(params, jnp.asarray(tau, dtype))).reshape(2, -1)
        worst = np.maximum.accumulate(np.maximum(moved[0][::-1], moved[1]))
        reach = min(reach, int(np.sum(worst <= _KEPT * by_noise)))
    return float(_SHARES[max(reach - 1, 0)])


@dataclasses.dataclass(frozen=True)
class ChooseReach:
    """Let the bound choose the reach of integrated orbits, after a short joint training with each share.

    Orbits of Kepler's quantities pass through places without trajectories, and those of Toda's do not. The
    energies along both look alike.
    """

    steps: int
    rates: Rates
    name: str = "orbit length"

    def run(self, problem: Problem, state: State, runtime: Runtime) -> State:
        """Return the state with the share of the reach in ``params``; training starts from there again."""
        found, family = state.proposal, state.family
        if found is None or not np.any(found.length[family.integrated] > 0):
            return state
        best, chosen = np.inf, state.params
        for share in _REACH_SHARES:
            shorter = family.with_length(conserved_of(state.params), share)
            if shorter is None:
                return state
            start = {**state.params, **prefixed(shorter, problem.dtype)}
            schedule = Schedule(f"{self.name} {share:g}", self.steps, self.rates, stream=self.name)
            try:
                params = runtime.train(problem, family, start, schedule)
            except TrainingDiverged:
                continue
            bound = runtime.estimate(problem, family, params).negative_elbo
            if bound < best:
                best, chosen = bound, start
        return dataclasses.replace(state, params=chosen)


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
