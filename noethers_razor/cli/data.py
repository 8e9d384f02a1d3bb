"""Commands for data: simulate, planets, check, convert."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from noethers_razor.cli.options import (
    build_system,
    layout_options,
    load_data,
    seed_or_drawn,
    system_options,
)
from noethers_razor.cli.shared import names_of_systems, require_writable
from noethers_razor.errors import DataError


@click.command(epilog=f"Systems: {names_of_systems()}.")
@click.argument("system")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File to write, .npz.")
@system_options("the system")
@click.option("--n-trajectories", default=200, show_default=True, help="Number of trajectories.")
@click.option("--n-steps", default=50, show_default=True, help="Number of transitions in each trajectory.")
@click.option("--dt", default=0.2, show_default=True, help="Time between stored states, system units.")
@click.option("--noise", default=0.0, show_default=True, help="Standard deviation of noise on stored states.")
@click.option(
    "--seed", type=int, default=None, help="Seed of initial states and noise; drawn and printed if unset."
)
@click.option(
    "--stream",
    default="train",
    show_default=True,
    help="Name of the random stream. Streams of different names share no initial state.",
)
@click.option("--widen", default=1.0, show_default=True, help="Factor that multiplies all initial positions.")
@click.option("--move", default=0.0, show_default=True, help="Shift of all initial positions, system units.")
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
    require_writable(out, overwrite=overwrite)
    data = build_system(system, n, dim, parameters).simulate(seed_or_drawn(seed), **settings)
    path = data.save(out, overwrite=overwrite)
    click.echo(f"{path}: {data.count} trajectories x {data.q.shape[1]} states, {data.dof} degrees of freedom")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@layout_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def check(file: Path, as_json: bool, **place: Any) -> None:
    """Print a summary of FILE, or all problems in it."""
    try:
        summary = load_data(file, place).summary()
    except DataError as error:
        if as_json:
            found = [{"code": code, "text": text} for code, text in error.problems]
            click.echo(json.dumps({"problems": found}))
        else:
            for code, text in error.problems:
                click.echo(f"noethers-razor: {code} {text}", err=True)
        sys.exit(error.exit_code)
    click.echo(json.dumps({"problems": [], **summary.as_json()}) if as_json else f"{file}: {summary}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File to write, .npz.")
@layout_options
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
def convert(file: Path, out: Path, overwrite: bool, **place: Any) -> None:
    """Convert the trajectories of FILE to .npz, which every command reads without further flags."""
    require_writable(out, overwrite=overwrite)
    data = load_data(file, place)
    click.echo(f"{data.save(out, overwrite=overwrite)}: {data!r}")


@click.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File to write, .npz.")
@click.option(
    "--planet", "names", multiple=True, help="Name of a planet; may be repeated.  [default: all nine]"
)
@click.option(
    "--dim", default=3, show_default=True, help="Dimension of space; 2 projects orbits onto the ecliptic."
)
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
def planets(out: Path, names: tuple[str, ...], dim: int, overwrite: bool) -> None:
    """Store orbits of planets about the Sun, from the ephemeris DE421, as trajectories of one system."""
    from noethers_razor.data import ephemeris

    require_writable(out, overwrite=overwrite)
    data = ephemeris.planets(names or ephemeris.PLANETS, dim=dim)
    click.echo(f"{data.save(out, overwrite=overwrite)}: {data!r}")
