"""Model selection by the bound: which of the learned directions stay, and whether one was missed.

A false direction worsens the bound and a redundant true one does not, so the largest set that the bound does
not reject stays. The spectrum and the trajectories say which sets to compare: conserved quantities are
constant along trajectories, even where orbits have degraded the network.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from noethers_razor.conserved.base import Family
from noethers_razor.errors import TrainingDiverged, UsageError
from noethers_razor.inference.directions import (
    Directions,
    counts_in_use,
    directions_of,
    gradients_at,
    spectrum_cuts,
)
from noethers_razor.inference.history import Estimate
from noethers_razor.inference.problem import Problem, masked
from noethers_razor.inference.runtime import Runtime
from noethers_razor.inference.stages import Control
from noethers_razor.inference.state import ComparedSet, State, exact_part
from noethers_razor.inference.training import Rates, Schedule
from noethers_razor.inference.without_symmetry import with_estimated_noise
from noethers_razor.model.parameters import FlatParams, conserved_of, prefixed
from noethers_razor.numerics.subspaces import largest_sine
from noethers_razor.symmetry.fitted import AS_LEARNED
from noethers_razor.symmetry.span import in_use, number_in_use

_MOST_ROUNDS = 2
"""Largest number of rounds."""
_OUTSIDE = 0.5
"""Sine of the angle to the learned span above which a constant direction counts as missing in it."""
_STREAM = "judgement"
"""Name of the random stream; it stays, so that a seed gives the numbers that it always gave."""
NO_QUANTITY = "no quantity"
"""Name of the empty set in the record."""
EXACT_ALONE = "quadratic alone"
"""Name of the set without quantities of integrated flows in the record."""


class Hypothesis(NamedTuple):
    """A set of quantities to train again.

    Args:
        name: for the record.
        params: start, in principal directions.
        mask: (K,) ones where a quantity may move.
        removed: displacements of the directions taken out.
        family: family of ``params`` when integrated flows were dropped; None for that of the fit.
    """

    name: str
    params: FlatParams
    mask: np.ndarray
    removed: tuple[float, ...] = ()
    family: Family | None = None


class Verdict(NamedTuple):
    """A hypothesis after training it again.

    Args:
        record: for the result.
        params: after training.
        tolerance: how much worse than the best its bound may be.
        size: number of directions in use that are independent.
        alone: whether the parameters are those of the quantities with exact flows alone.
    """

    record: ComparedSet
    params: FlatParams
    tolerance: float = 0.0
    size: int = 0
    alone: bool = False

    @property
    def bound(self) -> float:
        """-ELBO per transition."""
        return self.record.estimate.negative_elbo


def excess(estimate: Estimate, other: Estimate) -> tuple[float, float]:
    """Return the mean difference of two bounds on the same batches and draws, and its standard error."""
    difference = np.asarray(estimate.losses) - np.asarray(other.losses)
    return float(difference.mean()), float(difference.std() / np.sqrt(len(difference)))


def is_worse(estimate: Estimate, other: Estimate, tolerance: float = 0.0) -> bool:
    """Return whether a bound is worse by more than a tolerance and two standard errors of the difference."""
    if not np.isfinite(estimate.negative_elbo):
        return True
    mean, error = excess(estimate, other)
    return mean > tolerance + 2 * error


def preferred(verdicts: list[Verdict]) -> Verdict:
    """Return the largest set that is not worse than the best.

    Of equally large sets it is the one with fewer directions in use, then the one with the better bound.
    """
    finite = [v for v in verdicts if np.isfinite(v.bound)]
    best = min(finite, key=lambda v: v.bound).record.estimate
    tied = [v for v in finite if not is_worse(v.record.estimate, best, v.tolerance)]
    return max(tied, key=lambda v: (v.size, -v.record.kept, -v.bound))


class Case(NamedTuple):
    """A learned set to compare with others, and what the trajectories say of it.

    Args:
        values: (K,) singular values.
        params: parameters in principal directions.
        network: parameters without conserved quantities, from which refits of other sets start.
        degraded: whether the bound is better without symmetry. The orbits have then degraded the network, and
            refits start from the control's.
        directions: of the set in use.
        exact: number of directions in use with exact flows.
        new: number of directions in use with integrated flows that are independent of those and of H.
    """

    values: np.ndarray
    params: FlatParams
    network: FlatParams
    degraded: bool
    directions: Directions
    exact: int
    new: int

    @property
    def used(self) -> int:
        """Number of directions in use."""
        return number_in_use(self.values)

    @property
    def spectrum(self) -> tuple[float, ...]:
        """Singular values, largest first, for the record."""
        return tuple(map(float, np.sort(self.values)[::-1]))


def case_of(problem: Problem, state: State) -> Case:
    """Return the learned set of a fit."""
    values, params = problem.in_principal_directions(state.family, state.params)
    degraded = is_worse(state.bounds[state.family.name], state.bounds["none"])
    source = state.control if degraded else params
    learned = state.family, conserved_of(params), values, state.trajectories
    network = {k: source[k] for k in state.control}
    return Case(values, params, network, degraded, directions_of(*learned), *counts_in_use(*learned))


def _with_largest(case: Case, kept: int) -> Hypothesis:
    """The set without its smaller directions."""
    order = np.argsort(-case.values)
    mask = np.zeros(len(order))
    mask[order[:kept]] = 1.0
    removed = tuple(map(float, case.values[order[kept : case.used]]))
    return Hypothesis(f"largest {kept}", {**case.params, **case.network}, mask, removed)


def _exact_alone(state: State, case: Case) -> Hypothesis:
    """The set without quantities of integrated flows, which cost more."""
    family, start = exact_part(state.family, {**case.params, **case.network})
    removed = case.values[state.family.integrated & in_use(case.values)]
    return Hypothesis(EXACT_ALONE, start, np.ones(family.count), tuple(map(float, removed)), family)


def _with_least_defects(problem: Problem, state: State, case: Case, kept: int) -> Hypothesis:
    """The set projected on its directions of least defect."""
    total, turned = len(case.values), case.directions.turned
    used = np.flatnonzero(in_use(case.values))
    values, good = case.values[used], turned[:kept]
    weights = np.zeros((total, total))
    weights[np.ix_(used, used)] = values[:, None] * (good.T @ good) / values
    mixed = state.family.mixed(conserved_of(case.params), weights)
    left, start = problem.in_principal_directions(
        state.family, {**case.network, **prefixed(mixed, problem.dtype)}
    )
    mask = np.zeros(total)
    mask[np.argsort(-left)[:kept]] = 1.0
    removed = tuple(map(float, np.linalg.norm(turned[kept:] * values, axis=1)))
    return Hypothesis(f"least defect {kept}", start, mask, removed)


def _proposed_again(problem: Problem, state: State, case: Case) -> Hypothesis | None:
    """The proposal again, when it has a constant direction that the set lacks."""
    assert state.proposal is not None, "checked where the selection begins"
    # A random start has no lengths: the paper's procedure, which proposes nothing.
    constant = np.nan_to_num(state.proposal.length) > 0
    offered = state.proposal.params
    gradients = gradients_at(state.family, offered, state.trajectories)[constant]
    if largest_sine(gradients, case.directions.gradients) < _OUTSIDE:
        return None
    start = {**case.network, **prefixed(offered, problem.dtype)}
    return Hypothesis("proposed anew", start, np.ones(len(case.values)))


def hypotheses(problem: Problem, state: State, case: Case) -> list[Hypothesis]:
    """Return the sets to compare: as learned, without doubtful directions, and proposed again.

    The set as learned is the only one where nothing is in doubt.
    """
    # As it was trained: the uniform law of the flow times depends on a rotation of the quantities.
    found = [Hypothesis(AS_LEARNED, state.params, np.ones(len(case.values)))]
    constant = case.directions.constant
    found += [_with_largest(case, kept) for kept in spectrum_cuts(case.values) if kept != constant]
    fewer = [constant] if case.directions.doubtful else []
    if case.degraded and not fewer:
        # With few data every direction looks constant; the bound is then asked about halves.
        fewer = list(dict.fromkeys((-(-case.used // 2), -(-case.used // 4))))
    found += [_with_least_defects(problem, state, case, kept) for kept in fewer if 0 < kept < case.used]
    if 0 < case.exact < case.used and (case.degraded or case.directions.doubtful or not case.new):
        found.append(_exact_alone(state, case))
    again = _proposed_again(problem, state, case)
    return found if again is None else [*found, again]


def _adopted(problem: Problem, state: State, verdicts: list[Verdict], accepted: Verdict) -> State:
    """Continue with a set, and record what it was compared with."""
    rejected = [verdict.record for verdict in verdicts if verdict is not accepted]
    own = dataclasses.replace(accepted.record, accepted=True)
    state = dataclasses.replace(state, params=accepted.params, compared=(*state.compared, *rejected, own))
    integrated = state.family.integrated
    drop = accepted.alone
    if not drop and integrated.any() and not integrated.all():
        drop = not in_use(problem.in_principal_directions(state.family, state.params)[0])[integrated].any()
    if drop:
        state = state.exact_part()
    return state.with_bound(state.family.name, own.estimate)


@dataclasses.dataclass(frozen=True)
class Select:
    """Train every set as long as the joint stage, and the control too, and keep the preferred set."""

    steps: int
    rates: Rates
    name: str = "selection"

    def run(self, problem: Problem, state: State, runtime: Runtime) -> State:
        """Return the state with the accepted set, after at most two rounds."""
        if not state.family.trainable:
            return state
        if state.proposal is None or not {state.family.name, "none"} <= state.bounds.keys():
            raise UsageError("the selection compares bounds; expected Propose, Joint and Control before it")
        # The control has trained for longest: what it leaves unexplained is nearest to the noise.
        data = with_estimated_noise(problem, runtime, state.trajectories, state.control)
        state = dataclasses.replace(state, trajectories=data)
        for number in range(_MOST_ROUNDS):
            case = case_of(problem, state)
            asked = hypotheses(problem, state, case)
            if len(asked) == 1 and not case.degraded and not case.directions.doubtful:
                return state
            state, verdicts = self._compare(problem, state, runtime, case, asked, number + 1)
            accepted = preferred(verdicts)
            state = _adopted(problem, state, verdicts, accepted)
            if accepted.record.name in (AS_LEARNED, NO_QUANTITY, EXACT_ALONE):
                return state
        return state

    def _compare(
        self,
        problem: Problem,
        state: State,
        runtime: Runtime,
        case: Case,
        asked: list[Hypothesis],
        number: int,
    ) -> tuple[State, list[Verdict]]:
        """Every hypothesis and, last, no quantity, all trained for as long."""
        before = state.bounds["none"]
        label = f"{self.name} {number}"
        # The comparison with no symmetry stays one of equal training.
        rates = self.rates._replace(conserved=0.0)
        control = Control(self.steps, rates, f"{label} none", stream=f"{_STREAM} {number} none")
        state = control.run(problem, state, runtime)
        # The change of the control under more training says how uncertain bounds of sets trained apart are.
        undecided = abs(excess(state.bounds["none"], before)[0])
        verdicts = [self._refitted(problem, state, runtime, case, one, number, undecided) for one in asked]
        nothing = masked(state.family, case.params, np.zeros(state.family.count, problem.dtype))
        none = ComparedSet(NO_QUANTITY, 0, case.spectrum, case.spectrum[: case.used], state.bounds["none"])
        return state, [*verdicts, Verdict(none, {**nothing, **state.control})]

    def _refitted(
        self,
        problem: Problem,
        state: State,
        runtime: Runtime,
        case: Case,
        hypothesis: Hypothesis,
        number: int,
        undecided: float,
    ) -> Verdict:
        """A hypothesis after training; the tolerance is for sets whose every direction looks constant."""
        family, before = hypothesis.family or state.family, case.spectrum
        mask = np.asarray(hypothesis.mask, problem.dtype)
        schedule = Schedule(
            f"{self.name} {number} {hypothesis.name}",
            self.steps,
            self.rates,
            mask=hypothesis.mask,
            stream=f"{_STREAM} {number}",
        )
        try:
            fitted = runtime.train(problem, family, masked(family, hypothesis.params, mask), schedule)
        except TrainingDiverged:
            # A set that cannot be trained has no evidence; the others are still to be compared.
            lost = ComparedSet(hypothesis.name, 0, before, hypothesis.removed, Estimate.none())
            return Verdict(lost, hypothesis.params)
        states = np.asarray(problem.transitions.start, np.float64)
        values, principal = family.principal(conserved_of(fitted), states)
        found = family, principal, values, state.trajectories
        record = ComparedSet(
            hypothesis.name,
            number_in_use(values),
            before,
            hypothesis.removed,
            runtime.estimate(problem, family, fitted),
        )
        tolerance = 0.0 if directions_of(*found).doubtful else undecided
        return Verdict(record, fitted, tolerance, sum(counts_in_use(*found)), hypothesis.family is not None)
