"""Tests of span, algebra and formulas, on quantities that are known exactly."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import noethers_razor as nr
from noethers_razor.data.frame import fit_frame
from noethers_razor.errors import UsageError
from noethers_razor.mechanics.quadratic_form import embed, poisson_brackets, second_moment, stack_forms
from noethers_razor.numerics.subspaces import angles_of, largest_angle, parallelness
from noethers_razor.symmetry.algebra.structure import analyse
from noethers_razor.symmetry.find import find_symmetries
from noethers_razor.symmetry.formulas import (
    coefficients,
    form_of,
    monomial_weights,
    monomials,
    readable,
    shifted,
    sparse_basis,
    symbolic_form,
)
from noethers_razor.symmetry.span import span_of
from noethers_razor.systems import NBody, Oscillators, Pendulum
from tests.brief import TINY


def mixed(n, seed=0, noise=0.0):
    """Return the quantities of n oscillators in a random basis, with relative noise."""
    form, linear = stack_forms(Oscillators(n=n).conserved())
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(len(form), len(form)))
    form = np.einsum("rk,kij->rij", mixing, form)
    bump = generator.normal(size=form.shape) * noise * np.abs(form).mean()
    return form + bump + bump.transpose(0, 2, 1), mixing @ linear


def _any(row):
    return True


def unit_moment(dim):
    return np.eye(dim + 1) / dim


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_u_n_is_named_in_any_basis(n, noise):
    form, linear = mixed(n, seed=n, noise=noise)
    span = span_of(form, linear, unit_moment(2 * n))
    algebra = analyse(span.form, span.linear, unit_moment(2 * n))
    assert algebra.name == f"u({n})"
    assert algebra.dimension == n * n
    assert algebra.centre == 1
    assert algebra.closure_defect < 0.05


def test_commuting_quantities_and_open_spans():
    single = stack_forms(Oscillators(n=3, frequencies=(1.0, 1.4, 1.7)).conserved())
    assert analyse(*single, unit_moment(6)).name == "u(1)^3"
    form, linear = stack_forms(Oscillators(n=3).conserved())
    part = analyse(form[3:], linear[3:], unit_moment(6))
    assert part.name is None
    assert part.closure_defect > 0.1


def test_rotations_alone_are_not_called_unitary():
    named = Oscillators(n=4).conserved()
    rotations = {k: v for k, v in named.items() if k.startswith("R")}
    algebra = analyse(*stack_forms(rotations), unit_moment(8))
    assert algebra.closure_defect < 1e-12
    assert algebra.name == "so(4)"


def test_translations_have_a_constant_bracket_that_moves_nothing():
    form, linear = np.zeros((2, 2, 2)), np.eye(2)
    bracket_form, bracket_linear = poisson_brackets(form, linear)
    assert not bracket_form.any() and not bracket_linear.any()


def test_bracket_of_forms_is_the_poisson_bracket():
    form, linear = mixed(2, seed=3)
    linear = linear + np.random.default_rng(1).normal(size=linear.shape)
    x = np.random.default_rng(2).normal(size=4)
    gradients = form @ x + linear
    j = np.block([[np.zeros((2, 2)), np.eye(2)], [-np.eye(2), np.zeros((2, 2))]])
    bracket_form, bracket_linear = poisson_brackets(form, linear)
    value = 0.5 * np.einsum("i,abij,j->ab", x, bracket_form, x) + bracket_linear @ x
    constant = linear @ j @ linear.T
    np.testing.assert_allclose(value + constant, gradients @ j @ gradients.T, atol=1e-10)


def test_span_of_a_known_algebra():
    form, _linear = mixed(3)
    moment = unit_moment(6)
    span = span_of(np.concatenate([form, 1e-4 * np.eye(6)[None] * np.arange(6)]), np.zeros((10, 6)), moment)
    truth = embed(*stack_forms(Oscillators(n=3).conserved()), moment)
    assert span.rank == 9
    assert span.gap > 20
    np.testing.assert_allclose(parallelness(span.vectors[:9], truth), 1.0, atol=1e-6)
    assert largest_angle(span.vectors[:9], truth) < 0.1
    assert largest_angle(span.vectors[:8], truth) == 90.0
    assert largest_angle(np.zeros((0, 42)), truth) == 90.0


def test_angles_are_exact_for_a_rotated_direction():
    basis = np.eye(4)
    tilted = np.array([[np.cos(0.1), 0.0, np.sin(0.1), 0.0], [0.0, 1.0, 0.0, 0.0]])
    assert largest_angle(tilted, basis[:2]) == pytest.approx(np.degrees(0.1))
    np.testing.assert_allclose(angles_of(tilted, basis[:2]), [np.degrees(0.1), 0.0], atol=1e-9)


def test_formulas_of_a_random_basis_are_the_textbook_ones():
    form, linear = mixed(2, noise=1e-3)
    names = ["q1", "q2", "p1", "p2"]
    lines = {text for text, _ in readable(form, linear, names, np.ones(14), lambda row: 0.0, _any)}
    assert lines == {"q1^2 + p1^2", "q2^2 + p2^2", "q1*p2 - q2*p1", "q1*q2 + p1*p2"}


def test_rounding_that_breaks_conservation_is_not_used():
    form = np.diag([2.0, 2.0 * 1.02])[None]

    def defect(row):
        return float(abs(row[2] / row[0] - 1.02))

    ((text, _),) = readable(form, np.zeros((1, 2)), ["q", "p"], np.ones(5), defect, _any)
    assert "1.02" in text or "0.98" in text


def test_rounding_beyond_what_the_data_leave_open_is_not_used():
    # The bracket defect cannot distinguish 4/3 from 1.3225, but the span can.
    form = np.diag([2.0, 2.0 * 1.3225])[None] / 1.3225

    def is_open(row):
        return abs(row[0] / row[2] * 1.3225 - 1) < 1e-3

    def text(allowed):
        return readable(form, np.zeros((1, 2)), ["q", "p"], np.ones(5), lambda row: 0.0, allowed)[0][0]

    assert text(_any) == "0.75*q^2 + p^2"
    assert text(is_open) == "0.756*q^2 + p^2"


@pytest.mark.parametrize(("degrees", "rounded"), [(1.0, True), (0.01, False)])
def test_a_formula_lies_in_the_span_as_nearly_as_that_is_known(degrees, rounded, monkeypatch, x64):
    system = Oscillators(n=2)
    fit = known_fit(system, 2e-3, 1)
    fit.trajectories = object()
    known = SimpleNamespace(angle=np.full(3, degrees), rows=None, warnings=list)
    monkeypatch.setattr("noethers_razor.symmetry.quadratic_report.uncertainty_of_span", lambda *_: known)
    formulas = set(find_symmetries(fit).formulas)
    assert (formulas == {"q1^2 + p1^2", "q2^2 + p2^2", "q1*p2 - q2*p1", "q1*q2 + p1*p2"}) == rounded


def test_coefficients_and_forms_are_inverse():
    form, linear = mixed(2, seed=5)
    row = coefficients(form, linear)[0]
    back, b = form_of(row, 4)
    np.testing.assert_allclose(back, form[0])
    np.testing.assert_allclose(b, linear[0])
    assert len(monomials(["q", "p"])) == 5
    assert np.linalg.matrix_rank(np.concatenate([sparse_basis(row[None]), row[None]])) == 1


@pytest.mark.parametrize(("scale", "centre"), [(1.0, 0.0), (100.0, 0.0), (1e-3, 0.0), (1.0, 30.0)])
def test_formulas_do_not_depend_on_units_or_origin(scale, centre):
    # H = p^2 / 2 + (q - centre)^2 / (2 scale^2). The formula must have both terms, and must not be q alone.
    generator = np.random.default_rng(0)
    states = generator.normal(size=(400, 2)) * [scale, 1.0] + [centre, 0.0]
    form = np.diag([1 / scale**2, 1.0])[None]
    linear = np.array([[-centre / scale**2, 0.0]])
    moved, shift, names = shifted(linear, form, states, ["q", "p"])
    near = states - shift
    true = np.stack([near[:, 0] / scale**2 + (shift[0] - centre) / scale**2, near[:, 1]], axis=1)

    def defect(row):
        a, b = form_of(row, 2)
        own = near @ a + b
        units = np.array([scale, 1.0])
        u, v = own * units, true * units
        bracket = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
        return float(np.median(np.abs(bracket) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)))

    ((text, _),) = readable(form, moved, names, monomial_weights(near), defect, _any)
    assert "^2" in text and "p^2" in text and text.count("^2") == 2
    assert ("(q - 30)" in text or "(q - 29.9)" in text or "(q - 30.1)" in text) == (centre != 0)


def test_nothing_found_where_nothing_quadratic_is_conserved_is_right():
    data = Pendulum().simulate(0, n_trajectories=8, n_steps=5)
    result = nr.fit(data, seed=0, conserved=nr.NoSymmetry(), config=TINY)
    report = nr.find_symmetries(result, Pendulum())
    assert report.rank == 0
    assert report.largest_angle == 0.0
    assert report.truth_angles == {}
    with pytest.raises(UsageError, match="no quadratic quantity is given"):
        nr.KnownQuadratic.of(Pendulum().conserved())


def known_fit(system, error, seed):
    """Return a fit that has found the true quantities in a random basis, each with a relative error."""
    rng = np.random.default_rng(seed)
    form, linear = stack_forms(system.conserved())
    mixing = np.linalg.qr(rng.normal(size=(len(form), len(form))))[0]
    form, linear = np.einsum("ab,bij->aij", mixing, form), mixing @ linear
    bump = error * rng.normal(size=form.shape)
    data = system.simulate(seed, n_trajectories=30, n_steps=20)
    frame = fit_frame(data.observed(), data.transitions())
    form = form + (bump + bump.transpose(0, 2, 1)) * np.abs(form).mean()
    return SimpleNamespace(
        frame=frame,
        moment=second_moment(frame.into(data.observed())),
        states=data.observed(),
        trajectories=None,
        held_out=True,
        evidence={},
        coordinates=data.coordinates,
        is_quadratic=True,
        terms=[],
        quadratic_forms=lambda: frame.quadratic_into(form, linear),
        state_gradients=np.asarray(jax.vmap(jax.grad(system.hamiltonian))(jnp.asarray(data.observed()))),
    )


def test_small_numbers_stay_in_expressions():
    form = np.diag([1e-10, 2.0])
    assert str(symbolic_form(form, np.array([0.0, 4e-10]), ["q", "p"], np.zeros(2))) == (
        "p**2 + 4.0e-10*p + 5.0e-11*q**2"
    )


@pytest.mark.parametrize("system", [Oscillators(n=3), NBody(n_bodies=3, dim=2)], ids=["u(3)", "nbody"])
@pytest.mark.parametrize("error", [pytest.param(0.0, marks=pytest.mark.slow), 1e-3])
def test_expressions_have_no_bracket_with_the_true_energy(system, error, x64):
    report = find_symmetries(known_fit(system, error, 1))
    x = sympy.symbols(report.coordinates, real=True)
    half = len(x) // 2
    if isinstance(system, Oscillators):
        energy = sum(s**2 for s in x) / 2
    else:
        q, p = np.reshape(x[:half], (3, 2)), np.reshape(x[half:], (3, 2))
        pairs = [(0, 1), (0, 2), (1, 2)]
        energy = sum(s**2 for s in p.ravel()) / 2 - sum(
            1 / sympy.sqrt(sum((q[i] - q[j]) ** 2) + 1) for i, j in pairs
        )
    found = report.expressions()
    assert len(found) == len(system.conserved())
    for one in found:
        bracket = sum(
            sympy.diff(one, x[i]) * sympy.diff(energy, x[half + i])
            - sympy.diff(one, x[half + i]) * sympy.diff(energy, x[i])
            for i in range(half)
        )
        # The bracket is exact at rational states: zero to 40 digits.
        for state in np.random.default_rng(0).integers(-20, 20, (3, len(x))):
            at = {s: sympy.Rational(int(v), 7) for s, v in zip(x, state, strict=True)}
            assert abs(sympy.N(bracket.subs(at), 40)) < 1e-35, one
    assert "aligned" in report._repr_latex_()
    assert report.algebra == {"Oscillators": "u(3)", "NBody": "nbody(2)"}[type(system).__name__]
