"""Formulas of conserved functions: sparse combinations of known terms whose gradients the learned ones span.

Whatever basis a fit has found, a function of its quantities has its gradient in the span of theirs at every
state. Combinations of dictionary terms of which that is true solve an eigenproblem; sparse ones are read from
a reduced echelon form of their space, each refitted on its own terms.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array
from noethers_razor.conserved.proposal.constancy import CREDIBLE, credible_length
from noethers_razor.conserved.proposal.independence import INDEPENDENT, defects, gram, off_span
from noethers_razor.conserved.proposal.sparsity import competing, most_gain
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.numerics.expressions import expression, symbolic
from noethers_razor.numerics.polynomials import exponents, monomials
from noethers_razor.symmetry.formulas import sparse_basis, symbolic_sum, text_of

_INSIDE = 0.1
"""Largest sine, in the mean, of a combination's gradient to the learned span for it to be considered."""
_SLACK, _LARGEST = 0.002, 0.02
"""Sine that counts as none, however well quantities are conserved, and one that never does."""
_MOST_SUPPORTS = 100_000
"""Sets of terms that are all tried."""
_MULTIPLE = 2.0
"""Of the learned quantities' defect, up to which a formula's sine may be: a defect is one component of what
gradients miss. Coefficients that are no halves must do better, by `_FITTED`: with several of them something
always fits."""
_FITTED = 0.25
_PRICE, _TIE = 0.1, 1e-3
"""Of a term, where a sine at the limit costs 1; of any gradient, so that what costs nothing is finite."""
_MOST_TERMS, _MOST_DIMENSIONS = 12, 16
_RATIONAL = 0.02
"""A coefficient this close to a whole number or a half, relative to the largest, may be rounded, or twice as
close as the sine that is allowed."""


class Dictionary(NamedTuple):
    """Terms and their gradients.

    Args:
        names: of the D terms.
        gradients: gradients (B, D, M) at states, in the frame.
        values: of states (N, M) of data units, (N, D).
    """

    names: list[str]
    gradients: np.ndarray
    values: Callable[[np.ndarray], np.ndarray]


class Formula(NamedTuple):
    """A combination of terms, whose names are formulas of the coordinates themselves.

    Args:
        text: rounded to three digits.
        coefficients: (D,).
        sine: of its gradient to the learned span, in the mean.
        names: of the D terms.
    """

    text: str
    coefficients: np.ndarray
    sine: float
    names: list[str]

    def expression(self, coordinates: Sequence[str]) -> Any:
        """For SymPy.

        Raises:
            UsageError: without it, or where names of coordinates are no identifiers.
        """
        used = np.flatnonzero(self.coefficients)
        terms = [symbolic(self.names[i], coordinates) for i in used]
        return symbolic_sum(self.coefficients[used], terms)


def dictionary_of(
    coordinates: Sequence[str], terms: Sequence[str], degree: int, states: np.ndarray, back: np.ndarray
) -> Dictionary:
    """Monomials up to a degree in coordinates and further terms, at states (B, M) of data units.

    Args:
        back: (M, M), data units per frame unit.
    """
    further = [expression(term, coordinates) for term in terms]

    def terms_of(x: Array) -> Array:
        variables = [x, jnp.stack([term(x) for term in further], axis=-1)] if further else [x]
        return monomials(jnp.concatenate(variables, axis=-1), degree)

    def values(x: np.ndarray) -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(jax.jit(terms_of)(jnp.asarray(x, jnp.float64)))

    with jax.enable_x64(True):
        gradients = np.asarray(jax.jit(jax.vmap(jax.jacfwd(terms_of)))(jnp.asarray(states, jnp.float64)))
    variables = [*coordinates, *(f"({term})" if any(c in term for c in "+-*/^ ") else term for term in terms)]
    powers = exponents(len(variables), degree)
    names = ["*".join(_power(variables[i], p) for i, p in enumerate(row) if p) for row in powers]
    return Dictionary(names, gradients @ back, values)


def constant_along(
    dictionary: Dictionary, trajectories: FrameTrajectories | None, out_of: Callable[[np.ndarray], np.ndarray]
) -> Callable[[np.ndarray], bool]:
    """Whether a combination (D,) of terms varies along trajectories by no more than noise; without trajectories all may.

    Args:
        out_of: from the frame of the trajectories to data units.
    """
    if trajectories is None:
        return lambda row: True
    values = dictionary.values(out_of(trajectories.states))
    shaken = dictionary.values(out_of(trajectories.with_noise(0))) - values

    def test(row: np.ndarray) -> bool:
        defect = defects(values @ row[:, None], shaken @ row[:, None], trajectories)
        return bool(credible_length(defect, trajectories.deviation)[0] >= CREDIBLE)

    return test


def _power(name: str, power: int) -> str:
    return name if power == 1 else f"{name}^{power}"


def _least(total: np.ndarray, off: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared sines, least first, and combinations as columns of terms of unit gradient."""
    values, vectors = np.linalg.eigh(total)
    moving = values > 1e-10 * values[-1]
    whiten = vectors[:, moving] / np.sqrt(values[moving])
    squares, turned = np.linalg.eigh(whiten.T @ off @ whiten)
    return np.maximum(squares, 0.0), whiten @ turned


def formulas_in_span(
    dictionary: Dictionary,
    learned: np.ndarray,
    most: int,
    defect: float,
    constant: Callable[[np.ndarray], bool],
) -> list[Formula]:
    """Sparse, functionally independent combinations whose gradients lie in the span of learned ones.

    Args:
        dictionary: of D terms.
        learned: gradients (B, K, M), at the same states.
        most: largest number of formulas.
        defect: conservation defect of the learned quantities, which are known no better than that.
        constant: whether the data leave a combination (D,) possible, see `constant_along`.
    """
    size = np.sqrt(np.mean(np.sum(dictionary.gradients**2, axis=-1), axis=0))
    gradients = dictionary.gradients / np.maximum(size, 1e-300)[:, None]
    total, off = gram(gradients), gram(off_span(gradients, learned))
    limit = min(max(_SLACK, _MULTIPLE * defect), _LARGEST)
    squares, columns = _least(total, off)
    inside = min(int(np.sum(np.sqrt(squares) < _INSIDE)), _MOST_DIMENSIONS)
    found = _few_terms(total, off, limit)
    # How many of the least are true and not approximations is not known: sparse ones of any number are.
    found += [
        pair
        for count in range(1, inside + 1)
        for row in sparse_basis(columns[:, :count].T)
        if (pair := _sparsest(row, total, off, limit)) is not None
    ]
    found.sort(key=lambda pair: (np.count_nonzero(pair[0]), pair[1]))
    chosen: list[Formula] = []
    spanned = np.zeros((len(gradients), 0, gradients.shape[2]))

    def ask(row: np.ndarray, sine: float) -> bool:
        nonlocal spanned
        own = np.einsum("d,bdi->bi", row, gradients)[:, None]
        if np.sum(off_span(own, spanned) ** 2) < INDEPENDENT * np.sum(own**2) or len(chosen) == most:
            return False
        formula = _tested(row, sine, size, total, off, limit, constant, dictionary.names)
        if formula is None:
            return False
        spanned = np.concatenate([spanned, own / np.sqrt(np.mean(np.sum(own**2, axis=-1)))], axis=1)
        chosen.append(formula)
        return True

    for pair in found:
        ask(*pair)
    # What is not sparse in an echelon form may be so in another basis.
    while len(chosen) < most:
        further = _further(total, off, gram(off_span(gradients, spanned)), limit)
        if further is None or not ask(*further):
            break
    return chosen


def _tested(
    row: np.ndarray,
    sine: float,
    size: np.ndarray,
    total: np.ndarray,
    off: np.ndarray,
    limit: float,
    constant: Callable[[np.ndarray], bool],
    names: list[str],
) -> Formula | None:
    """A combination (D,) of unit terms as a formula, rounded where that may be; None where it fails."""
    plain = _scaled(row / np.maximum(size, 1e-300), size)
    # A coefficient that is a half or whole, or none, is known better than one that is fitted.
    for rounded in _rounded(plain, size, max(_RATIONAL, 2 * limit)):
        after = _sine(rounded * size, total, off)
        if after <= 2 * limit and constant(rounded):
            plain, sine = rounded, after
            break
    else:
        if not constant(plain):
            return None
    if np.any(2 * plain != np.round(2 * plain)) and sine > max(_SLACK, _FITTED * limit):
        return None
    plain = plain * (-1.0 if plain[np.argmax(plain != 0)] < 0 else 1.0)
    return Formula(text_of(plain, names), plain, sine, names)


def _further(
    total: np.ndarray, off: np.ndarray, new: np.ndarray, limit: float
) -> tuple[np.ndarray, float] | None:
    """The combination whose gradient is most off the formulas so far, of few terms, if it is in the span."""
    cost = off / limit**2 + _TIE * total
    # Terms that are combinations of others, such as three exponentials of product 1, have no gradient.
    cost += 1e-11 * np.trace(cost) * np.eye(len(cost))
    row = competing(
        most_gain(new, cost), cost, new, np.diag(total), lambda own: _PRICE * float(own @ total @ own)
    )
    return _sparsest(row, total, off, limit)


def _sine(row: np.ndarray, total: np.ndarray, off: np.ndarray) -> float:
    return float(np.sqrt(max(row @ off @ row, 0.0) / (row @ total @ row)))


def _few_terms(total: np.ndarray, off: np.ndarray, limit: float) -> list[tuple[np.ndarray, float]]:
    """All combinations of up to three terms within the limit that need each of them, with their sines."""
    found: list[tuple[np.ndarray, float]] = []
    supports: list[set[int]] = []
    for size in range(1, 4):
        if math.comb(len(total), size) > _MOST_SUPPORTS:
            break
        every = np.array(list(itertools.combinations(range(len(total)), size)))
        here, apart = (part[every[:, :, None], every[:, None, :]] for part in (total, off))
        # Terms that are combinations of each other are one term.
        root = np.linalg.inv(np.linalg.cholesky(here + 1e-9 * np.eye(size)))
        squares, columns = np.linalg.eigh(root @ apart @ np.swapaxes(root, 1, 2))
        for i in np.flatnonzero(squares[:, 0] <= limit**2):
            if not any(known <= set(every[i]) for known in supports):
                row = np.zeros(len(total))
                row[every[i]] = columns[i, :, 0] @ root[i]
                found.append((row, float(np.sqrt(max(squares[i, 0], 0.0)))))
        supports = [set(np.flatnonzero(row)) for row, _ in found]
    return found


def _sparsest(
    row: np.ndarray, total: np.ndarray, off: np.ndarray, limit: float
) -> tuple[np.ndarray, float] | None:
    """The combination of the fewest of the row's largest terms within the limit, and its sine."""
    order = np.argsort(-np.abs(row))
    for terms in range(1, min(_MOST_TERMS, len(row)) + 1):
        kept = np.sort(order[:terms])
        squares, columns = _least(total[np.ix_(kept, kept)], off[np.ix_(kept, kept)])
        if np.sqrt(squares[0]) <= limit:
            out = np.zeros(len(row))
            out[kept] = columns[:, 0]
            return out, float(np.sqrt(squares[0]))
    return None


def _scaled(row: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The row with its largest term made 1."""
    return row / row[np.argmax(np.abs(row * size))]


def _rounded(row: np.ndarray, size: np.ndarray, reach: float) -> list[np.ndarray]:
    """The row with what is near halves and whole numbers, relative to the largest, made equal to them.

    First with what is near nothing left out, then with it.
    """
    halves = np.round(2 * row) / 2
    near = np.abs(halves - row) * size <= reach * np.max(np.abs(row * size))
    return [np.where(near, halves, row), np.where(near & (halves != 0), halves, row)]
