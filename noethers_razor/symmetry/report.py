"""The answer sheet: what is conserved, how sure, which algebra; the same object for text and JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import scipy.linalg

from noethers_razor._types import ArrayLike
from noethers_razor.data.frame import Frame
from noethers_razor.errors import UsageError
from noethers_razor.mechanics.phase_space import bracket_defect, symplectic_form
from noethers_razor.mechanics.quadratic_form import QuadraticForm, embed, largest_count, stack_forms
from noethers_razor.numerics.subspaces import angles_of, largest_angle, parallelness
from noethers_razor.symmetry.algebra.structure import Algebra, analyse
from noethers_razor.symmetry.formulas import (
    form_of,
    latex,
    monomial_weights,
    readable,
    shifted,
    symbolic_form,
)
from noethers_razor.symmetry.function_report import FunctionReport, find_functions
from noethers_razor.symmetry.sheet import Fitted, bound_lines, html_of, numbers, true_gradient, warnings_of
from noethers_razor.symmetry.span import Span, span_of
from noethers_razor.symmetry.uncertainty import Uncertainty, uncertainty_of_span

_defects = jax.jit(bracket_defect)

Truth = Mapping[str, QuadraticForm] | Callable[[], Mapping[str, QuadraticForm]]


@dataclasses.dataclass(frozen=True, repr=False)
class SymmetryReport:
    """Conserved quantities of a fit.

    Args:
        span: all learned quantities by size, in the frame.
        form, linear: accepted quantities (rank, M, M), (rank, M), data units.
        algebra_detail: closure, structure constants and invariants.
        formulas, readable_forms: a readable basis of the accepted span, and its (A, b), data units, in the
            coordinates of readable_names: what is far from zero is about its readable_centre.
        conservation_defect: median over quantities and held-out states of |{C, H}| / (|grad C| |grad H|)
            with the model's H, gradients in the frame; worst_defect: of the worst quantity.
        bounds: -ELBO per transition of the alternatives, with standard errors.
        judgements: sets of quantities that the bound was asked about.
        seeds: what fits from several seeds found, the best bound first, see `fit_seeds`; may be empty.
        uncertainty: posterior of the span; None without a quantity, or without trajectories.
        parallelness, largest_angle, truth_angles, true_conservation_defect: with ground truth, or None.
        warnings: what to keep in mind when reading this.
    """

    span: Span
    form: np.ndarray
    linear: np.ndarray
    algebra_detail: Algebra
    formulas: list[str]
    readable_forms: list[tuple[np.ndarray, np.ndarray]]
    readable_names: list[str]
    readable_centre: np.ndarray
    coordinates: list[str]
    conservation_defect: float | None
    worst_defect: float | None
    bounds: dict[str, Any]
    judgements: list[dict[str, Any]]
    seeds: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    uncertainty: Uncertainty | None = None
    parallelness: np.ndarray | None = None
    parallelness_all: np.ndarray | None = None
    largest_angle: float | None = None
    truth_angles: dict[str, float] | None = None
    true_conservation_defect: float | None = None
    warnings: list[str] = dataclasses.field(default_factory=list)

    @property
    def rank(self) -> int:
        """Number of accepted conserved quantities, constants aside."""
        return self.span.rank

    @property
    def algebra(self) -> str | None:
        """Name of the algebra, or None when it is not identified."""
        return self.algebra_detail.name

    @property
    def singular_values(self) -> np.ndarray:
        """(K,), largest first."""
        return self.span.singular_values

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, finite numbers only."""
        completion = self.algebra_detail.completion
        out: dict[str, Any] = {
            "rank": self.rank,
            "singular_values": [float(v) for v in self.singular_values],
            "gap": self.span.gap,
            "algebra": self.algebra,
            "dimension": self.algebra_detail.dimension,
            "closure_defect": self.algebra_detail.closure_defect,
            "invariants": self.algebra_detail.invariants.as_json(),
            "completion": None
            if completion is None
            else {"algebra": completion.name, "dimension": completion.dimension},
            "conservation_defect": self.conservation_defect,
            "worst_conservation_defect": self.worst_defect,
            "formulas": self.formulas,
            "quadratic_forms": [
                {"form": a.tolist(), "linear": b.tolist()}
                for a, b in zip(self.form, self.linear, strict=True)
            ],
            "bounds": self.bounds,
            "judgements": self.judgements,
            "seeds": self.seeds,
            "uncertainty": None if self.uncertainty is None else self.uncertainty.as_json(),
            "warnings": self.warnings,
        }
        if self.parallelness is not None and self.parallelness_all is not None:
            out["parallelness"] = [float(v) for v in self.parallelness]
            out["parallelness_all"] = [float(v) for v in self.parallelness_all]
            out["largest_angle"] = self.largest_angle
            out["truth_angles"] = self.truth_angles
            out["true_conservation_defect"] = self.true_conservation_defect
        return out

    def expressions(self) -> list[Any]:
        """The formulas as SymPy expressions in the user's coordinates.

        Raises:
            UsageError: without SymPy.
        """
        centre = self.readable_centre
        return [symbolic_form(*own, self.coordinates, centre) for own in self.readable_forms]

    def generators(self, x: ArrayLike) -> np.ndarray:
        """Fields J grad C of the readable quantities at states (..., M), data units: (rank, ..., M)."""
        moved = np.asarray(x, np.float64) - self.readable_centre
        gradients = [moved @ form + linear for form, linear in self.readable_forms]
        return np.reshape(gradients, (len(gradients), *moved.shape)) @ symplectic_form(moved.shape[-1]).T

    def flow(self, x: ArrayLike, tau: ArrayLike) -> np.ndarray:
        """States (rank, T, M) at flow times (T,) along each readable quantity from a state (M,); exact."""
        moved = np.append(np.asarray(x, np.float64) - self.readable_centre, 1.0)
        times = np.atleast_1d(np.asarray(tau, np.float64))[:, None, None]
        paths = []
        for form, linear in self.readable_forms:
            generator = np.zeros((len(moved), len(moved)))
            generator[:-1] = symplectic_form(len(linear)) @ np.hstack([form, linear[:, None]])
            paths.append((scipy.linalg.expm(times * generator) @ moved)[:, :-1] + self.readable_centre)
        return np.reshape(paths, (len(paths), len(times), len(moved) - 1))

    def _repr_html_(self) -> str:
        return html_of(self)

    def _repr_latex_(self) -> str | None:
        """The formulas as notebooks show them."""
        try:
            return latex(self.expressions())
        except UsageError:
            return None

    def plot(self) -> Any:
        """Figure of singular values and, with truth, parallelness (paper, figure 3)."""
        from noethers_razor import plot

        return plot.spectrum(self.singular_values, self.rank, self.parallelness_all)

    def __repr__(self) -> str:
        return f"SymmetryReport({str(self).splitlines()[0]})"

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def _lines(report: SymmetryReport) -> list[str]:
    name = report.algebra or "not identified"
    noun = "quantity" if report.rank == 1 else "quantities"
    lines = [f"{report.rank} conserved {noun}; algebra {name}"]
    if report.rank:
        lines[0] += f", closed to {100 * report.algebra_detail.closure_defect:.2g} %"
        if report.uncertainty is not None and report.uncertainty.names:
            names = report.uncertainty.names
            lines[0] += f", in {names.get(name, 0)} of {sum(names.values())} draws of the data"
        lines += _about_algebra(report.algebra_detail)
    values, rank = report.singular_values, report.rank
    if len(values):
        lines.append(f"singular values  {numbers(values[:rank])} | {numbers(values[rank:])}".rstrip(" |"))
    if report.span.gap is not None:
        lines.append(f"gap              {report.span.gap:.3g}")
    if report.parallelness is not None and report.largest_angle is not None:
        lines.append(f"parallelness     {' '.join(f'{v:.4f}' for v in report.parallelness)}")
        lines.append(f"largest angle    {report.largest_angle:.3g} degrees to the true span, both ways")
    if report.conservation_defect is not None:
        defects = f"{report.conservation_defect:.2g}, worst {report.worst_defect:.2g}"
        lines.append(f"defect of {{C,H}}  {defects} (model's H)")
    if report.true_conservation_defect is not None:
        lines.append(f"                 {report.true_conservation_defect:.2g} (true H)")
    if report.uncertainty is not None:
        lines += report.uncertainty.lines()
    lines += bound_lines(report.bounds, report.seeds, report.rank)
    for i, formula in enumerate(report.formulas):
        lines.append(f"C{i + 1:<3} = {formula}")
    return lines + [f"warning: {text}" for text in report.warnings]


def _about_algebra(algebra: Algebra) -> list[str]:
    """Invariants of an algebra that has no name, and what would close an open span."""
    found, lines = algebra.invariants, []
    if found.name is None:
        lines.append(f"not identified   {found.open}")
        if found.derived:
            series = " ".join(map(str, found.derived))
            signs = "" if found.signature is None else ", Killing form +{} -{} 0:{}".format(*found.signature)
            lines.append(f"invariants       centre {found.centre}, derived series {series}{signs}")
    if (closed := algebra.completion) is not None:
        name = f", {closed.name}" if closed.name else ""
        lines.append(
            f"completion       with the brackets that leave the span: dimension {closed.dimension}{name}"
        )
    return lines


def named_truth(truth: Truth | Any) -> Mapping[str, QuadraticForm]:
    """Ground truth from a mapping, a system, or its ``conserved`` method."""
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
    """Median defect over states of each quantity (K,), with gradients in the frame: free of units."""
    own = np.einsum("kij,bj->kbi", form, states) + linear[:, None]
    back = frame.inverse
    return np.median(np.asarray(_defects(own @ back, (gradient @ back)[None])), axis=1)


def find_symmetries(
    result: Fitted, truth: Truth | Any | None = None, *, terms: Sequence[str] | None = None
) -> SymmetryReport | FunctionReport:
    """The conserved quantities of a fit: quadratic forms, or functions.

    Args:
        result: a fitted model, see `Fitted`.
        truth: a system, its ``conserved`` method, or named quadratic forms in data units; optional.
        terms: further terms of the dictionary that formulas of functions are read from.
    Raises:
        UsageError: when the truth belongs to another phase space.
    """
    return _find_forms(result, truth) if result.is_quadratic else find_functions(result, truth, terms=terms)


def _find_forms(result: Fitted, truth: Truth | Any | None) -> SymmetryReport:
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
        unsure = uncertainty_of_span(span.vectors[:rank], result.moment, result.trajectories)
    known = None if unsure is None or unsure.angle is None else float(unsure.angle[-1])

    def is_open(row: np.ndarray) -> bool:
        a, b = form_of(row, frame.dim)
        inner = embed(*frame.quadratic_into(a[None], (b - a @ shift)[None]), result.moment)
        return known is None or bool(angles_of(inner, span.vectors[:rank])[0] <= known)

    basis = readable(form, moved, names, monomial_weights(near), defect, is_open)
    defects = _median_defects(form, linear, states, gradient, frame)
    report = SymmetryReport(
        span=span,
        form=form,
        linear=linear,
        algebra_detail=algebra,
        formulas=[text for text, _ in basis],
        readable_forms=[form_of(row, frame.dim) for _, row in basis],
        readable_names=names,
        readable_centre=shift,
        coordinates=list(result.coordinates),
        conservation_defect=float(np.median(defects)) if rank else None,
        worst_defect=float(np.max(defects)) if rank else None,
        bounds=result.evidence.get("bounds", {}),
        judgements=result.evidence.get("judgements", []),
        seeds=result.evidence.get("seeds", []),
        uncertainty=unsure,
        warnings=[
            *warnings_of(result, rank),
            *(unsure.warnings() if unsure else []),
            *_all_used(result, span),
        ],
    )
    return report if truth is None else _with_truth(report, result, truth)


def _all_used(result: Fitted, span: Span) -> list[str]:
    """That more quantities might have been found had more been looked for."""
    offered = len(span.singular_values)
    if result.trajectories is None or span.rank < offered or offered == largest_count(result.frame.dim):
        return []
    return [f"all {offered} quantities that were looked for are there: look for more with --conserved"]


def _with_truth(report: SymmetryReport, result: Fitted, truth: Any) -> SymmetryReport:
    named, dim = named_truth(truth), result.frame.dim
    form, linear = stack_forms(named) if named else (np.zeros((0, dim, dim)), np.zeros((0, dim)))
    if form.shape[-1] != dim:
        raise UsageError(
            f"the truth lives on phase space of dimension {form.shape[-1]}, the fit on {dim}; "
            "give the sizes of the system that made the data"
        )
    rows = embed(*result.frame.quadratic_into(form, linear), result.moment)
    span, rank, states = report.span, report.rank, np.asarray(result.states, np.float64)
    gradient = true_gradient(truth, states)
    angles = angles_of(rows, span.vectors[:rank]) if rank else np.full(len(rows), 90.0)
    return dataclasses.replace(
        report,
        parallelness=parallelness(span.vectors[:rank], rows),
        parallelness_all=parallelness(span.vectors, rows),
        # Nothing found where there is nothing is no error.
        largest_angle=largest_angle(span.vectors[:rank], rows) if rank else 90.0 * bool(named),
        truth_angles={name: float(a) for name, a in zip(named, angles, strict=True)},
        true_conservation_defect=(
            None
            if gradient is None or not rank
            else float(np.median(_median_defects(report.form, report.linear, states, gradient, result.frame)))
        ),
    )
