"""The report of quantities that are not all quadratic: independence, defects, formulas, uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Observable
from noethers_razor.conserved.proposal.independence import independent_rank, off_span
from noethers_razor.errors import UsageError
from noethers_razor.mechanics.phase_space import bracket_defect
from noethers_razor.mechanics.quadratic_form import QuadraticForm, quadratic_value
from noethers_razor.symmetry.answer_sheet import departs
from noethers_razor.symmetry.dictionary import constant_along, dictionary_of, formulas_in_span
from noethers_razor.symmetry.fitted import Fitted
from noethers_razor.symmetry.report import SymmetryReport, TruthComparison
from noethers_razor.symmetry.report_text import warnings_of
from noethers_razor.symmetry.span import IN_USE, number_in_use
from noethers_razor.symmetry.uncertainty import Uncertainty

DEGREE = 3
"""Degree of the dictionary that formulas are read from."""


def independent_count(gradients: np.ndarray, energy: np.ndarray) -> int:
    """Return how many gradients (B, K, M) are independent of those before them and of that of H (B, M)."""
    every = np.concatenate([energy[:, None], gradients], axis=1)
    size = np.sqrt(np.mean(np.sum(every**2, axis=-1), axis=0))[:, None]
    return independent_rank(every / np.maximum(size, 1e-300)) - 1


def _angles(gradients: np.ndarray, span: np.ndarray) -> list[float]:
    """Median angles in degrees, over states, of gradients (B, k, M) to the span of others (B, j, M)."""
    size = np.maximum(np.linalg.norm(gradients, axis=-1), 1e-300)
    sine = np.linalg.norm(off_span(gradients, span), axis=-1) / size
    return [float(a) for a in np.median(np.degrees(np.arcsin(np.minimum(sine, 1.0))), axis=0)]


def _integrals(truth: Any) -> dict[str, Observable]:
    """Named functions of one state, from a system, its method, or a mapping of functions or forms.

    A bound method stands for its system, so ``system.conserved`` gives all integrals.
    """
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


def gradients_of_integrals(truth: Any, states: np.ndarray, back: np.ndarray) -> dict[str, np.ndarray]:
    """Return gradients (B, M) of true integrals by name, in the frame.

    Raises:
        UsageError: when the integrals belong to another phase space.
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


def _unsure(evidence: Mapping[str, Any], used: int) -> Uncertainty | None:
    """Return which of the quantities in use are trusted; None if the trajectories were not asked."""
    tested, answer = evidence.get("functions"), evidence.get("answer")
    if tested is None or answer is None or not used:
        return None
    known = not answer["cannot_tell"] and not departs(answer) and tested["moved"] is not None
    return Uncertainty(0, np.full(used, known and np.sin(np.radians(tested["moved"])) <= IN_USE))


def non_quadratic_report(
    result: Fitted, truth: Any | None = None, *, terms: Sequence[str] | None = None, degree: int = DEGREE
) -> SymmetryReport:
    """Return the report of a fit with quantities that are not quadratic.

    Args:
        result: a fitted model, see `Fitted`.
        truth: a system, or named functions of one state, data units; optional.
        terms: further terms of the dictionary for formulas; those of the fit by default.
        degree: of the dictionary.
    Raises:
        UsageError: for terms that are not formulas, or a truth of another phase space.
    """
    states, back = np.asarray(result.states, np.float64), result.frame.inverse
    gradients = np.swapaxes(result.conserved_gradients(states), 0, 1)
    size = np.mean(np.sum(result.frame.into(states) ** 2, axis=1))
    flat = np.swapaxes(gradients, 0, 1).reshape(gradients.shape[1], -1)
    squares, rotation = np.linalg.eigh(flat @ flat.T / len(states) / size)
    values = np.sqrt(np.maximum(squares[::-1], 0.0))
    used = number_in_use(values)
    combinations = rotation[:, ::-1][:, :used]
    principal = np.einsum("bki,kj->bji", gradients, combinations)
    energy = np.asarray(result.state_gradients, np.float64) @ back
    with jax.enable_x64(True):
        defects = np.median(
            np.asarray(bracket_defect(jnp.asarray(principal), jnp.asarray(energy)[:, None])), axis=0
        )
    rank = independent_count(principal, energy)
    given = result.terms if terms is None else list(terms)
    dictionary = dictionary_of(result.coordinates, given, degree, states, back)
    spanned = _spanned(principal, energy)
    typical = float(np.median(defects)) if used else 0.0
    constant = constant_along(dictionary, result.trajectories, result.frame.out_of)
    found = formulas_in_span(dictionary, spanned, rank + 1, typical, constant)
    unsure = _unsure(result.evidence, used)
    return SymmetryReport(
        singular_values=values,
        rank=rank,
        defects=defects,
        formulas=[formula.text for formula in found],
        coordinates=list(result.coordinates),
        bounds=result.evidence.get("bounds", {}),
        answer=result.evidence.get("answer"),
        functions=result.evidence.get("functions"),
        judgements=result.evidence.get("judgements", []),
        seeds=result.evidence.get("seeds", []),
        uncertainty=unsure,
        warnings=warnings_of(result, used) + (unsure.warnings() if unsure else []),
        combinations=combinations,
        found=found,
        truth=None if truth is None else _compared(truth, states, back, principal, spanned),
    )


def _spanned(principal: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Gradients (B, j, M) that span those of learned quantities (B, K, M) and of H (B, M)."""
    size = np.sqrt(np.mean(np.sum(energy**2, axis=-1)))
    spanned = np.concatenate([principal, energy[:, None] / max(float(size), 1e-300)], axis=1)
    # There are 2 n - 1 integrals at most. If dependent quantities were learned, the last direction is error.
    _, lengths, directions = np.linalg.svd(spanned, full_matrices=False)
    return (lengths[..., None] * directions)[:, : spanned.shape[2] - 1]


def _compared(
    truth: Any, states: np.ndarray, back: np.ndarray, principal: np.ndarray, spanned: np.ndarray
) -> TruthComparison:
    exact = gradients_of_integrals(truth, states, back)
    both = np.stack(list(exact.values()), axis=1)
    ahead = _angles(both, spanned)
    return TruthComparison(
        angles=dict(zip(exact, ahead, strict=True)),
        largest_angle=max([*ahead, *_angles(principal, both)]),
    )
