"""The command class of `fit`: few flags in `--help`, all of them in `--help-all`, a warning for old names."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import click

from noethers_razor.cli.families import family_options
from noethers_razor.config import FitConfig, flag_of

_OLD_FLAGS = {
    "--warmup": "--first-stage",
    "--judge": "--selection",
    "--no-judge": "--no-selection",
    "--functions": "--non-quadratic",
    "--no-forms": "--no-quadratic",
}
"""Flags of version 0.1 -> their new names. The old names work until version 0.3."""
COMMON = (
    "out",
    "answer-only",
    "family",
    "conserved",
    "steps",
    "seed",
    "seeds",
    "map",
    "mass",
    "split-at-gaps",
    "resume",
    "overwrite",
    "quiet",
    "help-all",
    "help",
)
"""Flags that `--help` shows, in this order."""
_TITLES = {
    "": "Flags of the fit as a whole",
    "network": "Network",
    "orbits": "Orbits",
    "optimiser": "Optimiser",
    "likelihood": "Likelihood",
}
"""Groups of settings in `FitConfig` -> titles of their sections in the help."""


def config_option(field: dataclasses.Field[Any]) -> click.Option:
    """Return the flag of a setting. Its name, type, default and help come from `FitConfig`."""
    name, kind = flag_of(field), str(field.type).partition(" | ")[0]
    flag, text = f"--{name.replace('_', '-')}", field.metadata["help"]
    if kind == "bool":
        return click.Option(
            [f"{flag}/--no-{flag[2:]}", name], default=field.default, show_default=True, help=text
        )
    types = {"int": click.INT, "float": click.FLOAT, "str": click.STRING}
    return click.Option([flag, name], type=types[kind], default=field.default, show_default=True, help=text)


class FitCommand(click.Command):
    """A command with the flags of `FitConfig` and of the families in addition to its own.

    The flags of the families load JAX. They are added when the command trains, and for `--help-all`.
    """

    # Whether the flags of the families are added.
    _complete = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Replace flags of version 0.1, then parse."""
        args = [self._renamed(word) for word in args]
        self._complete = not {"-h", "--help"} & set(args)
        if "--answer-only" in args and "--help-all" not in args:
            # An answer has no family: load them only if a flag of one is given.
            self._complete = False
            with contextlib.suppress(click.NoSuchOption):
                return super().parse_args(ctx, list(args))
            self._complete = True
        return super().parse_args(ctx, args)

    def _renamed(self, word: str) -> str:
        flag, separator, value = word.partition("=")
        if flag not in _OLD_FLAGS:
            return word
        click.echo(f"warning: {flag} is deprecated; use {_OLD_FLAGS[flag]}", err=True)
        return f"{_OLD_FLAGS[flag]}{separator}{value}"

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the flags of the command, of the configuration and, except for `--help`, of families."""
        return [option for _, options in self._sections(ctx) for option in options]

    def _sections(self, ctx: click.Context) -> Iterator[tuple[str, list[click.Parameter]]]:
        """Yield titles and flags: common flags, further flags of the command, of families and of settings."""
        own = super().get_params(ctx)
        names = {str(option.name) for option in own}
        settings = {
            group: [
                config_option(f) for g, f in FitConfig.settings() if g == group and flag_of(f) not in names
            ]
            for group in _TITLES
        }
        every = [*own, *settings[""]]
        common = [option for name in COMMON for option in every if f"--{name}" in option.opts]
        # Further flags and the arguments are in the order of their declaration.
        yield "Options", common
        yield "Data, oracle, checkpoints", [option for option in own if option not in common]
        if self._complete:
            yield "Families of conserved quantities", list(family_options(names))
        for group, title in _TITLES.items():
            yield title, [option for option in settings[group] if option not in common]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the common flags, or with `--help-all` all flags by section."""
        for title, options in self._sections(ctx):
            if title != "Options" and not self._complete:
                continue
            flags = [option for option in options if isinstance(option, click.Option)]
            records = [flag.get_help_record(ctx) for flag in flags]
            with formatter.section(title):
                formatter.write_dl([record for record in records if record is not None])


def help_all(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the help with all flags, and exit."""
    if wanted:
        click.echo(context.get_help())
        context.exit()
