from . import learning_dynamics, manifold_embedding, plot, systems
from .config import FitConfig
from .conserved.neural import Neural
from .conserved.none import NoSymmetry
from .conserved.polynomial import Polynomial
from .conserved.quadratic import KnownQuadratic, Quadratic
from .data.layout import Layout
from .data.readers import load_trajectories
from .data.trajectories import Trajectories
from .errors import (
    DataError,
    Interrupted,
    NoetherError,
    RunFolderError,
    TrainingDiverged,
    UsageError,
)
from .inference.fit import fit
from .inference.prediction import Prediction
from .inference.result import FitResult
from .inference.saved import load_result
from .mechanics.quadratic_form import QuadraticForm
from .symmetry.answer_sheet import AnswerSheet, answer
from .symmetry.find import find_symmetries
from .symmetry.report import SymmetryReport

__version__: str

__all__ = [
    "AnswerSheet",
    "DataError",
    "FitConfig",
    "FitResult",
    "Interrupted",
    "KnownQuadratic",
    "Layout",
    "Neural",
    "NoSymmetry",
    "NoetherError",
    "Polynomial",
    "Prediction",
    "Quadratic",
    "QuadraticForm",
    "RunFolderError",
    "SymmetryReport",
    "TrainingDiverged",
    "Trajectories",
    "UsageError",
    "answer",
    "find_symmetries",
    "fit",
    "learning_dynamics",
    "load_result",
    "load_trajectories",
    "manifold_embedding",
    "plot",
    "systems",
]
