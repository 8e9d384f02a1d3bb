"""The posterior of what is conserved: intervals that hold, confidence, the false-discovery rule."""

import json

import numpy as np

from noethers_razor.conserved import Tracks
from noethers_razor.conserved.constancy import candidates
from noethers_razor.conserved.forms import embed, second_moment
from noethers_razor.conserved.quadratic import stack_forms
from noethers_razor.symmetry.span import largest_angle, orthonormal
from noethers_razor.symmetry.uncertainty import Uncertainty, of_forms, of_functions
from noethers_razor.systems import Oscillators

U2 = Oscillators(n=2).conserved()


def tracks_of(frequencies=(1.0, 1.0), noise=0.1, count=40, steps=20, seed=0):
    """Exact trajectories of two oscillators with noise on every state."""
    rng = np.random.default_rng(seed)
    turn = np.outer(np.arange(steps) * 0.4, frequencies)[None]
    q, p = rng.normal(size=(2, count, 1, 2))
    path = np.concatenate([q * np.cos(turn) + p * np.sin(turn), p * np.cos(turn) - q * np.sin(turn)], axis=-1)
    states = (path + noise * rng.normal(size=path.shape)).reshape(-1, 4)
    return Tracks(states, np.repeat(np.arange(count), steps), max(noise, 1e-6) ** 2 * np.eye(4))


def rows_of(named, tracks):
    return orthonormal(embed(*stack_forms(named), second_moment(tracks.states)))


def learned(tracks, count):
    form, linear, _ = candidates(tracks, count)
    return orthonormal(embed(form, linear, second_moment(tracks.states)))


def test_intervals_of_the_angle_hold_the_true_one():
    held = []
    for seed in range(30):
        tracks = tracks_of(seed=seed)
        vectors = learned(tracks, 4)
        low, _, high = of_forms(vectors, second_moment(tracks.states), tracks).angle
        held.append(low <= largest_angle(vectors, rows_of(U2, tracks)) <= high)
    # Of 30 sets, 27 are expected, with a deviation of 1.6.
    assert 24 <= sum(held) <= 29


def test_twice_the_data_halve_the_variance():
    widths = []
    for count in (30, 120):
        tracks = tracks_of(count=count)
        widths.append(of_forms(learned(tracks, 4), second_moment(tracks.states), tracks).angle[1])
    assert 1.4 < widths[0] / widths[1] < 2.8


def test_a_true_span_is_certain_and_a_false_direction_is_not():
    tracks = tracks_of((1.0, 1.05), noise=0.02, steps=40)
    moment = second_moment(tracks.states)
    energies = {name: value for name, value in U2.items() if name.startswith("H")}
    sure = of_forms(rows_of(energies, tracks), moment, tracks)
    np.testing.assert_array_equal(sure.confidence, [1.0, 1.0])
    assert sure.trusted == 2 and not sure.warnings()
    every = of_forms(rows_of(U2, tracks), moment, tracks)
    np.testing.assert_array_equal(every.confidence, [1.0, 1.0, 0.0, 0.0])
    assert every.trusted == 2 and every.expected_false == 2.0
    assert "only 2 of 4" in every.warnings()[0]


def test_data_in_which_everything_is_noise_make_nothing_certain():
    rng = np.random.default_rng(0)
    still = np.repeat(rng.normal(size=(40, 4)), 20, axis=0)
    tracks = Tracks(still + rng.normal(size=still.shape), np.repeat(np.arange(40), 20), np.eye(4))
    found = of_forms(rows_of(U2, tracks), second_moment(tracks.states), tracks)
    assert found.confidence.max() < 0.95
    assert found.trusted == 0


def test_draws_of_the_data_name_the_algebra():
    tracks = tracks_of(noise=0.03)
    found = of_forms(learned(tracks, 4), second_moment(tracks.states), tracks)
    assert found.names == {"u(2)": 20}
    low, middle, high = np.moveaxis(found.structure, -1, 0)
    assert np.all(low <= middle) and np.all(middle <= high)
    # Antisymmetric as brackets are, and none of it known exactly.
    np.testing.assert_allclose(middle, -middle.transpose(1, 0, 2), atol=1e-12)
    assert 0 < np.max(high - low) < 0.1


def test_one_long_trajectory_is_drawn_in_stretches():
    tracks = tracks_of(noise=0.05, count=1, steps=800)
    # One orbit shows only the observables that it moves: the angle is to those that vary least on it.
    found = of_forms(learned(tracks, 3), second_moment(tracks.states), tracks)
    assert found.angle[0] < found.angle[2]
    assert np.all(np.isfinite(found.deviation))


def test_functions_are_judged_as_forms_are():
    tracks = tracks_of((1.0, 1.05), noise=0.02, steps=40)
    moment = second_moment(tracks.states)
    form, _linear = stack_forms(U2)
    values = 0.5 * np.einsum("kij,bi,bj->bk", form, tracks.states, tracks.states)
    slopes = np.einsum("kij,bj->kbi", form, tracks.states)
    as_functions = of_functions(values, slopes, moment, tracks)
    as_forms = of_forms(rows_of(U2, tracks), moment, tracks)
    np.testing.assert_array_equal(as_functions.confidence, as_forms.confidence)
    np.testing.assert_allclose(as_functions.deviation, as_forms.deviation, rtol=0.05)
    assert as_functions.angle is None and as_functions.structure is None


def test_the_rule_bounds_the_expected_share_of_false_quantities():
    def trusted(*confidence):
        return Uncertainty(1, np.ones((len(confidence), 3)), np.array(confidence)).trusted

    assert trusted(1.0, 1.0, 0.9, 0.2) == 3
    assert trusted(0.9, 0.2) == 0
    assert trusted(0.0) == 0
    assert trusted() == 0


def test_numbers_are_plain_json():
    tracks = tracks_of()
    found = of_forms(learned(tracks, 4), second_moment(tracks.states), tracks)
    record = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert record["trusted"] == 4
    assert np.shape(record["structure_constants"]) == (4, 4, 4, 3)
    assert any("4" in line for line in found.lines())
