"""Orbits of planets from an ephemeris of the Jet Propulsion Laboratory. Needs the extra ``ephemeris``.

The ephemeris is DE421 (Folkner, Williams, Boggs 2009), a fit to a century of observations. Every planet gives
one trajectory of the same system, a body that moves about the Sun. Its units are the units of its own orbit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from noethers_razor._optional import extra
from noethers_razor.data.trajectories import Trajectories
from noethers_razor.errors import UsageError

PLANETS = ("mercury", "venus", "earthmoon", "mars", "jupiter", "saturn", "uranus", "neptune", "pluto")
"""Names of the planets in DE421. ``earthmoon`` is the barycentre of the Earth and the Moon."""
_CONSTANTS = dict(zip(PLANETS, ("GM1", "GM2", "GMB", "GM4", "GM5", "GM6", "GM7", "GM8", "GM9"), strict=True))
"""Planet -> name of its gravitational constant in DE421."""
_OBLIQUITY = math.radians(84381.448 / 3600)
"""Obliquity of the ecliptic of J2000, radian."""


def _ecliptic(vectors: np.ndarray) -> np.ndarray:
    """Return equatorial vectors (..., 3) in ecliptic coordinates."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    cos, sin = math.cos(_OBLIQUITY), math.sin(_OBLIQUITY)
    return np.stack([x, cos * y + sin * z, cos * z - sin * y], axis=-1)


def planets(
    names: Sequence[str] = PLANETS, *, steps_per_orbit: int = 32, most: int = 200, dim: int = 3
) -> Trajectories:
    """Return heliocentric orbits of planets as trajectories of one Kepler problem of unit mass.

    The unit of length is the semi-major axis of each planet, the unit of time the inverse of its mean motion.
    All periods are then 2 pi, and H = p^2/2 - 1/|q| except for the attraction of the other planets.

    Args:
        names: names of planets, see `PLANETS`.
        steps_per_orbit: number of states in a revolution.
        most: largest number of states of a planet. Slow planets have fewer.
        dim: 3, or 2 for the projection on the ecliptic.
    Returns:
        One trajectory for each planet, with dim degrees of freedom.
    Raises:
        UsageError: for an unknown planet, another dimension, or a missing package.
    """
    unknown = [name for name in names if name not in PLANETS]
    if unknown or not names:
        raise UsageError(f"planets {', '.join(unknown) or 'none'}; expected names from {', '.join(PLANETS)}")
    if dim not in (2, 3):
        raise UsageError(f"dim = {dim}; expected 2 or 3")
    library = extra("jplephem.ephem", "ephemeris", "an ephemeris")
    ephemeris = library.Ephemeris(extra("de421", "ephemeris", "an ephemeris"))
    pieces = [_orbit(ephemeris, name, steps_per_orbit, most, dim) for name in names]
    axes = "xyz"[:dim]
    return Trajectories.of_pieces(
        pieces,
        {
            "coordinates": [*(f"q{axis}" for axis in axes), *(f"p{axis}" for axis in axes)],
            "source": "JPL DE421",
            "planets": list(names),
            "units": "semi-major axis and mean motion of each planet",
        },
        "JPL DE421",
    )


def _orbit(
    ephemeris: Any, name: str, steps_per_orbit: int, most: int, dim: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return times (T,), positions and momenta (T, dim) of a planet in its own units."""
    # The ephemeris has days and astronomical units.
    strength = float(ephemeris.GMS) + float(getattr(ephemeris, _CONSTANTS[name]))

    def states(days: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        planet, sun = (ephemeris.position_and_velocity(body, days) for body in (name, "sun"))
        relative = [(one - other).T / float(ephemeris.AU) for one, other in zip(planet, sun, strict=True)]
        return _ecliptic(relative[0]), _ecliptic(relative[1])

    first, last = float(ephemeris.jalpha) + 1.0, float(ephemeris.jomega) - 1.0
    q, v = states(np.linspace(first, last, 2000))
    energy = np.sum(v**2, axis=1) / 2 - strength / np.linalg.norm(q, axis=1)
    axis = float(np.mean(-strength / (2 * energy)))
    motion = math.sqrt(strength / axis**3)
    step = 2 * math.pi / steps_per_orbit
    count = min(most, int((last - first) * motion / step) + 1)
    q, v = states(first + np.arange(count) * step / motion)
    return np.arange(count) * step, q[:, :dim] / axis, v[:, :dim] / (axis * motion)
