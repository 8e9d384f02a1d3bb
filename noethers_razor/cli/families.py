"""Flags of the families of conserved quantities, read from the fields of their classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from noethers_razor.conserved import FAMILIES, family_class
from noethers_razor.errors import UsageError

if TYPE_CHECKING:
    from noethers_razor.conserved.base import Family

GIVEN = "oracle"
"""Name of the family that `--oracle` makes. It has no flags of its own."""


def names_of_families() -> list[str]:
    """Return the names that `--family` takes."""
    return [name for name in FAMILIES if name != GIVEN]


class FamilyName(click.ParamType):
    """The name of a registered family. The registry may grow after the command line is imported."""

    name = "family"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return the names of the families for the help."""
        return f"[{'|'.join(names_of_families())}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, or fail if it is not registered."""
        if value not in names_of_families():
            self.fail(f"{value!r} is not one of {', '.join(names_of_families())}.", param, ctx)
        return str(value)


def _flags_of(name: str) -> dict[str, dataclasses.Field[Any]]:
    """Return the fields of a family by the name of their flag, with underscores."""
    fields = dataclasses.fields(family_class(name))  # type: ignore[arg-type]  # families are dataclasses
    return {f.metadata["flag"].replace("-", "_"): f for f in fields if "flag" in f.metadata}


def family_options(known: set[str]) -> Iterator[click.Option]:
    """Yield the flags of all families. This loads JAX.

    Args:
        known: names of flags that the command already has. They are left out.
    """
    owners: dict[str, list[str]] = {}
    fields: dict[str, dataclasses.Field[Any]] = {}
    for family in names_of_families():
        for flag, field in _flags_of(family).items():
            owners.setdefault(flag, []).append(family)
            fields[flag] = field
    for flag, field in fields.items():
        if flag in known:
            continue
        who = "family" if len(owners[flag]) == 1 else "families"
        text = f"{field.metadata['help']}  [{who} {', '.join(owners[flag])}]"
        yield _option(flag, field, text)


def _option(flag: str, field: dataclasses.Field[Any], text: str) -> click.Option:
    """Return a flag without a default. If it is not given, the family decides."""
    name = f"--{field.metadata['flag']}"
    if isinstance(field.default, bool):
        return click.Option([f"{name}/--no-{name[2:]}", flag], default=None, help=text)
    if isinstance(field.default, tuple):
        metavar = field.metadata.get("metavar", "TEXT")
        return click.Option([name, flag], multiple=True, metavar=metavar, help=text)
    if "choices" in field.metadata:
        return click.Option([name, flag], type=click.Choice(field.metadata["choices"]), help=text)
    kind: Any = {int: click.IntRange(1), float: click.FLOAT}.get(type(field.default), click.STRING)
    return click.Option([name, flag], type=kind, help=text)


def build_family(settings: dict[str, Any]) -> Family:
    """Return the family of a command.

    Args:
        settings: values of flags. The name of the family and the flags of all families are removed.
    Raises:
        UsageError: for a flag of another family.
    """
    name = settings.pop("family")
    flags = {family: _flags_of(family) for family in names_of_families()}
    values = {}
    for flag in dict.fromkeys(flag for own in flags.values() for flag in own):
        value = settings.pop(flag, None)
        if value is None or value == ():
            continue
        if flag not in flags[name]:
            owners = [family for family, own in flags.items() if flag in own]
            who = "family" if len(owners) == 1 else "families"
            given = f"--{'no-' if value is False else ''}{flag.replace('_', '-')}"
            raise UsageError(
                f"{given} with family {name}; it is for {who} {', '.join(owners)}: "
                f"pass --family {owners[0]}, or leave the flag out"
            )
        values[flags[name][flag].name] = value
    return family_class(name)(**values)
