"""Families of conserved quantities; a new one is one file and one line in FAMILIES."""

from noethers_razor.conserved.base import (
    ConservedFamily,
    FunctionFamily,
    Proposal,
    Tracks,
    gradients,
    thinned,
)
from noethers_razor.conserved.neural import Neural
from noethers_razor.conserved.none import NoSymmetry
from noethers_razor.conserved.polynomial import Polynomial
from noethers_razor.conserved.quadratic import AUTOMATIC, KnownQuadratic, Quadratic
from noethers_razor.mechanics.quadratic_form import QuadraticForm

FAMILIES: dict[str, type[ConservedFamily]] = {
    "quadratic": Quadratic,
    "polynomial": Polynomial,
    "neural": Neural,
    "none": NoSymmetry,
    "oracle": KnownQuadratic,
}
"""Name -> class, as on the command line."""

__all__ = [
    "AUTOMATIC",
    "FAMILIES",
    "ConservedFamily",
    "FunctionFamily",
    "KnownQuadratic",
    "Neural",
    "NoSymmetry",
    "Polynomial",
    "Proposal",
    "Quadratic",
    "QuadraticForm",
    "Tracks",
    "gradients",
    "thinned",
]
