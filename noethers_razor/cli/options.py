"""Flags that commands share, and what they say: systems, families, settings, seeds."""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from noethers_razor.config import FitConfig
from noethers_razor.errors import RunFolderError, UsageError

if TYPE_CHECKING:
    from noethers_razor.conserved import ConservedFamily
    from noethers_razor.data.trajectories import Trajectories
    from noethers_razor.systems.base import System

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One flag for each field of FitConfig: a setting exists in one place only."""
    kinds = {"int": int, "float": float, "str": str, "float | None": float, "int | None": int}
    for field in reversed(dataclasses.fields(FitConfig)):
        flag, text = f"--{field.name.replace('_', '-')}", field.metadata["help"]
        if field.type == "bool":
            option = click.option(
                f"{flag}/--no-{flag[2:]}", default=field.default, show_default=True, help=text
            )
        else:
            option = click.option(
                flag, type=kinds[str(field.type)], default=field.default, show_default=True, help=text
            )
        command = option(command)
    return command


def system_options(purpose: str) -> Decorator:
    """The flags that `build_system` reads."""

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
    """A system by name; sizes not given come from the metadata of data of the same system."""
    from noethers_razor.systems import build, flags_of, system_class

    cls = system_class(name)
    values: dict[str, Any] = {}
    saved = (metadata or {}).get("system", {})
    known = saved.get("parameters") if isinstance(saved, dict) and saved.get("name") == cls.name else None
    values |= known if isinstance(known, dict) else {}
    size = flags_of(cls).get("n")
    if n is not None and size is not None and values.get(size) != n:
        # Parameters of another number of bodies do not carry over.
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
    """The flags that `load_data` reads."""
    for option in (
        click.option(
            "--split-at-gaps",
            type=float,
            is_flag=False,
            flag_value=5.0,
            default=None,
            metavar="[STEPS]",
            help="Cut trajectories where time decreases, states are missing, or a step is so many times the "
            "usual one; 5 without a number.",
        ),
        click.option(
            "--mass",
            default=None,
            metavar="M[,M,...]",
            help="Masses, so that velocities become momenta: of each degree of freedom, each body, or all.",
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
            help="Where a field is in the file, such as q=x,y or v=velocity; fields are q, p, v, t, mass, "
            "mask, trajectory. May be repeated.",
        ),
        click.option(
            "--format",
            "suffix",
            default=None,
            metavar="SUFFIX",
            help="Format of the file where its name does not say, such as csv.",
        ),
    ):
        command = option(command)
    return command


LAYOUT = ("suffix", "names", "axes", "mass", "split_at_gaps")


def load_data(file: Path, settings: dict[str, Any]) -> Trajectories:
    """Trajectories of a file where flags say they are; takes its flags out of the settings."""
    from noethers_razor.data.layout import AXES, Layout, parsed_names
    from noethers_razor.data.readers import load_trajectories

    suffix, names, axes, mass, split = (settings.pop(name) for name in LAYOUT)
    try:
        masses = tuple(float(part) for part in mass.split(",")) if mass else ()
    except ValueError:
        raise UsageError(f"--mass {mass!r}; expected numbers such as 1,1,2") from None
    order = tuple(part.strip() for part in axes.split(",")) if axes else AXES
    return load_trajectories(file, Layout(parsed_names(names), order, masses, split), suffix=suffix)


_OWNER = {"degree": "polynomial", "terms": "polynomial", "units": "neural", "layers": "neural"}
"""Setting -> the family that alone reads it."""


def family_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that `build_family` reads."""
    for option in (
        click.option(
            "--layers", type=click.IntRange(1), default=None, help="Layers of family neural.  [default: 2]"
        ),
        click.option(
            "--units",
            type=click.IntRange(1),
            default=None,
            help="Units of a layer of family neural.  [default: 64]",
        ),
        click.option(
            "--term",
            "terms",
            multiple=True,
            metavar="FORMULA",
            help="Further variable of family polynomial, such as 1/sqrt(q1^2+q2^2); may be repeated.",
        ),
        click.option(
            "--functions",
            type=click.IntRange(1),
            default=None,
            help="Largest number of functions of families polynomial and neural.  [default: 2 n - 2]",
        ),
        click.option(
            "--no-forms",
            is_flag=True,
            help="Families polynomial and neural without quadratic forms of their own beside the functions.",
        ),
        click.option(
            "--degree",
            type=click.IntRange(1),
            default=None,
            help="Degree of family polynomial.  [default: 3]",
        ),
        click.option(
            "--start",
            type=click.Choice(["proposal", "random"]),
            default="proposal",
            show_default=True,
            help="What is constant along trajectories, or the paper's small random start.",
        ),
        click.option(
            "--family",
            type=click.Choice(["quadratic", "polynomial", "neural", "none"]),
            default="quadratic",
            show_default=True,
            help="Family of conserved quantities; none fits without symmetry.",
        ),
        click.option(
            "--conserved",
            type=click.IntRange(1),
            default=None,
            help="Largest number of conserved quantities: of quadratic forms, and of functions beside them, "
            "of which there are 2 n - 2 at most.  [default: n^2 + 6 forms, at least 15]",
        ),
    ):
        command = option(command)
    return command


def build_family(settings: dict[str, Any]) -> ConservedFamily:
    """The family that flags name; takes its flags out of the settings.

    Raises:
        UsageError: for a flag of another family.
    """
    from noethers_razor.conserved import AUTOMATIC, Neural, NoSymmetry, Polynomial, Quadratic

    name, count, start = (settings.pop(flag) for flag in ("family", "conserved", "start"))
    count = AUTOMATIC if count is None else count
    given = {setting: settings.pop(setting) for setting in _OWNER}
    given = {setting: value for setting, value in given.items() if value}
    forms, functions = not settings.pop("no_forms"), settings.pop("functions")
    if name not in ("polynomial", "neural"):
        for flag, wanted in (("no-forms", not forms), ("functions", functions is not None)):
            if wanted:
                raise UsageError(f"--{flag} with family {name}; it is for families polynomial and neural")
    given |= {} if functions is None else {"functions": functions}
    for setting in given:
        if _OWNER.get(setting, name) != name:
            flag = "term" if setting == "terms" else setting
            raise UsageError(f"--{flag} with family {name}; it is for family {_OWNER[setting]}")
    if name == "polynomial":
        return Polynomial(count, start, forms, **given)
    if name == "neural":
        names = {"units": "width", "layers": "depth"}
        return Neural(count, start, forms, **{names.get(flag, flag): value for flag, value in given.items()})
    return NoSymmetry() if name == "none" else Quadratic(count, start)


def seed_or_drawn(seed: int | None) -> int:
    """The seed, or one drawn and told."""
    if seed is not None:
        return seed
    drawn = secrets.randbelow(2**31)
    click.echo(f"seed {drawn} (drawn; pass --seed {drawn} to repeat this run)", err=True)
    return drawn


def settings_of_checkpoint(context: click.Context, run: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a fit that is gone on with, of which those given once more must be the same.

    Raises:
        UsageError: naming a flag that differs.
        RunFolderError: when those of a finished run were changed.
    """
    from click.core import ParameterSource

    from noethers_razor.storage.journal import NOTES
    from noethers_razor.storage.run_folder import CHECKPOINTS, read_folder

    home = run / CHECKPOINTS / NOTES
    try:
        # Of a run that is finished they are in its own folder.
        source = home if home.is_dir() else run if (run / f"{NOTES}.json").is_file() else None
        if source is None:
            return settings
        kept = read_folder(source, document=f"{NOTES}.json")[1]
    except RunFolderError as error:
        if source == run:
            raise
        click.echo(f"{error}; going on with the flags given", err=True)
        return settings
    kept = {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()}
    flags = {option.name: option.opts[0] for option in context.command.params}
    for name in kept.keys() & settings.keys():
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given and settings[name] != kept[name]:
            raise UsageError(
                f"{flags[name]} {settings[name]} with --resume, but the fit was begun with {kept[name]}; "
                "leave the flag out, or begin anew"
            )
    return {**settings, **kept}
