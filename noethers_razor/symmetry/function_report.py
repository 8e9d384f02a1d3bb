"""The answer sheet of conserved functions that are no quadratic forms."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Observable
from noethers_razor.conserved.proposal.constancy import least_varying
from noethers_razor.conserved.proposal.independence import independent_rank, off_span
from noethers_razor.data.frame_trajectories import thinned
from noethers_razor.errors import UsageError
from noethers_razor.mechanics.phase_space import bracket_defect
from noethers_razor.mechanics.quadratic_form import QuadraticForm, quadratic_value
from noethers_razor.symmetry.dictionary import Formula, constant_along, dictionary_of, formulas_in_span
from noethers_razor.symmetry.formulas import latex
from noethers_razor.symmetry.sheet import Fitted, bound_lines, html_of, numbers, warnings_of
from noethers_razor.symmetry.span import active_count
from noethers_razor.symmetry.uncertainty import Uncertainty, uncertainty_of

DEGREE = 3
"""Of the dictionary that formulas are read from."""
_SLOPES = 512
"""States at which gradients say what the noise makes of a function."""


@dataclasses.dataclass(frozen=True, repr=False)
class FunctionReport:
    """Conserved functions of a fit.

    Args:
        singular_values: (K,) root-mean-square displacement per unit tau, largest first.
        rank: number of quantities in use that are functionally independent of each other and of H.
        combinations: (K, used) of the quantities of the fit, those in use; their values are
            ``result.conserved(x) @ combinations``.
        defects: (used,) median over held-out states of |{C, H}| / (|grad C| |grad H|) with the model's H,
            gradients in the frame.
        found: formulas in the span of the gradients learned and of H's, constant along the trajectories and
            independent of each other.
        coordinates: their names.
        bounds, judgements, seeds, warnings: see `SymmetryReport`.
        uncertainty: of the quantities in use; None without one, or without trajectories.
        truth_angles: with ground truth, for each integral the median angle in degrees of its gradient to the
            span of the learned ones and the model's H at a state.
        largest_angle: the largest of these and of those of learned gradients to the span of the true ones.
    """

    singular_values: np.ndarray
    rank: int
    combinations: np.ndarray
    defects: np.ndarray
    found: list[Formula]
    coordinates: list[str]
    bounds: dict[str, Any]
    judgements: list[dict[str, Any]]
    seeds: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    uncertainty: Uncertainty | None = None
    truth_angles: dict[str, float] | None = None
    largest_angle: float | None = None
    warnings: list[str] = dataclasses.field(default_factory=list)

    @property
    def formulas(self) -> list[str]:
        """Texts of what was recognised."""
        return [formula.text for formula in self.found]

    @property
    def used(self) -> int:
        """Number of quantities in use."""
        return len(self.defects)

    @property
    def conservation_defect(self) -> float | None:
        """Median of the defects; None without a quantity."""
        return float(np.median(self.defects)) if self.used else None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, finite numbers only."""
        return {
            "rank": self.rank,
            "used": self.used,
            "singular_values": [float(v) for v in self.singular_values],
            "conservation_defects": [float(v) for v in self.defects],
            "formulas": [{"text": f.text, "sine": f.sine} for f in self.found],
            "truth_angles": self.truth_angles,
            "largest_angle": self.largest_angle,
            "bounds": self.bounds,
            "judgements": self.judgements,
            "seeds": self.seeds,
            "uncertainty": None if self.uncertainty is None else self.uncertainty.as_json(),
            "warnings": self.warnings,
        }

    def expressions(self) -> list[Any]:
        """The formulas as SymPy expressions in the user's coordinates.

        Raises:
            UsageError: see `Formula.expression`.
        """
        return [formula.expression(self.coordinates) for formula in self.found]

    def _repr_html_(self) -> str:
        return html_of(self)

    def _repr_latex_(self) -> str | None:
        """The formulas as notebooks show them."""
        try:
            return latex(self.expressions())
        except UsageError:
            return None

    def plot(self) -> Any:
        """Figure of singular values."""
        from noethers_razor import plot

        return plot.spectrum(self.singular_values, self.used, None)

    def __repr__(self) -> str:
        return f"FunctionReport({str(self).splitlines()[0]})"

    def __str__(self) -> str:
        noun = "function" if self.rank == 1 else "functions"
        lines = [f"{self.rank} independent conserved {noun} besides H"]
        if self.used > self.rank:
            lines[0] += (
                f", of {self.used} in use: the others are nearly functions of these and of H on the data"
            )
        values = self.singular_values
        if len(values):
            text = f"singular values  {numbers(values[: self.used])} | {numbers(values[self.used :])}"
            lines.append(text.rstrip(" |"))
        if self.used:
            lines.append(f"defects of {{C,H}} {numbers(self.defects)} (model's H)")
        for name, angle in (self.truth_angles or {}).items():
            lines.append(f"true {name:<11} {angle:.3g} degrees from the learned span, median over states")
        if self.largest_angle is not None:
            lines.append(f"largest angle    {self.largest_angle:.3g} degrees, both ways")
        if self.uncertainty is not None:
            lines += self.uncertainty.lines()
        lines += bound_lines(self.bounds, self.seeds, self.used)
        lines += [f"formula          {f.text}   (sine {f.sine:.2g})" for f in self.found]
        if self.used and not self.found:
            lines.append("formula          none recognised; name further terms with --term")
        return "\n".join(lines + [f"warning: {text}" for text in self.warnings])


def independent_count(gradients: np.ndarray, energy: np.ndarray) -> int:
    """How many of functions with gradients (B, K, M) are independent of those before them and of H (B, M)."""
    every = np.concatenate([energy[:, None], gradients], axis=1)
    size = np.sqrt(np.mean(np.sum(every**2, axis=-1), axis=0))[:, None]
    return independent_rank(every / np.maximum(size, 1e-300)) - 1


def _angles(gradients: np.ndarray, span: np.ndarray) -> list[float]:
    """Median angles in degrees, over states, of gradients (B, k, M) to the span of others (B, j, M)."""
    size = np.maximum(np.linalg.norm(gradients, axis=-1), 1e-300)
    sine = np.linalg.norm(off_span(gradients, span), axis=-1) / size
    return [float(a) for a in np.median(np.degrees(np.arcsin(np.minimum(sine, 1.0))), axis=0)]


def _integrals(truth: Any) -> dict[str, Observable]:
    """Named functions of one state, from a system, its method, or a mapping of functions or forms."""
    owner = getattr(truth, "__self__", truth)
    if hasattr(owner, "integrals"):
        return dict(owner.integrals())
    if not isinstance(truth, Mapping):
        raise UsageError(f"truth of type {type(truth).__name__}; expected a system or named functions")

    def function(value: QuadraticForm | Callable[..., Any]) -> Observable:
        if isinstance(value, QuadraticForm):
            form, linear = jnp.asarray(value.form[None]), jnp.asarray(value.linear[None])
            return lambda x: quadratic_value(form, linear, x)[0]
        return value

    return {name: function(value) for name, value in truth.items()}


def true_gradients(truth: Any, states: np.ndarray, back: np.ndarray) -> dict[str, np.ndarray]:
    """Gradients (B, M) of true integrals by name, in the frame.

    Raises:
        UsageError: when they are of another phase space.
    """
    owner = getattr(truth, "__self__", truth)
    if hasattr(owner, "dof") and 2 * owner.dof != states.shape[1]:
        raise UsageError(
            f"the truth lives on phase space of dimension {2 * owner.dof}, the fit on {states.shape[1]}; "
            "give the sizes of the system that made the data"
        )
    with jax.enable_x64(True):
        wide = jnp.asarray(states, jnp.float64)
        return {
            name: np.asarray(jax.vmap(jax.grad(integral))(wide)) @ back
            for name, integral in _integrals(truth).items()
        }


def _unsure(result: Fitted, directions: np.ndarray) -> Uncertainty | None:
    """How sure the combinations (K, r) of the learned functions are, of gradients orthonormal in the mean."""
    trajectories = result.trajectories
    if trajectories is None or not directions.shape[1]:
        return None
    states = result.frame.out_of(trajectories.states)
    gradients = np.einsum("kbi,kj->jbi", result.conserved_gradients(thinned(states, _SLOPES)), directions)
    turned = directions @ least_varying(result.conserved(states) @ directions, gradients, trajectories)[0].T
    return uncertainty_of(
        lambda x: result.conserved(result.frame.out_of(x)) @ turned, result.moment, trajectories
    )


def find_functions(
    result: Fitted, truth: Any | None = None, *, terms: Sequence[str] | None = None, degree: int = DEGREE
) -> FunctionReport:
    """The conserved functions of a fit.

    Args:
        result: a fitted model, see `Fitted`.
        truth: a system, or named functions of one state, data units; optional.
        terms: further terms of the dictionary for formulas; those of the fit when left out.
        degree: of the dictionary.
    Raises:
        UsageError: for terms that are no formulas, or a truth of another phase space.
    """
    states, back = np.asarray(result.states, np.float64), result.frame.inverse
    gradients = np.swapaxes(result.conserved_gradients(states), 0, 1)
    size = np.mean(np.sum(result.frame.into(states) ** 2, axis=1))
    flat = np.swapaxes(gradients, 0, 1).reshape(gradients.shape[1], -1)
    squares, rotation = np.linalg.eigh(flat @ flat.T / len(states) / size)
    values = np.sqrt(np.maximum(squares[::-1], 0.0))
    used = active_count(values)
    principal = np.einsum("bki,kj->bji", gradients, rotation[:, ::-1][:, :used])
    energy = np.asarray(result.state_gradients, np.float64) @ back
    with jax.enable_x64(True):
        defects = np.median(
            np.asarray(bracket_defect(jnp.asarray(principal), jnp.asarray(energy)[:, None])), axis=0
        )
    rank = independent_count(principal, energy)
    given = result.terms if terms is None else list(terms)
    dictionary = dictionary_of(result.coordinates, given, degree, states, back)
    size = np.sqrt(np.mean(np.sum(energy**2, axis=-1)))
    spanned = np.concatenate([principal, energy[:, None] / max(float(size), 1e-300)], axis=1)
    # Of 2 n - 1 integrals at most: where functions of others were learned too, the last direction is error.
    _, lengths, directions = np.linalg.svd(spanned, full_matrices=False)
    spanned = (lengths[..., None] * directions)[:, : spanned.shape[2] - 1]
    typical = float(np.median(defects)) if used else 0.0
    constant = constant_along(dictionary, result.trajectories, result.frame.out_of)
    unsure = _unsure(result, rotation[:, ::-1][:, :used] / values[:used])
    report = FunctionReport(
        singular_values=values,
        rank=rank,
        combinations=rotation[:, ::-1][:, :used],
        defects=defects,
        found=formulas_in_span(dictionary, spanned, rank + 1, typical, constant),
        coordinates=list(result.coordinates),
        bounds=result.evidence.get("bounds", {}),
        judgements=result.evidence.get("judgements", []),
        seeds=result.evidence.get("seeds", []),
        uncertainty=unsure,
        warnings=warnings_of(result, used) + (unsure.warnings() if unsure else []),
    )
    if truth is None:
        return report
    exact = true_gradients(truth, states, back)
    both = np.stack(list(exact.values()), axis=1)
    ahead = _angles(both, spanned)
    return dataclasses.replace(
        report,
        truth_angles=dict(zip(exact, ahead, strict=True)),
        largest_angle=max([*ahead, *_angles(principal, both)]),
    )
