"""Reader of netCDF files, by xarray. Needs the extra ``netcdf``."""

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
"""First bytes of netCDF 4 files, which are HDF5 files. Classic files begin with CDF."""
_REMEDY = "write variables q, p, t with dimensions trajectory, time, dof"


def read_netcdf(path: Path, layout: Layout) -> Trajectories:
    """Read trajectories from variables q, p (or v and mass), t, mask (optional), attribute metadata (JSON).

    Dimensions with the names trajectory and time may have any order.

    Raises:
        DataError: if the file cannot be read or its data cannot be used.
        UsageError: if xarray or h5netcdf is not installed.
    """
    library = extra("xarray", "netcdf", "reading netCDF")
    extra("h5netcdf", "netcdf", "reading netCDF")
    with path.open("rb") as file:
        wide = file.read(4) == _HDF5
    if wide:
        opened(path, lambda file: require_no_links(file, path))
    # Classic files are read at once. Otherwise the library maps the file into memory and leaves it open.
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
    """Return the wanted variables of an xarray data set as arrays, and the order of their axes.

    Args:
        data: data set of xarray.
        layout: names of the variables, and axes for dimensions with other names.
        path: file, for messages.
    Raises:
        DataError: for dimensions with other names, if the layout has no axes.
    """
    raw, axes, inner = {}, layout.axes, None
    for name in sorted(layout.wanted & set(map(str, data.variables))):
        variable = data.variables[name]
        dims = [str(dim) for dim in variable.dims]
        if {"trajectory", "time"} <= set(dims):
            rest = [dim for dim in dims if dim not in ("trajectory", "time")]
            if rest:
                # All variables have their degrees of freedom in the order of the first one.
                inner = inner if inner and set(inner) == set(rest) else rest
                axes = ("trajectory", "time", *inner)
            variable = variable.transpose(*(axes if rest else axes[:2]))
        elif "time" in dims and len(dims) > 2 and layout.axes == AXES:
            other = next(dim for dim in dims if dim != "time")
            raise DataError(
                "NR102",
                f"{path}: {name} has dimensions {', '.join(dims)}; expected trajectory, time and others: "
                f"rename them, such as data.rename({other}='trajectory') in xarray, or, for one trajectory, "
                "name the axes, such as --axes time,body,dim",
            )
        raw[name] = _unpacked(variable)
    return raw, axes


def _unpacked(variable: Any) -> np.ndarray:
    """Return the numbers of a packed variable (CF conventions, 8.1), with nan for its fill value."""
    values, notes = np.asarray(variable.values), variable.attrs
    missing = [notes[key] for key in ("_FillValue", "missing_value") if key in notes]
    scaled = {"scale_factor", "add_offset"} & set(notes)
    absent = np.zeros(values.shape, bool)
    for value in missing:
        absent |= values == value
    if scaled:
        values = values * float(notes.get("scale_factor", 1.0)) + float(notes.get("add_offset", 0.0))
    return np.where(absent, np.nan, values) if absent.any() else values
