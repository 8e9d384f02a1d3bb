"""Families of conserved quantities; a new one is one file and one line in FAMILIES."""

from noethers_razor.conserved.base import ConservedFamily, Proposal, Tracks
from noethers_razor.conserved.none import NoSymmetry
from noethers_razor.conserved.quadratic import KnownQuadratic, Quadratic, QuadraticForm

FAMILIES: dict[str, type[ConservedFamily]] = {
    "quadratic": Quadratic,
    "none": NoSymmetry,
    "oracle": KnownQuadratic,
}
"""Name -> class, as on the command line."""

__all__ = [
    "FAMILIES",
    "ConservedFamily",
    "KnownQuadratic",
    "NoSymmetry",
    "Proposal",
    "Quadratic",
    "QuadraticForm",
    "Tracks",
]
