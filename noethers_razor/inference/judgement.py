"""The judgement: the bound decides which of the learned directions stay, and whether one was missed.

A false direction costs bound, a redundant true one costs nothing: the largest set that the evidence does
not reject stays. What is worth asking is read from the spectrum and from the trajectories, along which
conserved quantities are constant whatever the orbits have made of the network.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Params
from noethers_razor.conserved import ConservedFamily, Tracks, gradients, thinned
from noethers_razor.conserved.proposal.constancy import CREDIBLE, credible_length, least_varying
from noethers_razor.conserved.proposal.independence import independent_rank
from noethers_razor.errors import TrainingDiverged, UsageError
from noethers_razor.inference.history import Estimate, FlatParams
from noethers_razor.inference.stages import Control
from noethers_razor.inference.state import FitState, Judgement
from noethers_razor.inference.training import Rates, masked
from noethers_razor.model.elbo import conserved_of, prefixed
from noethers_razor.numerics.subspaces import largest_sine
from noethers_razor.symmetry.sheet import AS_LEARNED
from noethers_razor.symmetry.span import active, active_count

_STEP_IN_SPECTRUM = 1.5
"""Ratio of neighbouring singular values at which the evidence is asked whether to cut between them."""
_MOST_CUTS = 2
_MOST_ROUNDS = 2
_OUTSIDE = 0.5
"""Sine of the angle to the learned span from which on a credible direction counts as missing in it."""
_STATES = 512
NO_QUANTITY, FORMS_ALONE = "no quantity", "forms alone"


class Hypothesis(NamedTuple):
    """A set of quantities to refit.

    Args:
        name: for the record.
        params: start of the refit, in principal directions.
        mask: (K,) ones where a quantity may move.
        removed: displacements of the directions taken out.
        family: of the parameters, where it is another than the fit's: its forms alone.
    """

    name: str
    params: FlatParams
    mask: np.ndarray
    removed: tuple[float, ...] = ()
    family: ConservedFamily | None = None


class Verdict(NamedTuple):
    """A hypothesis after its refit.

    Args:
        judgement: for the record.
        params: after training.
        tolerance: by how much its bound may be worse than the best for it to stay.
        size: number of directions in use, functions of others aside.
        alone: whether the parameters are of the family's forms alone.
    """

    judgement: Judgement
    params: FlatParams
    tolerance: float = 0.0
    size: int = 0
    alone: bool = False

    @property
    def bound(self) -> float:
        """-ELBO per transition."""
        return self.judgement.estimate.negative_elbo


def excess(estimate: Estimate, other: Estimate) -> tuple[float, float]:
    """Mean difference of two bounds estimated on the same batches and draws, and its standard error."""
    difference = np.asarray(estimate.losses) - np.asarray(other.losses)
    return float(difference.mean()), float(difference.std() / np.sqrt(len(difference)))


def is_worse(estimate: Estimate, other: Estimate, tolerance: float = 0.0) -> bool:
    """Whether a bound is worse by more than a tolerance and two standard errors of the paired difference."""
    if not np.isfinite(estimate.negative_elbo):
        return True
    mean, error = excess(estimate, other)
    return mean > tolerance + 2 * error


def no_evidence() -> Estimate:
    """The bound of what cannot be trained."""
    return Estimate(np.inf, np.nan, np.inf, np.nan, np.full(1, np.inf))


def preferred(verdicts: list[Verdict]) -> Verdict:
    """The largest set that is not worse than the best; of equally large ones the plainest, or the better."""
    finite = [v for v in verdicts if np.isfinite(v.bound)]
    best = min(finite, key=lambda v: v.bound).judgement.estimate
    tied = [v for v in finite if not is_worse(v.judgement.estimate, best, v.tolerance)]
    return max(tied, key=lambda v: (v.size, -v.judgement.kept, -v.bound))


def slopes_of(family: ConservedFamily, params: Params, tracks: Tracks) -> np.ndarray:
    """grad C at some of the states of the tracks, the same ones every time: (K, B, M)."""
    return gradients(family, params, thinned(tracks.states, _STATES))


def spectrum_cuts(values: np.ndarray) -> list[int]:
    """Numbers of directions to try, the largest steps of the active spectrum (K,) first."""
    count, values = active_count(values), np.sort(values)[::-1]
    ratios = values[: count - 1] / values[1:count] if count > 1 else np.zeros(0)
    order = [i for i in np.argsort(-ratios) if ratios[i] >= _STEP_IN_SPECTRUM]
    return [int(i) + 1 for i in order[:_MOST_CUTS]]


class Directions(NamedTuple):
    """The directions of a learned span by how they vary along the trajectories.

    Args:
        slopes: gradients (r, B, M) of the active principal directions, each of displacement 1.
        turned: (r, r) their combinations, the most constant first.
        credible: how many of these vary no more than the noise makes them.
    """

    slopes: np.ndarray
    turned: np.ndarray
    credible: int

    @property
    def doubtful(self) -> bool:
        """Whether any varies more."""
        return self.credible < len(self.turned)


def directions_of(family: ConservedFamily, params: Params, values: np.ndarray, tracks: Tracks) -> Directions:
    """Directions of parameters in principal form with singular values (K,), of which r are active."""
    used, sizes = active(values), values[active(values)]
    if not len(sizes):
        return Directions(np.zeros((0, *thinned(tracks.states, _STATES).shape)), np.zeros((0, 0)), 0)
    slopes = slopes_of(family, params, tracks)[used] / sizes[:, None, None]
    along = np.asarray(family.value(params, jnp.asarray(tracks.states)), np.float64)[:, used] / sizes
    turned, defect = least_varying(along, slopes, tracks)
    credible = credible_length(defect, tracks.deviation) >= CREDIBLE
    return Directions(slopes, turned, int(credible.sum()))


def size_of(family: ConservedFamily, params: Params, values: np.ndarray, tracks: Tracks) -> tuple[int, int]:
    """Of parameters in principal form: how many forms are in use, and functions that add to them and H."""
    forms, used = family.count - family.functions, active(values)
    count = int(used[:forms].sum())
    if not used[forms:].any():
        return count, 0
    slopes = slopes_of(family, params, tracks)[used]
    known = [] if tracks.slopes is None else [thinned(tracks.slopes, _STATES)]
    every = np.stack([*known, *slopes], axis=1)
    every /= np.maximum(np.sqrt(np.mean(np.sum(every**2, axis=-1), axis=0)), 1e-300)[:, None]
    before = every[:, : len(known) + count]
    return count, independent_rank(every) - independent_rank(before)


def active_slopes(state: FitState) -> np.ndarray:
    """Gradients (rank, B M) of a fit's quantities in use, at the same states in every fit of its data."""
    values, params = state.spectrum(state.params)
    slopes = slopes_of(state.family, conserved_of(params), state.tracks)[active(values)]
    return slopes.reshape(len(slopes), state.tracks.states.shape[1] * slopes.shape[1])


class Case(NamedTuple):
    """What is to be judged: a learned set, and what the trajectories say of it.

    Args:
        values, params: singular values (K,) and parameters in principal directions.
        network: parameters without conserved quantities that refits of other sets start from.
        spoilt: whether the bound is better without symmetry, so that the orbits have spoilt the network; it
            is then the control's.
        directions: of the set in use.
        forms: how many of the directions are forms.
        new: how many are functions independent of these and of H.
    """

    values: np.ndarray
    params: FlatParams
    network: FlatParams
    spoilt: bool
    directions: Directions
    forms: int
    new: int

    @property
    def used(self) -> int:
        """Number of directions in use."""
        return active_count(self.values)

    @property
    def spectrum(self) -> tuple[float, ...]:
        """Singular values, largest first, for the record."""
        return tuple(map(float, np.sort(self.values)[::-1]))


def case_of(state: FitState) -> Case:
    """The learned set of a fit."""
    values, params = state.spectrum(state.params)
    spoilt = is_worse(state.bounds[state.family.name], state.bounds["none"])
    source = state.bare if spoilt else params
    learned = state.family, conserved_of(params), values, state.tracks
    network = {k: source[k] for k in state.bare}
    return Case(values, params, network, spoilt, directions_of(*learned), *size_of(*learned))


def _with_largest(case: Case, kept: int) -> Hypothesis:
    """The set without its smaller directions."""
    order = np.argsort(-case.values)
    mask = np.zeros(len(order))
    mask[order[:kept]] = 1.0
    removed = tuple(map(float, case.values[order[kept : case.used]]))
    return Hypothesis(f"largest {kept}", {**case.params, **case.network}, mask, removed)


def _forms_alone(state: FitState, case: Case) -> Hypothesis:
    """The set without its functions, at the price of forms."""
    family, start = state.forms_alone({**case.params, **case.network})
    removed = case.values[family.count :][active(case.values)[family.count :]]
    return Hypothesis(FORMS_ALONE, start, np.ones(family.count), tuple(map(float, removed)), family)


def _with_least_defects(state: FitState, case: Case, kept: int) -> Hypothesis:
    """The set projected on its directions of least defect."""
    total, turned = len(case.values), case.directions.turned
    used = np.flatnonzero(active(case.values))
    values, good = case.values[used], turned[:kept]
    weights = np.zeros((total, total))
    weights[np.ix_(used, used)] = values[:, None] * (good.T @ good) / values
    mixed = state.family.mixed(conserved_of(case.params), weights)
    left, start = state.spectrum({**case.network, **prefixed(mixed, state.data.start.dtype)})
    mask = np.zeros(total)
    mask[np.argsort(-left)[:kept]] = 1.0
    removed = tuple(map(float, np.linalg.norm(turned[kept:] * values, axis=1)))
    return Hypothesis(f"least defect {kept}", start, mask, removed)


def _proposed_anew(state: FitState, case: Case) -> Hypothesis | None:
    """The proposal again, when it has a credible direction that the set lacks."""
    assert state.proposal is not None, "checked where the judgement begins"
    # A random start has no lengths: the paper's procedure, which proposes nothing.
    credible = np.nan_to_num(state.proposal.length) >= CREDIBLE
    offered = state.proposal.params
    slopes = slopes_of(state.family, offered, state.tracks)[credible]
    if largest_sine(slopes, case.directions.slopes) < _OUTSIDE:
        return None
    start = {**case.network, **prefixed(offered, state.data.start.dtype)}
    return Hypothesis("proposed anew", start, np.ones(len(case.values)))


def hypotheses(state: FitState, case: Case) -> list[Hypothesis]:
    """The set as learned, without its doubtful directions, and anew; it alone where nothing is in doubt."""
    # As it was trained: a law of the flow times that is no ball sees a rotation of the quantities.
    found = [Hypothesis(AS_LEARNED, state.params, np.ones(len(case.values)))]
    credible = case.directions.credible
    found += [_with_largest(case, kept) for kept in spectrum_cuts(case.values) if kept != credible]
    fewer = [credible] if case.directions.doubtful else []
    if case.spoilt and not fewer:
        # Few data leave every direction credible; the bound is then asked about halves.
        fewer = list(dict.fromkeys((-(-case.used // 2), -(-case.used // 4))))
    found += [_with_least_defects(state, case, kept) for kept in fewer if 0 < kept < case.used]
    if 0 < case.forms < case.used and (case.spoilt or case.directions.doubtful or not case.new):
        found.append(_forms_alone(state, case))
    anew = _proposed_anew(state, case)
    return found if anew is None else [*found, anew]


def _adopt(state: FitState, verdicts: list[Verdict], accepted: Verdict) -> None:
    """Go on with a set, and record what it was compared with."""
    state.judgements += [verdict.judgement for verdict in verdicts if verdict is not accepted]
    state.judgements.append(dataclasses.replace(accepted.judgement, accepted=True))
    state.params = accepted.params
    forms = state.family.count - state.family.functions
    if accepted.alone or (
        0 < forms < state.family.count and not active(state.spectrum(state.params)[0])[forms:].any()
    ):
        state.leave_functions()
    state.bounds[state.family.name] = accepted.judgement.estimate


@dataclasses.dataclass(frozen=True)
class Judge:
    """Refit each hypothesis for as long, beside the control, and keep what the bound prefers."""

    steps: int
    rates: Rates
    name: str = "judgement"

    def run(self, state: FitState) -> None:
        """Replaces ``params`` by those of the accepted set, in at most two rounds."""
        if not state.family.trainable:
            return
        if state.proposal is None or not {state.family.name, "none"} <= state.bounds.keys():
            raise UsageError("the judgement compares bounds; expected Propose, Joint and Control before it")
        # The control has trained for longest: what it leaves unexplained is nearest to the noise.
        state.tracks = state.measured(state.bare)
        for number in range(_MOST_ROUNDS):
            case = case_of(state)
            asked = hypotheses(state, case)
            if len(asked) == 1 and not case.spoilt and not case.directions.doubtful:
                return
            verdicts = self._compare(state, case, asked, f"{self.name} {number + 1}")
            accepted = preferred(verdicts)
            _adopt(state, verdicts, accepted)
            if accepted.judgement.name in (AS_LEARNED, NO_QUANTITY, FORMS_ALONE):
                return

    def _compare(self, state: FitState, case: Case, asked: list[Hypothesis], label: str) -> list[Verdict]:
        """Every hypothesis and, last, no quantity, all trained on for as long."""
        before = state.bounds["none"]
        # The comparison with no symmetry stays one of equal training.
        Control(self.steps, self.rates._replace(conserved=0.0), name=f"{label} none").run(state)
        # What more training brings is not evidence: bounds of sets trained apart are not known better.
        undecided = abs(excess(state.bounds["none"], before)[0])
        verdicts = [self._refitted(state, case, one, label, undecided) for one in asked]
        nothing = masked(case.params, jnp.zeros(state.family.count, state.data.start.dtype))
        none = Judgement(NO_QUANTITY, 0, case.spectrum, case.spectrum[: case.used], state.bounds["none"])
        return [*verdicts, Verdict(none, {**nothing, **state.bare})]

    def _refitted(
        self, state: FitState, case: Case, hypothesis: Hypothesis, label: str, undecided: float
    ) -> Verdict:
        """A hypothesis after training; tolerance is for sets whose every direction the tracks credit."""
        family, before = hypothesis.family or state.family, case.spectrum
        try:
            fitted = state.train(
                family,
                masked(hypothesis.params, jnp.asarray(hypothesis.mask, state.data.start.dtype)),
                stage=f"{label} {hypothesis.name}",
                steps=self.steps,
                rates=self.rates,
                stream=label,
                active=hypothesis.mask,
            )
        except TrainingDiverged:
            # Of a set that cannot be trained the evidence is nothing; the others are still to be asked.
            lost = Judgement(hypothesis.name, 0, before, hypothesis.removed, no_evidence())
            return Verdict(lost, hypothesis.params)
        states = np.asarray(state.data.start, np.float64)
        values, principal = family.principal(conserved_of(fitted), states)
        kept = active_count(values)
        found = family, principal, values, state.tracks
        doubtful = directions_of(*found).doubtful
        judgement = Judgement(
            hypothesis.name,
            kept,
            before,
            hypothesis.removed,
            state.estimate(family, fitted),
        )
        tolerance = 0.0 if doubtful else undecided
        return Verdict(judgement, fitted, tolerance, sum(size_of(*found)), hypothesis.family is not None)
