"""Flags that commands share: systems, layout of files, seeds, settings of checkpoints."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from noethers_razor.errors import RunFolderError, UsageError

if TYPE_CHECKING:
    from noethers_razor.data.trajectories import Trajectories
    from noethers_razor.systems.base import System

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def system_options(purpose: str) -> Decorator:
    """Return a decorator that adds the flags that `build_system` reads.

    Args:
        purpose: words for the system in the help texts.
    """

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option(
                "--parameter",
                "parameters",
                multiple=True,
                metavar="NAME=VALUE",
                help=f"Further parameter of {purpose}, JSON; for example frequencies=[1,1.41,1.57].",
            ),
            click.option("--dim", type=int, default=None, help=f"Dimension of space of {purpose}."),
            click.option(
                "--n", type=int, default=None, help=f"Number of oscillators or bodies of {purpose}."
            ),
        ):
            command = option(command)
        return command

    return add


def build_system(
    name: str,
    n: int | None,
    dim: int | None,
    parameters: tuple[str, ...],
    metadata: dict[str, Any] | None = None,
) -> System:
    """Return a system by name.

    Args:
        name: name of the system.
        n: number of oscillators or bodies, if given.
        dim: dimension of space, if given.
        parameters: further parameters, texts NAME=VALUE with JSON values.
        metadata: metadata of data. If they are of the same system, they give the missing parameters.
    Raises:
        UsageError: for an unknown system or parameter, or for a text that is not NAME=VALUE.
    """
    from noethers_razor.systems import build, flags_of, system_class

    cls = system_class(name)
    values: dict[str, Any] = {}
    saved = (metadata or {}).get("system", {})
    known = saved.get("parameters") if isinstance(saved, dict) and saved.get("name") == cls.name else None
    values |= known if isinstance(known, dict) else {}
    size = flags_of(cls).get("n")
    if n is not None and size is not None and values.get(size) != n:
        # Parameters for another number of bodies do not fit.
        values = {}
    for text in parameters:
        key, separator, value = text.partition("=")
        if not separator:
            raise UsageError(f"--parameter {text!r}; expected NAME=VALUE")
        try:
            values[key.strip()] = json.loads(value)
        except ValueError:
            raise UsageError(f"--parameter {text!r}; expected a JSON value such as 2 or [1,1.5]") from None
    return build(name, {"n": n, "dim": dim}, **values)


def layout_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags that `load_data` reads."""
    for option in (
        click.option(
            "--split-at-gaps",
            type=float,
            is_flag=False,
            flag_value=5.0,
            default=None,
            metavar="[STEPS]",
            help="Cut trajectories where time does not increase, where states are missing, or where a step "
            "is this many times the usual one; 5 if no number is given.",
        ),
        click.option(
            "--mass",
            default=None,
            metavar="M[,M,...]",
            help="Masses that turn velocities into momenta: one for each degree of freedom, for each body, "
            "or for all.",
        ),
        click.option(
            "--axes",
            default=None,
            metavar="AXIS,AXIS,...",
            help="Order of the axes of arrays, such as time,body,dim.  [default: trajectory,time,dof]",
        ),
        click.option(
            "--map",
            "names",
            multiple=True,
            metavar="FIELD=NAME[,NAME...]",
            help="Names of a field in the file, such as q=x,y or v=velocity. Fields are q, p, v, t, mass, "
            "mask, trajectory; may be repeated.",
        ),
        click.option(
            "--format",
            "suffix",
            default=None,
            metavar="SUFFIX",
            help="Format of the file, such as csv, if its name has another suffix.",
        ),
    ):
        command = option(command)
    return command


LAYOUT = ("suffix", "names", "axes", "mass", "split_at_gaps")
"""Names of the flags that `layout_options` adds."""


def load_data(file: Path, settings: dict[str, Any]) -> Trajectories:
    """Load the trajectories of a file.

    Args:
        file: path of the file.
        settings: values of flags. Those of `LAYOUT` are removed.
    Raises:
        DataError: if the file cannot be used.
        UsageError: if a flag of the layout cannot be used.
    """
    from noethers_razor.data.layout import AXES, Layout, parsed_names
    from noethers_razor.data.readers import load_trajectories

    suffix, names, axes, mass, split = (settings.pop(name) for name in LAYOUT)
    try:
        masses = tuple(float(part) for part in mass.split(",")) if mass else ()
    except ValueError:
        raise UsageError(f"--mass {mass!r}; expected numbers such as 1,1,2") from None
    order = tuple(part.strip() for part in axes.split(",")) if axes else AXES
    return load_trajectories(file, Layout(parsed_names(names), order, masses, split), suffix=suffix)


def seed_or_drawn(seed: int | None) -> int:
    """Return the seed, or draw one and print it."""
    if seed is not None:
        return seed
    drawn = secrets.randbelow(2**31)
    click.echo(f"seed {drawn} (drawn; pass --seed {drawn} to repeat this run)", err=True)
    return drawn


def settings_of_checkpoint(context: click.Context, run: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a fit that is resumed.

    Args:
        context: context of the command.
        run: run folder.
        settings: values of the flags of the command.
    Returns:
        The settings of the interrupted fit, or the given ones if none can be read.
    Raises:
        UsageError: if a flag on the command line differs from the settings of the fit.
        RunFolderError: if the settings of a finished run were changed.
    """
    from click.core import ParameterSource

    from noethers_razor.storage.journal import NOTES
    from noethers_razor.storage.run_folder import CHECKPOINTS, read_folder

    home = run / CHECKPOINTS / NOTES
    try:
        # A finished run keeps its settings in its own folder.
        source = home if home.is_dir() else run if (run / f"{NOTES}.json").is_file() else None
        if source is None:
            return settings
        kept = read_folder(source, document=f"{NOTES}.json")[1]
    except RunFolderError as error:
        if source == run:
            raise
        click.echo(f"{error}; resuming with the given flags", err=True)
        return settings
    kept = {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()}
    flags = {option.name: option.opts[0] for option in context.command.get_params(context)}
    for name in kept.keys() & settings.keys():
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given and settings[name] != kept[name]:
            raise UsageError(
                f"{flags[name]} {settings[name]} with --resume, but the fit was started with {kept[name]}; "
                "leave the flag out, or start again with --overwrite"
            )
    return {**settings, **kept}
