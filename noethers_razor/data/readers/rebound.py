"""Simulation archives of REBOUND, with the extra ``rebound``."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from noethers_razor.data.layout import Layout, assembled
from noethers_razor.data.readers.base import extra, unreadable
from noethers_razor.data.trajectories import Trajectories
from noethers_razor.errors import DataError

_AXES = "xyz"
_FLAT = 1e-12
_MAGIC = b"REBOUND"


def read_rebound(path: Path, layout: Layout) -> Trajectories:
    """One trajectory of all bodies of a simulation archive: momenta are masses times velocities.

    A direction in which nothing ever moves is left out.

    Raises:
        DataError: when it cannot be read, a body has no mass, or their number changes.
        UsageError: without rebound.
    """
    library = extra("rebound", "rebound", "reading a simulation archive")
    with path.open("rb") as file:
        # The library aborts on some files that are none.
        if not file.read(64).startswith(_MAGIC):
            raise unreadable(
                path, "simulation archive", ValueError("it does not begin as one"), "write it with rebound"
            )
    times, q, v, mass = [], [], [], None
    try:
        with warnings.catch_warnings():
            # A damaged archive is only warned of.
            warnings.simplefilter("error", RuntimeWarning)
            archive = library.Simulationarchive(str(path))
            for simulation in archive:
                bodies = list(simulation.particles)[: simulation.N - simulation.N_var]
                own = np.array([body.m for body in bodies])
                if mass is not None and len(own) != len(mass):
                    raise DataError(
                        "NR103",
                        f"{path}: {len(own)} bodies at time {simulation.t}, {len(mass)} before; expected the "
                        "same ones throughout: cut the archive where bodies merge or leave",
                    )
                mass = own
                times.append(simulation.t)
                q.append([body.xyz for body in bodies])
                v.append([body.vxyz for body in bodies])
    except DataError:
        raise
    except Exception as error:
        raise unreadable(path, "simulation archive", error, "write it with rebound") from None
    if mass is None or not len(mass):
        raise DataError("NR103", f"{path}: no bodies; expected some that move")
    positions, velocities = np.array(q), np.array(v)
    extent = np.ptp(positions, axis=(0, 1))
    moving = np.flatnonzero((extent > _FLAT * extent.max()) | (np.abs(velocities).max(axis=(0, 1)) > 0))
    names = [f"{_AXES[axis]}{body + 1}" for body in range(len(mass)) for axis in moving]
    raw = {
        "q": positions[None, :, :, moving],
        "v": velocities[None, :, :, moving],
        "t": np.array(times),
        "mass": np.asarray(layout.mass) if layout.mass else mass,
    }
    metadata = {"coordinates": [*names, *(f"p{name}" for name in names)], "source": "REBOUND"}
    plain = Layout(axes=("trajectory", "time", "body", "dim"), split=layout.split)
    return assembled(raw, plain, metadata, str(path))
