"""Formulas of non-quadratic quantities: sparse combinations of known terms.

At every state, the gradient of a function of the learned quantities lies in the span of their gradients. This
does not depend on the basis of the fit. Combinations of dictionary terms with this property solve an
eigenproblem. Sparse ones come from a reduced row echelon form of their space; each is fitted again on its own
terms.

The sine of a combination is the part of its gradient outside the learned span, relative to the whole
gradient. Both are root mean squares over states.
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
from noethers_razor.conserved.proposal.independence import INDEPENDENT, defects, gram, off_span
from noethers_razor.conserved.proposal.sparsity import competing, most_gain
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.evidence.candidates import CLOSE
from noethers_razor.numerics.expressions import expression, symbolic
from noethers_razor.numerics.polynomials import exponents, monomials
from noethers_razor.symmetry.formulas import sparse_basis, symbolic_sum, text_of

_INSIDE = 0.1
"""Largest sine of a combination that is considered as a start."""
_SLACK = 0.002
"""Sine that counts as zero, however small the bracket defect of the learned quantities is."""
_LARGEST = 0.02
"""Upper limit of the accepted sine, however large the bracket defect of the learned quantities is."""
_MULTIPLE = 2.0
"""Largest accepted sine relative to the bracket defect, which measures only one component of the error."""
_FITTED = 0.25
"""Share of the accepted sine if not all coefficients are multiples of 1/2: several of them fit anything."""
_MOST_SUPPORTS = 100_000
"""Largest number of sets of equally many terms that are all tried; it limits the time."""
_PRICE = 0.1
"""Price of a term, in units of the cost of a sine at the limit."""
_TIE = 1e-3
"""Cost of a whole gradient in the same units. It keeps the cost of an exact combination positive."""
_ROUNDING = 1e-12
"""Gradient of a term relative to its value that is rounding: exp(q1 - q2) exp(q2 - q1) is a constant."""
_MOST_TERMS = 12
"""Largest number of terms of a formula."""
_MOST_DIMENSIONS = 16
"""Largest dimension of a space whose sparse basis is tried; it limits the time."""
_ROUNDED_NUMBERS = 0.01
"""Deviation, relative to the spread of the states, that rounded numbers of a formula may make."""
_RATIONAL = 0.02
"""Largest change of a term by rounding, relative to the largest term.

If twice the accepted sine is larger, it is the limit.
"""


class Dictionary(NamedTuple):
    """Terms of formulas and their gradients.

    Args:
        names: names of the D terms.
        gradients: gradients (B, D, M) at states, in the frame.
        values: function from states (N, M) in data units to values (N, D).
    """

    names: list[str]
    gradients: np.ndarray
    values: Callable[[np.ndarray], np.ndarray]


class Formula(NamedTuple):
    """A combination of terms.

    Args:
        text: the formula, with coefficients of three digits.
        coefficients: coefficients (D,) of the terms.
        sine: sine of the combination, see the module.
        names: names of the D terms, which are formulas of the coordinates.
    """

    text: str
    coefficients: np.ndarray
    sine: float
    names: list[str]

    def expression(self, coordinates: Sequence[str]) -> Any:
        """Return the formula as a SymPy expression.

        Args:
            coordinates: names of the M coordinates.
        Raises:
            UsageError: if SymPy is not installed, or if a name of a coordinate is not an identifier.
        """
        used = np.flatnonzero(self.coefficients)
        terms = [symbolic(self.names[i], coordinates) for i in used]
        return symbolic_sum(self.coefficients[used], terms)


def dictionary_of(
    coordinates: Sequence[str], terms: Sequence[str], degree: int, states: np.ndarray, back: np.ndarray
) -> Dictionary:
    """Return a dictionary of monomials in the coordinates and further terms, without those that are constant.

    Args:
        coordinates: names of the M coordinates.
        terms: formulas of further terms, which monomials use like coordinates.
        degree: largest degree of a monomial.
        states: states (B, M) in data units for the gradients.
        back: matrix (M, M) of data units per frame unit.
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
    gradients = gradients @ back
    rms = np.sqrt(np.mean(values(states) ** 2, axis=0))
    moving = _sizes(gradients) > _ROUNDING * rms
    return Dictionary(
        [name for name, kept in zip(names, moving, strict=True) if kept],
        gradients[:, moving],
        lambda x: values(x)[:, moving],
    )


def constant_along(
    dictionary: Dictionary, trajectories: FrameTrajectories | None, out_of: Callable[[np.ndarray], np.ndarray]
) -> Callable[[np.ndarray], bool]:
    """Return a test whether a combination (D,) of terms varies along trajectories by at most twice the noise.

    Formulas have rounded numbers, so 1 % of the spread passes as noise.

    Args:
        dictionary: dictionary of D terms.
        trajectories: trajectories in the frame, with their noise. If None, every combination passes.
        out_of: function from states of the frame to data units.
    """
    if trajectories is None:
        return lambda row: True
    values = dictionary.values(out_of(trajectories.states))
    trajectories = trajectories.blurred(_ROUNDED_NUMBERS)
    shaken = dictionary.values(out_of(trajectories.shaken_states(0))) - values

    def test(row: np.ndarray) -> bool:
        defect = defects(values @ row[:, None], shaken @ row[:, None], trajectories)
        return bool(defect[0] ** 2 < CLOSE * trajectories.deviation**2)

    return test


def _sizes(gradients: np.ndarray) -> np.ndarray:
    """Return the root-mean-square sizes (D,) over states of gradients (B, D, M)."""
    return np.asarray(np.sqrt(np.mean(np.sum(gradients**2, axis=-1), axis=0)))


def _power(name: str, power: int) -> str:
    return name if power == 1 else f"{name}^{power}"


def _least(total: np.ndarray, off: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return squared sines (k,), the smallest first, and combinations (D, k) with unit gradients.

    Args:
        total: mean inner products (D, D) of the gradients of the terms.
        off: the same for the parts of the gradients outside the learned span.
    """
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
    """Return sparse, functionally independent combinations whose gradients lie in the learned span.

    Args:
        dictionary: dictionary of D terms.
        learned: gradients (B, K, M) that span the learned ones, at the states of the dictionary.
        most: largest number of formulas.
        defect: bracket defect of the learned quantities. It limits the accepted sine.
        constant: test of combinations (D,), see `constant_along`.
    """
    search = Search.of(dictionary, learned, defect, constant)
    squares, columns = _least(search.total, search.off)
    inside = min(int(np.sum(np.sqrt(squares) < _INSIDE)), _MOST_DIMENSIONS)
    found = _few_terms(search)
    # The number of exact combinations is unknown, so try sparse bases of the first one, two, three and so on.
    found += [
        pair
        for count in range(1, inside + 1)
        for row in sparse_basis(columns[:, :count].T)
        if (pair := _sparsest(row, search)) is not None
    ]
    found.sort(key=lambda pair: (np.count_nonzero(pair[0]), pair[1]))
    chosen = Chosen(search, most)
    for row, sine in found:
        chosen.add(row, sine)
    # A quantity that is not sparse in an echelon form may be sparse in another basis.
    while len(chosen.formulas) < most:
        further = _further(search, gram(off_span(search.gradients, chosen.spanned)))
        if further is None or not chosen.add(*further):
            break
    return chosen.formulas


class Search(NamedTuple):
    """What the search for formulas looks at.

    Args:
        names: names of the D terms.
        size: (D,) sizes of the gradients of the terms.
        gradients: (B, D, M) of the terms, of unit size.
        total: (D, D) mean inner products of these gradients.
        off: the same for their parts outside the learned span.
        limit: accepted sine.
        constant: test of combinations (D,), see `constant_along`.
    """

    names: list[str]
    size: np.ndarray
    gradients: np.ndarray
    total: np.ndarray
    off: np.ndarray
    limit: float
    constant: Callable[[np.ndarray], bool]

    @classmethod
    def of(
        cls,
        dictionary: Dictionary,
        learned: np.ndarray,
        defect: float,
        constant: Callable[[np.ndarray], bool],
    ) -> Search:
        """Return the search of `formulas_in_span`, with its arguments."""
        size = _sizes(dictionary.gradients)
        gradients = dictionary.gradients / np.maximum(size, 1e-300)[:, None]
        total, off = gram(gradients), gram(off_span(gradients, learned))
        limit = min(max(_SLACK, _MULTIPLE * defect), _LARGEST)
        return cls(dictionary.names, size, gradients, total, off, limit, constant)

    def sine(self, row: np.ndarray) -> float:
        """Return the sine of a combination (D,) to the learned span."""
        return float(np.sqrt(max(row @ self.off @ row, 0.0) / (row @ self.total @ row)))


class Chosen:
    """Formulas that are accepted so far, functionally independent of each other.

    Args:
        search: what is searched.
        most: largest number of formulas.
    """

    def __init__(self, search: Search, most: int) -> None:
        self.search, self.most = search, most
        self.formulas: list[Formula] = []
        self.spanned = np.zeros((len(search.gradients), 0, search.gradients.shape[2]))

    def add(self, row: np.ndarray, sine: float) -> bool:
        """Accept a combination (D,) with its sine if it is independent and passes the tests."""
        own = np.einsum("d,bdi->bi", row, self.search.gradients)[:, None]
        new = np.sum(off_span(own, self.spanned) ** 2) >= INDEPENDENT * np.sum(own**2)
        if not new or len(self.formulas) == self.most:
            return False
        formula = _tested(row, sine, self.search)
        if formula is None:
            return False
        unit = own / np.sqrt(np.mean(np.sum(own**2, axis=-1)))
        self.spanned = np.concatenate([self.spanned, unit], axis=1)
        self.formulas.append(formula)
        return True


def _tested(row: np.ndarray, sine: float, search: Search) -> Formula | None:
    """Return a combination as a formula with rounded coefficients if possible; None if it fails the tests.

    Args:
        row: coefficients (D,) of terms with unit gradients.
        sine: sine of the combination.
        search: what is searched.
    """
    size, limit = search.size, search.limit
    plain = _scaled(row / np.maximum(size, 1e-300), size)
    # Multiples of 1/2 fit by chance less often than fitted coefficients, so twice the sine is accepted.
    for rounded in _rounded(plain, size, max(_RATIONAL, 2 * limit)):
        after = search.sine(rounded * size)
        if after <= 2 * limit and search.constant(rounded):
            plain, sine = rounded, after
            break
    else:
        if not search.constant(plain):
            return None
    if np.any(2 * plain != np.round(2 * plain)) and sine > max(_SLACK, _FITTED * limit):
        return None
    plain = plain * (-1.0 if plain[np.argmax(plain != 0)] < 0 else 1.0)
    return Formula(text_of(plain, search.names), plain, sine, search.names)


def _further(search: Search, new: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Return the combination of few terms whose gradient is most independent of the formulas so far.

    Args:
        search: what is searched.
        new: mean inner products (D, D) of the parts of gradients outside the span of the formulas so far.
    Returns:
        Coefficients (D,) and sine; None if the combination is not in the learned span.
    """
    total = search.total
    cost = search.off / search.limit**2 + _TIE * total
    # Some combinations have no gradient, such as x^2/r^2 + y^2/r^2: keep the cost positive.
    cost += 1e-11 * np.trace(cost) * np.eye(len(cost))
    row = competing(
        most_gain(new, cost), cost, new, np.diag(total), lambda own: _PRICE * float(own @ total @ own)
    )
    return _sparsest(row, search)


def _few_terms(search: Search) -> list[tuple[np.ndarray, float]]:
    """Return all combinations of up to three terms within the limit, and their sines.

    If a combination is within the limit, no combination with its terms and further ones is returned.
    """
    total, off, limit = search.total, search.off, search.limit
    found: list[tuple[np.ndarray, float]] = []
    supports: list[set[int]] = []
    for size in range(1, 4):
        if math.comb(len(total), size) > _MOST_SUPPORTS:
            break
        every = np.array(list(itertools.combinations(range(len(total)), size)))
        here, apart = (part[every[:, :, None], every[:, None, :]] for part in (total, off))
        # Linearly dependent terms would make this matrix singular.
        root = np.linalg.inv(np.linalg.cholesky(here + 1e-9 * np.eye(size)))
        squares, columns = np.linalg.eigh(root @ apart @ np.swapaxes(root, 1, 2))
        for i in np.flatnonzero(squares[:, 0] <= limit**2):
            if not any(known <= set(every[i]) for known in supports):
                row = np.zeros(len(total))
                row[every[i]] = columns[i, :, 0] @ root[i]
                found.append((row, float(np.sqrt(max(squares[i, 0], 0.0)))))
        supports = [set(np.flatnonzero(row)) for row, _ in found]
    return found


def _sparsest(row: np.ndarray, search: Search) -> tuple[np.ndarray, float] | None:
    """Return the combination of the fewest largest terms of a row within the limit, and its sine.

    None if more than `_MOST_TERMS` terms are needed.
    """
    total, off, limit = search.total, search.off, search.limit
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
    """Return the row (D,) divided by the coefficient of its largest term."""
    return row / row[np.argmax(np.abs(row * size))]


def _rounded(row: np.ndarray, size: np.ndarray, reach: float) -> list[np.ndarray]:
    """Return two rows (D,) with coefficients rounded to multiples of 1/2, the second without rounding to 0.

    Args:
        row: coefficients (D,).
        size: sizes (D,) of the terms.
        reach: largest change of a term, relative to the largest term.
    """
    halves = np.round(2 * row) / 2
    near = np.abs(halves - row) * size <= reach * np.max(np.abs(row * size))
    return [np.where(near, halves, row), np.where(near & (halves != 0), halves, row)]
