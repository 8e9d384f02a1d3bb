"""Systems with ground truth; a new one is one file and one line in SYSTEMS.

Importing this package loads no system, so that the command line can list their names at once.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING, Any

from noethers_razor.errors import UsageError

if TYPE_CHECKING:
    from noethers_razor.systems.base import System, named_stream
    from noethers_razor.systems.central_force import CentralForce, Kepler
    from noethers_razor.systems.henon_heiles import HenonHeiles
    from noethers_razor.systems.nbody import NBody
    from noethers_razor.systems.oscillators import Oscillators
    from noethers_razor.systems.pendulum import Pendulum
    from noethers_razor.systems.toda import Toda

SYSTEMS = {
    "central_force": "noethers_razor.systems.central_force:CentralForce",
    "henon_heiles": "noethers_razor.systems.henon_heiles:HenonHeiles",
    "kepler": "noethers_razor.systems.central_force:Kepler",
    "nbody": "noethers_razor.systems.nbody:NBody",
    "oscillators": "noethers_razor.systems.oscillators:Oscillators",
    "pendulum": "noethers_razor.systems.pendulum:Pendulum",
    "toda": "noethers_razor.systems.toda:Toda",
}
"""Name on the command line -> where the class is."""

_OTHERS = {
    "System": "noethers_razor.systems.base:System",
    "named_stream": "noethers_razor.systems.base:named_stream",
}
_EXPORTS = {where.partition(":")[2]: where for where in SYSTEMS.values()} | _OTHERS
__all__ = [
    "SYSTEMS",
    "CentralForce",
    "HenonHeiles",
    "Kepler",
    "NBody",
    "Oscillators",
    "Pendulum",
    "System",
    "Toda",
    "build",
    "flags_of",
    "named_stream",
    "system_class",
]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _EXPORTS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def system_class(name: str) -> type[System]:
    """The class of a system by its name, ``_`` and ``-`` alike.

    Raises:
        UsageError: for a name that is not registered.
    """
    key = name.lower().replace("-", "_")
    if key not in SYSTEMS:
        raise UsageError(f"unknown system {name!r}; expected one of {', '.join(SYSTEMS)}")
    module, _, attribute = SYSTEMS[key].partition(":")
    return getattr(importlib.import_module(module), attribute)


def flags_of(cls: type[System]) -> dict[str, str]:
    """Command-line flag (``n``, ``dim``) -> name of the field that it fills."""
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]  # subclasses are dataclasses, see System
    return {f.metadata["flag"]: f.name for f in fields if "flag" in f.metadata}


def build(name: str, flags: dict[str, int | None] | None = None, **parameters: Any) -> System:
    """A system from its name, command-line flags such as n and dim, and parameters by field name.

    Raises:
        UsageError: for an unknown system, or a flag or parameter that it does not have.
    """
    cls = system_class(name)
    fields = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]  # as in flags_of
    by_flag = flags_of(cls)
    values = dict(parameters)
    for flag, value in (flags or {}).items():
        if value is None:
            continue
        if flag not in by_flag:
            raise UsageError(f"system {cls.name} takes no --{flag}; it has {', '.join(by_flag) or 'none'}")
        values[by_flag[flag]] = value
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise UsageError(
            f"system {cls.name} has no parameter {', '.join(unknown)}; it has {', '.join(fields)}"
        )
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
