"""The report: what is conserved, how sure that is, and which algebra it makes. One class for every family."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import scipy.linalg

from noethers_razor._types import ArrayLike
from noethers_razor.errors import UsageError
from noethers_razor.mechanics.phase_space import symplectic_form
from noethers_razor.symmetry import report_text
from noethers_razor.symmetry.algebra.structure import Algebra
from noethers_razor.symmetry.dictionary import Formula
from noethers_razor.symmetry.formulas import latex, symbolic_form
from noethers_razor.symmetry.span import Span
from noethers_razor.symmetry.uncertainty import Uncertainty


@dataclasses.dataclass(frozen=True)
class QuadraticDetails:
    """What a report knows of quantities that are all quadratic.

    Args:
        span: all learned quantities by size, in the frame.
        form, linear: selected quantities (rank, M, M), (rank, M), data units.
        algebra: closure, structure constants and invariants.
        readable_forms: (A, b) of the formulas, data units, in the coordinates ``readable_names``.
        readable_names: names of these coordinates, which may be relative to ``readable_centre``.
        readable_centre: (M,), data units.
    """

    span: Span
    form: np.ndarray
    linear: np.ndarray
    algebra: Algebra
    readable_forms: list[tuple[np.ndarray, np.ndarray]]
    readable_names: list[str]
    readable_centre: np.ndarray


@dataclasses.dataclass(frozen=True)
class TruthComparison:
    """A comparison with known conserved quantities.

    Args:
        angles: degrees of each true quantity to the learned span. For non-quadratic quantities: median over
            states of the angle of its gradient to the gradients of the learned ones and of H.
        largest_angle: largest of them, and of the learned quantities to the true span.
        parallelness: (rank,) of the selected quantities (paper, section 5.1); None if not quadratic.
        parallelness_all: (K,) of all learned quantities; None if not quadratic.
        conservation_defect: bracket defect with the true H; None if not quadratic, or without a true H.
    """

    angles: dict[str, float]
    largest_angle: float
    parallelness: np.ndarray | None = None
    parallelness_all: np.ndarray | None = None
    conservation_defect: float | None = None


@dataclasses.dataclass(frozen=True, repr=False)
class SymmetryReport:
    """Conserved quantities of a fit.

    Args:
        singular_values: (K,) root-mean-square displacement per unit tau, largest first.
        rank: number of selected quantities. If some are not quadratic: of those that are functionally
            independent of each other and of H.
        combinations: (K, used) of the quantities of the fit, those in use: their values are
            ``result.conserved(x) @ combinations``. None if all are quadratic.
        defects: (used,) bracket defect of each: median over held-out states of |{C, H}| / (|grad C| |grad H|)
            with the model's H, gradients in the frame.
        formulas: readable basis of the quantities.
        found: the formulas of non-quadratic quantities with their sines; None if all are quadratic.
        functions: what the tests of drift say of functions that are not quadratic, see `FunctionTest`, as
            JSON values; None if they were not tested.
        coordinates: names of the M coordinates.
        bounds: -ELBO per transition of the family and of no symmetry, with standard errors.
        answer: what the trajectories alone show, see `answer_sheet`, as JSON values; None if they were not
            asked.
        judgements: the sets of quantities that model selection compared.
        seeds: what fits from several seeds found, the best bound first, see `fit`; may be empty.
        uncertainty: from the trajectories; None without a quantity, or without trajectories.
        warnings: what to keep in mind when reading the report.
        quadratic: span, algebra and forms; None if some quantities are not quadratic.
        truth: comparison with known quantities, or None.
    """

    singular_values: np.ndarray
    rank: int
    defects: np.ndarray
    formulas: list[str]
    coordinates: list[str]
    bounds: dict[str, Any]
    answer: dict[str, Any] | None
    judgements: list[dict[str, Any]]
    seeds: list[dict[str, Any]]
    uncertainty: Uncertainty | None
    warnings: list[str]
    combinations: np.ndarray | None = None
    found: list[Formula] | None = None
    functions: dict[str, Any] | None = None
    quadratic: QuadraticDetails | None = None
    truth: TruthComparison | None = None

    @property
    def used(self) -> int:
        """Number of quantities in use."""
        return len(self.defects)

    @property
    def conservation_defect(self) -> float | None:
        """Median bracket defect of the quantities in use; None without one."""
        return float(np.median(self.defects)) if self.used else None

    @property
    def worst_defect(self) -> float | None:
        """Largest bracket defect of a quantity in use; None without one."""
        return float(np.max(self.defects)) if self.used else None

    @property
    def algebra(self) -> str | None:
        """Name of the algebra; None when it is not identified, or some quantities are not quadratic."""
        return None if self.quadratic is None else self.quadratic.algebra.name

    @property
    def gap(self) -> float | None:
        """Ratio of the last singular value in use to the first one that is not; None if unknown."""
        return None if self.quadratic is None else self.quadratic.span.gap

    @property
    def largest_angle(self) -> float | None:
        """Largest angle to the true span in degrees; None without a truth."""
        return None if self.truth is None else self.truth.largest_angle

    @property
    def truth_angles(self) -> dict[str, float] | None:
        """Angle of each true quantity in degrees; None without a truth."""
        return None if self.truth is None else self.truth.angles

    @property
    def parallelness(self) -> np.ndarray | None:
        """(rank,) parallelness of the selected quantities; None without a truth, or if not quadratic."""
        return None if self.truth is None else self.truth.parallelness

    @property
    def true_conservation_defect(self) -> float | None:
        """Median bracket defect with the true H; None without one, or if not quadratic."""
        return None if self.truth is None else self.truth.conservation_defect

    def _quadratic_only(self, what: str) -> QuadraticDetails:
        if self.quadratic is None:
            raise UsageError(
                f"{what} is of quadratic quantities, and this fit has others; "
                f"use result.generators, result.flow or result.conserved"
            )
        return self.quadratic

    @property
    def span(self) -> Span:
        """All learned quantities by size. Raises `UsageError` if some are not quadratic."""
        return self._quadratic_only("report.span").span

    @property
    def form(self) -> np.ndarray:
        """A (rank, M, M) in data units. Raises `UsageError` if some quantities are not quadratic."""
        return self._quadratic_only("report.form").form

    @property
    def linear(self) -> np.ndarray:
        """b (rank, M) in data units. Raises `UsageError` if some quantities are not quadratic."""
        return self._quadratic_only("report.linear").linear

    @property
    def algebra_detail(self) -> Algebra:
        """Closure, structure constants, invariants. Raises `UsageError` if some are not quadratic."""
        return self._quadratic_only("report.algebra_detail").algebra

    @property
    def readable_forms(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(A, b) of the formulas. Raises `UsageError` if some quantities are not quadratic."""
        return self._quadratic_only("report.readable_forms").readable_forms

    @property
    def readable_names(self) -> list[str]:
        """Coordinates of the formulas. Raises `UsageError` if some quantities are not quadratic."""
        return self._quadratic_only("report.readable_names").readable_names

    @property
    def readable_centre(self) -> np.ndarray:
        """(M,), centre of the formulas. Raises `UsageError` if some quantities are not quadratic."""
        return self._quadratic_only("report.readable_centre").readable_centre

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values, finite numbers only. The keys are the same for every family."""
        quadratic, truth = self.quadratic, self.truth
        algebra = None if quadratic is None else quadratic.algebra
        completion = None if algebra is None else algebra.completion
        return {
            "rank": self.rank,
            "used": self.used,
            "singular_values": [float(v) for v in self.singular_values],
            "gap": self.gap,
            "algebra": self.algebra,
            "dimension": None if algebra is None else algebra.dimension,
            "closure_defect": None if algebra is None else algebra.closure_defect,
            "invariants": None if algebra is None else algebra.invariants.as_json(),
            "completion": None
            if completion is None
            else {"algebra": completion.name, "dimension": completion.dimension},
            "conservation_defect": self.conservation_defect,
            "worst_conservation_defect": self.worst_defect,
            "conservation_defects": [float(v) for v in self.defects],
            "formulas": self.formulas,
            "formula_sines": None if self.found is None else [f.sine for f in self.found],
            "quadratic_forms": None
            if quadratic is None
            else [
                {"form": a.tolist(), "linear": b.tolist()}
                for a, b in zip(quadratic.form, quadratic.linear, strict=True)
            ],
            "bounds": self.bounds,
            "resolution": None if self.answer is None else self.answer["resolution"],
            "approximate": [] if self.answer is None else self.answer["approximate"],
            "cannot_tell": [] if self.answer is None else self.answer["cannot_tell"],
            "diagnosis": None if self.answer is None else self.answer.get("diagnosis"),
            "log_evidence": [] if self.answer is None else self.answer.get("log_evidence", []),
            "answer": self.answer,
            "functions": self.functions,
            "judgements": self.judgements,
            "seeds": self.seeds,
            "uncertainty": None if self.uncertainty is None else self.uncertainty.as_json(),
            "warnings": self.warnings,
            "parallelness": _plain(None if truth is None else truth.parallelness),
            "parallelness_all": _plain(None if truth is None else truth.parallelness_all),
            "largest_angle": self.largest_angle,
            "truth_angles": self.truth_angles,
            "true_conservation_defect": self.true_conservation_defect,
        }

    def expressions(self) -> list[Any]:
        """Return the formulas as SymPy expressions in the user's coordinates.

        Raises:
            UsageError: when SymPy is not installed, or names of coordinates are not identifiers.
        """
        if self.quadratic is None:
            return [formula.expression(self.coordinates) for formula in self.found or []]
        centre = self.quadratic.readable_centre
        return [symbolic_form(*own, self.coordinates, centre) for own in self.quadratic.readable_forms]

    def generators(self, x: ArrayLike) -> np.ndarray:
        """Return fields J grad C (rank, ..., M) of the readable quantities at states (..., M), data units.

        Raises:
            UsageError: if some quantities are not quadratic.
        """
        own = self._quadratic_only("report.generators")
        moved = np.asarray(x, np.float64) - own.readable_centre
        gradients = [moved @ form + linear for form, linear in own.readable_forms]
        return np.reshape(gradients, (len(gradients), *moved.shape)) @ symplectic_form(moved.shape[-1]).T

    def flow(self, x: ArrayLike, tau: ArrayLike) -> np.ndarray:
        """Return states (rank, T, M) along the exact flow of each readable quantity.

        Args:
            x: start (M,), data units.
            tau: flow times (T,).
        Raises:
            UsageError: if some quantities are not quadratic.
        """
        own = self._quadratic_only("report.flow")
        moved = np.append(np.asarray(x, np.float64) - own.readable_centre, 1.0)
        times = np.atleast_1d(np.asarray(tau, np.float64))[:, None, None]
        paths = []
        for form, linear in own.readable_forms:
            generator = np.zeros((len(moved), len(moved)))
            generator[:-1] = symplectic_form(len(linear)) @ np.hstack([form, linear[:, None]])
            paths.append((scipy.linalg.expm(times * generator) @ moved)[:, :-1] + own.readable_centre)
        return np.reshape(paths, (len(paths), len(times), len(moved) - 1))

    def plot(self) -> Any:
        """Return a figure of singular values and, with a truth, parallelness (paper, figure 3)."""
        from noethers_razor import plot

        parallel = None if self.truth is None else self.truth.parallelness_all
        return plot.spectrum(self.singular_values, self.used, parallel)

    def _repr_html_(self) -> str:
        return report_text.html_of(self)

    def _repr_latex_(self) -> str | None:
        """The formulas as notebooks show them."""
        try:
            return latex(self.expressions())
        except UsageError:
            return None

    def __repr__(self) -> str:
        return f"SymmetryReport({str(self).splitlines()[0]})"

    def __str__(self) -> str:
        return "\n".join(report_text.lines(self))


def _plain(values: np.ndarray | None) -> list[float] | None:
    return None if values is None else [float(v) for v in values]
