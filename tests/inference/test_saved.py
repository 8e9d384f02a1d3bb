"""Tests of saved fits: run folders of version 0.1.0, search for a run, scores, xarray, old names."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

import noethers_razor as nr
from noethers_razor.systems import Oscillators
from tests.brief import TINY, one_oscillator

OLD = Path(__file__).parent / "run_0_1_0"
"""Folder of a brief fit of Kepler's problem with one non-quadratic quantity, saved by version 0.1.0."""


def test_a_run_folder_of_version_0_1_0_gives_the_same_numbers(tmp_path):
    expected = json.loads((OLD / "expected.json").read_text())
    result = nr.load_result(OLD)
    family = result.model.family
    assert (family.count, family.non_quadratic, family.quadratic) == (3, expected["functions"], True)
    assert (result.config.first_stage, result.config.selection, result.config.network.width) == (
        0.5,
        False,
        6,
    )
    states = np.array(expected["states"])
    np.testing.assert_allclose(result.field(states), expected["field"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(result.conserved(states), expected["conserved"], rtol=1e-4, atol=1e-6)
    assert result.elbo == expected["elbo"]
    assert nr.find_symmetries(result).formulas == expected["formulas"]
    again = nr.load_result(result.save(tmp_path / "again"))
    np.testing.assert_array_equal(again.field(states), result.field(states))


@pytest.fixture(scope="module")
def small():
    return one_oscillator()


@pytest.fixture(scope="module")
def fitted(small):
    return nr.fit(small, seed=1, conserved=nr.NoSymmetry(), config=TINY)


def test_the_run_in_a_folder_is_found_or_named(fitted, tmp_path):
    fitted.save(tmp_path / "one")
    assert nr.load_result(tmp_path).elbo == fitted.elbo
    fitted.save(tmp_path / "two")
    with pytest.raises(nr.RunFolderError, match=r"holds 2 runs; choose one of .*one, .*two"):
        nr.load_result(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(nr.RunFolderError, match="no readable"):
        nr.load_result(tmp_path / "empty")


def test_a_score_is_the_mean_log_density_of_the_data(fitted, small):
    """Without uncertainty of the weights, the predictive density is one normal density."""
    certain = {
        name: -30.0 * np.eye(len(value), dtype="float32") if name.endswith("/row") else value
        for name, value in fitted.params.items()
    }
    sure = dataclasses.replace(fitted, params=certain)
    pairs = small.transitions()
    frame, likelihood = sure.frame, sure.model.likelihood
    weights = sure.model.sample_weights(certain, jax.random.key(0))
    start, duration = frame.into(pairs.start).astype("float32"), pairs.duration / frame.time
    moved = sure.model.step(weights, lambda x: x[None], start, duration.astype("float32"))
    missed = (frame.into(pairs.end) - np.asarray(moved)) @ frame.residual_matrix.T
    deviation = float(likelihood.deviation(certain["noise/log_deviation"]))
    density = -0.5 * np.sum((missed / deviation) ** 2, axis=1) - 2 * np.log(deviation * np.sqrt(2 * np.pi))
    assert sure.score(small) == pytest.approx(float(np.mean(density)) + frame.log_density, rel=1e-4)
    noisy = nr.Trajectories(small.q + 3.0 * np.sin(17.0 * np.arange(6))[:, None], small.p, small.t)
    assert fitted.score(noisy) < fitted.score(small)
    with pytest.raises(nr.UsageError, match="the data have 2 degrees of freedom, the fit 1"):
        fitted.score(Oscillators(n=2).simulate(1, n_trajectories=2, n_steps=3))


def test_a_prediction_is_an_xarray_data_set(fitted, small):
    rollout = fitted.predict(small.states[:3, 0], small.t, samples=2)
    data = rollout.to_xarray()
    assert dict(data.sizes) == {"trajectory": 3, "time": 6, "coordinate": 2, "sample": 2}
    assert list(data.coordinate.values) == fitted.coordinates
    np.testing.assert_array_equal(data["mean"].sel(coordinate=fitted.coordinates[1]), rollout.mean[..., 1])
    np.testing.assert_array_equal(data["deviation"], rollout.deviation)
    np.testing.assert_array_equal(data["t"], small.t)
    own = fitted.predict(small.states[:3, 0], np.tile(small.t, (3, 1)), samples=0).to_xarray()
    assert own["t"].dims == ("trajectory", "time") and own.sizes["sample"] == 0


def test_old_names_of_the_interface_warn_and_work(fitted, small, tmp_path):
    folder = fitted.save(tmp_path / "run")
    with pytest.warns(DeprecationWarning, match=r"load is deprecated; use noethers_razor\.load_result"):
        assert nr.load(folder).elbo == fitted.elbo
    with pytest.warns(DeprecationWarning, match=r"Result is deprecated; use noethers_razor\.FitResult"):
        assert nr.Result is nr.FitResult
    with pytest.warns(DeprecationWarning, match=r"Journal is deprecated"):
        assert nr.Journal(tmp_path / "j").folder == tmp_path / "j"
    with pytest.warns(DeprecationWarning, match="FunctionReport is deprecated"):
        assert nr.FunctionReport is nr.SymmetryReport
    with pytest.warns(DeprecationWarning, match="fit_seeds is deprecated"):
        several = nr.fit_seeds
    assert [one.seed for one in several(small, seeds=[1], conserved=nr.NoSymmetry(), config=TINY)] == [1]
    with pytest.warns(DeprecationWarning, match="Polynomial: functions is deprecated; use non_quadratic"):
        assert nr.Polynomial(functions=2) == nr.Polynomial(non_quadratic=2)
    assert nr.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="nothing"):
        _ = nr.nothing
