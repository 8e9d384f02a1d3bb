"""The answer from trajectories alone: exact and approximate quadratic quantities, formulas, algebra.

It needs no training. `fit` gives it first, and the report of a fit repeats it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from noethers_razor.data.frame import Frame, fit_frame
from noethers_razor.data.frame_trajectories import FrameTrajectories, thinned
from noethers_razor.data.trajectories import Trajectories, coordinate_names
from noethers_razor.errors import UsageError
from noethers_razor.evidence.answer import Answer, Approximate, answer_with_field
from noethers_razor.evidence.diagnosis import Diagnosis
from noethers_razor.mechanics.quadratic_form import embed, second_moment
from noethers_razor.numerics.subspaces import angles_of
from noethers_razor.plot import markup
from noethers_razor.symmetry.algebra.structure import Algebra, analyse
from noethers_razor.symmetry.formulas import form_of, monomial_weights, readable, shifted

_STATES = 1024
"""States that set the sizes of terms."""
_ROUNDED = 0.01
"""Angle in degrees by which a rounded formula may differ where the data determine it better."""
_ROUGH = 1.0
"""The same for an approximate quantity."""
_TWO_ERRORS = 2.0
"""Standard errors within which a rate of friction is given as largest."""


@dataclasses.dataclass(frozen=True, repr=False)
class AnswerSheet:
    """Quadratic quantities that the trajectories show, in data units.

    Args:
        answer: exact and approximate quantities in the frame.
        frame: map from data units to the frame.
        algebra: algebra of the exact quantities.
        formulas: readable basis of the exact quantities.
        approximate_formulas: a formula of each approximate quantity.
    """

    answer: Answer
    frame: Frame
    algebra: Algebra
    formulas: list[str]
    approximate_formulas: list[str]

    @property
    def count(self) -> int:
        """Number of exact quantities."""
        return self.answer.count

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values, in data units."""
        answer = self.answer
        form, linear = self.frame.quadratic_out_of(answer.form, answer.linear)
        return {
            "exact": answer.count,
            "algebra": self.algebra.name if answer.count and not answer.departs else None,
            "formulas": self.formulas,
            "quadratic_forms": [
                {"form": a.tolist(), "linear": b.tolist()} for a, b in zip(form, linear, strict=True)
            ],
            "p_value": answer.p_value,
            "next_p_value": answer.next_p_value,
            "p_values": answer.p_values.tolist(),
            "variances": answer.variance.tolist(),
            "resolution": answer.resolution,
            "angle": answer.angle,
            "approximate": [
                _approximate(one, text, self.frame.time)
                for one, text in zip(answer.approximate, self.approximate_formulas, strict=True)
            ],
            "cannot_tell": list(answer.cannot_tell),
            "remarks": list(answer.remarks),
            "diagnosis": None if answer.diagnosis is None else _diagnosis(answer.diagnosis, self.frame.time),
            "log_evidence": answer.log_evidence.tolist(),
        }

    def __str__(self) -> str:
        record = self.as_json()
        text = [*diagnosis_lines(record), headline(record), *lines(record)]
        return "\n".join([*text, *(f"C{i + 1:<3} = {formula}" for i, formula in enumerate(self.formulas))])

    def __repr__(self) -> str:
        return f"AnswerSheet({headline(self.as_json())})"

    def _repr_html_(self) -> str:
        record = self.as_json()
        parts = [markup.formulas(self.formulas, None), markup.folded("the whole answer", str(self))]
        return markup.block(opening(record), parts, record["cannot_tell"])


def _approximate(one: Approximate, formula: str, unit: float) -> dict[str, Any]:
    return {
        "formula": formula,
        "breaking": one.breaking,
        "interval": list(one.interval),
        "lifetime": None if one.lifetime is None else one.lifetime * unit,
    }


def _diagnosis(found: Diagnosis, unit: float) -> dict[str, Any]:
    """Return a diagnosis as JSON values; ``unit`` is the data time of a unit of frame time."""
    rates, errors = found.friction / unit
    drift, low, high = (float(part) if np.isfinite(part) else None for part in found.energy_drift)
    if found.departure in ("friction", "driven"):
        conserved: bool | None = False
    else:
        conserved = True if found.hamiltonian else None
    return {
        "hamiltonian": found.hamiltonian,
        "nats": found.nats,
        "departure": found.departure,
        "driven": found.departure == "driven",
        "friction": [{"rate": float(r), "error": float(e)} for r, e in zip(rates, errors, strict=True)],
        "divergence": -float(rates.sum()),
        "residual": found.residual,
        "misfit": found.misfit,
        "energy": {
            "conserved": conserved,
            "drift": drift,
            "interval": [low, high],
        },
    }


_DEPARTURES = {
    "friction": "friction",
    "linear": "a linear field is added that no Hamiltonian has; the momenta may not be canonical",
    "driven": "a force depends on time",
    "other": "neither linear friction nor a force in time; coordinates or friction may be of another kind",
}


def diagnosis_lines(record: dict[str, Any]) -> list[str]:
    """Return the lines on the Hamiltonian and the energy that open an answer, from its JSON values."""
    found = record.get("diagnosis")
    if found is None:
        return []
    energy, rates = found["energy"], [one["rate"] for one in found["friction"]]
    if found["hamiltonian"]:
        largest = max(abs(one["rate"]) + _TWO_ERRORS * one["error"] for one in found["friction"])
        left = f"{found['misfit']:.1g} of the motion" if found["misfit"] else "noise only"
        text = f"yes; friction at most {largest:.1g} per unit of time; the fit leaves {left}"
    elif found["hamiltonian"] is None:
        left = f"the fitted field leaves {100 * found['misfit']:.2g} % of the motion unexplained"
        text = f"cannot tell; {left if found['misfit'] else 'the noise is too large'}"
    else:
        text = f"no, by {-found['nats']:.0f} nats: {_DEPARTURES[found['departure']]}"
        if found["departure"] == "friction":
            text += " of " + ", ".join(f"{rate:.2g}" for rate in rates) + " per unit of time"
    low, high = energy["interval"]
    drift = f"{energy['drift']:.2g}" + ("" if low is None else f" ({low:.2g} to {high:.2g})")
    words = {
        True: "conserved" + ("" if low is None else f"; it drifts by at most {max(-low, high):.1g}"),
        False: f"not conserved; it drifts by {drift}",
        None: f"cannot tell; that of the fit drifts by {drift}",
    }
    return [f"Hamiltonian      {text}", f"energy           {words[energy['conserved']]}"]


def departs(record: dict[str, Any]) -> bool:
    """Return whether an answer says that the motion is not Hamiltonian, from its JSON values."""
    found = record.get("diagnosis")
    return found is not None and found["hamiltonian"] is False


def headline(record: dict[str, Any]) -> str:
    """Return the first line of an answer, from its JSON values."""
    count = record["exact"]
    noun = "quantity" if count == 1 else "quantities"
    text = f"{count} quadratic {noun} exactly conserved"
    if count and departs(record):
        text += "; no symmetry, for the motion is not Hamiltonian"
    elif count:
        text += f"; algebra {record['algebra'] or 'not identified'}"
    return text + (" (the data cannot tell)" if record["cannot_tell"] else "")


def opening(record: dict[str, Any]) -> str:
    """Return the diagnosis and the first line of an answer as running text, from its JSON values."""
    return ". ".join([*(" ".join(line.split()) for line in diagnosis_lines(record)), headline(record)])


def lines(record: dict[str, Any]) -> list[str]:
    """Return what else an answer says, line by line, from its JSON values."""
    found = []
    if record["resolution"] is not None:
        found.append(
            f"exact            to {record['resolution']:.2g}: a larger rate of change would show (90 %), "
            f"p = {record['p_value']:.2g}; within {record['angle']:.2g} degrees (90 %)"
        )
    if record["next_p_value"] is not None:
        found.append(f"one more         is rejected, p = {record['next_p_value']:.1g}")
    for one in record["approximate"]:
        low, high = one["interval"]
        lasts = "" if one["lifetime"] is None else f", lasts about {one['lifetime']:.2g} time units"
        broken = f"broken by {one['breaking']:.2g} ({low:.2g} to {high:.2g})"
        found.append(f"approximate      {one['formula']}: {broken}{lasts}")
    found += [f"cannot tell      {reason}" for reason in record["cannot_tell"]]
    return found + [f"remark           {text}" for text in record["remarks"]]


def answer(data: Trajectories) -> AnswerSheet:
    """Return the quadratic quantities that trajectories conserve, without training a network.

    Args:
        data: trajectories in data units.
    Raises:
        UsageError: for anything but trajectories.
    """
    if not isinstance(data, Trajectories):
        raise UsageError(f"data are {type(data).__name__}; expected Trajectories, see load_trajectories")
    frame = fit_frame(data.observed(), data.transitions())
    trajectories = FrameTrajectories.of(frame, data)
    return sheet_of(answer_with_field(trajectories, frame), frame, trajectories, data.metadata)


def sheet_of(
    found: Answer, frame: Frame, trajectories: FrameTrajectories, metadata: dict[str, Any]
) -> AnswerSheet:
    """Return an answer with formulas and algebra, in data units.

    Args:
        found: exact and approximate quantities in the frame.
        frame: map from data units to the frame.
        trajectories: trajectories in the frame.
        metadata: of the data; coordinates may have names there.
    """
    names = coordinate_names(metadata, frame.dim // 2)
    moment = second_moment(trajectories.states)
    states = frame.out_of(np.asarray(thinned(trajectories.states, _STATES)))

    def formulas(form: np.ndarray, linear: np.ndarray, within: float) -> list[str]:
        inner = embed(form, linear, moment)
        outer_form, outer_linear = frame.quadratic_out_of(form, linear)
        moved, shift, called = shifted(outer_linear, outer_form, states, names)

        def near(row: np.ndarray) -> bool:
            a, b = form_of(row, frame.dim)
            own = embed(*frame.quadratic_into(a[None], (b - a @ shift)[None]), moment)
            return bool(angles_of(own, inner)[0] <= within)

        basis = readable(outer_form, moved, called, monomial_weights(states - shift), lambda row: 0.0, near)
        return [text for text, _ in basis]

    return AnswerSheet(
        answer=found,
        frame=frame,
        algebra=analyse(found.form, found.linear, moment),
        formulas=formulas(found.form, found.linear, max(found.angle or 0.0, _ROUNDED)),
        approximate_formulas=[
            formulas(one.form[None], one.linear[None], _ROUGH)[0] for one in found.approximate
        ],
    )
