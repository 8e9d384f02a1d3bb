"""The command line: parses, calls, prints, exit codes. Heavy imports happen inside the commands."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from noethers_razor import host
from noethers_razor.config import FitConfig
from noethers_razor.errors import Interrupted, NoetherError, UsageError
from noethers_razor.options import (
    build_family,
    build_system,
    config_options,
    family_options,
    seed_or_drawn,
    settings_of_checkpoint,
    system_options,
)
from noethers_razor.systems import SYSTEMS


def _names() -> str:
    return ", ".join(SYSTEMS)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="noethers_razor")
def cli() -> None:
    """Learn what is conserved in trajectory data, and predict with it (Noether's Razor)."""


@cli.command(epilog=f"Systems: {_names()}.")
@click.argument("system")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File to write, .npz.")
@system_options("the system")
@click.option("--n-trajectories", default=200, show_default=True, help="Number of trajectories.")
@click.option("--n-steps", default=50, show_default=True, help="Transitions in each trajectory.")
@click.option("--dt", default=0.2, show_default=True, help="Time between stored states, system units.")
@click.option("--noise", default=0.0, show_default=True, help="Standard deviation of noise on stored states.")
@click.option(
    "--seed", type=int, default=None, help="Seed of initial states and noise; drawn and printed if unset."
)
@click.option(
    "--stream", default="train", show_default=True, help="Random stream; other names share no initial state."
)
@click.option("--widen", default=1.0, show_default=True, help="Factor of all initial positions.")
@click.option("--move", default=0.0, show_default=True, help="Added to all initial positions, system units.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
def simulate(
    system: str,
    out: Path,
    n: int | None,
    dim: int | None,
    parameters: tuple[str, ...],
    seed: int | None,
    overwrite: bool,
    **settings: Any,
) -> None:
    """Simulate trajectories of SYSTEM in float64 and store them."""
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists; choose another name or pass --overwrite")
    data = build_system(system, n, dim, parameters).simulate(seed_or_drawn(seed), **settings)
    path = data.save(out, overwrite=overwrite)
    click.echo(f"{path}: {data.count} trajectories x {data.q.shape[1]} states, {data.dof} degrees of freedom")


@cli.command(epilog=f"Systems for --oracle: {_names()}.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Run folder to write.")
@family_options
@click.option("--oracle", default=None, metavar="SYSTEM", help="Give the true quantities of SYSTEM, fixed.")
@system_options("the oracle, where the data do not say")
@click.option("--seed", type=int, default=None, help="Seed of the fit; drawn and printed if unset.")
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of fits, from the seed on; the best bound is kept, the spread reported.",
)
@click.option("--resume", is_flag=True, help="Go on with a fit that was interrupted, with its settings.")
@click.option(
    "--checkpoint-seconds",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="Time between checkpoints.",
)
@click.option("--overwrite", is_flag=True, help="Replace a run folder that is not empty.")
@click.option("--quiet", is_flag=True, help="No progress lines.")
@config_options
@click.pass_context
def fit(
    context: click.Context,
    file: Path,
    out: Path,
    resume: bool,
    checkpoint_seconds: float,
    overwrite: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Fit a Hamiltonian and its conserved quantities to the trajectories in FILE."""
    from noethers_razor.checkpoint import is_finished, is_unfinished, require_target
    from noethers_razor.conserved import KnownQuadratic
    from noethers_razor.data.readers import load_trajectories
    from noethers_razor.progress import Progress
    from noethers_razor.workflow import train

    require_target(out, overwrite=overwrite, resume=resume)
    if resume:
        settings = settings_of_checkpoint(context, out, settings)
    # A run that is finished is only reported again.
    done = resume and is_finished(out) and not is_unfinished(out)
    settings["seed"] = first = 0 if done else seed_or_drawn(settings["seed"])
    kept = dict(settings)
    oracle, n, dim, parameters = (settings.pop(name) for name in ("oracle", "n", "dim", "parameters"))
    seeds, _ = settings.pop("seeds"), settings.pop("seed")
    # Wrong flags are told before any file is read.
    wanted, config = build_family(settings), FitConfig(**settings)
    data = load_trajectories(file)
    if oracle is not None:
        system = build_system(oracle, n, dim, parameters, data.metadata)
        wanted = KnownQuadratic.of(system.conserved())
    with Progress(quiet) as progress:
        result, report = train(
            data,
            out,
            wanted,
            range(first, first + seeds),
            config,
            overwrite=overwrite,
            command=sys.argv[1:],
            watch=progress,
            resume=resume,
            checkpoint_seconds=checkpoint_seconds,
            settings=kept,
        )
    click.echo(
        f"{report}\n{out}: {result.metrics['seconds_total']:.1f} s, ELBO {result.elbo:.3f} per transition"
    )


@cli.command(epilog=f"Systems: {_names()}.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--truth", default=None, metavar="SYSTEM", help="Compare with the true quantities of SYSTEM.")
@system_options("the true system, where the data do not say")
@click.option(
    "--term",
    "terms",
    multiple=True,
    metavar="FORMULA",
    help="Term that formulas of functions may have beside the coordinates; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@click.option("--figures", type=click.Path(path_type=Path), default=None, help="Folder to draw into.")
@click.option("--html", type=click.Path(path_type=Path), default=None, help="Page to write with all of it.")
@click.option(
    "--data",
    "file",
    type=click.Path(path_type=Path),
    default=None,
    help="Trajectories for the page to follow.",
)
@click.option("--overwrite", is_flag=True, help="Replace the page if it exists.")
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
    """Print the answer sheet of RUN: what is conserved, how sure, which algebra."""
    from noethers_razor.data.readers import load_trajectories
    from noethers_razor.result import load
    from noethers_razor.symmetry.report import find_symmetries
    from noethers_razor.workflow import figures_of, follow, write_figures

    if file is not None and html is None:
        raise UsageError("--data without --html; it says which trajectories the page follows")
    _require_writable(html, overwrite=overwrite)
    result = load(run)
    data = None if file is None else load_trajectories(file)
    system = None if truth is None else build_system(truth, n, dim, parameters, result.metadata)
    report = find_symmetries(result, system, terms=terms or None)
    click.echo(json.dumps(report.as_json(), allow_nan=False) if as_json else str(report))
    if figures is not None:
        write_figures(figures, figures_of(report, result))
    if html is not None:
        from noethers_razor.page import page

        html.write_text(page(report, result, None if data is None else follow(result, data, 32)), "utf-8")


def _require_writable(*targets: Path | None, overwrite: bool) -> None:
    """Refuse what exists, unless asked to replace it, and what has no folder."""
    for target in targets:
        if target is not None and target.exists() and not overwrite:
            raise UsageError(f"{target} exists; choose another name or pass --overwrite")
        if target is not None and not target.resolve().parent.is_dir():
            raise UsageError(f"folder {target.resolve().parent} does not exist; create it first")


@cli.command(epilog=f"Systems: {_names()}.")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--data", "file", type=click.Path(path_type=Path), default=None, help="Trajectories to follow.")
@click.option("--truth", default=None, metavar="SYSTEM", help="Compare with the true quantities of SYSTEM.")
@system_options("the true system, where the data do not say")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def compare(
    runs: tuple[Path, ...],
    file: Path | None,
    truth: str | None,
    n: int | None,
    dim: int | None,
    parameters: tuple[str, ...],
    as_json: bool,
) -> None:
    """Table of RUNS beside each other: bounds, quantities, algebras, errors."""
    from noethers_razor.data.readers import load_trajectories
    from noethers_razor.result import load
    from noethers_razor.runs import as_table, row_of, warnings_of

    data = None if file is None else load_trajectories(file)
    rows = []
    for run in runs:
        result = load(run)
        system = None if truth is None else build_system(truth, n, dim, parameters, result.metadata)
        rows.append(row_of(str(run), result, system, data))
    warnings = warnings_of(rows)
    if as_json:
        click.echo(json.dumps({"runs": rows, "warnings": warnings}, allow_nan=False))
        return
    click.echo("\n".join([as_table(rows), *(f"warning: {text}" for text in warnings)]))


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--data", "file", required=True, type=click.Path(path_type=Path), help="Trajectories to follow."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File to write, .npz.")
@click.option("--samples", default=32, show_default=True, help="Posterior samples for the spread, up to 32.")
@click.option("--figure", type=click.Path(path_type=Path), default=None, help="PNG of the first rollout.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
def predict(run: Path, file: Path, out: Path, samples: int, figure: Path | None, overwrite: bool) -> None:
    """Roll out from the first state of each trajectory of a file, and compare."""
    import numpy as np

    from noethers_razor.data.readers import load_trajectories
    from noethers_razor.result import load
    from noethers_razor.workflow import follow, rollout_figure

    _require_writable(out, figure, overwrite=overwrite)
    result, data = load(run), load_trajectories(file)
    comparison = follow(result, data, samples)
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
        rollout_figure(comparison, result.coordinates).savefig(figure, dpi=130)
    click.echo(_summary(comparison.summary))


@cli.command()
@click.option(
    "--out", default="demo", show_default=True, type=click.Path(path_type=Path), help="Folder to write."
)
@click.option("--seed", type=int, default=11, show_default=True, help="Seed of data and fit.")
@click.option("--overwrite", is_flag=True, help="Replace a folder that is not empty.")
@click.option("--steps", default=FitConfig.steps, show_default=True, help="Optimiser steps, see fit.")
def demo(out: Path, seed: int, overwrite: bool, steps: int) -> None:
    """Three oscillators from simulation to answer: data, fit, report, prediction, pictures."""
    from noethers_razor.checkpoint import require_free
    from noethers_razor.conserved import Quadratic
    from noethers_razor.progress import Progress
    from noethers_razor.symmetry.report import find_symmetries
    from noethers_razor.systems import Oscillators
    from noethers_razor.workflow import figures_of, follow, rollout_figure, train, write_figures

    if not overwrite:
        require_free(out, overwrite=False)
    system = Oscillators(n=3)
    click.echo("simulating 200 trajectories of 3 oscillators ...", err=True)
    data = system.simulate(seed)
    test = system.simulate(seed, n_trajectories=50, n_steps=50, stream="test")
    out.mkdir(exist_ok=True)
    data.save(out / "data.npz", overwrite=overwrite)
    with Progress(quiet=False) as progress:
        result, _ = train(
            data,
            out / "run",
            Quadratic(15),
            [seed],
            FitConfig(steps=steps),
            overwrite=overwrite,
            command=sys.argv[1:],
            watch=progress,
        )
    report = find_symmetries(result, system)
    comparison = follow(result, test, 32)
    figures = figures_of(report, result)
    figures["rollout.png"] = rollout_figure(comparison, result.coordinates)
    write_figures(out, figures)
    text = f"{report}\n" + _summary(comparison.summary)
    (out / "report.txt").write_text(text + "\n")
    click.echo(f"{text}\npictures and run in {out}")


def _summary(values: dict[str, float | None]) -> str:
    return "\n".join(f"{name:<22} {value:.4g}" for name, value in values.items() if value is not None)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"noethers-razor: {' '.join(message.split())}", err=True)
    if code == Interrupted.exit_code:
        # Programs that are still being compiled are not waited for.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def main() -> None:
    """Entry point: every expected failure is one line on standard error and an exit code."""
    host.prepare()
    # Whatever stops a process politely lets training keep its state.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(cli(standalone_mode=False) or 0)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except NoetherError as error:
        _fail(str(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", Interrupted.exit_code)
    except OSError as error:
        _fail(f"{error.filename or 'file'}: {error.strerror or error}; check path, permissions and space", 2)
    except ValueError as error:
        _fail(str(error), 2)


if __name__ == "__main__":
    main()
