"""Commands that train: fit, demo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from noethers_razor.cli.families import FamilyName, build_family
from noethers_razor.cli.fit_command import FitCommand, help_all
from noethers_razor.cli.options import (
    LAYOUT,
    build_system,
    layout_options,
    load_data,
    seed_or_drawn,
    settings_of_checkpoint,
    system_options,
)
from noethers_razor.cli.shared import names_of_systems, text_of_summary
from noethers_razor.config import FitConfig
from noethers_razor.errors import Interrupted, UsageError


@click.command(
    cls=FitCommand,
    epilog=f"Systems for --oracle: {names_of_systems()}. All flags: noethers-razor fit --help-all.",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Run folder to write.")
@click.option(
    "--answer-only", is_flag=True, help="Print what the trajectories alone show, and train nothing."
)
@click.option(
    "--family",
    type=FamilyName(),
    default="quadratic",
    show_default=True,
    help="Family of conserved quantities; none fits without symmetry.",
)
@click.option(
    "--conserved",
    type=click.IntRange(1),
    default=None,
    help="Largest number of conserved quantities.  [default: n^2 + 6 quadratic ones, at least 15]",
)
@click.option("--oracle", default=None, metavar="SYSTEM", help="Use the true quantities of SYSTEM, fixed.")
@system_options("the oracle, if the data do not have them")
@click.option("--seed", type=int, default=None, help="Seed of the fit; drawn and printed if unset.")
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of fits, with seeds from --seed on. The fit with the best bound is kept.",
)
@layout_options
@click.option("--resume", is_flag=True, help="Resume an interrupted fit, with its settings.")
@click.option(
    "--checkpoint-seconds",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="Time between checkpoints.",
)
@click.option("--overwrite", is_flag=True, help="Replace a run folder that is not empty.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option(
    "--help-all",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=help_all,
    help="Show all flags and exit.",
)
@click.pass_context
def fit(
    context: click.Context,
    file: Path,
    out: Path | None,
    answer_only: bool,
    resume: bool,
    checkpoint_seconds: float,
    overwrite: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Fit a Hamiltonian and its conserved quantities to the trajectories in FILE."""
    if answer_only:
        from noethers_razor.symmetry.answer_sheet import answer

        click.echo(answer(load_data(file, {name: settings[name] for name in LAYOUT})))
        return
    from noethers_razor.cli.jobs import RunTarget, fit_into_folder
    from noethers_razor.cli.progress import Progress
    from noethers_razor.conserved.quadratic import KnownQuadratic
    from noethers_razor.storage.run_folder import is_done, is_finished, is_unfinished, require_target

    if out is None:
        raise click.MissingParameter(ctx=context, param_hint="'--out'", param_type="option")
    require_target(out, overwrite=overwrite, resume=resume)
    if resume:
        settings = settings_of_checkpoint(context, out, settings)
    if resume and not (is_finished(out) or is_unfinished(out)):
        click.echo(f"nothing to resume in {out}; starting a new fit", err=True)
    kept = dict(settings)
    oracle, n, dim, parameters = (settings.pop(name) for name in ("oracle", "n", "dim", "parameters"))
    seeds, seed = settings.pop("seeds"), settings.pop("seed")
    place = {name: settings.pop(name) for name in LAYOUT}
    # Wrong flags are reported before any file is read.
    if oracle is not None and settings["family"] != "quadratic":
        raise UsageError(
            f"--oracle with --family {settings['family']}; true quantities are a family of their own"
        )
    wanted, config = build_family(settings), FitConfig.of(**settings)
    data = load_data(file, place)
    if oracle is not None:
        system = build_system(oracle, n, dim, parameters, data.metadata)
        wanted = KnownQuadratic.of(system.conserved())
    # A finished run is only reported again.
    kept["seed"] = first = 0 if resume and is_done(out) else seed_or_drawn(seed)
    target = RunTarget(out, overwrite, resume, checkpoint_seconds, sys.argv[1:], kept)
    with Progress(quiet) as progress:
        result, report = fit_into_folder(
            data, target, wanted, range(first, first + seeds), config, progress, progress.answered
        )
    click.echo(
        f"{report}\n{out}: {result.metrics['seconds_total']:.1f} s, ELBO {result.elbo:.3f} per transition"
    )


@click.command()
@click.option(
    "--out", default="demo", show_default=True, type=click.Path(path_type=Path), help="Folder to write."
)
@click.option("--seed", type=int, default=11, show_default=True, help="Seed of data and fit.")
@click.option("--overwrite", is_flag=True, help="Replace a folder that is not empty.")
@click.option("--steps", default=FitConfig.steps, show_default=True, help="Optimiser steps, see fit.")
def demo(out: Path, seed: int, overwrite: bool, steps: int) -> None:
    """Three oscillators from simulation to answer: data, fit, report, prediction, pictures."""
    from noethers_razor.cli.jobs import RunTarget, figures_of, fit_into_folder, rollout_figure, write_figures
    from noethers_razor.cli.progress import Progress
    from noethers_razor.conserved.quadratic import Quadratic
    from noethers_razor.inference.rollouts import compare_rollouts
    from noethers_razor.storage.run_folder import require_free
    from noethers_razor.symmetry.find import find_symmetries
    from noethers_razor.systems import Oscillators

    if not overwrite:
        require_free(out, overwrite=False)
    system = Oscillators(n=3)
    click.echo("simulating 200 trajectories of 3 oscillators ...", err=True)
    data = system.simulate(seed)
    test = system.simulate(seed, n_trajectories=50, n_steps=50, stream="test")
    out.mkdir(exist_ok=True)
    data.save(out / "data.npz", overwrite=overwrite)
    try:
        target = RunTarget(out / "run", overwrite, command=sys.argv[1:])
        with Progress(quiet=False) as progress:
            result, _ = fit_into_folder(
                data, target, Quadratic(15), [seed], FitConfig(steps=steps), progress, progress.answered
            )
    except Interrupted:
        raise Interrupted("interrupted; a demo starts again with --overwrite") from None
    report = find_symmetries(result, system)
    comparison = compare_rollouts(result, test, 32)
    figures = figures_of(report, result)
    figures["rollout.png"] = rollout_figure(comparison, result.labels)
    write_figures(out, figures)
    text = f"{report}\n" + text_of_summary(comparison.summary)
    (out / "report.txt").write_text(text + "\n")
    click.echo(f"{text}\npictures and run in {out}")
