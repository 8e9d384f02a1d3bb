"""Tests of model selection: compared sets, the selected set, and recovery from degraded proposals."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import noethers_razor as nr
from experiments.starts import SPOILT, stages
from noethers_razor.conserved.base import Proposal, gradients_of
from noethers_razor.conserved.polynomial import Polynomial
from noethers_razor.conserved.quadratic import Quadratic
from noethers_razor.data.frame import Frame
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.errors import UsageError
from noethers_razor.inference.directions import Directions, counts_in_use, directions_of, spectrum_cuts
from noethers_razor.inference.fit import plan
from noethers_razor.inference.history import Estimate
from noethers_razor.inference.problem import HeldOut, Problem
from noethers_razor.inference.selection import (
    AS_LEARNED,
    NO_QUANTITY,
    Case,
    Verdict,
    excess,
    hypotheses,
    is_worse,
    preferred,
)
from noethers_razor.inference.state import ComparedSet, State
from noethers_razor.mechanics.quadratic_form import basis, embed, second_moment
from noethers_razor.model.elbo import Batch
from noethers_razor.model.parameters import prefixed
from noethers_razor.numerics.subspaces import largest_sine
from noethers_razor.symmetry.span import number_in_use
from noethers_razor.systems import CentralForce, Oscillators
from tests.brief import TINY, one_oscillator

PAIRED = np.random.default_rng(0).normal(size=400)
"""Noise of batches and draws, the same for all candidates."""


def estimate(negative_elbo, own=0.2, seed=0):
    losses = negative_elbo + PAIRED + own * np.random.default_rng(seed).normal(size=400)
    return Estimate(float(losses.mean()), 0.05, 0.0, 0.0, losses)


def outcome(kept, negative_elbo, tolerance=0.0):
    record = ComparedSet("", kept, (), (), estimate(negative_elbo, seed=kept))
    return Verdict(record, {}, tolerance, record.kept)


def test_count_is_relative_to_the_largest_and_to_a_full_orbit():
    assert number_in_use(np.array([1.0, 0.9, 0.06, 0.04])) == 3
    assert number_in_use(np.array([0.03, 0.02])) == 0
    assert number_in_use(np.array([2.0, 0.09])) == 1
    assert number_in_use(np.zeros(0)) == 0


def test_cuts_are_where_the_spectrum_in_use_steps_down():
    assert spectrum_cuts(np.array([1.0, 0.9, 0.8, 0.4, 0.39, 0.001])) == [3]
    assert spectrum_cuts(np.array([1.0, 0.9, 0.8, 0.001])) == []
    assert spectrum_cuts(np.array([1.0, 0.6, 0.2, 0.1])) == [2, 3]
    assert spectrum_cuts(np.array([1.0])) == []


def test_a_worse_bound_rejects_the_larger_set():
    assert preferred([outcome(5, -10.0), outcome(3, -10.5)]).record.kept == 3


def test_shared_noise_does_not_hide_a_difference():
    # The error of each estimate is .05, but the error of their difference of .08 is only .014.
    assert preferred([outcome(5, -10.0), outcome(3, -10.08)]).record.kept == 3
    mean, error = excess(estimate(-10.0, seed=1), estimate(-10.08, seed=2))
    assert abs(mean - 0.08) < 4 * error
    assert error < 0.02


def test_a_tie_keeps_the_larger_set_and_of_equally_large_ones_the_better():
    assert preferred([outcome(5, -10.49), outcome(3, -10.5)]).record.kept == 5
    best = preferred([outcome(3, -10.5), outcome(3, -10.6)])
    assert best.record.estimate.negative_elbo < -10.55


def test_what_training_leaves_undecided_rejects_only_doubtful_sets():
    assert preferred([outcome(5, -10.4), outcome(3, -10.5)]).record.kept == 3
    assert preferred([outcome(5, -10.4, tolerance=0.1), outcome(3, -10.5)]).record.kept == 5
    assert preferred([outcome(5, -10.3, tolerance=0.1), outcome(3, -10.5)]).record.kept == 3


def test_a_set_that_cannot_be_trained_is_never_preferred():
    lost = Verdict(ComparedSet("", 0, (), (), Estimate.none()), {})
    assert preferred([lost, outcome(3, 50.0)]).record.kept == 3
    assert is_worse(Estimate.none(), estimate(50.0))


def trajectories(noise=0.01):
    """Return trajectories of two equal oscillators with noise on every state."""
    data = Oscillators(n=2).simulate(1, n_trajectories=60, n_steps=7, dt=0.5, noise=noise)
    frame = Frame(np.zeros(4), np.eye(4), 1.0, np.ones(4))
    return FrameTrajectories.of(frame, data)._replace(noise=noise**2 * np.eye(4))


def learned(true, false):
    """Return a family, trajectories, and a mixture of true and false quantities in principal form.

    Args:
        true: number of true quantities, up to four.
        false: number of false quantities.
    """
    seen, family = trajectories(), Quadratic(14)
    found = family.propose(seen, None).params
    rows = {name: np.asarray(value) for name, value in found.items()}
    form, linear = basis(4)
    size = np.linalg.norm(embed(form, linear, second_moment(seen.states)), axis=1)
    # The last elements of the basis are linear. None of them is conserved.
    for name, part in (("form", form), ("linear", linear)):
        chosen = [rows[name][:true], (part / size.reshape((-1,) + (1,) * (part.ndim - 1)))[-false:][:false]]
        picked = np.concatenate(chosen)
        rows[name] = np.concatenate([picked, np.zeros((14 - len(picked), *picked.shape[1:]))])
    mixing, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(14, 14)))
    return family, seen, family.principal(family.mixed(rows, mixing), seen.states)


@pytest.mark.parametrize(("true", "false"), [(4, 0), (4, 2), (3, 1), (2, 3), (0, 1), (0, 2)])
def test_trajectories_count_the_true_directions_of_a_mixed_span(true, false, x64):
    family, seen, (values, params) = learned(true, false)
    count = number_in_use(values)
    assert count == true + false
    directions = directions_of(family, params, values, seen)
    assert directions.constant == true
    assert directions.doubtful == (false > 0)
    # The order is by defect, so the true quantities come first.
    along = np.asarray(family.value(params, jnp.asarray(seen.states)))[:, :count] / values[:count]
    values_of = (along @ directions.turned.T).reshape(60, 8, count)
    varying = np.sqrt(np.mean(values_of.var(axis=1), axis=0))
    assert varying[:true].max(initial=0.0) < 0.1 * varying[true:].min(initial=np.inf)


@pytest.mark.parametrize(("quantity", "new"), [("square", 0), ("other", 1)])
def test_functions_of_forms_add_nothing_to_a_set(quantity, new, x64):
    seen = trajectories()
    # For equal oscillators H = |x|^2 / 2, so the gradient of H is the state.
    seen = seen._replace(gradients=seen.states)
    family = Polynomial(1, degree=4).in_phase_space(4)
    rotation, x = Oscillators(n=2).conserved()["R12"], seen.states
    params = family.init(jax.random.key(0), 4)
    values = {
        "square": np.einsum("ni,ij,nj->n", x, rotation.form, x) ** 2,
        "other": (x[:, 0] ** 2 + x[:, 2] ** 2) ** 2,
    }[quantity]
    features = np.asarray(family.features(params, jnp.asarray(x)))
    weights = np.linalg.lstsq(np.column_stack([features, np.ones(len(x))]), values, rcond=None)[0][:-1]
    params |= {"form": rotation.form[None], "linear": np.zeros((1, 4)), "weights": weights[None]}
    sizes, principal = family.principal(params, x)
    assert number_in_use(sizes) == 2
    assert counts_in_use(family, principal, sizes, seen) == (1, new)


@pytest.mark.slow
def test_the_bound_decides_whether_orbits_follow_functions():
    # Angular momentum is found as a function. Its orbits stay on the data, so the bound gains by them.
    data = CentralForce().simulate(1, n_trajectories=60, n_steps=30, noise=0.01)
    config = nr.FitConfig.of(steps=600, chunk=40, orbit_samples=4, width=16)
    result = nr.fit(data, seed=1, conserved=Polynomial(quadratic=False, degree=2), config=config)
    tested = result.evidence["functions"]
    assert {"orbits of all", "orbits of exact flows"} < {row.stage for row in result.history}
    assert tested["averaged"] == result.model.family.averaged
    assert tested["exact"] >= 1 and tested["p_value"] > 0.05 and tested["moved"] < 3
    assert result.evidence["judgements"] == []
    report = nr.find_symmetries(result)
    assert report.uncertainty.trusted.all() and report.functions == tested
    assert "functions        conserved to" in str(report)


def test_orbits_without_integrated_flows_stay_where_they_are(x64):
    family = Polynomial(2, degree=2).in_phase_space(4)
    params = family.init(jax.random.key(0), 4)
    tau, x = jnp.ones((3, 4)), jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)))
    alone = family.with_integrated_flows(False).orbit(params, tau)(x)
    exact = family.exact_part()
    own = {name: params[name] for name in ("form", "linear")}
    np.testing.assert_allclose(alone, exact.orbit(own, tau[:, :2])(x), rtol=1e-12)


def test_a_judgement_goes_on_when_a_set_without_functions_was_accepted(x64):
    family = Polynomial(3, degree=2).in_phase_space(4)
    states = np.random.default_rng(0).normal(size=(100, 4))
    trajectories = FrameTrajectories(states, np.repeat(np.arange(10), 10), 0.01 * np.eye(4), gradients=states)
    offered = family.init(jax.random.key(0), 4)
    config = nr.FitConfig.of(dtype="float64", width=4, depth=1)
    frame = Frame(np.zeros(4), np.eye(4), 1.0, np.ones(4))
    batch = Batch(*(jnp.asarray(part) for part in (states[:-1], np.full((99, 1), 0.1), states[1:])))
    held_out = HeldOut(states, False)
    moment = second_moment(states)
    problem = Problem(config, 1, frame, family, batch, trajectories, moment, held_out, 1, 0.1, {})
    proposal = Proposal(offered, np.ones(5))
    state = State(family, prefixed(offered, jnp.float64), {}, trajectories, proposal).exact_part()
    assert state.family.count == len(state.proposal.length) == 3
    assert set(state.proposal.params) == {"form", "linear"}
    nothing = Directions(np.zeros((0, 100, 4)), np.zeros((0, 0)), 0)
    case = Case(np.zeros(3), state.params, {}, False, nothing, 0, 0)
    asked = hypotheses(problem, state, case)
    assert [one.name for one in asked] == [AS_LEARNED, "proposed anew"]
    assert all(len(one.mask) == 3 for one in asked)


def test_of_equally_large_sets_the_one_with_fewest_directions_stays():
    plain, rich = outcome(1, -10.50), outcome(2, -10.51)._replace(size=1)
    assert preferred([rich, plain]) is plain


def test_an_empty_span_has_no_directions_and_lacks_everything(x64):
    family, seen, _ = learned(1, 0)
    directions = directions_of(family, {}, np.zeros(0), seen)
    assert directions.constant == 0
    whole = gradients_of(family, family.propose(seen, None).params, seen.states)[:4]
    assert largest_sine(whole, directions.gradients) == 1.0
    assert largest_sine(whole, whole) < 1e-5
    assert largest_sine(whole[:1], whole[1:]) == pytest.approx(1.0, abs=1e-2)
    assert largest_sine(whole[:0], whole) == 0.0


def test_a_direction_that_hides_in_many_is_missed_all_the_same():
    # Each of the 16 proposed directions is within 15 degrees of the 15 learned ones, but their span is not.
    axes = np.eye(16)[:, None, :]
    away = np.ones(16) / 4.0
    learnt = np.linalg.svd(np.eye(16) - np.outer(away, away))[0][:, :15].T[:, None, :]
    assert max(largest_sine(axes[i : i + 1], learnt) for i in range(16)) < 0.26
    assert largest_sine(axes, learnt) == pytest.approx(1.0)


def test_a_judgement_without_anything_to_compare_is_refused():
    data, config = one_oscillator(), TINY
    usual = plan(config, nr.Quadratic(2, start="random"))
    with pytest.raises(UsageError, match="expected Propose, Joint and Control before it"):
        nr.fit(data, seed=1, conserved=2, config=config, stages=[usual[0], usual[-1]])
    with pytest.raises(UsageError, match="no bound of family quadratic; expected Joint among them"):
        nr.fit(data, seed=1, conserved=2, config=config, stages=usual[:1])


@pytest.mark.slow
@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_proposal_is_mended(how):
    """One true direction is missing in the proposal, or three candidates are false and of full length."""
    system = Oscillators(n=2)
    data = system.simulate(5, n_trajectories=100, n_steps=30)
    family, config = nr.Quadratic(7), nr.FitConfig.of(steps=2000, width=32, orbit_samples=4)
    result = nr.fit(data, seed=2, conserved=family, config=config, stages=stages(config, family, how))
    report = nr.find_symmetries(result, system)
    judged = result.evidence["judgements"]
    learned = next(one for one in judged if one["name"] == AS_LEARNED)
    assert learned["kept"] != 4
    assert not learned["accepted"]
    assert any(one["accepted"] and one["name"] != AS_LEARNED for one in judged)
    assert report.rank == 4
    assert report.largest_angle < 3.0
    assert any(text.startswith(("the bound rejected", "the bound preferred")) for text in report.warnings)
    assert jnp.isfinite(result.elbo)


@dataclasses.dataclass(frozen=True)
class QuarticWell(Oscillators):
    """A system of one degree of freedom without a quadratic conserved quantity."""

    def hamiltonian(self, x):
        return 0.5 * x[1] ** 2 + 0.25 * x[0] ** 4

    def conserved(self):
        return {}


@pytest.mark.slow
def test_where_nothing_quadratic_is_conserved_the_bound_ends_with_no_quantity():
    """Usually all candidates of such a proposal are small. Here they are false and of full length."""
    data = QuarticWell(n=1).simulate(5, n_trajectories=60, n_steps=20)
    family, config = nr.Quadratic(3), nr.FitConfig.of(steps=1200, width=16, orbit_samples=4)
    result = nr.fit(data, seed=2, conserved=family, config=config, stages=stages(config, family, "wrong"))
    judged = result.evidence["judgements"]
    assert judged[-1]["name"] == NO_QUANTITY
    assert judged[-1]["accepted"]
    assert any(one["name"] == AS_LEARNED and one["kept"] > 0 for one in judged)
    assert result.evidence["bounds"]["quadratic"] == result.evidence["bounds"]["none"]
    assert nr.find_symmetries(result).rank == 0
