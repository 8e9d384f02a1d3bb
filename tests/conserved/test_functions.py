"""Tests of the report of non-quadratic quantities: independence, angles, formulas, text and JSON."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import noethers_razor as nr
from noethers_razor.conserved import expansion
from noethers_razor.data.frame import fit_frame
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.errors import UsageError
from noethers_razor.numerics.expressions import symbolic, symbols
from noethers_razor.symmetry import report_text
from noethers_razor.symmetry.dictionary import constant_along, dictionary_of, formulas_in_span
from noethers_razor.symmetry.non_quadratic_report import (
    gradients_of_integrals,
    independent_count,
    non_quadratic_report,
)
from noethers_razor.systems import CentralForce, HenonHeiles, Kepler, Oscillators, Toda
from tests.symmetry.test_symmetry import known_fit

INVERSE = "1/sqrt(qx^2+qy^2)"
EXPONENTIALS = ("exp(q1-q2)", "exp(q2-q3)", "exp(q3-q1)")


class Known:
    """A fit that has found given functions, each with an error relative to its gradient."""

    held_out, is_quadratic, evidence, trajectories = True, False, {}, None

    def __init__(self, system, functions, error=0.0, terms=()):
        data = system.simulate(0, n_trajectories=40, n_steps=20)
        self.frame = fit_frame(data.observed(), data.transitions())
        self.states, self.coordinates, self.terms = data.observed(), data.coordinates, list(terms)
        self._functions, self._error = functions, error
        with jax.enable_x64(True):
            self.state_gradients = np.asarray(
                jax.vmap(jax.grad(system.hamiltonian))(jnp.asarray(self.states))
            )

    def conserved_gradients(self, states):
        exact = np.stack(list(gradients_of_integrals(self._functions, states, self.frame.inverse).values()))
        size = np.sqrt(np.mean(np.sum(exact**2, axis=-1), axis=1))[:, None, None]
        # The errors are smooth like those of a fit: random waves over phase space.
        rng = np.random.default_rng(1)
        turns = rng.normal(size=(len(exact), states.shape[1], states.shape[1]))
        return exact / np.maximum(size, 1e-9) + self._error * np.sin(self.frame.into(states) @ turns)


def kepler(error=0.0, names=("Lxy", "Ax", "Ay")):
    system = Kepler()
    return Known(system, {name: system.integrals()[name] for name in names}, error, [INVERSE])


def require_no_bracket(report, energy):
    """Assert that every formula, as it is exported to SymPy, commutes with the true energy."""
    x, half = symbols(report.coordinates), len(report.coordinates) // 2
    h = symbolic(energy, report.coordinates)
    assert "aligned" in report._repr_latex_()
    for one in report.expressions():
        bracket = sum(
            sympy.diff(one, x[i]) * sympy.diff(h, x[half + i])
            - sympy.diff(one, x[half + i]) * sympy.diff(h, x[i])
            for i in range(half)
        )
        for state in np.random.default_rng(0).integers(1, 9, (3, len(x))):
            at = {s: sympy.Rational(int(v), 7) for s, v in zip(x, state, strict=True)}
            assert abs(sympy.N(bracket.subs(at), 40)) < 1e-35, one


# Without any error, rounding decides between this cubic and another one, which is as true.
@pytest.mark.parametrize("error", [pytest.param(1e-6, marks=pytest.mark.slow), 0.001])
def test_formulas_of_many_terms_are_found_among_many(error):
    # Momentum, its powers, H and their products have the same span. Only the sparsest are formulas.
    system = Toda()
    names = {name: system.integrals()[name] for name in ("T", "I3")}
    report = non_quadratic_report(Known(system, names, error, EXPONENTIALS))
    assert set(report.formulas) == {
        "p1 + p2 + p3",
        "p1*(exp(q2-q3)) + p2*(exp(q3-q1)) + p3*(exp(q1-q2)) - p1*p2*p3",
        "(exp(q1-q2)) + (exp(q2-q3)) + (exp(q3-q1)) + 0.5*p1^2 + 0.5*p2^2 + 0.5*p3^2",
    }
    require_no_bracket(report, "(p1^2 + p2^2 + p3^2)/2 + exp(q1-q2) + exp(q2-q3) + exp(q3-q1)")


@pytest.mark.slow
def test_functions_of_others_add_nothing():
    system = Kepler()
    assert non_quadratic_report(kepler()).rank == 2
    assert non_quadratic_report(Known(system, system.integrals(), terms=[INVERSE])).rank == 2
    central = CentralForce()
    angular = central.integrals()["Lxy"]
    both = Known(central, {"L": angular, "square": lambda x: angular(x) ** 2})
    assert non_quadratic_report(both).rank == 1
    gradients = np.random.default_rng(0).normal(size=(20, 4, 4))
    assert independent_count(gradients[:, 1:], gradients[:, 0]) == 3
    assert independent_count(gradients[:, :1], gradients[:, 0]) == 0


@pytest.mark.slow
def test_angles_tell_found_from_missed():
    system = Kepler()
    found = non_quadratic_report(kepler(), system)
    assert max(found.truth_angles.values()) < 1e-4
    assert found.largest_angle < 1e-4
    assert np.median(found.defects) < 1e-6
    missed = non_quadratic_report(kepler(names=("Lxy",)), system)
    assert missed.truth_angles["Lxy"] < 1e-4
    assert missed.truth_angles["Ax"] > 10
    assert missed.largest_angle > 10


@pytest.mark.parametrize("error", [pytest.param(0.0, marks=pytest.mark.slow), 0.005])
def test_laplace_runge_lenz_vector_is_read(error):
    report = non_quadratic_report(kepler(error))
    assert set(report.formulas) == {
        "qx*py - qy*px",
        f"qx*({INVERSE}) - qx*py^2 + qy*px*py",
        f"qy*({INVERSE}) + qx*px*py - qy*px^2",
    }
    require_no_bracket(report, f"(px^2 + py^2)/2 - {INVERSE}")


def test_uncertain_functions_are_not_given_wrong_formulas():
    found = non_quadratic_report(kepler(0.02)).formulas
    truth = {
        "qx*py - qy*px",
        f"qx*({INVERSE}) - qx*py^2 + qy*px*py",
        f"qy*({INVERSE}) + qx*px*py - qy*px^2",
        f"({INVERSE}) - 0.5*px^2 - 0.5*py^2",
    }
    assert "qx*py - qy*px" in found
    assert set(found) <= truth


def test_formulas_are_of_terms_that_are_named():
    # Without 1/r, only angular momentum has a formula.
    assert non_quadratic_report(kepler(), terms=[]).formulas == ["qx*py - qy*px"]


def test_data_tell_true_formulas_from_close_ones():
    noise = 0.01
    data = Kepler().simulate(0, n_trajectories=20, noise=noise)
    frame = fit_frame(data.observed(), data.transitions())
    trajectories = FrameTrajectories.of(frame, data)._replace(noise=noise**2 * frame.matrix @ frame.matrix.T)
    dictionary = dictionary_of(data.coordinates, [INVERSE], 3, data.observed(), frame.inverse)
    constant = constant_along(dictionary, trajectories, frame.out_of)

    def row(terms):
        assert set(terms) <= set(dictionary.names)
        return np.array([terms.get(name, 0.0) for name in dictionary.names])

    inverse = f"({INVERSE})"
    assert constant(row({"qx*py": 1, "qy*px": -1}))
    assert constant(row({f"qx*{inverse}": 1, "qx*py^2": -1, "qy*px*py": 1}))
    # A false formula that a fit once returned: its gradient is near the learned span.
    assert not constant(row({"px^2": 2, f"qx*py*{inverse}": 2, f"{inverse}^3": -1}))
    assert not constant(row({"px": 1}))


def test_toda_is_read_up_to_functions():
    system = Toda()
    report = non_quadratic_report(Known(system, system.integrals(), terms=EXPONENTIALS), system)
    assert report.rank == 2
    assert report.formulas[0] == "p1 + p2 + p3"
    assert len(report.formulas) == 3


def test_names_of_terms_say_what_they_are(x64):
    coordinates, terms = ["q1", "p1"], ["q1*p1", "2**q1", "q1^2", "exp(q1)"]
    states = np.random.default_rng(0).normal(size=(3, 2))
    dictionary = dictionary_of(coordinates, terms, 3, states, np.eye(2))
    assert len(set(dictionary.names)) == len(dictionary.names)
    values = dictionary.values(states)
    for i, name in enumerate(dictionary.names):
        exact = symbolic(name, coordinates)
        for state, value in zip(states.tolist(), values[:, i], strict=True):
            at = dict(zip(symbols(coordinates), state, strict=True))
            assert float(exact.subs(at)) == pytest.approx(value, rel=1e-10), name


def test_nothing_is_read_where_nothing_fits():
    states = np.random.default_rng(0).normal(size=(200, 4))
    dictionary = dictionary_of(["q1", "q2", "p1", "p2"], [], 2, states, np.eye(4))
    learned = np.random.default_rng(1).normal(size=(200, 1, 4))
    assert formulas_in_span(dictionary, learned, 1, 0.01, constant_along(dictionary, None, np.copy)) == []


def test_sheet_is_text_and_json():
    report = non_quadratic_report(kepler(), Kepler())
    text = str(report)
    assert text.startswith("2 independent conserved quantities besides H")
    assert "qx*py - qy*px" in text
    values = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert values["rank"] == 2 and values["formulas"] == report.formulas
    assert values["conservation_defect"] == report.conservation_defect
    # Values of quadratic quantities are null in JSON. As attributes they raise an error with a remedy.
    for key in ("algebra", "dimension", "closure_defect", "quadratic_forms", "parallelness"):
        assert values[key] is None
    assert set(values) == set(nr.find_symmetries(known_fit(Oscillators(n=2), 0.0, 1)).as_json())
    for ask in (
        lambda: report.form,
        lambda: report.generators(np.zeros(4)),
        lambda: report.flow(np.zeros(4), 1.0),
    ):
        with pytest.raises(
            UsageError, match="is of quadratic quantities, and this fit has others; use result"
        ):
            ask()
    bare = non_quadratic_report(Known(Kepler(), {"nothing": lambda x: 0.0 * x[0]}))
    assert bare.rank == 0
    # H is always known, but without 1/r it has no formula.
    assert bare.formulas == []


def test_truth_of_another_phase_space_is_refused():
    with pytest.raises(UsageError, match="dimension 6, the fit on 4"):
        non_quadratic_report(kepler(), Oscillators(n=3))
    with pytest.raises(UsageError, match="expected a system or named functions"):
        non_quadratic_report(kepler(), 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "family",
    [nr.Polynomial(4, quadratic=False, degree=2), nr.Neural(4, quadratic=False, width=8)],
    ids=["polynomial", "neural"],
)
def test_a_brief_fit_is_saved_read_and_reported(family, tmp_path):
    system = CentralForce()
    data = system.simulate(1, n_trajectories=30, n_steps=20, noise=0.01)
    config = nr.FitConfig.of(
        steps=40, chunk=20, first_stage=0.5, width=8, orbit_samples=2, batch=16, selection=False
    )
    result = nr.fit(data, seed=1, conserved=family, config=config)
    assert set(result.evidence["bounds"]) == {family.name, "none"}
    again = nr.load_result(result.save(tmp_path / "run"))
    np.testing.assert_array_equal(again.conserved(result.states), result.conserved(result.states))
    assert len(np.unique(again.trajectories.trajectory)) == 29 and again.trajectories.gradients is None
    for kept, own in zip(again.trajectories[:3], result.trajectories[:3], strict=True):
        np.testing.assert_array_equal(kept, own)
    report = nr.find_symmetries(again, system)
    assert report.quadratic is None and report.algebra is None
    # Angular momentum is quadratic, so both families can represent it.
    assert report.truth_angles["Lxy"] < 10
    with pytest.raises(UsageError, match="quantities that are not quadratic"):
        again.quadratic_forms()


@pytest.mark.slow
def test_without_forms_a_fit_may_end_with_nothing(monkeypatch):
    monkeypatch.setattr(expansion, "independent_functions", lambda f, m, constant, *_, sparse: constant[:0])
    data = HenonHeiles().simulate(1, n_trajectories=30, n_steps=20, noise=0.001)
    config = nr.FitConfig.of(
        steps=40, chunk=20, first_stage=0.5, width=8, orbit_samples=2, batch=16, selection=False
    )
    result = nr.fit(data, seed=1, conserved=nr.Polynomial(2, quadratic=False, degree=2), config=config)
    report = nr.find_symmetries(result)
    assert (report.rank, report.used) == (0, 0)
    assert result.evidence["bounds"]["polynomial"]["negative_elbo"] == pytest.approx(
        result.evidence["bounds"]["none"]["negative_elbo"], rel=0.01
    )


def test_a_term_that_the_data_leave_undefined_is_refused_before_training():
    data = Kepler().simulate(0, n_trajectories=3, n_steps=5)
    with pytest.raises(UsageError, match=r"'log\(qx\)' is not finite at \d+ of 18 states"):
        nr.fit(data, seed=0, conserved=nr.Polynomial(terms=("log(qx)",)))


def test_seeds_of_which_none_agrees_with_the_sheet_are_told():
    bounds = {"quadratic": {"negative_elbo": 1.0, "error": 0.1}}
    seeds = [{"seed": 1, "rank": 3, "angle": 1.0, "negative_elbo": 1.0, "none": 1.5}]
    assert report_text._bounds(bounds, seeds, 2)[-1].startswith("seeds            0 of 1 find 2; -ELBO 1.000")
