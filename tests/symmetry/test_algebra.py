"""Names of Lie algebras are right or None in any basis and coordinates, and at any noise."""

import numpy as np
import pytest

from experiments.algebras import ALGEBRAS, oscillator, trial, unitary
from noethers_razor.mechanics.quadratic_form import basis
from noethers_razor.symmetry.algebra.lie import identify
from noethers_razor.symmetry.algebra.structure import analyse
from noethers_razor.symmetry.span import span_of


def named(form, linear):
    """Return the algebra of a span, with a moment that keeps the coordinates."""
    moment = np.eye(form.shape[-1] + 1) / form.shape[-1]
    span = span_of(form, linear, moment)
    return analyse(span.form, span.linear, moment)


def embedded(form, linear, dof, first):
    """Return quantities in a larger phase space, on the degrees of freedom that start at ``first``."""
    own = form.shape[-1] // 2
    place = np.concatenate([first + np.arange(own), dof + first + np.arange(own)])
    wide_form, wide_linear = np.zeros((len(form), 2 * dof, 2 * dof)), np.zeros((len(form), 2 * dof))
    wide_form[:, place[:, None], place[None]] = form
    wide_linear[:, place] = linear
    return wide_form, wide_linear


def side_by_side(*parts):
    """Return the union of parts (form, linear), each on its own degrees of freedom."""
    dof, first, found = sum(part[0].shape[-1] // 2 for part in parts), 0, []
    for part in parts:
        found.append(embedded(*part, dof, first))
        first += part[0].shape[-1] // 2
    return tuple(np.concatenate(half) for half in zip(*found, strict=True))


@pytest.mark.parametrize("name", list(ALGEBRAS))
@pytest.mark.parametrize(("noise", "right"), [(0.0, 3), (1e-3, 3), (1e-2, 2)])
def test_names_do_not_depend_on_basis_coordinates_or_noise(name, noise, right):
    found = [trial(name, noise, seed) for seed in (1, 2, 3)]
    assert all(one.name in (name, None) for one in found)
    assert sum(one.name == name for one in found) >= right
    if len(found[0].structure) > 1 and noise:
        # The closure defect determines the error of the generators.
        assert all(noise / 2 < one.noise < 2 * noise for one in found)


SUMS = {
    "su(2)+su(2)": [ALGEBRAS["su(2)"](), ALGEBRAS["su(2)"]()],
    "so(3)+so(3)": [ALGEBRAS["so(3)"](), ALGEBRAS["so(3)"]()],
    "u(2)+u(1)": [unitary(2), unitary(1)],
    "su(2)+u(1)": [ALGEBRAS["su(2)"](), unitary(1)],
    "u(3)+u(2)": [unitary(3), unitary(2)],
    "se(2)+u(1)": [ALGEBRAS["se(2)"](), unitary(1)],
    "so(3)+se(2)": [ALGEBRAS["so(3)"](), ALGEBRAS["se(2)"]()],
    "heisenberg(1)+u(1)": [ALGEBRAS["heisenberg(1)"](), unitary(1)],
}


@pytest.mark.parametrize("name", list(SUMS))
def test_direct_sums_are_told_from_algebras_that_they_are_isomorphic_to(name):
    assert named(*side_by_side(*SUMS[name])).name == name


def test_halves_that_act_on_one_space_are_joined_whatever_their_order():
    # Eight ideals su(2) of four spaces: each has its partner among equal ones.
    assert named(*side_by_side(*[ALGEBRAS["so(4)"]()] * 4)).name == "so(4)+so(4)+so(4)+so(4)"


@pytest.mark.parametrize("n", [1, 2, 3])
def test_all_quadratic_forms_are_symplectic(n):
    form, linear = basis(2 * n)
    forms = np.any(form != 0, axis=(1, 2))
    assert named(form[forms], linear[forms]).name == f"sp({2 * n},R)"


def test_forms_that_keep_an_indefinite_metric():
    # Two boosts, such as q1 p3 + q3 p1, and one rotation of three coordinates.
    def moves(i, j, sign):
        form = np.zeros((6, 6))
        form[i, 3 + j] = form[3 + j, i] = 1.0
        form[j, 3 + i] = form[3 + i, j] = sign
        return form

    forms = np.array([moves(0, 1, -1.0), moves(0, 2, 1.0), moves(1, 2, 1.0)])
    found = named(forms, np.zeros((3, 6)))
    assert found.name == "so(2,1)"
    assert found.invariants.signature == (2, 1, 0)


def test_what_is_not_in_the_table_is_not_named():
    # All quadratic observables: sp(4,R) and translations, which are not a direct sum.
    found = named(*basis(4))
    assert found.name is None and found.invariants.open
    assert found.invariants.radical == 4
    assert found.invariants.derived == (14, 14)


def test_invariants_of_nilpotent_and_soluble_algebras():
    heisenberg = named(*ALGEBRAS["heisenberg(1)"]()).invariants
    assert heisenberg.lower_central == (3, 1, 0) and heisenberg.centre == 1
    assert heisenberg.signature == (0, 0, 3)
    plane = named(*ALGEBRAS["se(2)"]()).invariants
    assert plane.derived == (3, 2, 0) and plane.lower_central == (3, 2)
    assert plane.radical == 3


def test_an_open_span_is_completed():
    form, linear = unitary(2)
    # Two of four quantities of two oscillators. Their bracket, the difference of the energies, is missing.
    pair = np.abs(np.einsum("kii->ki", form)).sum(axis=1) == 0
    found = named(form[pair], linear[pair])
    assert found.name is None and found.closure_defect > 0.9
    assert found.completion is not None
    assert found.completion.name == "su(2)" and found.completion.dimension == 3


def test_noise_too_large_for_a_name_gives_none():
    for name in ("u(3)", "so(4)", "nbody(2)", "heisenberg(1)"):
        assert trial(name, 0.3, 1).name is None


def test_one_oscillator_and_nothing():
    assert named(np.array([oscillator(1, 0)]), np.zeros((1, 2))).name == "u(1)"
    empty = analyse(np.zeros((0, 2, 2)), np.zeros((0, 2)), np.eye(3))
    assert empty.name is None and empty.dimension == 0


def test_what_commutes_as_a_whole_is_named_though_noise_leaves_its_brackets_open():
    # Learned actions of three oscillators. Their brackets are noise, but mostly along one direction.
    c = np.zeros((3, 3, 3))
    c[0, 2], c[1, 2] = (5e-4, 4e-4, -3e-4), (4e-4, 3e-4, -3e-4)
    c -= c.transpose(1, 0, 2)
    copies = [1.2 * c, 0.55 * c]
    found = identify(np.stack([c, *copies]), np.zeros((3, 3, 6, 6)))
    assert (found.name, found.centre, found.derived) == ("u(1)^3", 3, (3, 0))


@pytest.mark.parametrize("seed", range(5))
def test_an_error_that_is_not_random_leaves_commuting_quantities_commuting(seed):
    # Learned energies of three oscillators. Their quadratic parts have one common error.
    rng = np.random.default_rng(seed)
    forms = np.stack([np.diag(np.tile(np.eye(3)[i], 2)) for i in range(3)])
    error = rng.normal(size=(6, 6))
    moment = np.eye(7)
    span = span_of(forms + 0.01 * (error + error.T), 0.01 * rng.normal(size=(3, 6)), moment)
    assert analyse(span.form[:3], span.linear[:3], moment).name == "u(1)^3"
