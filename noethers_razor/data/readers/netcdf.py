"""netCDF files through xarray, with the extra ``netcdf``."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np

from noethers_razor._optional import extra
from noethers_razor.data.layout import AXES, Layout, assembled
from noethers_razor.data.readers.base import parsed_metadata, reading
from noethers_razor.data.readers.hdf5 import opened, require_no_links
from noethers_razor.data.trajectories import Trajectories
from noethers_razor.errors import DataError
from noethers_razor.storage.archives import require_plausible

_HDF5 = b"\x89HDF"
_REMEDY = "write variables q, p, t with dimensions trajectory, time, dof"


def read_netcdf(path: Path, layout: Layout) -> Trajectories:
    """Trajectories from variables q, p (or v and mass), t and optionally mask; attribute metadata (JSON).

    Dimensions that are called trajectory and time are put in place, whatever their order.

    Raises:
        DataError: when it cannot be read.
        UsageError: without xarray.
    """
    library = extra("xarray", "netcdf", "reading netCDF")
    extra("h5netcdf", "netcdf", "reading netCDF")
    with path.open("rb") as file:
        wide = file.read(4) == _HDF5
    if wide:
        opened(path, lambda file: require_no_links(file, path))
    # Classic files are read at once: their library maps them into memory and leaves them open.
    source = path if wide else io.BytesIO(path.read_bytes())
    plainly = {"engine": "h5netcdf" if wide else "scipy", "decode_cf": False, "mask_and_scale": False}
    with reading(path, "netCDF file", _REMEDY), library.open_dataset(source, **plainly) as data:
        if not wide:
            require_plausible(path, data.nbytes, path.stat().st_size)
        raw, axes = arrays_of(data, layout, path)
        text = data.attrs.get("metadata", "{}")
        others = [str(name) for name in data.variables if name not in raw]
    layout = dataclasses.replace(layout, axes=axes)
    return assembled(raw, layout, parsed_metadata(text, path), str(path), others)


def arrays_of(data: Any, layout: Layout, path: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Wanted variables of an xarray data set as arrays, and the order of the axes of positions.

    Raises:
        DataError: where dimensions have other names and no order was said.
    """
    raw, axes, inner = {}, layout.axes, None
    for name in sorted(layout.wanted & set(map(str, data.variables))):
        variable = data.variables[name]
        dims = [str(dim) for dim in variable.dims]
        if {"trajectory", "time"} <= set(dims):
            rest = [dim for dim in dims if dim not in ("trajectory", "time")]
            if rest:
                # The degrees of freedom of all in one order.
                inner = inner if inner and set(inner) == set(rest) else rest
                axes = ("trajectory", "time", *inner)
            variable = variable.transpose(*(axes if rest else axes[:2]))
        elif "time" in dims and len(dims) > 2 and layout.axes == AXES:
            raise DataError(
                "NR102",
                f"{path}: {name} has dimensions {', '.join(dims)}; expected trajectory, time and others: say "
                f"which is which, such as --axes {','.join('time' if d == 'time' else 'dof' for d in dims)}",
            )
        raw[name] = _unpacked(variable)
    return raw, axes


def _unpacked(variable: Any) -> np.ndarray:
    """Numbers of a variable that is stored as others (CF conventions, 8.1); its fill value is none."""
    values, notes = np.asarray(variable.values), variable.attrs
    missing = [notes[key] for key in ("_FillValue", "missing_value") if key in notes]
    scaled = {"scale_factor", "add_offset"} & set(notes)
    absent = np.zeros(values.shape, bool)
    for value in missing:
        absent |= values == value
    if scaled:
        values = values * float(notes.get("scale_factor", 1.0)) + float(notes.get("add_offset", 0.0))
    return np.where(absent, np.nan, values) if absent.any() else values
