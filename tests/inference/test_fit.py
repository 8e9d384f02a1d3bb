"""Tests of the example in the README: its output, the quantities that it finds, and its results."""

import contextlib
import dataclasses
import io
import re
from pathlib import Path

import jax
import numpy as np
import pytest

import noethers_razor as nr

# The example is run as it is printed, which takes most of a minute: once, on one worker.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("example")]


@pytest.fixture(scope="module")
def example():
    """Return the variables that the example defines, and the lines that it prints."""
    text = (Path(__file__).parents[2] / "README.md").read_text()
    program = re.findall(r"```python\n(.*?)```", text, flags=re.S)[0]
    names: dict = {}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(program, "README.md", "exec"), names)
    return names, out.getvalue().splitlines()


@pytest.fixture(scope="module")
def oscillators(example):
    names, _ = example
    return names["system"], names["data"], names["result"], names["report"]


def test_the_example_prints_its_sheet_and_its_errors(example):
    names, out = example
    assert out[:-1] == str(names["report"]).splitlines()
    error, deviation = map(float, out[-1].split())
    assert error < 0.01 and deviation > 0


def test_u2_is_found_with_its_four_quantities(oscillators):
    _, _, _, report = oscillators
    assert report.rank == 4
    assert report.algebra == "u(2)"
    assert report.parallelness.min() > 0.999
    assert report.largest_angle < 2.0
    assert report.span.gap > 20
    assert report.conservation_defect < 0.02
    assert report.true_conservation_defect < 0.02
    assert set(report.formulas) == {"q1^2 + p1^2", "q2^2 + p2^2", "q1*p2 - q2*p1", "q1*q2 + p1*p2"}


def test_symmetry_improves_the_bound(oscillators):
    bounds = oscillators[2].evidence["bounds"]
    assert bounds["quadratic"]["negative_elbo"] < bounds["none"]["negative_elbo"]


def test_posterior_mean_hamiltonian_is_the_true_one_up_to_a_constant(oscillators):
    system, _data, result, _ = oscillators
    x = result.states[:200]
    error = result.gradient(x) - np.asarray(jax.vmap(jax.grad(system.hamiltonian))(x))
    assert np.sqrt(np.mean(error**2)) < 0.05
    energy = result.hamiltonian(x) - np.asarray(jax.vmap(system.hamiltonian)(x))
    assert energy.std() < 0.05
    dq, dp = np.split(result.gradient(x), 2, axis=-1)
    np.testing.assert_allclose(result.field(x), np.concatenate([dp, -dq], axis=-1))


def test_mean_weights_are_not_the_posterior_mean(oscillators):
    # Therefore, predictions must average over weights.
    _, _, result, _ = oscillators
    params = {k: (v if not k.endswith("mean") else 0 * v) for k, v in result.params.items()}
    shifted = dataclasses.replace(result, params=params)
    assert not np.allclose(shifted.gradient(result.states[:5]), result.gradient(result.states[:5]))


def test_rollouts_follow_unseen_trajectories_with_spread(oscillators):
    system, _, result, _ = oscillators
    test = system.simulate(5, n_trajectories=6, n_steps=20, stream="test")
    outcome = result.predict(test.states[:, 0], test.t, samples=8)
    assert outcome.mean.shape == (6, 21, 4)
    assert outcome.samples.shape == (8, 6, 21, 4)
    np.testing.assert_allclose(outcome.mean[:, 0], test.states[:, 0], atol=1e-5)
    assert np.mean((outcome.mean - test.states) ** 2) < 0.01
    assert np.all(outcome.energy_drift < 0.01)
    assert outcome.deviation[:, 1:].min() > 0
    own = result.predict(test.states[:, 0], test.times, samples=0)
    np.testing.assert_allclose(own.mean, outcome.mean, atol=1e-5)


def test_a_saved_result_is_the_same_result(oscillators, tmp_path):
    _, data, result, report = oscillators
    folder = result.save(tmp_path / "run")
    loaded = nr.load_result(folder)
    x = data.states[:4, 0]
    np.testing.assert_array_equal(loaded.hamiltonian(x), result.hamiltonian(x))
    assert nr.find_symmetries(loaded).formulas == report.formulas
    assert loaded.metrics == result.metrics
    with pytest.raises(nr.UsageError, match="not empty"):
        result.save(tmp_path / "run")
    with pytest.raises(nr.RunFolderError, match="not a run folder"):
        nr.load_result(tmp_path / "nowhere")
