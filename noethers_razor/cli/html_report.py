"""The HTML report: one file with headline, pictures, tables and warnings."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

from noethers_razor.cli.jobs import figures_of, rollout_figure
from noethers_razor.inference.result import FitResult
from noethers_razor.inference.rollouts import RolloutComparison, compare_rollouts, kept_trajectories
from noethers_razor.storage.run_folder import versions
from noethers_razor.symmetry import answer_sheet
from noethers_razor.symmetry.report import SymmetryReport
from noethers_razor.symmetry.uncertainty import Uncertainty

_FOLLOWED = 20
"""Number of training trajectories to follow, if the caller gives no comparison."""


class Row(NamedTuple):
    """Cells of a table row, and whether the row is the selected one."""

    cells: Sequence[str]
    kept: bool = False


class Picture(NamedTuple):
    """A picture as a data address, and a description in words."""

    source: str
    alt: str


class Section(NamedTuple):
    """A section of the HTML report; empty parts are left out."""

    title: str
    note: str = ""
    formulas: Sequence[str] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Row] = ()
    pictures: Sequence[Picture] = ()


def _picture(figure: Any, alt: str) -> Picture:
    """Return a figure as a picture, with a description for readers who do not see it."""
    import matplotlib

    stream = io.BytesIO()
    # No date and no random names, so that the same report gives the same file.
    with matplotlib.rc_context({"svg.hashsalt": "noethers_razor"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return Picture("data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode(), alt)


def _number(value: float | None, digits: int = 4) -> str:
    """Return a number as text, empty if it is None."""
    return "" if value is None else f"{value:.{digits}g}"


def _spectrum(report: SymmetryReport, figures: dict[str, Any]) -> Section:
    """Return the section on singular values."""
    gap = report.gap
    note = "Root-mean-square displacement of the data per unit of flow time, relative to their size."
    if gap is not None:
        note += f" The last value in use is {gap:.3g} times the first one not in use."
    picture = _picture(figures["spectrum.png"], "singular values on a logarithmic axis")
    return Section("Number of quantities", note, pictures=[picture])


def _evidence(report: SymmetryReport) -> Section:
    """Return the section on bounds: of the family, of no symmetry, and of the sets that were compared."""
    rows = [
        Row([name, _number(b["negative_elbo"], 6), _number(b["error"], 2), ""])
        for name, b in report.bounds.items()
    ]
    rows += [
        Row(
            [
                f"compared: {one['name']}",
                _number(one["negative_elbo"], 6),
                _number(one["error"], 2),
                str(one["kept"]),
            ],
            kept=one["accepted"],
        )
        for one in report.judgements
    ]
    return Section(
        "Evidence",
        "Minus a lower bound of the log evidence, in nats per transition: less is better. The largest set "
        "that the bound does not reject is selected.",
        columns=["set", "-ELBO", "error", "quantities"],
        rows=rows,
    )


def _answer(answer: dict[str, Any]) -> Section:
    """Return the section on what the trajectories alone show."""
    columns = ["quantity", "rate", "90 %", "lifetime"]
    exact = "unknown" if answer["resolution"] is None else f"below {answer['resolution']:.2g}"
    rows = [Row([text, exact, "", ""]) for text in answer["formulas"]]
    rows += [
        Row(
            [
                one["formula"],
                f"{one['breaking']:.2g}",
                "{:.2g} to {:.2g}".format(*one["interval"]),
                "" if one["lifetime"] is None else f"{one['lifetime']:.2g}",
            ]
        )
        for one in answer["approximate"]
    ]
    note = (
        f"{answer_sheet.opening(answer)}. A rate is relative to that of a "
        "quantity that nothing keeps constant. "
        "Of an exact quantity, a rate above the given one would have shown with 90 %."
    )
    return Section(
        "What the trajectories show", " ".join([note, *answer["cannot_tell"]]), columns=columns, rows=rows
    )


def _sure(unsure: Uncertainty) -> Section:
    """Return the section on uncertainty."""
    note = f"{unsure.trusted.sum()} of {len(unsure.trusted)} quantities are trusted."
    if unsure.angle is not None:
        note += (
            f" The largest angle between the learned span and the true one is probably between "
            f"{unsure.angle[0]:.2g} and {unsure.angle[2]:.2g} degrees ({unsure.share})."
        )
    return Section("Uncertainty", note)


def _algebra(report: SymmetryReport) -> Section:
    """Return the section on the algebra."""
    found, algebra = report.algebra_detail.invariants, report.algebra_detail
    values: dict[str, Any] = {
        "name": algebra.name or "not identified: " + found.open,
        "dimension": algebra.dimension,
        "closed to": f"{100 * algebra.closure_defect:.2g} %",
        "dimension of the centre": found.centre,
        "derived series": " ".join(map(str, found.derived)),
        "lower central series": " ".join(map(str, found.lower_central)),
        "Killing form, signs + - 0": None if found.signature is None else "{} {} {}".format(*found.signature),
        "dimension of the radical": found.radical,
        "simple ideals": " ".join(part.name or "unnamed" for part in found.simple),
    }
    if (closed := algebra.completion) is not None:
        values["with the brackets that leave the span"] = (
            f"dimension {closed.dimension}" + f", {closed.name}" * bool(closed.name)
        )
    if report.uncertainty is not None and report.uncertainty.names:
        draws = report.uncertainty.names.items()
        values["names in draws of the data"] = ", ".join(f"{name}: {count}" for name, count in draws)
    rows = [Row([name, str(value)]) for name, value in values.items() if value not in (None, "")]
    return Section("Algebra under the Poisson bracket", columns=["", ""], rows=rows)


def _formulas(report: SymmetryReport, figures: dict[str, Any]) -> Section:
    """Return the section with formulas and pictures of the generators."""
    pictures = []
    if "generators.png" in figures:
        pictures = [_picture(figures["generators.png"], "heat maps of the quadratic forms of the formulas")]
    note = "" if report.formulas else "No formula was recognised."
    if report.formulas and report.quadratic is None:
        note = "Their gradients lie in the span of the gradients of the learned quantities and of H."
        note += " H itself may be among them."
    return Section("Formulas", note, report.formulas, pictures=pictures)


def _rollouts(comparison: RolloutComparison, names: list[str], source: str) -> Section:
    """Return the section on predictions."""
    rows = [
        Row([name.replace("_", " "), _number(value)])
        for name, value in comparison.summary.items()
        if value is not None
    ]
    return Section(
        "Predictions",
        f"Rollouts from the first states of {source}. Energy drift: the largest change of the learned energy "
        "along a rollout, relative to its standard deviation over the data.",
        columns=["", ""],
        rows=rows,
        pictures=[_picture(rollout_figure(comparison, names), "first rollout, its spread, and the data")],
    )


def page(report: SymmetryReport, result: FitResult, comparison: RolloutComparison | None = None) -> str:
    """Return the HTML report.

    Args:
        report: report of the fit.
        result: result of the fit.
        comparison: rollouts to show. By default they follow some of the training trajectories.
    Returns:
        A complete HTML document, which needs no other file.
    """
    from jinja2 import Environment, PackageLoader

    figures = figures_of(report, result)
    sections = [] if report.answer is None else [_answer(report.answer)]
    sections.append(_formulas(report, figures))
    if "spectrum.png" in figures:
        sections.append(_spectrum(report, figures))
    sections.append(_evidence(report))
    if report.uncertainty is not None:
        sections.append(_sure(report.uncertainty))
    if report.quadratic is not None and report.rank:
        sections.append(_algebra(report))
    source = "the given trajectories"
    if comparison is None and (kept := kept_trajectories(result, _FOLLOWED)) is not None:
        comparison, source = compare_rollouts(result, kept, 32), "some of the training trajectories"
    if comparison is not None:
        sections.append(_rollouts(comparison, result.labels, source))
    sections.append(
        Section("Training", pictures=[_picture(figures["training.png"], "bound over optimiser steps")])
    )
    environment = Environment(loader=PackageLoader("noethers_razor.cli"), autoescape=True, trim_blocks=True)
    return environment.get_template("report.html.jinja").render(
        headline=str(report).splitlines()[0],
        warnings=report.warnings,
        sections=sections,
        made=_made(result),
    )


def _made(result: FitResult) -> str:
    """Return the last line: version, settings and data of the fit."""
    metrics = result.metrics
    return (
        f"noethers_razor {versions()['noethers_razor']}, family {result.model.family.name}, seed "
        f"{result.seed}, {metrics['transitions']} transitions, {metrics['steps']} steps in "
        f"{metrics['seconds_total']:.1f} s; data SHA-256 {result.metadata.get('sha256', 'unknown')[:16]}."
    )
