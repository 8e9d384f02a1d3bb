"""Systems with known conserved quantities. A new system is one file and one line in SYSTEMS.

Importing this package loads no system and not JAX, so that the command line can list the names quickly.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING, Any

from noethers_razor.errors import UsageError

if TYPE_CHECKING:
    # Only for annotations in this file. The classes of systems come from SYSTEMS.
    from noethers_razor.systems.base import System

SYSTEMS = {
    "central_force": "noethers_razor.systems.central_force:CentralForce",
    "henon_heiles": "noethers_razor.systems.henon_heiles:HenonHeiles",
    "kepler": "noethers_razor.systems.central_force:Kepler",
    "nbody": "noethers_razor.systems.nbody:NBody",
    "oscillators": "noethers_razor.systems.oscillators:Oscillators",
    "pendulum": "noethers_razor.systems.pendulum:Pendulum",
    "toda": "noethers_razor.systems.toda:Toda",
}
"""Name, as on the command line -> module and class."""

_BASE = ("noethers_razor.systems.base:System", "noethers_razor.systems.base:named_stream")


def _exports() -> dict[str, str]:
    """Return the name of each export that is loaded at first use -> module and name."""
    return {where.partition(":")[2]: where for where in (*SYSTEMS.values(), *_BASE)}


__all__ = ["SYSTEMS", "build", "flags_of", "system_class", *_exports()]


def __getattr__(name: str) -> Any:
    if name not in _exports():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _exports()[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def system_class(name: str) -> type[System]:
    """Return the class of a system.

    Args:
        name: name in SYSTEMS. Case, ``_`` and ``-`` make no difference.
    Raises:
        UsageError: for a name that is not registered.
    """
    key = name.lower().replace("-", "_")
    if key not in SYSTEMS:
        raise UsageError(f"unknown system {name!r}; expected one of {', '.join(SYSTEMS)}")
    module, _, attribute = SYSTEMS[key].partition(":")
    return getattr(importlib.import_module(module), attribute)


def flags_of(cls: type[System]) -> dict[str, str]:
    """Return the flags of a system: name of the flag (``n``, ``dim``) -> name of the field that it sets."""
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]  # subclasses are dataclasses, see System
    return {f.metadata["flag"]: f.name for f in fields if "flag" in f.metadata}


def build(name: str, flags: dict[str, int | None] | None = None, **parameters: Any) -> System:
    """Build a system.

    Args:
        name: name in SYSTEMS.
        flags: values of the command-line flags ``n`` and ``dim``; None if a flag is not given.
        parameters: values of fields of the system. Lists become tuples.
    Raises:
        UsageError: for an unknown system, or for a flag or parameter that the system does not have.
    """
    cls = system_class(name)
    fields = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]  # as in flags_of
    by_flag = flags_of(cls)
    values = dict(parameters)
    for flag, value in (flags or {}).items():
        if value is None:
            continue
        if flag not in by_flag:
            raise UsageError(
                f"system {cls.name} has no flag --{flag}; its flags are {', '.join(by_flag) or 'none'}"
            )
        values[by_flag[flag]] = value
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise UsageError(
            f"system {cls.name} has no parameter {', '.join(unknown)}; its parameters are {', '.join(fields)}"
        )
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
