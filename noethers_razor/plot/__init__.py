"""Figures from arrays. Every function takes plain arrays and returns an object of matplotlib."""

from noethers_razor.plot.charges import charges, norms
from noethers_razor.plot.fields import Arrows, arrows, bodies, body_arrows, flow, phase_planes, plane_arrows
from noethers_razor.plot.quantities import Section, generators, level_sets, section, spectrum
from noethers_razor.plot.rollouts import calibration, paths, rollouts
from noethers_razor.plot.style import load
from noethers_razor.plot.training import convergence, curves, training

__all__ = [
    "Arrows",
    "Section",
    "arrows",
    "bodies",
    "body_arrows",
    "calibration",
    "charges",
    "convergence",
    "curves",
    "flow",
    "generators",
    "level_sets",
    "load",
    "norms",
    "paths",
    "phase_planes",
    "plane_arrows",
    "rollouts",
    "section",
    "spectrum",
    "training",
]
