"""The Lie algebra that quadratic quantities generate: closure, structure constants, invariants and name."""

from __future__ import annotations

import dataclasses

import numpy as np

from noethers_razor.mechanics.phase_space import symplectic_form
from noethers_razor.mechanics.quadratic_form import basis, embed, embedded_brackets, moving_combinations
from noethers_razor.symmetry.algebra.invariants import Invariants, abelian
from noethers_razor.symmetry.algebra.lie import identify

_CLOSED = 0.1
"""Largest closure defect of an algebra, and largest relative bracket of commuting quantities."""
_COPIES = 4
"""Number of perturbed copies of the generators. Their spread decides which singular values are zero."""
_NEW = 5.0
"""Smallest ratio between singular values of missing directions and of errors, for brackets outside a span."""
_LARGEST = 60
"""Largest dimension of a completion."""
_LEAST = 1e-6
"""Lower limit of the noise that is added, needed for brackets that do not leave the span."""


@dataclasses.dataclass(frozen=True)
class Algebra:
    """A Lie algebra of r quadratic observables under the Poisson bracket, up to constants.

    Args:
        closure_defect: size of the part of the brackets outside the span, relative to all brackets. If the
            quantities commute: size of the brackets relative to the product of the sizes of their arguments.
        noise: error of a generator of unit size that explains the closure defect.
        structure: structure constants (r, r, r) with {C_i, C_j} = sum_k c_ijk C_k, in the given basis.
        invariants: invariants and name.
        completion: algebra that the quantities and their brackets generate if the span is not closed.
    """

    closure_defect: float
    noise: float
    structure: np.ndarray
    invariants: Invariants
    completion: Algebra | None = None

    @property
    def dimension(self) -> int:
        """Dimension of the span."""
        return self.invariants.dimension

    @property
    def centre(self) -> int | None:
        """Dimension of the centre; None if the noise does not determine it."""
        return self.invariants.centre

    @property
    def name(self) -> str | None:
        """Name such as ``u(3)``, or None."""
        return self.invariants.name


def _brackets(
    form: np.ndarray, linear: np.ndarray, moment: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute brackets and structure constants.

    Returns:
        Structure constants (K, K, K), embedded brackets (K^2, E), and their parts outside the span (K^2, E).
    """
    rows, count = embed(form, linear, moment), len(form)
    flat = embedded_brackets(form, linear, moment).reshape(count**2, -1)
    weights = flat @ np.linalg.pinv(rows)
    structure = weights.reshape(count, count, count)
    structure = 0.5 * (structure - structure.transpose(1, 0, 2))
    return structure, flat, flat - weights @ rows


def _perturbed(
    form: np.ndarray, linear: np.ndarray, moment: np.ndarray, noise: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return copies of generators (r, M, M), (r, M), each plus a random observable of size ``noise``."""
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
    """Return the error of unit generators that explains the root-mean-square residual ``left``."""
    # Independent errors add in squares: noise as large as the error doubles the squared residual.
    trial = max(left, _LEAST)
    added = [
        np.mean(np.sum(_brackets(*copy, moment)[2] ** 2, axis=1)) - left**2
        for copy in _perturbed(form, linear, moment, trial)
    ]
    return float(left * trial / np.sqrt(max(np.mean(added), 1e-300)))


def analyse(form: np.ndarray, linear: np.ndarray, moment: np.ndarray) -> Algebra:
    """Analyse the Lie algebra that quadratic quantities span.

    Args:
        form: symmetric matrices A (r, M, M) of r independent quantities x'Ax/2 + b'x of unit size.
        linear: vectors b (r, M).
        moment: second moment (M+1, M+1) of the data, see `quadratic_form.second_moment`.
    Returns:
        Closure defect, structure constants, invariants and name. A span that is not closed has no name, but
        may have a completion.
    """
    found = _analysed(form, linear, moment)
    if found.closure_defect <= _CLOSED:
        return found
    return dataclasses.replace(found, completion=_completed(form, linear, moment))


def _analysed(form: np.ndarray, linear: np.ndarray, moment: np.ndarray) -> Algebra:
    """Analyse a span without completing it."""
    count = len(form)
    if count == 0:
        return Algebra(0.0, 0.0, np.zeros((0, 0, 0)), Invariants(0, open="there are no quantities"))
    structure, flat, residual = _brackets(form, linear, moment)
    left = float(np.sqrt(np.mean(np.sum(residual**2, axis=1))))
    noise = _noise_of(form, linear, moment, left) if count > 1 else 0.0
    copies = _perturbed(form, linear, moment, noise)
    stack = np.stack([structure, *(_brackets(*copy, moment)[0] for copy in copies)])
    # The brackets of commuting quantities are only error: compare them with the quantities themselves.
    lengths = np.linalg.norm(embed(form, linear, moment), axis=1)
    size = np.linalg.norm(flat, axis=1)
    shares = size / np.outer(lengths, lengths).ravel()
    relative = float(np.sqrt(np.mean(shares**2)))
    inside, outside = (float(np.linalg.norm(a, 2)) for a in (structure.reshape(-1, count), residual))
    if shares.max() <= _CLOSED and inside <= max(outside, _LEAST):
        # An error has all directions, most of them outside the span. The brackets of an algebra stay inside.
        return Algebra(relative, noise, structure, abelian(count))
    j = symplectic_form(form.shape[-1])
    action = np.stack([j @ f for f in (form, *(copy[0] for copy in copies))])
    invariants = identify(stack, action)
    if invariants.centre == count:
        closure = relative
    else:
        closure = float(np.linalg.norm(residual) / np.linalg.norm(size))
    if closure > _CLOSED:
        invariants = Invariants(count, open=f"brackets leave the span: closure defect {100 * closure:.2g} %")
    return Algebra(closure, noise, structure, invariants)


def _completed(form: np.ndarray, linear: np.ndarray, moment: np.ndarray) -> Algebra | None:
    """Return the algebra that a span and its brackets generate.

    Returns:
        The algebra, or None if the missing directions do not stand out from errors or are too many.
    """
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
