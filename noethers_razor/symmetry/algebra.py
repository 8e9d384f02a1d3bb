"""The Lie algebra that quadratic quantities generate: closure, structure constants, a name if certain."""

from __future__ import annotations

import dataclasses

import numpy as np

from noethers_razor.conserved.forms import embed
from noethers_razor.mechanics import symplectic_form

_CLOSED = 0.1
"""Largest relative closure defect at which structure constants are read at all."""
_COMMUTING = 0.2
"""Brackets all below this share of what their quantities could give count as error of commuting ones."""
_LARGEST_CENTROID = 35
"""Dimension up to which the number of simple ideals is computed: its cost grows with the sixth power."""


@dataclasses.dataclass(frozen=True)
class Algebra:
    """Invariants of a Lie algebra of quadratic observables under the Poisson bracket.

    Args:
        dimension: of the span.
        closure_defect: part of the brackets that leaves the span, relative to all brackets; for
            commuting quantities the brackets themselves, relative to what such quantities could give.
        structure: c[i, j, k] with {C_i, C_j} = sum_k c_ijk C_k, in the given basis.
        centre: dimension of the centre.
        killing: eigenvalues of the Killing form, scaled to largest modulus 1, ascending.
        name: such as ``u(3)``, or None when the invariants do not determine it.
    """

    dimension: int
    closure_defect: float
    structure: np.ndarray
    centre: int
    killing: np.ndarray
    name: str | None


def poisson_brackets(form: np.ndarray, linear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """{C_i, C_j} of quadratic observables, up to constants: (K, K, M, M), (K, K, M)."""
    j = symplectic_form(form.shape[-1])
    turned = np.einsum("aij,jk,bkl->abil", form, j, form)
    brackets = turned + turned.transpose(0, 1, 3, 2)
    shifts = np.einsum("aij,jk,bk->abi", form, j, linear)
    return brackets, shifts - shifts.transpose(1, 0, 2)


def analyse(form: np.ndarray, linear: np.ndarray, moment: np.ndarray) -> Algebra:
    """Closure, invariants and name of the algebra spanned by unit quantities (r, M, M), (r, M).

    Args:
        moment: second moment of the data, see `forms.second_moment`.
    """
    count = len(form)
    if count == 0:
        return Algebra(0, 0.0, np.zeros((0, 0, 0)), 0, np.zeros(0), None)
    basis = embed(form, linear, moment)
    bracket_form, bracket_linear = poisson_brackets(form, linear)
    flat = embed(
        bracket_form.reshape(-1, *form.shape[1:]), bracket_linear.reshape(-1, form.shape[-1]), moment
    )
    solution, *_ = np.linalg.lstsq(basis.T, flat.T, rcond=None)
    residual = np.linalg.norm(flat - solution.T @ basis, axis=1)
    size = np.linalg.norm(flat, axis=1)
    structure = solution.T.reshape(count, count, count)
    structure = 0.5 * (structure - structure.transpose(1, 0, 2))
    # Commuting quantities have brackets that are all error: judged against the quantities themselves.
    lengths = np.linalg.norm(basis, axis=1)
    relative = size / np.outer(lengths, lengths).ravel()
    abelian = bool(relative.max() < _COMMUTING)
    rms = float(np.sqrt(np.mean(relative**2)))
    closure = rms if abelian else float(np.linalg.norm(residual) / np.linalg.norm(size))
    killing = np.einsum("ikl,jlk->ij", structure, structure)
    eigenvalues = np.linalg.eigvalsh(killing)
    scale = np.abs(eigenvalues).max()
    eigenvalues = eigenvalues / scale if scale > 0 and not abelian else np.zeros(count)
    tolerance = max(1e-6, 3 * closure)
    adjoint = np.linalg.svd(structure.reshape(count, -1), compute_uv=False)
    centre = count if abelian else int(np.sum(adjoint < tolerance * adjoint[0]))
    name = None
    if closure <= _CLOSED:
        name = _name(structure, eigenvalues, centre, tolerance, abelian)
    return Algebra(count, closure, structure, centre, eigenvalues, name)


def _name(
    structure: np.ndarray, killing: np.ndarray, centre: int, tolerance: float, abelian: bool
) -> str | None:
    """u(1)^k, su(n) or u(n); a compact simple algebra is fixed here by dimension, rank and simplicity."""
    dimension = len(structure)
    if abelian:
        return "u(1)" if dimension == 1 else f"u(1)^{dimension}"
    compact = int(np.sum(killing < -tolerance))
    if centre > 1 or compact + centre != dimension or compact > _LARGEST_CENTROID:
        return None
    n = round((compact + 1) ** 0.5)
    if n * n - 1 != compact or not _is_simple_of_rank(structure, killing, n - 1, tolerance):
        return None
    return f"u({n})" if centre else f"su({n})"


def _is_simple_of_rank(structure: np.ndarray, killing: np.ndarray, rank: int, tolerance: float) -> bool:
    """Whether the semisimple part has one ideal and Cartan subalgebras of the given dimension."""
    metric = np.einsum("ikl,jlk->ij", structure, structure)
    values, vectors = np.linalg.eigh(metric)
    part = vectors[:, : int(np.sum(killing < -tolerance))]
    part = part / np.sqrt(-values[: part.shape[1]])
    inverse = np.linalg.pinv(part)
    inner = np.einsum("ia,jb,ijk,ck->abc", part, part, structure, inverse)
    generator = np.random.default_rng(0)
    first, second = (np.einsum("a,abc->cb", generator.normal(size=len(inner)), inner) for _ in range(2))
    singular = np.linalg.svd(first, compute_uv=False)
    cartan = int(np.sum(singular < max(tolerance, 1e-6) * singular[0]))
    one = np.eye(len(inner))
    # The eigenvalues of the normal equations are squares of singular values, at a tenth of their cost.
    commutators = [np.kron(a, one) - np.kron(one, a.T) for a in (first, second)]
    squares = np.linalg.eigvalsh(sum(c.T @ c for c in commutators))
    ideals = int(np.sum(squares < max(tolerance, 1e-6) ** 2 * squares[-1]))
    return cartan == rank and ideals == 1
