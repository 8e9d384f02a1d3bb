"""Tests of results in notebooks: HTML, generators and their flows, coverage, draws for ArviZ."""

import dataclasses

import numpy as np
import pytest

import noethers_razor as nr
from noethers_razor import _optional as extras
from noethers_razor.inference.prediction import Prediction
from noethers_razor.plot import markup
from noethers_razor.symmetry.find import find_symmetries
from noethers_razor.systems import Kepler, NBody, Oscillators
from tests.brief import TINY, one_oscillator
from tests.symmetry.test_symmetry import known_fit


@pytest.fixture(scope="module")
def fitted():
    system = Oscillators(n=1)
    return nr.fit(one_oscillator(), seed=1, conserved=nr.KnownQuadratic.of(system.conserved()), config=TINY)


def values_along(report, states):
    moved = states - report.readable_centre
    return np.array(
        [0.5 * np.einsum("...i,ij,...j", moved, a, moved) + moved @ b for a, b in report.readable_forms]
    )


@pytest.mark.parametrize(
    "system",
    [
        pytest.param(Oscillators(n=2), id="oscillators"),
        pytest.param(NBody(n_bodies=3, dim=2), id="nbody", marks=pytest.mark.slow),
    ],
)
def test_flows_follow_their_generators_and_keep_their_quantity(system):
    report = find_symmetries(known_fit(system, 1e-3, 1))
    state = system.simulate(3, n_trajectories=1, n_steps=1).states[0, 0]
    tau = np.array([-1e-5, 0.0, 1e-5, 0.7])
    paths = report.flow(state, tau)
    assert paths.shape == (report.rank, 4, len(state))
    np.testing.assert_allclose(paths[:, 1], np.tile(state, (report.rank, 1)), atol=1e-12)
    fields = report.generators(state)
    np.testing.assert_allclose((paths[:, 2] - paths[:, 0]) / 2e-5, fields, atol=1e-6 * np.abs(fields).max())
    for k, path in enumerate(paths):
        along = values_along(report, path)[k]
        np.testing.assert_allclose(along, along[1], atol=1e-9 * (1 + abs(along[1])))
    many = report.generators(np.tile(state, (2, 3, 1)))
    np.testing.assert_array_equal(many[:, 1, 2], fields)


def test_a_sheet_without_quantities_has_no_generators():
    result = nr.fit(one_oscillator(), seed=1, conserved=nr.NoSymmetry(), config=TINY)
    for one in (result, nr.find_symmetries(result)):
        assert one.generators(np.zeros((4, 2))).shape == (0, 4, 2)
        assert one.flow(np.zeros(2), [0.0, 1.0]).shape == (0, 2, 2)
    assert "0 conserved quantities" in nr.find_symmetries(result)._repr_html_()


def test_learned_flows_are_those_of_the_learned_quantities(fitted):
    state = np.array([0.8, -0.3])
    # The flow of the energy of one oscillator rotates phase space.
    (field,) = fitted.generators(state)
    assert abs(field @ state) < 1e-3 * np.linalg.norm(field)
    (path,) = fitted.flow(state, [0.0, 0.5, 1.0, 3.0])
    np.testing.assert_allclose(path[0], state, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), np.linalg.norm(state), rtol=1e-3)
    turned = np.angle((path[1] @ [1, 1j]) / (state @ [1, 1j]))
    rate = np.linalg.norm(field) / np.linalg.norm(state) * np.sign(field[0] * state[1])
    assert abs(np.exp(1j * turned) - np.exp(-0.5j * rate)) < 0.01
    np.testing.assert_allclose(fitted.conserved(path)[:, 0], fitted.conserved(state)[0], rtol=1e-3)
    assert fitted.generators(np.zeros((3, 5, 2))).shape == (1, 3, 5, 2)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["polynomial", "quadratic"])
def test_generators_are_those_of_the_values_in_units_of_the_users(family):
    system = Kepler()
    data = system.simulate(1, n_trajectories=8, n_steps=5)
    scale = np.array([5.0, 3.0])
    data = nr.Trajectories(scale[0] * data.q, scale[1] * data.p, data.t)
    wanted = {"polynomial": nr.Polynomial(4, degree=2), "quadratic": nr.Quadratic(4)}[family]
    result = nr.fit(data, seed=1, conserved=wanted, config=TINY.replace(dtype="float64"))
    state = data.states[2, 3]
    steps = 1e-4 * np.abs(state).max() * np.eye(4)
    rise = (result.conserved(state + steps) - result.conserved(state - steps)) / (2 * steps.max())
    gradients = result.frame.action * rise.T
    expected = np.concatenate([gradients[:, 2:], -gradients[:, :2]], axis=1)
    np.testing.assert_allclose(
        result.generators(state), expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max()
    )


def test_flows_that_cannot_be_followed_are_refused(fitted):
    state = np.array([0.8, -0.3])
    for tau in ([-1.0, 1.0], [1.0, 0.5], 1.0, [0.0, np.nan], [1.0, 1.0]):
        with pytest.raises(nr.UsageError, match=r"flow times .*; expected \(T,\), increasing, none below 0"):
            fitted.flow(state, tau)
    with pytest.raises(nr.UsageError, match=r"quantity 1 could not be followed to tau = 1e\+09"):
        fitted.flow(state, [1e9])
    assert fitted.flow(state, []).shape == (1, 0, 2)


def test_html_says_what_the_text_says(fitted):
    data = one_oscillator()
    assert "8 trajectories of 6 states" in data._repr_html_() and "<td>q1</td>" in data._repr_html_()
    page = fitted._repr_html_()
    assert f"{-fitted.elbo:.6g}" in page and "family oracle, seed 1" in page
    report = find_symmetries(known_fit(Oscillators(n=2), 1e-3, 1))
    page = report._repr_html_()
    assert page.count("<math>") == report.rank == 4
    assert "<strong>4 conserved quantities; algebra u(2)" in page
    assert markup.escape(str(report)) in page


def test_without_sympy_formulas_are_text(monkeypatch):
    report = find_symmetries(known_fit(Oscillators(n=1), 0.0, 1))

    def missing(*_):
        raise ImportError

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    page = report._repr_html_()
    assert "<math" not in page
    assert f"<code>{report.formulas[0]}</code>" in page


def test_units_stand_beside_names_where_data_have_them(fitted):
    units = {"coordinates": ["x", "p"], "units": ["m", "kg m/s"]}
    assert dataclasses.replace(fitted, metadata=units).labels == ["x (m)", "p (kg m/s)"]
    assert dataclasses.replace(fitted, metadata={"units": ["", "J s"]}).labels == ["q1", "p1 (J s)"]
    for other in ("metres", ["m"], None):
        assert dataclasses.replace(fitted, metadata={"units": other}).labels == ["q1", "p1"]


def test_names_cannot_be_markup():
    fit = known_fit(Oscillators(n=1), 0.0, 1)
    fit.coordinates = ["<img src=x onerror=alert(1)>", "p"]
    page = find_symmetries(fit)._repr_html_()
    assert "<img" not in page and "&lt;img" in page


def test_html_is_escaped():
    page = markup.block("<b>", [markup.table(["<i>"], [["<u>"]]), markup.folded("<a>", "<kbd>")], ["<s>"])
    page += markup.formulas(["x < y"], None)
    for text in ("<b>", "<i>", "<u>", "<a>", "<kbd>", "<s>", "x < y"):
        assert text not in page
        assert markup.escape(text) in page


def test_coverage_counts_what_lies_within():
    deviation = np.array([[-1.0], [1.0]])
    samples = np.stack([np.full((1, 5, 1), d) for d in deviation.ravel()])
    prediction = Prediction(np.arange(5.0), np.zeros((1, 5, 1)), samples, np.zeros(1))
    truth = np.array([9.0, 0.5, -1.5, 3.0, np.nan]).reshape(1, 5, 1)
    # There are three known states after the first. With standard deviation 1, the 68 % interval reaches 1
    # and the 95 % interval 1.96.
    np.testing.assert_allclose(prediction.coverage(truth, [0.68, 0.95]), [1 / 3, 2 / 3])
    np.testing.assert_allclose(prediction.coverage(truth, [0.68], noise=3.0), [1.0])
    with pytest.raises(nr.UsageError, match="without samples"):
        prediction._replace(samples=samples[:0]).coverage(truth, [0.68])


def test_arviz_gets_draws_of_the_posterior(fitted, tmp_path):
    exported = fitted.to_arviz(draws=400)
    exported.to_netcdf(str(tmp_path / "draws.nc"))
    mean = np.asarray(fitted.params["posterior/0/mean"])
    drawn = exported.posterior["weights_0"].values
    assert drawn.shape == (1, 400, *mean.shape)
    error = np.abs(drawn[0].mean(axis=0) - mean) / (drawn[0].std(axis=0) / 20)
    # Means of 400 draws lie within five standard errors of the mean of the posterior.
    assert error.max() < 5
    assert "conserved_form" in exported.constant_data
    assert exported.attrs["elbo_per_transition"] == fitted.elbo
