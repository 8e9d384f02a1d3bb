"""Charges of a network in training: Noether's learning dynamics (Tanaka and Kunin 2021)."""

from noethers_razor.learning_dynamics.generators import (
    Generator,
    custom,
    linear,
    rescale,
    rotation,
    scale,
    translation,
)
from noethers_razor.learning_dynamics.norms import (
    RMSProp,
    angle_per_step,
    correlation_factor,
    equivalent_rmsprop,
    predict_norm,
)
from noethers_razor.learning_dynamics.reading import Equilibrium, Reading
from noethers_razor.learning_dynamics.report import (
    NoetherReport,
    SymmetryCheck,
    check_symmetry,
    noether_report,
)
from noethers_razor.learning_dynamics.tracking import (
    Record,
    Tracked,
    TrackedState,
    freeze_norm,
    track_noether,
)

__all__ = [
    "Equilibrium",
    "Generator",
    "NoetherReport",
    "RMSProp",
    "Reading",
    "Record",
    "SymmetryCheck",
    "Tracked",
    "TrackedState",
    "angle_per_step",
    "check_symmetry",
    "correlation_factor",
    "custom",
    "equivalent_rmsprop",
    "freeze_norm",
    "linear",
    "noether_report",
    "predict_norm",
    "rescale",
    "rotation",
    "scale",
    "track_noether",
    "translation",
]
