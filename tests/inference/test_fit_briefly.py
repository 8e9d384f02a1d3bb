"""Tests of fits of a few steps: seeds, steps on several devices, families, errors."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import noethers_razor as nr
from noethers_razor.conserved import FAMILIES
from noethers_razor.inference.problem import to_batch
from noethers_razor.inference.training import Trainer
from noethers_razor.systems import Oscillators
from tests.brief import TINY, one_oscillator


@pytest.fixture(scope="module")
def small():
    return one_oscillator()


def test_same_seed_same_parameters_and_another_seed_others(small):
    first, second, other = (nr.fit(small, seed=seed, conserved=2, config=TINY).params for seed in (3, 3, 4))
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])
    assert any(not np.array_equal(value, other[name]) for name, value in first.items())


PARTED = """
import json
import noethers_razor as nr
from noethers_razor.inference import training

data = nr.systems.Oscillators(n=2).simulate(seed=0, n_trajectories=20, n_steps=8, dt=0.2)
config = nr.FitConfig.of(steps=60, chunk=20, width=8, depth=1, orbit_samples=4, selection=False)
chosen = training.processors
counts = [chosen(batch, rows) for batch, rows in ((64, 256), (64, 150), (63, 256))]
parts = nr.fit(data, seed=1, conserved=2, config=config)
training.processors = lambda batch, rows: None
whole = nr.fit(data, seed=1, conserved=2, config=config)
losses = [[row.negative_elbo for row in result.history] for result in (parts, whole)]
print(json.dumps({"counts": [0 if c is None else c.num_devices for c in counts], "losses": losses}))
"""


@pytest.mark.slow
def test_a_step_in_parts_is_the_step_in_one():
    # JAX counts its devices only once in a process, so start a new one.
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": "2",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", PARTED], env=environment, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["counts"] == [2, 0, 0]
    parts, whole = found["losses"]
    np.testing.assert_allclose(parts, whole, rtol=1e-3)


def test_a_step_calls_no_lapack(small):
    # Batched LAPACK calls wait for threads that steps on several devices share. This can hang.
    result = nr.fit(small, seed=1, conserved=2, config=TINY.replace(selection=False))
    batch = to_batch(result.frame, small.transitions(), "float32")
    gradient = jax.jit(jax.grad(result.model.negative_elbo)).lower(result.params, jax.random.key(0), batch)
    assert "lapack" not in gradient.as_text()


def test_several_seeds_are_the_single_fits_and_tell_their_spread(small, monkeypatch):
    calls = []
    lower = Trainer.prepare
    monkeypatch.setattr(
        Trainer, "prepare", lambda self, *a: (calls.append(self._compiled is None), lower(self, *a))[1]
    )
    best = nr.fit(small, seed=[4, 3], conserved=2, config=TINY)
    fits = [best, *best.others]
    assert sum(calls) == 2  # both fits share one program with symmetry and one without
    assert fits[0].elbo >= fits[1].elbo
    alone = {seed: nr.fit(small, seed=seed, conserved=2, config=TINY) for seed in (3, 4)}
    for result in fits:
        assert result.elbo == alone[result.seed].elbo
        for name, value in result.params.items():
            np.testing.assert_array_equal(value, alone[result.seed].params[name])
    spread = fits[0].evidence["seeds"]
    assert [one["seed"] for one in spread] == [result.seed for result in fits]
    assert spread[0]["angle"] == pytest.approx(0.0, abs=0.1)
    report = nr.find_symmetries(fits[0])
    assert spread[0]["rank"] == report.rank
    assert f"of 2 find {report.rank}, within" in str(report)
    assert report.as_json()["seeds"] == spread


def test_a_seed_that_diverges_is_named_and_left_out(small, monkeypatch):
    usual = Trainer.chunks

    def chunks(self, at, key, schedule, *others):
        if failing and schedule.stage == "joint":
            raise nr.TrainingDiverged(failing.pop())
        yield from usual(self, at, key, schedule, *others)

    monkeypatch.setattr(Trainer, "chunks", chunks)
    failing = ["the first is lost"]
    best = nr.fit(small, seed=[3, 4], conserved=2, config=TINY)
    assert best.seed == 4 and not best.others
    assert best.evidence["seeds"][1] == {"seed": 3, "diverged": "the first is lost"}
    assert "1 diverged" in str(nr.find_symmetries(best))
    failing = ["all are lost", "all are lost"]
    with pytest.raises(nr.TrainingDiverged, match="all are lost"):
        nr.fit(small, seed=[3, 4], conserved=2, config=TINY)


@pytest.mark.parametrize("seeds", [[], [1, 1]])
def test_seeds_are_different_and_at_least_one(small, seeds):
    with pytest.raises(nr.UsageError, match="at least one, each once"):
        nr.fit(small, seed=seeds, config=TINY)


@pytest.mark.parametrize(
    "family",
    [
        nr.NoSymmetry(),
        pytest.param(nr.Quadratic(3, "random"), marks=pytest.mark.slow),
        nr.KnownQuadratic.of(Oscillators(n=1).conserved()),
    ],
    ids=["none", "random", "oracle"],
)
def test_families_run_save_and_load(small, family, tmp_path):
    result = nr.fit(small, seed=1, conserved=family, config=TINY)
    assert np.isfinite(result.elbo)
    assert FAMILIES[family.name]
    loaded = nr.load_result(result.save(tmp_path / "run"))
    np.testing.assert_array_equal(loaded.gradient(small.states[0]), result.gradient(small.states[0]))
    report = nr.find_symmetries(loaded, Oscillators(n=1))
    if family.name == "oracle":
        assert report.largest_angle < 1e-3
    if family.name == "none":
        assert report.rank == 0 and report.largest_angle == 90.0


def test_oracle_quantities_stay_fixed(small):
    system = Oscillators(n=1)
    known = nr.KnownQuadratic.of(system.conserved())
    forms = [
        nr.fit(small, seed=1, conserved=known, config=TINY.replace(steps=steps)).quadratic_forms()
        for steps in (40, 80)
    ]
    np.testing.assert_array_equal(forms[0][0], forms[1][0])


def test_oracle_of_another_phase_space_is_refused(small):
    with pytest.raises(ValueError, match="phase space of dimension 4"):
        nr.fit(small, seed=1, conserved=nr.KnownQuadratic.of(Oscillators(n=2).conserved()), config=TINY)


def test_divergence_is_reported_with_its_place(small):
    config = TINY.replace(learning_rate=1e6)
    with pytest.raises(nr.TrainingDiverged, match=r"not finite in .*; use a smaller"):
        nr.fit(small, seed=1, conserved=2, config=config)
