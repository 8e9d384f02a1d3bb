"""The judgement by the bound: what is asked, which set is kept, and that spoilt starts are mended."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import noethers_razor as nr
from noethers_razor.conserved import FieldSamples, Quadratic
from noethers_razor.conserved.nullspace import basis, embed, second_moment
from noethers_razor.fitting import plan
from noethers_razor.judgement import (
    AS_LEARNED,
    Verdict,
    directions_of,
    excess,
    gradients,
    preferred,
    sines_to,
    spectrum_cuts,
)
from noethers_razor.stages import Judgement, Propose
from noethers_razor.symmetry.span import active_count
from noethers_razor.systems import Oscillators
from noethers_razor.training import Estimate

PAIRED = np.random.default_rng(0).normal(size=400)
"""Noise of batches and draws that all candidates share."""


def estimate(negative_elbo, own=0.2, seed=0):
    losses = negative_elbo + PAIRED + own * np.random.default_rng(seed).normal(size=400)
    return Estimate(float(losses.mean()), 0.05, 0.0, 0.0, losses)


def outcome(kept, negative_elbo, tolerance=0.0):
    judgement = Judgement("", kept, (), (), estimate(negative_elbo, seed=kept))
    return Verdict(judgement, {}, tolerance)


def test_count_is_relative_to_the_largest_and_to_a_full_orbit():
    assert active_count(np.array([1.0, 0.9, 0.06, 0.04])) == 3
    assert active_count(np.array([0.03, 0.02])) == 0
    assert active_count(np.array([2.0, 0.09])) == 1
    assert active_count(np.zeros(0)) == 0


def test_cuts_are_where_the_active_spectrum_steps_down():
    assert spectrum_cuts(np.array([1.0, 0.9, 0.8, 0.4, 0.39, 0.001])) == [3]
    assert spectrum_cuts(np.array([1.0, 0.9, 0.8, 0.001])) == []
    assert spectrum_cuts(np.array([1.0, 0.6, 0.2, 0.1])) == [2, 3]
    assert spectrum_cuts(np.array([1.0])) == []


def test_a_worse_bound_rejects_the_larger_set():
    assert preferred([outcome(5, -10.0), outcome(3, -10.5)]).judgement.kept == 3


def test_shared_noise_does_not_hide_a_difference():
    # Unpaired, the error of either estimate is .05; the difference of .08 has one of .014.
    assert preferred([outcome(5, -10.0), outcome(3, -10.08)]).judgement.kept == 3
    mean, error = excess(estimate(-10.0, seed=1), estimate(-10.08, seed=2))
    assert abs(mean - 0.08) < 4 * error
    assert error < 0.02


def test_a_tie_keeps_the_larger_set_and_of_equally_large_ones_the_better():
    assert preferred([outcome(5, -10.49), outcome(3, -10.5)]).judgement.kept == 5
    best = preferred([outcome(3, -10.5), outcome(3, -10.6)])
    assert best.judgement.estimate.negative_elbo < -10.55


def test_what_training_leaves_undecided_rejects_only_doubtful_sets():
    assert preferred([outcome(5, -10.4), outcome(3, -10.5)]).judgement.kept == 3
    assert preferred([outcome(5, -10.4, tolerance=0.1), outcome(3, -10.5)]).judgement.kept == 5
    assert preferred([outcome(5, -10.3, tolerance=0.1), outcome(3, -10.5)]).judgement.kept == 3


def samples(noise=0.01):
    """Two equal oscillators, known up to noise that the posterior's spread explains."""
    rng = np.random.default_rng(1)
    states = rng.normal(size=(300, 4))
    velocity = np.concatenate([states[:, 2:], -states[:, :2]], axis=1)
    mean = velocity + noise * rng.normal(size=states.shape)
    return FieldSamples(states, mean + noise * rng.normal(size=(32, *states.shape)))


def learned(true, false):
    """So many of the four true quantities and false ones, mixed, in principal form."""
    seen, family = samples(), Quadratic(14)
    found = family.propose(seen, None).params
    rows = {name: np.asarray(value) for name, value in found.items()}
    form, linear = basis(4)
    size = np.linalg.norm(embed(form, linear, second_moment(seen.states)), axis=1)
    # The last of the basis are the linear quantities: none is conserved.
    for name, part in (("form", form), ("linear", linear)):
        chosen = [rows[name][:true], (part / size.reshape((-1,) + (1,) * (part.ndim - 1)))[-false:][:false]]
        picked = np.concatenate(chosen)
        rows[name] = np.concatenate([picked, np.zeros((14 - len(picked), *picked.shape[1:]))])
    mixing, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(14, 14)))
    return family, seen, family.principal(family.mixed(rows, mixing), seen.states)


@pytest.mark.parametrize(("true", "false"), [(4, 0), (4, 2), (3, 1), (2, 3)])
def test_brackets_count_the_true_directions_of_a_mixed_span(true, false, x64):
    family, seen, (values, params) = learned(true, false)
    count = active_count(values)
    assert count == true + false
    directions = directions_of(family, params, values[:count], seen)
    assert directions.credible == true
    # In the order of their defects, the true ones come first: their brackets are noise.
    slopes = np.tensordot(directions.turned, directions.slopes, 1)
    brackets = np.einsum("kbi,bi->kb", slopes, seen.velocities.mean(axis=0))
    size = np.sqrt(np.mean(brackets**2, axis=1))
    assert size[:true].max() < 0.1 * size[true:].min(initial=np.inf)


def test_an_empty_span_has_no_directions_and_lacks_everything(x64):
    family, seen, _ = learned(1, 0)
    directions = directions_of(family, {}, np.zeros(0), seen)
    assert directions.credible == 0
    whole = gradients(family, family.propose(seen, None).params, seen.states)[:4]
    np.testing.assert_allclose(sines_to(whole, directions.slopes), 1.0)
    np.testing.assert_allclose(sines_to(whole, whole), 0.0, atol=1e-5)
    np.testing.assert_allclose(sines_to(whole[:1], whole[1:]), 1.0, atol=1e-2)


@dataclasses.dataclass(frozen=True)
class Spoil:
    """A stage that replaces places of the proposal by given quantities."""

    places: slice
    scale: float

    def run(self, state):
        small = state.family.init(state.stream("spoil"), 4)
        for name, value in small.items():
            full = state.params[f"conserved/{name}"]
            state.params[f"conserved/{name}"] = full.at[self.places].set(self.scale * value[self.places])


@pytest.mark.parametrize(
    "spoil",
    [Spoil(slice(4, 6), 25.0), Spoil(slice(0, 1), 1.0)],
    ids=["two false directions of full length", "a true direction hidden"],
)
def test_a_spoilt_proposal_is_mended(spoil):
    system = Oscillators(n=2)
    data = system.simulate(5, n_trajectories=100, n_steps=30)
    family, config = nr.Quadratic(6), nr.FitConfig(steps=3000)
    stages = plan(config, family)
    place = 1 + next(i for i, stage in enumerate(stages) if isinstance(stage, Propose))
    result = nr.fit(
        data, seed=2, conserved=family, config=config, stages=[*stages[:place], spoil, *stages[place:]]
    )
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
