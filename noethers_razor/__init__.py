"""Noether's Razor: learn Hamiltonians from trajectories together with their conserved quantities.

`__init__.pyi` lists the public names. Each is loaded when it is first used, so that importing the package
is fast and allocates nothing.
"""

from __future__ import annotations

from typing import Any

import lazy_loader

from noethers_razor._deprecated import warn_of_old_name

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
        warn_of_old_name("noethers_razor.Journal", "noethers_razor.storage.journal.Journal")
        from noethers_razor.storage.journal import Journal

        return Journal
    if name in _RENAMED:
        warn_of_old_name(f"noethers_razor.{name}", f"noethers_razor.{_RENAMED[name]}")
        if name == "fit_seeds":
            from noethers_razor.inference.fit import fit_seeds

            return fit_seeds
        return _load(_RENAMED[name])
    return _load(name)
