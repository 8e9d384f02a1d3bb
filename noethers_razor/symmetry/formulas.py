"""Readable formulas of quadratic quantities: a sparse basis of the span with rounded coefficients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from noethers_razor.numerics.expressions import require_sympy, symbols

_LARGEST_DENOMINATOR = 4
"""Largest denominator of a rounded coefficient."""
_ROUNDING = 0.03
"""Largest change of a term by rounding, relative to the largest term."""
_NEGLIGIBLE = 0.02
"""Size below which a term may be dropped, relative to the largest term."""


def coefficients(form: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """Return the monomial coefficients of x'Ax/2 + b'x.

    Args:
        form: symmetric matrices A (K, M, M).
        linear: vectors b (K, M).
    Returns:
        Coefficients (K, D) of x_i x_j for i <= j, row by row, then of x_i. D = M (M + 1) / 2 + M.
    """
    rows, columns = np.triu_indices(form.shape[-1])
    factor = np.where(rows == columns, 0.5, 1.0)
    return np.concatenate([form[:, rows, columns] * factor, linear], axis=1)


def form_of(row: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Return A (dim, dim) and b (dim,) of monomial coefficients (D,), the inverse of `coefficients`."""
    rows, columns = np.triu_indices(dim)
    half = np.zeros((dim, dim))
    half[rows, columns] = row[: len(rows)]
    return half + half.T, row[len(rows) :]


def monomials(names: Sequence[str]) -> list[str]:
    """Return the names (D,) of the monomials of M named coordinates, in the order of `coefficients`."""
    rows, columns = np.triu_indices(len(names))
    pairs = [
        f"{names[i]}^2" if i == j else f"{names[i]}*{names[j]}"
        for i, j in zip(rows.tolist(), columns.tolist(), strict=True)
    ]
    return pairs + list(names)


def monomial_weights(states: np.ndarray) -> np.ndarray:
    """Return the standard deviation (D,) of each monomial over states (B, M), at least 1e-12 of the largest.

    It is the typical size of a term with coefficient 1.
    """
    rows, columns = np.triu_indices(states.shape[-1])
    values = np.concatenate([states[:, rows] * states[:, columns], states], axis=1)
    weights = values.std(axis=0)
    return np.maximum(weights, 1e-12 * weights.max())


def shifted(
    linear: np.ndarray, form: np.ndarray, states: np.ndarray, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Express quantities x'Ax/2 + b'x in coordinates relative to the mean of the states.

    A coordinate is shifted only if its mean is more than two standard deviations away from zero.

    Args:
        linear: vectors b (r, M).
        form: symmetric matrices A (r, M, M).
        states: states (B, M).
        names: names of the M coordinates.
    Returns:
        Linear parts (r, M) in the shifted coordinates, the shift (M,), and the names of these coordinates.
    """
    centre, spread = states.mean(axis=0), states.std(axis=0)
    shift = np.array([float(f"{c:.3g}") for c in centre]) * (np.abs(centre) > 2 * spread)
    called = [
        name if not by else f"({name} {'-' if by > 0 else '+'} {abs(by):g})"
        for name, by in zip(names, shift, strict=True)
    ]
    return linear + form @ shift, shift, called


def sparse_basis(rows: np.ndarray) -> np.ndarray:
    """Return a basis with many zeros of the span of rows (r, D).

    It is the reduced row echelon form with the largest pivots first.
    """
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
    """Round coefficients (D,) to nearby rational numbers; the coefficient of the largest term is 1."""
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
    """Round coefficients and drop small terms, if the data and the bracket defect permit it."""
    size = np.abs(row) * weights
    short = np.where(size < _NEGLIGIBLE * size.max(), 0.0, row)
    limit = 1.5 * defect(row) + 1e-3
    for candidate in (_rounded(short, weights), short, _rounded(row, weights)):
        if candidate.any() and is_open(candidate) and defect(candidate) <= limit:
            return candidate
    return row


def text_of(row: np.ndarray, names: Sequence[str]) -> str:
    """Return the sum of coefficients (D,) times named terms as text, without zero terms."""
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
    """Return a SymPy number, rational if rounding made it a small fraction."""
    sympy = require_sympy()
    near = Fraction(float(value)).limit_denominator(_LARGEST_DENOMINATOR)
    exact = abs(float(near) - value) <= 1e-9 * abs(value)
    return sympy.Rational(near.numerator, near.denominator) if exact else sympy.Float(float(value))


def symbolic_sum(row: np.ndarray, terms: Sequence[Any]) -> Any:
    """Return the SymPy sum of coefficients (D,) times terms.

    Raises:
        UsageError: if SymPy is not installed.
    """
    return require_sympy().Add(*(_number(c) * term for c, term in zip(row, terms, strict=True) if c))


def symbolic_form(form: np.ndarray, linear: np.ndarray, names: Sequence[str], centre: np.ndarray) -> Any:
    """Return the SymPy expression of (x - c)'A(x - c)/2 + b'(x - c).

    Args:
        form: symmetric matrix A (M, M).
        linear: vector b (M,).
        names: names of the symbols x.
        centre: centre c (M,).
    Raises:
        UsageError: if SymPy is not installed.
    """
    moved = [symbol - _number(c) for symbol, c in zip(symbols(names), centre, strict=True)]
    rows, columns = np.triu_indices(len(names))
    terms = [moved[i] * moved[j] for i, j in zip(rows.tolist(), columns.tolist(), strict=True)] + moved
    return symbolic_sum(coefficients(form[None], linear[None])[0], terms)


def latex(expressions: Sequence[Any]) -> str | None:
    """Return SymPy expressions as LaTeX lines C_1, C_2, ... for a notebook; None without an expression."""
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
    """Return formulas of a basis of the span of quadratic quantities.

    Coefficients are rounded and terms are dropped only under two conditions. The bracket defect grows by at
    most half plus 1e-3, and the data permit the simpler quantity. The tested coefficients are printed.

    Args:
        form: symmetric matrices A (r, M, M) of independent quantities x'Ax/2 + b'x.
        linear: vectors b (r, M).
        names: names of the M coordinates.
        weights: typical sizes (D,) of monomials, see `monomial_weights`; pivots must not depend on units.
        defect: function of coefficients (D,) that returns the bracket defect on held-out states.
        is_open: function of coefficients (D,) that returns whether the data permit this quantity.
    Returns:
        Text and coefficients (D,) of each formula. Formulas with fewer operations come first.
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
