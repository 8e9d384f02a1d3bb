"""The report as text and as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from noethers_razor.errors import UsageError
from noethers_razor.plot import markup
from noethers_razor.symmetry import answer_sheet
from noethers_razor.symmetry.algebra.structure import Algebra
from noethers_razor.symmetry.fitted import AS_LEARNED, Fitted

if TYPE_CHECKING:
    from noethers_razor.symmetry.report import SymmetryReport


def numbers(values: Sequence[float] | np.ndarray) -> str:
    """Return three digits of each value."""
    return " ".join(f"{v:.3g}" for v in values)


def lines(report: SymmetryReport) -> list[str]:
    """Return the lines of a report."""
    found = [_headline(report)]
    if report.answer is not None:
        found += answer_sheet.diagnosis_lines(report.answer)
        found.append(f"by the data      {answer_sheet.headline(report.answer)}")
        found += answer_sheet.lines(report.answer)
    if report.functions is not None:
        found.append(f"functions        {function_line(report.functions)}")
    if report.quadratic is not None and report.rank:
        found += _about_algebra(report.quadratic.algebra)
    values, used = report.singular_values, report.used
    if len(values):
        found.append(f"singular values  {numbers(values[:used])} | {numbers(values[used:])}".rstrip(" |"))
    if report.gap is not None:
        found.append(f"gap              {report.gap:.3g}")
    found += _about_truth(report)
    if report.conservation_defect is not None:
        if report.quadratic is not None:
            defects = f"{report.conservation_defect:.2g}, worst {report.worst_defect:.2g}"
            found.append(f"defect of {{C,H}}  {defects} (model's H)")
        else:
            found.append(f"defects of {{C,H}} {numbers(report.defects)} (model's H)")
    if report.true_conservation_defect is not None:
        found.append(f"                 {report.true_conservation_defect:.2g} (true H)")
    if report.uncertainty is not None:
        found += report.uncertainty.lines()
    found += _bounds(report.bounds, report.seeds, used)
    found += _formulas(report)
    return found + [f"warning: {text}" for text in report.warnings]


def _headline(report: SymmetryReport) -> str:
    noun = "quantity" if report.rank == 1 else "quantities"
    if report.quadratic is None:
        text = f"{report.rank} independent conserved {noun} besides H"
        if report.used > report.rank:
            text += f", of {report.used} in use: the others nearly depend on these and on H on the data"
        return text
    text = f"{report.rank} conserved {noun}; algebra {report.algebra or 'not identified'}"
    if report.rank:
        text += f", closed to {100 * report.quadratic.algebra.closure_defect:.2g} %"
        if report.uncertainty is not None and report.uncertainty.names:
            names = report.uncertainty.names
            count = names.get(report.algebra or "not identified", 0)
            text += f", in {count} of {sum(names.values())} draws of the data"
    return text


def function_line(tested: Mapping[str, Any]) -> str:
    """Return what the tests of drift say of functions that are not quadratic, in one line."""
    if not tested["exact"]:
        return "no combination of the features is exactly conserved"
    if not tested["tells"]:
        return "cannot tell: less noise is needed, or more or longer trajectories"
    if not tested["offered"]:
        return "none is offered in addition to H and the quadratic quantities"
    text = f"conserved to {tested['resolution']:.1g} of a free rate (p = {tested['p_value']:.2g})"
    if tested["accuracy"]:
        text += f", with errors of features up to {100 * tested['accuracy']:g} % of the spread"
    return text + ("" if tested["averaged"] else "; not used for averages, where the bound is better")


def _about_algebra(algebra: Algebra) -> list[str]:
    """Invariants of an algebra that has no name, and what would close an open span."""
    found, text = algebra.invariants, []
    if found.name is None:
        text.append(f"not identified   {found.open}")
        if found.derived:
            series = " ".join(map(str, found.derived))
            signs = "" if found.signature is None else ", Killing form +{} -{} 0:{}".format(*found.signature)
            text.append(f"invariants       centre {found.centre}, derived series {series}{signs}")
    if (closed := algebra.completion) is not None:
        name = f", {closed.name}" if closed.name else ""
        text.append(
            f"completion       with the brackets that leave the span: dimension {closed.dimension}{name}"
        )
    return text


def _about_truth(report: SymmetryReport) -> list[str]:
    truth = report.truth
    if truth is None:
        return []
    if truth.parallelness is not None:
        return [
            f"parallelness     {' '.join(f'{v:.4f}' for v in truth.parallelness)}",
            f"largest angle    {truth.largest_angle:.3g} degrees to the true span, both ways",
        ]
    text = [
        f"true {name:<11} {angle:.3g} degrees from the learned span, median over states"
        for name, angle in truth.angles.items()
    ]
    return [*text, f"largest angle    {truth.largest_angle:.3g} degrees, both ways"]


def _formulas(report: SymmetryReport) -> list[str]:
    if report.found is None:
        return [f"C{i + 1:<3} = {formula}" for i, formula in enumerate(report.formulas)]
    text = [f"formula          {f.text}   (sine {f.sine:.2g})" for f in report.found]
    if report.used and not text:
        text.append("formula          none recognised; name further terms with --term")
    return text


def _bounds(bounds: dict[str, Any], seeds: list[dict[str, Any]], used: int) -> list[str]:
    """Bounds of the family and of no symmetry, and what several seeds agree on."""
    text = [
        f"-ELBO {label:<10} {bound['negative_elbo']:.3f} +- {bound['error']:.3f} nats per transition"
        for label, bound in bounds.items()
    ]
    return [*text, _spread(seeds, used)] if seeds else text


def _spread(seeds: list[dict[str, Any]], used: int) -> str:
    """What several seeds agree on."""
    done = [seed for seed in seeds if "diverged" not in seed]
    same = [seed for seed in done if seed["rank"] == used]
    bounds = sorted(seed["negative_elbo"] for seed in done)
    gains = sorted(seed["none"] - seed["negative_elbo"] for seed in done if seed["none"] is not None)
    within = f", within {max(seed['angle'] for seed in same):.2g} degrees of this span" if same else ""
    text = (
        f"seeds            {len(same)} of {len(seeds)} find {used}{within}; -ELBO {bounds[0]:.3f} to "
        f"{bounds[-1]:.3f}"
    )
    if gains:
        text += f", better than none by {gains[0]:.3f} to {gains[-1]:.3f}"
    lost = len(seeds) - len(done)
    return text + (f"; {lost} diverged" if lost else "")


def html_of(report: SymmetryReport) -> str:
    """Return a report as notebooks show it: headline, formulas, bounds, and all lines on request."""
    text = str(report)
    try:
        expressions = report.expressions()
    except UsageError:
        expressions = None
    rows = [
        [name, f"{bound['negative_elbo']:.3f}", f"{bound['error']:.3f}"]
        for name, bound in report.bounds.items()
    ]
    parts = [
        markup.formulas(report.formulas, expressions),
        markup.table(["quantities", "-ELBO per transition (nats)", "error"], rows) if rows else "",
        markup.folded("the whole report", text),
    ]
    return markup.block(text.splitlines()[0], parts, report.warnings)


def warnings_of(result: Fitted, used: int) -> list[str]:
    """Return what to keep in mind when reading the report of a fit with so many quantities in use."""
    found = []
    if not result.held_out:
        found.append("no trajectory was held out: defects are measured on training states")
    bounds = result.evidence.get("bounds", {})
    none = bounds.get("none")
    own = next((value for name, value in bounds.items() if name != "none"), None)
    if none and own and used:
        error = float(np.hypot(none["error"], own["error"]))
        if own["negative_elbo"] > none["negative_elbo"] + 2 * error:
            found.append(
                f"the bound is better without symmetry (-ELBO {none['negative_elbo']:.3f} compared with "
                f"{own['negative_elbo']:.3f}): train longer, or do not trust these quantities"
            )
    for one in result.evidence.get("judgements", []):
        if one["accepted"] and one["removed"]:
            removed = numbers(one["removed"])
            found.append(
                f"the bound rejected directions with singular values {removed} (kept: {one['name']})"
            )
        elif one["accepted"] and one["name"] != AS_LEARNED:
            found.append(f"the bound preferred another set to the learned one: {one['name']}")
    return found
