"""The Lie algebra that quadratic quantities generate: closure, structure constants, invariants, a name."""

from __future__ import annotations

import dataclasses

import numpy as np

from noethers_razor.mechanics.phase_space import symplectic_form
from noethers_razor.mechanics.quadratic_form import basis, embed, moving_combinations
from noethers_razor.symmetry.algebra.invariants import Invariants, abelian
from noethers_razor.symmetry.algebra.lie import identify

_CLOSED = 0.1
"""Largest relative closure defect at which structure constants are read at all."""
_COPIES = 4
"""Perturbed copies of the generators, whose spread says what is zero."""
_NEW = 5.0
"""Step in the singular values of what leaves a span, from directions that are missing to errors."""
_LARGEST = 60
_LEAST = 1e-6
"""Noise to try where there is none."""


@dataclasses.dataclass(frozen=True)
class Algebra:
    """A Lie algebra of quadratic observables under the Poisson bracket, constants aside.

    Args:
        closure_defect: part of the brackets that leaves the span, relative to all brackets; for
            commuting quantities the brackets themselves, relative to what such quantities could give.
        noise: error of a unit generator that would leave the span as open as it is.
        structure: c[i, j, k] with {C_i, C_j} = sum_k c_ijk C_k, in the given basis.
        invariants: see `lie.Invariants`.
        completion: the algebra that the brackets of an open span generate, or None.
    """

    closure_defect: float
    noise: float
    structure: np.ndarray
    invariants: Invariants
    completion: Algebra | None = None

    @property
    def dimension(self) -> int:
        """Of the span."""
        return self.invariants.dimension

    @property
    def centre(self) -> int | None:
        """Dimension of the centre, where it is decided."""
        return self.invariants.centre

    @property
    def name(self) -> str | None:
        """Such as ``u(3)``, or None."""
        return self.invariants.name


def poisson_brackets(form: np.ndarray, linear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """{C_i, C_j} of quadratic observables, up to constants: (K, K, M, M), (K, K, M)."""
    j = symplectic_form(form.shape[-1])
    turned = np.einsum("aij,jk,bkl->abil", form, j, form, optimize=True)
    brackets = turned + turned.transpose(0, 1, 3, 2)
    shifts = np.einsum("aij,jk,bk->abi", form, j, linear, optimize=True)
    return brackets, shifts - shifts.transpose(1, 0, 2)


def _brackets(
    form: np.ndarray, linear: np.ndarray, moment: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Structure constants (K, K, K), and brackets (K^2, D) and what of them leaves the span, as vectors."""
    rows, count = embed(form, linear, moment), len(form)
    bracket_form, bracket_linear = poisson_brackets(form, linear)
    flat = embed(
        bracket_form.reshape(-1, *form.shape[1:]), bracket_linear.reshape(-1, form.shape[-1]), moment
    )
    weights = flat @ np.linalg.pinv(rows)
    structure = weights.reshape(count, count, count)
    structure = 0.5 * (structure - structure.transpose(1, 0, 2))
    return structure, flat, flat - weights @ rows


def _perturbed(
    form: np.ndarray, linear: np.ndarray, moment: np.ndarray, noise: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Copies of generators (r, M, M), (r, M), each moved by a random observable of that length."""
    every_form, every_linear = basis(form.shape[-1])
    unit = moving_combinations(embed(every_form, every_linear, moment))
    copies = []
    for seed in range(_COPIES):
        draw = np.random.default_rng(seed).normal(size=(len(form), unit.shape[1]))
        weights = noise * draw @ unit.T / np.sqrt(unit.shape[1])
        moved = np.einsum("rd,dij->rij", weights, every_form)
        copies.append((form + moved, linear + weights @ every_linear))
    return copies


def _noise_of(form: np.ndarray, linear: np.ndarray, moment: np.ndarray, left: float) -> float:
    """The error of generators that accounts for brackets leaving the span by so much (root mean square)."""
    # More noise of the same size adds its square once more.
    trial = max(left, _LEAST)
    added = [
        np.mean(np.sum(_brackets(*copy, moment)[2] ** 2, axis=1)) - left**2
        for copy in _perturbed(form, linear, moment, trial)
    ]
    return float(left * trial / np.sqrt(max(np.mean(added), 1e-300)))


def analyse(form: np.ndarray, linear: np.ndarray, moment: np.ndarray) -> Algebra:
    """Closure, invariants and name of the algebra spanned by unit quantities (r, M, M), (r, M).

    Args:
        moment: second moment of the data, see `forms.second_moment`.
    """
    found = _analysed(form, linear, moment)
    if found.closure_defect <= _CLOSED:
        return found
    return dataclasses.replace(found, completion=_completed(form, linear, moment))


def _analysed(form: np.ndarray, linear: np.ndarray, moment: np.ndarray) -> Algebra:
    count = len(form)
    if count == 0:
        return Algebra(0.0, 0.0, np.zeros((0, 0, 0)), Invariants(0, open="no quantity"))
    structure, flat, residual = _brackets(form, linear, moment)
    left = float(np.sqrt(np.mean(np.sum(residual**2, axis=1))))
    noise = _noise_of(form, linear, moment, left) if count > 1 else 0.0
    copies = _perturbed(form, linear, moment, noise)
    stack = np.stack([structure, *(_brackets(*copy, moment)[0] for copy in copies)])
    # Commuting quantities have brackets that are all error: judged against the quantities themselves.
    lengths = np.linalg.norm(embed(form, linear, moment), axis=1)
    size = np.linalg.norm(flat, axis=1)
    shares = size / np.outer(lengths, lengths).ravel()
    relative = float(np.sqrt(np.mean(shares**2)))
    inside, outside = (float(np.linalg.norm(a, 2)) for a in (structure.reshape(-1, count), residual))
    if shares.max() <= _CLOSED and inside <= max(outside, _LEAST):
        # Errors go in all directions, of which most leave the span; brackets of an algebra stay.
        return Algebra(relative, noise, structure, abelian(count))
    j = symplectic_form(form.shape[-1])
    action = np.stack([j @ f for f in (form, *(copy[0] for copy in copies))])
    invariants = identify(stack, action)
    if invariants.centre == count:
        closure = relative
    else:
        closure = float(np.linalg.norm(residual) / np.linalg.norm(size))
    if closure > _CLOSED:
        invariants = Invariants(count, open=f"the brackets leave the span by {100 * closure:.2g} %")
    return Algebra(closure, noise, structure, invariants)


def _completed(form: np.ndarray, linear: np.ndarray, moment: np.ndarray) -> Algebra | None:
    """The algebra of the span and of all brackets, where these clearly add a few directions."""
    dim = form.shape[-1]
    every_form, every_linear = basis(dim)
    vectors = embed(every_form, every_linear, moment)
    while len(form) <= _LARGEST:
        residual = _brackets(form, linear, moment)[2]
        values, directions = np.linalg.svd(residual, full_matrices=False)[1:]
        ratios = values[:-1] / np.maximum(values[1:], 1e-12 * values[0])
        missing = int(np.argmax(ratios)) + 1
        if ratios[missing - 1] < _NEW or len(form) + missing > _LARGEST:
            return None
        weights = np.linalg.lstsq(vectors.T, directions[:missing].T, rcond=None)[0].T
        form = np.concatenate([form, np.einsum("rd,dij->rij", weights, every_form)])
        linear = np.concatenate([linear, weights @ every_linear])
        found = _analysed(form, linear, moment)
        if found.closure_defect <= _CLOSED:
            return found
    return None
