"""What notebooks get of a fit: HTML, generators and their flows, coverage, draws for ArviZ."""

import numpy as np
import pytest

import noethers_razor as nr
from noethers_razor import extras, markup
from noethers_razor.prediction import Prediction
from noethers_razor.symmetry.report import find_symmetries
from noethers_razor.systems import NBody, Oscillators
from tests.test_symmetry import known_fit

pytestmark = pytest.mark.usefixtures("compiled_plainly")
TINY = nr.FitConfig(steps=40, chunk=20, width=8, depth=1, batch=16, orbit_samples=2)


@pytest.fixture(scope="module")
def fitted():
    system = Oscillators(n=1)
    data = system.simulate(1, n_trajectories=8, n_steps=5)
    return nr.fit(data, seed=1, conserved=nr.KnownQuadratic.of(system.conserved()), config=TINY)


def values_along(report, states):
    moved = states - report.readable_centre
    return np.array(
        [0.5 * np.einsum("...i,ij,...j", moved, a, moved) + moved @ b for a, b in report.readable_forms]
    )


@pytest.mark.parametrize("system", [Oscillators(n=2), NBody(n_bodies=3, dim=2)], ids=["oscillators", "nbody"])
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


def test_a_sheet_without_quantities_has_no_generators(fitted):
    none = nr.fit(
        Oscillators(n=1).simulate(1, n_trajectories=8, n_steps=5),
        seed=1,
        conserved=nr.NoSymmetry(),
        config=TINY,
    )
    report = nr.find_symmetries(none)
    assert report.generators(np.zeros((4, 2))).shape == (0, 4, 2)
    assert report.flow(np.zeros(2), [0.0, 1.0]).shape == (0, 2, 2)
    assert "0 conserved quantities" in report._repr_html_()


def test_learned_flows_are_those_of_the_learned_quantities(fitted):
    state = np.array([0.8, -0.3])
    # The energy of one oscillator turns phase space; its size in the frame is the only thing left open.
    (field,) = fitted.generators(state)
    assert abs(field @ state) < 1e-3 * np.linalg.norm(field)
    (path,) = fitted.flow(state, [0.0, 0.5, 1.0, 3.0])
    np.testing.assert_allclose(path[0], state, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), np.linalg.norm(state), rtol=1e-3)
    turned = np.arctan2(field @ [state[1], -state[0]], state @ state) and np.linalg.norm(
        field
    ) / np.linalg.norm(state)
    angle = np.arccos(path[1] @ state / (state @ state))
    assert abs(angle - min(0.5 * turned, 2 * np.pi - 0.5 * turned)) < 0.01
    np.testing.assert_allclose(fitted.conserved(path)[:, 0], fitted.conserved(state)[0], rtol=1e-3)
    assert fitted.generators(np.zeros((3, 5, 2))).shape == (1, 3, 5, 2)


def test_html_says_what_the_text_says(fitted):
    data = Oscillators(n=1).simulate(1, n_trajectories=8, n_steps=5)
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


def test_html_is_escaped():
    page = markup.block("<b>", [markup.table(["<i>"], [["<u>"]]), markup.folded("<a>", "<p>")], ["<s>"])
    page += markup.formulas(["x < y"], None)
    for text in ("<b>", "<i>", "<u>", "<a>", "<p>x", "<s>", "x < y"):
        assert text not in page


def test_coverage_counts_what_lies_within():
    deviation = np.array([[-1.0], [1.0]])
    samples = np.stack([np.full((1, 5, 1), d) for d in deviation.ravel()])
    prediction = Prediction(np.arange(5.0), np.zeros((1, 5, 1)), samples, np.zeros(1))
    truth = np.array([9.0, 0.5, -1.5, 3.0, np.nan]).reshape(1, 5, 1)
    # Of three known states after the first, with deviation 1: 68 % reaches 1, 95 % reaches 1.96.
    np.testing.assert_allclose(prediction.coverage(truth, [0.68, 0.95]), [1 / 3, 2 / 3])
    np.testing.assert_allclose(prediction.coverage(truth, [0.68], noise=3.0), [1.0])


def test_arviz_gets_draws_of_the_posterior(fitted):
    exported = fitted.to_arviz(draws=400)
    mean = np.asarray(fitted.params["posterior/0/mean"])
    drawn = exported.posterior["weights_0"].values
    assert drawn.shape == (1, 400, *mean.shape)
    error = np.abs(drawn[0].mean(axis=0) - mean) / (drawn[0].std(axis=0) / 20)
    # Means of 400 draws lie within five of their own deviations of what they are drawn around.
    assert error.max() < 5
    assert "conserved/form" in exported.constant_data
    assert exported.attrs["elbo_per_transition"] == fitted.elbo
