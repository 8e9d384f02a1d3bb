"""The report of quadratic quantities: span, algebra, formulas, uncertainty."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from noethers_razor.data.frame import Frame
from noethers_razor.errors import UsageError
from noethers_razor.mechanics.phase_space import bracket_defect
from noethers_razor.mechanics.quadratic_form import QuadraticForm, embed, largest_count, stack_forms
from noethers_razor.numerics.subspaces import angles_of, largest_angle, parallelness
from noethers_razor.symmetry import answer_sheet
from noethers_razor.symmetry.algebra.structure import analyse
from noethers_razor.symmetry.fitted import Fitted, gradient_of_true_energy
from noethers_razor.symmetry.formulas import form_of, monomial_weights, readable, shifted
from noethers_razor.symmetry.report import QuadraticDetails, SymmetryReport, TruthComparison
from noethers_razor.symmetry.report_text import warnings_of
from noethers_razor.symmetry.span import Span, span_of
from noethers_razor.symmetry.uncertainty import uncertainty_of_span

_defects = jax.jit(bracket_defect)

Truth = Mapping[str, QuadraticForm] | Callable[[], Mapping[str, QuadraticForm]]


def named_truth(truth: Truth | Any) -> Mapping[str, QuadraticForm]:
    """Return the true quantities of a mapping, a system, or its ``conserved`` method.

    Raises:
        UsageError: for anything else.
    """
    if isinstance(truth, Mapping):
        return truth
    if hasattr(truth, "conserved"):
        truth = truth.conserved
    if not callable(truth):
        raise UsageError(
            f"truth of type {type(truth).__name__}; expected a system, its conserved method or a mapping"
        )
    return truth()


def _median_defects(
    form: np.ndarray, linear: np.ndarray, states: np.ndarray, gradient: np.ndarray, frame: Frame
) -> np.ndarray:
    """Median bracket defect over states of each quantity (K,), gradients in the frame: free of units."""
    own = np.einsum("kij,bj->kbi", form, states) + linear[:, None]
    back = frame.inverse
    return np.median(np.asarray(_defects(own @ back, (gradient @ back)[None])), axis=1)


def quadratic_report(result: Fitted, truth: Truth | Any | None = None) -> SymmetryReport:
    """Return the report of a fit whose quantities are all quadratic.

    Args:
        result: a fitted model.
        truth: a system, its ``conserved`` method, or named quadratic quantities in data units; optional.
    Raises:
        UsageError: when the truth belongs to another phase space.
    """
    frame, states = result.frame, np.asarray(result.states, np.float64)
    span = span_of(*result.quadratic_forms(), result.moment)
    rank = span.rank
    inner = span.form[:rank], span.linear[:rank]
    form, linear = frame.quadratic_out_of(*inner)
    gradient = result.state_gradients
    algebra = analyse(*inner, result.moment)
    moved, shift, names = shifted(linear, form, states, result.coordinates)
    near = states - shift

    def defect(row: np.ndarray) -> float:
        a, b = form_of(row, frame.dim)
        return float(_median_defects(a[None], b[None], near, gradient, frame)[0])

    unsure = None
    if rank and result.trajectories:
        exact = _exact(result)
        unsure = uncertainty_of_span(span.vectors[:rank], result.moment, result.trajectories, exact)
    known = None if unsure is None or unsure.angle is None else float(unsure.angle[-1])

    def is_open(row: np.ndarray) -> bool:
        a, b = form_of(row, frame.dim)
        inner = embed(*frame.quadratic_into(a[None], (b - a @ shift)[None]), result.moment)
        return known is None or bool(angles_of(inner, span.vectors[:rank])[0] <= known)

    basis = readable(form, moved, names, monomial_weights(near), defect, is_open)
    report = SymmetryReport(
        singular_values=span.singular_values,
        rank=rank,
        defects=_median_defects(form, linear, states, gradient, frame),
        formulas=[text for text, _ in basis],
        coordinates=list(result.coordinates),
        bounds=result.evidence.get("bounds", {}),
        answer=result.evidence.get("answer"),
        functions=result.evidence.get("functions"),
        judgements=result.evidence.get("judgements", []),
        seeds=result.evidence.get("seeds", []),
        uncertainty=unsure,
        warnings=[
            *warnings_of(result, rank),
            *(unsure.warnings() if unsure else []),
            *_all_used(result, span),
        ],
        quadratic=QuadraticDetails(
            span=span,
            form=form,
            linear=linear,
            algebra=algebra,
            readable_forms=[form_of(row, frame.dim) for _, row in basis],
            readable_names=names,
            readable_centre=shift,
        ),
    )
    return report if truth is None else dataclasses.replace(report, truth=_compared(report, result, truth))


def _exact(result: Fitted) -> np.ndarray | None:
    """Embedded vectors of the quantities that the trajectories show; None if they cannot tell.

    Motion that is not Hamiltonian has none: what is constant there generates no symmetry.
    """
    answer = result.evidence.get("answer")
    if answer is None or answer["cannot_tell"] or answer_sheet.departs(answer):
        return None
    dim, known = result.frame.dim, answer["quadratic_forms"]
    form = np.array([one["form"] for one in known]).reshape(-1, dim, dim)
    linear = np.array([one["linear"] for one in known]).reshape(-1, dim)
    return embed(*result.frame.quadratic_into(form, linear), result.moment)


def _all_used(result: Fitted, span: Span) -> list[str]:
    """A warning that more quantities may be found if more are looked for."""
    offered = len(span.singular_values)
    if result.trajectories is None or span.rank < offered or offered == largest_count(result.frame.dim):
        return []
    return [f"all {offered} quantities that were looked for are in use: look for more with --conserved"]


def _compared(report: SymmetryReport, result: Fitted, truth: Any) -> TruthComparison:
    named, dim = named_truth(truth), result.frame.dim
    form, linear = stack_forms(named) if named else (np.zeros((0, dim, dim)), np.zeros((0, dim)))
    if form.shape[-1] != dim:
        raise UsageError(
            f"the truth lives on phase space of dimension {form.shape[-1]}, the fit on {dim}; "
            "give the sizes of the system that made the data"
        )
    rows = embed(*result.frame.quadratic_into(form, linear), result.moment)
    span, rank, states = report.span, report.rank, np.asarray(result.states, np.float64)
    gradient = gradient_of_true_energy(truth, states)
    angles = angles_of(rows, span.vectors[:rank]) if rank else np.full(len(rows), 90.0)
    defects = (
        None
        if gradient is None or not rank
        else _median_defects(report.form, report.linear, states, gradient, result.frame)
    )
    return TruthComparison(
        angles={name: float(a) for name, a in zip(named, angles, strict=True)},
        # Nothing found where there is nothing is not an error.
        largest_angle=largest_angle(span.vectors[:rank], rows) if rank else 90.0 * bool(named),
        parallelness=parallelness(span.vectors[:rank], rows),
        parallelness_all=parallelness(span.vectors, rows),
        conservation_defect=None if defects is None else float(np.median(defects)),
    )
