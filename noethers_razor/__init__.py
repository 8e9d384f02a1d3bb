"""Noether's Razor: learn Hamiltonians from trajectories together with their conserved quantities.

The names below are the whole public interface; each is loaded when first used, so that importing the
package allocates nothing and starts at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noethers_razor import learning_dynamics, manifold_embedding, plot, systems
    from noethers_razor.config import FitConfig
    from noethers_razor.conserved import (
        KnownQuadratic,
        Neural,
        NoSymmetry,
        Polynomial,
        Quadratic,
        QuadraticForm,
    )
    from noethers_razor.data.layout import Layout
    from noethers_razor.data.readers import load_trajectories
    from noethers_razor.data.trajectories import Trajectories
    from noethers_razor.errors import (
        DataError,
        Interrupted,
        NoetherError,
        RunFolderError,
        TrainingDiverged,
        UsageError,
    )
    from noethers_razor.fitting import fit, fit_seeds
    from noethers_razor.journal import Journal
    from noethers_razor.prediction import Prediction
    from noethers_razor.result import Result, load
    from noethers_razor.symmetry.function_report import FunctionReport
    from noethers_razor.symmetry.report import SymmetryReport, find_symmetries

_WHERE = {
    "DataError": "errors",
    "FitConfig": "config",
    "FunctionReport": "symmetry.function_report",
    "Interrupted": "errors",
    "Journal": "journal",
    "KnownQuadratic": "conserved",
    "Layout": "data.layout",
    "Neural": "conserved",
    "NoSymmetry": "conserved",
    "NoetherError": "errors",
    "Polynomial": "conserved",
    "Prediction": "prediction",
    "Quadratic": "conserved",
    "QuadraticForm": "conserved",
    "Result": "result",
    "RunFolderError": "errors",
    "SymmetryReport": "symmetry.report",
    "TrainingDiverged": "errors",
    "Trajectories": "data.trajectories",
    "UsageError": "errors",
    "find_symmetries": "symmetry.report",
    "fit": "fitting",
    "fit_seeds": "fitting",
    "learning_dynamics": "",
    "load": "result",
    "load_trajectories": "data.readers",
    "manifold_embedding": "",
    "plot": "",
    "systems": "",
}

__all__ = [
    "DataError",
    "FitConfig",
    "FunctionReport",
    "Interrupted",
    "Journal",
    "KnownQuadratic",
    "Layout",
    "Neural",
    "NoSymmetry",
    "NoetherError",
    "Polynomial",
    "Prediction",
    "Quadratic",
    "QuadraticForm",
    "Result",
    "RunFolderError",
    "SymmetryReport",
    "TrainingDiverged",
    "Trajectories",
    "UsageError",
    "find_symmetries",
    "fit",
    "fit_seeds",
    "learning_dynamics",
    "load",
    "load_trajectories",
    "manifold_embedding",
    "plot",
    "systems",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not _WHERE[name]:
        return importlib.import_module(f"{__name__}.{name}")
    value = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
