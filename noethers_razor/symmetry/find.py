"""`find_symmetries`: the report of a fit, by the kind of its quantities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from noethers_razor.symmetry.fitted import Fitted
from noethers_razor.symmetry.non_quadratic_report import non_quadratic_report
from noethers_razor.symmetry.quadratic_report import Truth, quadratic_report
from noethers_razor.symmetry.report import SymmetryReport


def find_symmetries(
    result: Fitted, truth: Truth | Any | None = None, *, terms: Sequence[str] | None = None
) -> SymmetryReport:
    """Report the conserved quantities of a fit.

    Args:
        result: a fitted model, see `Fitted`.
        truth: a system, its ``conserved`` method, or named quadratic quantities in data units. For fits with
            non-quadratic quantities also named functions of one state.
        terms: further terms for the formulas of non-quadratic quantities; those of the fit by default.
    Raises:
        UsageError: when the truth belongs to another phase space, or a term is not a formula.
    """
    if result.is_quadratic:
        return quadratic_report(result, truth)
    return non_quadratic_report(result, truth, terms=terms)
