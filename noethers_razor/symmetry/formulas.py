"""Readable formulas: a sparse basis of the span, coefficients rounded where the evidence allows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from noethers_razor.numerics.expressions import require_sympy, symbols

_LARGEST_DENOMINATOR = 4
_ROUNDING = 0.03
"""A term this close to one with a rational coefficient, relative to the largest, may be rounded to it."""
_NEGLIGIBLE = 0.02
"""A term below this share of the largest may be dropped."""


def coefficients(form: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """Monomial coefficients of x'Ax/2 + b'x: x_i x_j for i <= j row by row, then x_i; (K, D)."""
    rows, columns = np.triu_indices(form.shape[-1])
    factor = np.where(rows == columns, 0.5, 1.0)
    return np.concatenate([form[:, rows, columns] * factor, linear], axis=1)


def form_of(row: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """A (M, M) and b (M,) of monomial coefficients (D,), the inverse of `coefficients`."""
    rows, columns = np.triu_indices(dim)
    half = np.zeros((dim, dim))
    half[rows, columns] = row[: len(rows)]
    return half + half.T, row[len(rows) :]


def monomials(names: Sequence[str]) -> list[str]:
    """Names of the monomials in the order of `coefficients`."""
    rows, columns = np.triu_indices(len(names))
    pairs = [
        f"{names[i]}^2" if i == j else f"{names[i]}*{names[j]}"
        for i, j in zip(rows.tolist(), columns.tolist(), strict=True)
    ]
    return pairs + list(names)


def monomial_weights(states: np.ndarray) -> np.ndarray:
    """Standard deviation (D,) of each monomial over states (B, M): what a coefficient of 1 is worth."""
    rows, columns = np.triu_indices(states.shape[-1])
    values = np.concatenate([states[:, rows] * states[:, columns], states], axis=1)
    weights = values.std(axis=0)
    return np.maximum(weights, 1e-12 * weights.max())


def shifted(
    linear: np.ndarray, form: np.ndarray, states: np.ndarray, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The same quantities about a far-off centre: linear parts (r, M), the shift (M,), names.

    Coordinates whose mean is within two spreads of zero are left alone.
    """
    centre, spread = states.mean(axis=0), states.std(axis=0)
    shift = np.array([float(f"{c:.3g}") for c in centre]) * (np.abs(centre) > 2 * spread)
    called = [
        name if not by else f"({name} {'-' if by > 0 else '+'} {abs(by):g})"
        for name, by in zip(names, shift, strict=True)
    ]
    return linear + form @ shift, shift, called


def sparse_basis(rows: np.ndarray) -> np.ndarray:
    """Reduced row echelon form of (r, D) with the largest pivots first: the same span, many zeros."""
    matrix = rows / np.abs(rows).max() if rows.size else rows.copy()
    for r in range(len(matrix)):
        rest = np.abs(matrix[r:])
        i, j = divmod(int(np.argmax(rest)), rest.shape[1])
        matrix[[r, r + i]] = matrix[[r + i, r]]
        matrix[r] = matrix[r] / matrix[r, j]
        others = np.arange(len(matrix)) != r
        matrix[others] = matrix[others] - np.outer(matrix[others, j], matrix[r])
    return matrix


def _rounded(row: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Coefficients near small rationals made equal to them; the largest term is 1 already."""
    out = row.copy()
    largest = np.max(np.abs(row) * weights)
    for i, value in enumerate(row):
        near = float(Fraction(float(value)).limit_denominator(_LARGEST_DENOMINATOR))
        if abs(near - value) * weights[i] <= _ROUNDING * largest:
            out[i] = near
    return out


def _simplest(
    row: np.ndarray,
    weights: np.ndarray,
    defect: Callable[[np.ndarray], float],
    is_open: Callable[[np.ndarray], bool],
) -> np.ndarray:
    """Rounded, small terms dropped, as far as the data leave it open and the defect stays what it was."""
    size = np.abs(row) * weights
    short = np.where(size < _NEGLIGIBLE * size.max(), 0.0, row)
    limit = 1.5 * defect(row) + 1e-3
    for candidate in (_rounded(short, weights), short, _rounded(row, weights)):
        if candidate.any() and is_open(candidate) and defect(candidate) <= limit:
            return candidate
    return row


def text_of(row: np.ndarray, names: Sequence[str]) -> str:
    """A sum of coefficients (D,) times named terms."""
    parts: list[str] = []
    for value, name in zip(row, names, strict=True):
        if value == 0:
            continue
        digits = f"{abs(value):.3g}"
        size = "" if digits == "1" else f"{digits}*"
        sign = "-" if value < 0 else "+"
        parts.append(f"{sign} {size}{name}" if parts else f"{'-' if value < 0 else ''}{size}{name}")
    return " ".join(parts)


def _number(value: float) -> Any:
    """For SymPy: rational where rounding made it a small fraction."""
    sympy = require_sympy()
    near = Fraction(float(value)).limit_denominator(_LARGEST_DENOMINATOR)
    exact = abs(float(near) - value) <= 1e-9 * abs(value)
    return sympy.Rational(near.numerator, near.denominator) if exact else sympy.Float(float(value))


def symbolic_sum(row: np.ndarray, terms: Sequence[Any]) -> Any:
    """The SymPy sum of coefficients (D,) times terms."""
    return require_sympy().Add(*(_number(c) * term for c, term in zip(row, terms, strict=True) if c))


def symbolic_form(form: np.ndarray, linear: np.ndarray, names: Sequence[str], centre: np.ndarray) -> Any:
    """The SymPy expression of x'Ax/2 + b'x about a centre (M,), in symbols of these names.

    Raises:
        UsageError: without SymPy.
    """
    moved = [symbol - _number(c) for symbol, c in zip(symbols(names), centre, strict=True)]
    rows, columns = np.triu_indices(len(names))
    terms = [moved[i] * moved[j] for i, j in zip(rows.tolist(), columns.tolist(), strict=True)] + moved
    return symbolic_sum(coefficients(form[None], linear[None])[0], terms)


def latex(expressions: Sequence[Any]) -> str | None:
    """Named lines for a notebook; None without an expression."""
    written = require_sympy().latex
    lines = [f"C_{{{i + 1}}} &= {written(e)}" for i, e in enumerate(expressions)]
    return "$$\\begin{aligned}" + r" \\ ".join(lines) + "\\end{aligned}$$" if lines else None


def readable(
    form: np.ndarray,
    linear: np.ndarray,
    names: Sequence[str],
    weights: np.ndarray,
    defect: Callable[[np.ndarray], float],
    is_open: Callable[[np.ndarray], bool],
) -> list[tuple[str, np.ndarray]]:
    """Formulas of a basis of the span of (r, M, M), (r, M), with their coefficients.

    What is printed is what was tested: coefficients are rounded and terms dropped only where the
    conservation defect stays what it was, and the data leave open whether that is so.

    Args:
        names: of the M coordinates.
        weights: (D,), see `monomial_weights`; a span does not depend on units, so neither do pivots.
        defect: of monomial coefficients (D,), the conservation defect on held-out states.
        is_open: whether monomial coefficients (D,) are as near to the span as it is known.
    """
    if len(form) == 0:
        return []
    lines = []
    labels = monomials(names)
    for scaled in sparse_basis(coefficients(form, linear) * weights):
        row = scaled / weights
        row = row / row[np.argmax(np.abs(scaled))]
        chosen = _simplest(row, weights, defect, is_open)
        first = np.argmax(chosen != 0)
        chosen = chosen * (-1.0 if chosen[first] < 0 else 1.0)
        lines.append((text_of(chosen, labels), chosen))
    return sorted(lines, key=lambda line: (line[0].count("*") + line[0].count("^"), line[0]))
