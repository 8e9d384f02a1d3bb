"""Commands that read runs: inspect, compare, predict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from noethers_razor.cli.options import (
    build_system,
    layout_options,
    load_data,
    system_options,
)
from noethers_razor.cli.shared import names_of_systems, require_writable, text_of_summary
from noethers_razor.errors import UsageError


@click.command(epilog=f"Systems: {names_of_systems()}.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--truth", default=None, metavar="SYSTEM", help="Compare with the true quantities of SYSTEM.")
@system_options("the true system, if the data do not have it")
@click.option(
    "--term",
    "terms",
    multiple=True,
    metavar="FORMULA",
    help="Further term for formulas of non-quadratic quantities; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@click.option("--figures", type=click.Path(path_type=Path), default=None, help="Folder for figures.")
@click.option("--html", type=click.Path(path_type=Path), default=None, help="HTML report to write.")
@click.option(
    "--data",
    "file",
    type=click.Path(path_type=Path),
    default=None,
    help="Trajectories for the rollouts of the HTML report.",
)
@click.option("--overwrite", is_flag=True, help="Replace the HTML report if it exists.")
def inspect(
    run: Path,
    truth: str | None,
    n: int | None,
    dim: int | None,
    parameters: tuple[str, ...],
    terms: tuple[str, ...],
    as_json: bool,
    figures: Path | None,
    html: Path | None,
    file: Path | None,
    overwrite: bool,
) -> None:
    """Print the report of RUN: conserved quantities, their uncertainty and their algebra."""
    from noethers_razor.cli.jobs import figures_of, write_figures
    from noethers_razor.data.readers import load_trajectories
    from noethers_razor.inference.rollouts import compare_rollouts
    from noethers_razor.inference.saved import load_result
    from noethers_razor.symmetry.find import find_symmetries

    if file is not None and html is None:
        raise UsageError(
            "--data without --html; it is for the rollouts of the HTML report: pass --html FILE too, "
            "or leave --data out"
        )
    require_writable(html, overwrite=overwrite)
    result = load_result(run)
    data = None if file is None else load_trajectories(file)
    system = None if truth is None else build_system(truth, n, dim, parameters, result.metadata)
    report = find_symmetries(result, system, terms=terms or None)
    click.echo(json.dumps(report.as_json(), allow_nan=False) if as_json else str(report))
    if figures is not None:
        write_figures(figures, figures_of(report, result))
    if html is not None:
        from noethers_razor.cli.html_report import page

        html.write_text(
            page(report, result, None if data is None else compare_rollouts(result, data, 32)), "utf-8"
        )


@click.command(epilog=f"Systems: {names_of_systems()}.")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--data", "file", type=click.Path(path_type=Path), default=None, help="Trajectories for rollouts."
)
@click.option("--truth", default=None, metavar="SYSTEM", help="Compare with the true quantities of SYSTEM.")
@system_options("the true system, if the data do not have it")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def compare(
    runs: tuple[Path, ...],
    file: Path | None,
    truth: str | None,
    n: int | None,
    dim: int | None,
    parameters: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compare RUNS in a table: bounds, quantities, algebras, errors."""
    from noethers_razor.data.readers import load_trajectories
    from noethers_razor.inference.run_table import as_table, row_of, warnings_of
    from noethers_razor.inference.saved import load_result

    data = None if file is None else load_trajectories(file)
    rows = []
    for run in runs:
        result = load_result(run)
        system = None if truth is None else build_system(truth, n, dim, parameters, result.metadata)
        rows.append(row_of(str(run), result, system, data))
    warnings = warnings_of(rows)
    if as_json:
        click.echo(json.dumps({"runs": rows, "warnings": warnings}, allow_nan=False))
        return
    click.echo("\n".join([as_table(rows), *(f"warning: {text}" for text in warnings)]))


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--data", "file", required=True, type=click.Path(path_type=Path), help="Trajectories for rollouts."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File to write, .npz.")
@click.option(
    "--samples", default=32, show_default=True, help="Number of posterior samples for the spread, up to 32."
)
@click.option(
    "--figure",
    type=click.Path(path_type=Path),
    default=None,
    help="Picture of the first rollout to write, .png.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@layout_options
def predict(
    run: Path, file: Path, out: Path, samples: int, figure: Path | None, overwrite: bool, **place: Any
) -> None:
    """Predict with RUN from the first state of each trajectory of a file, and compare."""
    import numpy as np

    from noethers_razor.cli.jobs import rollout_figure
    from noethers_razor.inference.rollouts import compare_rollouts
    from noethers_razor.inference.saved import load_result

    require_writable(out, figure, overwrite=overwrite)
    result, data = load_result(run), load_data(file, place)
    comparison = compare_rollouts(result, data, samples)
    outcome = comparison.prediction
    with out.open("wb") as stream:
        np.savez_compressed(
            stream,
            allow_pickle=False,
            t=outcome.t,
            trajectory=comparison.indices,
            mean=outcome.mean,
            deviation=outcome.deviation if samples else np.zeros_like(outcome.mean),
            energy_drift=outcome.energy_drift,
            summary=np.array(json.dumps(comparison.summary)),
        )
    if figure is not None:
        rollout_figure(comparison, result.labels).savefig(figure, dpi=130)
    click.echo(text_of_summary(comparison.summary))
