"""Reader of simulation archives of REBOUND. Needs the extra ``rebound``.

REBOUND is written in C, and a corrupted file can crash it. Therefore it runs in a separate process.
"""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np

from noethers_razor._optional import extra
from noethers_razor.data.layout import Layout, assembled
from noethers_razor.data.readers.base import require_unused, unreadable
from noethers_razor.data.trajectories import Trajectories

_AXES = "xyz"
_FLAT = 1e-12
"""Extent of the positions along an axis, relative to the largest, up to which the axis is left out."""
_MAGIC = b"REBOUND"
"""First bytes of an archive."""
_PATIENCE = 600
"""Seconds after which reading stops."""
_REMEDY = "write it again with Simulation.save_to_file of rebound"
_MODULE = "noethers_razor.data.readers.rebound"
"""Name of this module, for the separate process."""


def read_rebound(path: Path, layout: Layout) -> Trajectories:
    """Read one trajectory of all bodies of a simulation archive. Momenta are masses times velocities.

    An axis of space along which nothing moves is left out.

    Raises:
        DataError: if the file cannot be read, a body has no mass, or the number of bodies changes.
        UsageError: if rebound is not installed.
    """
    extra("rebound", "rebound", "reading a simulation archive")
    require_unused(layout, ("q", "p", "v", "t", "mask", "trajectory"), "a simulation archive")
    with path.open("rb") as file:
        if not file.read(64).startswith(_MAGIC):
            raise unreadable(
                path, "simulation archive", ValueError("it does not begin with REBOUND"), _REMEDY
            )
    try:
        # -P: modules in the folder of the data are not imported.
        child = subprocess.run(
            [sys.executable, "-P", "-m", _MODULE, str(path.resolve())],
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise unreadable(path, "simulation archive", error, _REMEDY) from None
    if child.returncode:
        said = child.stderr.decode(errors="replace").strip().splitlines()
        reason = said[-1] if said else f"its reader stopped with exit code {child.returncode}"
        raise unreadable(path, "simulation archive", ValueError(reason), _REMEDY)
    with np.load(io.BytesIO(child.stdout), allow_pickle=False) as archive:
        times, masses, positions, velocities = (archive[name] for name in ("t", "mass", "q", "v"))
    extent = np.ptp(positions, axis=(0, 1))
    moving = np.flatnonzero((extent > _FLAT * extent.max()) | (np.abs(velocities).max(axis=(0, 1)) > 0))
    names = [f"{_AXES[axis]}{body + 1}" for body in range(masses.shape[1]) for axis in moving]
    raw = {
        "q": positions[None, :, :, moving],
        "v": velocities[None, :, :, moving],
        "t": times,
        "mass": np.asarray(layout.mass) if layout.mass else masses[0],
    }
    metadata = {"coordinates": [*names, *(f"p{name}" for name in names)], "source": "REBOUND"}
    plain = Layout(axes=("trajectory", "time", "body", "dim"), split=layout.split)
    return assembled(raw, plain, metadata, str(path))


def arrays_of(path: str) -> dict[str, np.ndarray]:
    """Return the arrays of an archive with B bodies at T times.

    Returns:
        Times t (T,), masses mass (T, B), positions q and velocities v (T, B, 3).
    Raises:
        ValueError: if there is no body, or if the number of bodies changes.
    """
    library = extra("rebound", "rebound", "reading a simulation archive")
    times: list[float] = []
    masses: list[list[float]] = []
    q: list[list[list[float]]] = []
    v: list[list[list[float]]] = []
    with warnings.catch_warnings():
        # REBOUND only warns about a corrupted archive.
        warnings.simplefilter("error", RuntimeWarning)
        for simulation in library.Simulationarchive(path):
            bodies = list(simulation.particles)[: simulation.N - simulation.N_var]
            if not bodies or (masses and len(bodies) != len(masses[0])):
                raise ValueError(
                    f"{len(bodies)} bodies at time {simulation.t}; expected the same number at all times"
                )
            times.append(simulation.t)
            masses.append([body.m for body in bodies])
            q.append([body.xyz for body in bodies])
            v.append([body.vxyz for body in bodies])
    return {"t": np.array(times), "mass": np.array(masses), "q": np.array(q), "v": np.array(v)}


def main() -> None:
    """Write the arrays of an archive, the argument of the command line, to standard output."""
    try:
        out = io.BytesIO()
        np.savez(out, allow_pickle=False, **arrays_of(sys.argv[1]))
    except Exception as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    sys.stdout.buffer.write(out.getvalue())


if __name__ == "__main__":
    main()
