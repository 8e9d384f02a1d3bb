"""Noether's Razor: learn Hamiltonians from trajectories together with their conserved quantities.

`__init__.pyi` lists the public names. Each is loaded when it is first used, so that importing the package
is fast and allocates nothing.
"""

from __future__ import annotations

import warnings
from typing import Any

import lazy_loader

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

_RENAMED = {
    "FunctionReport": "SymmetryReport",
    "Result": "FitResult",
    "fit_seeds": "fit",
    "load": "load_result",
}
"""Old name -> new name; the old names work until 0.3."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        import importlib.metadata

        return importlib.metadata.version(__name__)
    if name == "Journal":
        _warn(name, "noethers_razor.storage.journal.Journal")
        from noethers_razor.storage.journal import Journal

        return Journal
    if name in _RENAMED:
        _warn(name, f"noethers_razor.{_RENAMED[name]}")
        if name == "fit_seeds":
            from noethers_razor.inference.fit import fit_seeds

            return fit_seeds
        return _load(_RENAMED[name])
    return _load(name)


def _warn(name: str, new: str) -> None:
    warnings.warn(f"noethers_razor.{name} is deprecated; use {new}", DeprecationWarning, stacklevel=3)
