"""Simple ideals by Krylov spaces are those of the whole matrix, with any noise."""

import numpy as np
import pytest

from experiments.algebras import ALGEBRAS, euclidean, special_unitary, trial, unitary
from noethers_razor.mechanics.quadratic_form import basis, poisson_brackets
from noethers_razor.symmetry.algebra import lie
from noethers_razor.symmetry.algebra.ideals import _MOST_IDEALS, _eigenspaces, ideals
from noethers_razor.symmetry.algebra.ranks import Level, nonzero
from tests.symmetry.test_algebra import named, side_by_side


def rotations(n):
    form, linear = euclidean(n)
    return form[:-n], linear[:-n]


def symplectic(n):
    form, linear = basis(2 * n)
    chosen = np.any(form != 0, axis=(1, 2))
    return form[chosen], linear[chosen]


def lorentz(n):
    """Return the forms that keep a metric with one negative direction, so(n,1)."""
    form, linear = rotations(n + 1)
    place = [(i, j) for i in range(n + 1) for j in range(i + 1, n + 1)]
    for one, (_, j) in zip(form, place, strict=True):
        if j == n:
            one[:] = np.abs(one)
    return form, linear


CASES = {
    "su(2)": special_unitary(2),
    "su(5)": special_unitary(5),
    "so(5)": rotations(5),
    "so(7)": rotations(7),
    "so(3,1)": lorentz(3),
    "so(5,1)": lorentz(5),
    "sp(6,R)": symplectic(3),
    "u(5)": unitary(5),
    "se(4)": euclidean(4),
    "su(4)+so(5)": side_by_side(special_unitary(4), rotations(5)),
    "so(5)+so(4)": side_by_side(rotations(5), rotations(4)),
    "u(3)+u(3)+u(3)": side_by_side(unitary(3), unitary(3), unitary(3)),
    "su(4)+so(3)+se(3)": side_by_side(special_unitary(4), rotations(3), euclidean(3)),
}


def commutation(adjoint):
    """Return the matrix (d^2, d^2) of the form sum_a |[ad_a, X]|^2 of maps X (d, d)."""
    one, found = np.eye(len(adjoint)), 0.0
    for ad in adjoint:
        matrix = np.kron(ad, one) - np.kron(one, ad.T)
        found = found + matrix.T @ matrix
    return found


def dense_ideals(adjoint, level):
    """Return the ideals as `ideals` does, from eigenvectors of the whole matrix."""
    size, one = adjoint.shape[1], adjoint[0]
    changes = [np.linalg.eigvalsh(commutation(other - one))[-1] for other in adjoint[1:]]
    most = min(2 * _MOST_IDEALS, size**2 - 1)
    maps = np.linalg.eigh(commutation(one))[1].T[:most].reshape(-1, size, size)
    singular = np.array([np.linalg.norm(one @ x - x @ one) for x in maps])
    clear = nonzero(singular, np.sqrt(max(changes)), "the number of simple ideals", level)
    return _eigenspaces(maps[~clear])


def compare(adjoint, level, atol):
    """Return the ideals, which must be those of the whole matrix."""
    found = ideals(adjoint, level)
    expected = [one @ one.T for one in dense_ideals(adjoint, level)]
    assert len(found) == len(expected)
    for own in (one @ one.T for one in found):
        assert min(np.abs(own - other).max() for other in expected) < atol
    return found


@pytest.mark.parametrize("noise", [0.0, 1e-3, 1e-2])
@pytest.mark.parametrize("name", list(CASES))
def test_ideals_of_generators_with_noise(name, noise, monkeypatch):
    monkeypatch.setitem(ALGEBRAS, name, lambda: CASES[name])
    # With noise, ideals are eigenspaces of a random map, and depend a little on it.
    monkeypatch.setattr(lie, "ideals", lambda *given: compare(*given, 1e-6 + 10 * noise))
    found = trial(name, noise, 1)
    assert found.name in (name, None)
    assert found.name == name or noise


@pytest.mark.parametrize("noise", [0.0, 1e-3, 3e-2])
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("su(2)", [3]),
        ("su(5)", [24]),
        ("so(7)", [21]),
        ("su(4)+so(5)", [10, 15]),
        ("so(5)+so(4)", [3, 3, 10]),
    ],
)
def test_ideals_of_structure_constants_with_noise(name, sizes, noise):
    form, linear = CASES[name]
    form = form / np.linalg.norm(form, axis=(1, 2))[:, None, None]
    brackets, _ = poisson_brackets(form, linear)
    count, rng = len(form), np.random.default_rng(3)
    exact = np.tensordot(brackets.reshape(count, count, -1), np.linalg.pinv(form.reshape(count, -1)), axes=1)
    errors = noise * rng.normal(size=(5, *exact.shape)) * np.sqrt(np.mean(exact**2))
    errors[1:] += errors[0]
    stack = exact + errors - np.swapaxes(errors, 1, 2)
    found = compare(np.swapaxes(stack, 2, 3), Level(0.0, float(np.linalg.norm(exact[0]))), 1e-6 + 10 * noise)
    assert sorted(one.shape[1] for one in found) == sizes


def test_a_large_algebra_with_some_ideals():
    parts = side_by_side(special_unitary(6), rotations(5), rotations(3))
    found = named(*parts)
    assert found.name == "su(6)+so(5)+so(3)"
