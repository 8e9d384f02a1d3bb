"""Tests of the answer in data units: text, JSON values, formulas, and the answer inside a fit's report."""

import json

import numpy as np
import pytest
from scipy.linalg import expm

import noethers_razor as nr
from noethers_razor.errors import UsageError
from tests.brief import TINY

DATA = nr.systems.Oscillators(n=2).simulate(1, n_trajectories=40, n_steps=40, noise=0.01)


def test_the_text_has_count_algebra_resolution_and_formulas():
    found = nr.answer(DATA)
    text = str(found)
    assert text.startswith("Hamiltonian      yes; friction at most ")
    assert text.splitlines()[1].startswith("energy           conserved; it drifts by at most ")
    assert text.splitlines()[2] == "4 quadratic quantities exactly conserved; algebra u(2)"
    assert "a larger rate of change would show (90 %)" in text
    assert "C1   = q1*p2 - q2*p1" in text
    assert found.count == 4 and "AnswerSheet(4 quadratic" in repr(found)


def test_numbers_are_plain_json_in_data_units():
    record = json.loads(json.dumps(nr.answer(DATA).as_json(), allow_nan=False))
    assert record["exact"] == len(record["quadratic_forms"]) == 4
    assert record["cannot_tell"] == record["approximate"] == []
    # Constant along noise-free trajectories of the system.
    states = nr.systems.Oscillators(n=2).simulate(2, n_trajectories=5, n_steps=40).states
    for one in record["quadratic_forms"]:
        values = 0.5 * np.einsum("...i,ij,...j->...", states, one["form"], states) + states @ one["linear"]
        assert np.all(values.std(axis=1) < 0.02 * np.abs(values).std())


def test_approximate_quantities_have_formulas_and_lifetimes_in_data_units():
    system = nr.systems.Oscillators(n=2, frequencies=(1.0, 1.03))
    data = system.simulate(1, n_trajectories=60, n_steps=50, noise=0.003)
    slower = nr.Trajectories(q=data.q, p=data.p, t=10 * data.t)
    one, other = (nr.answer(own).as_json()["approximate"] for own in (data, slower))
    # True sets are rejected in 5 % of data sets, and then are approximate too. The broken ones come last.
    assert len(one) == len(other) >= 2
    assert all(approximate["formula"] for approximate in one)
    assert other[-1]["lifetime"] == pytest.approx(10 * one[-1]["lifetime"], rel=0.01)
    assert other[-1]["breaking"] == pytest.approx(one[-1]["breaking"], rel=0.01)


def test_the_report_of_a_fit_repeats_the_answer():
    seen = []
    result = nr.fit(DATA, conserved=4, seed=0, config=TINY, answered=seen.append)
    report = nr.find_symmetries(result)
    assert seen[0].count == report.answer["exact"] == 4
    assert "by the data      4 quadratic quantities exactly conserved" in str(report)
    assert report.as_json()["resolution"] == report.answer["resolution"]


def test_anything_but_trajectories_is_refused():
    with pytest.raises(UsageError, match="expected Trajectories"):
        nr.answer(DATA.q)


def linear_motion(matrix, unit=1.0):
    """Noisy trajectories of x' = A x, with times in another unit."""
    rng, turn, times = np.random.default_rng(0), expm(0.2 * matrix).T, 0.2 * np.arange(41)
    path = [rng.normal(size=(40, 4))]
    for _ in times[1:]:
        path.append(path[-1] @ turn)
    states = np.stack(path, axis=1)
    states = states + 0.01 * rng.normal(size=states.shape)
    return nr.Trajectories(q=states[..., :2], p=states[..., 2:], t=unit * times)


def oscillators(force):
    """Matrix of q' = p, p' = -q + force p."""
    return np.block([[np.zeros((2, 2)), np.eye(2)], [-np.eye(2), np.asarray(force)]])


# A magnetic field turns the velocities. Energy and an angular momentum are constant, but not canonical.
MAGNETIC = oscillators([[0.0, 0.5], [-0.5, 0.0]])


def test_quantities_of_motion_that_is_not_hamiltonian_have_no_algebra_and_no_trust():
    data = linear_motion(MAGNETIC)
    record = nr.answer(data).as_json()
    assert record["exact"] > 0 and record["algebra"] is None
    diagnosis = record["diagnosis"]
    assert diagnosis["hamiltonian"] is False and diagnosis["departure"] == "linear"
    assert diagnosis["nats"] < -100 and diagnosis["energy"]["conserved"] is None
    report = nr.find_symmetries(nr.fit(data, conserved=4, seed=0, config=TINY))
    assert not report.uncertainty.trusted.any()
    assert "Hamiltonian      no, by " in str(report)
    assert report.as_json()["diagnosis"] == report.answer["diagnosis"]


def test_friction_is_a_rate_in_data_units():
    for unit in (1.0, 10.0):
        found = nr.answer(linear_motion(oscillators([[-0.05, 0.0], [0.0, -0.05]]), unit))
        record = found.as_json()["diagnosis"]
        assert record["departure"] == "friction" and record["energy"]["conserved"] is False
        for one in record["friction"]:
            assert abs(one["rate"] - 0.05 / unit) < 4 * one["error"] < 0.01 / unit
        assert record["divergence"] == pytest.approx(-0.1 / unit, rel=0.1)
        assert "nats: friction of 0.0" in str(found)
