"""Readable formulas: a sparse basis of the span, coefficients rounded where the evidence allows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

_LARGEST_DENOMINATOR = 4
_ROUNDING = 0.03
"""A coefficient this close to a small rational, relative to the largest, may be rounded to it."""
_NEGLIGIBLE = 0.02


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


def _rounded(row: np.ndarray) -> np.ndarray:
    out = row.copy()
    for i, value in enumerate(row):
        near = float(Fraction(float(value)).limit_denominator(_LARGEST_DENOMINATOR))
        if abs(near - value) <= _ROUNDING:
            out[i] = near
    return out


def _text(row: np.ndarray, names: Sequence[str]) -> str:
    parts: list[str] = []
    for value, name in zip(row, names, strict=True):
        if abs(value) < _NEGLIGIBLE:
            continue
        size = "" if abs(abs(value) - 1) < 1e-9 else f"{abs(value):.3g}*"
        sign = "-" if value < 0 else "+"
        parts.append(f"{sign} {size}{name}" if parts else f"{'-' if value < 0 else ''}{size}{name}")
    return " ".join(parts)


def readable(
    form: np.ndarray,
    linear: np.ndarray,
    names: Sequence[str],
    defect: Callable[[np.ndarray], float],
) -> list[tuple[str, np.ndarray]]:
    """Formulas of a basis of the span of (r, M, M), (r, M), in data units, with their coefficients.

    A rounded formula is printed only where rounding does not raise its defect noticeably.

    Args:
        defect: of monomial coefficients (D,), the conservation defect on held-out states.
    """
    if len(form) == 0:
        return []
    lines = []
    labels = monomials(names)
    for row in sparse_basis(coefficients(form, linear)):
        pivot = row[np.argmax(np.abs(row))]
        scaled = row / pivot
        rounded = _rounded(scaled)
        chosen = rounded if defect(rounded) <= 1.5 * defect(scaled) + 1e-3 else scaled
        first = np.argmax(np.abs(chosen) >= _NEGLIGIBLE)
        chosen = chosen * (-1.0 if chosen[first] < 0 else 1.0)
        lines.append((_text(chosen, labels), chosen))
    return sorted(lines, key=lambda line: (line[0].count("*") + line[0].count("^"), line[0]))
