"""netCDF files through xarray, with the extra ``netcdf``."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from noethers_razor.data.layout import Layout, assembled
from noethers_razor.data.readers.base import extra, parsed_metadata, require_plausible, unreadable
from noethers_razor.data.readers.hdf5 import opened, require_plain
from noethers_razor.data.trajectories import Trajectories
from noethers_razor.errors import DataError, UsageError

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

        def check(file: Any) -> None:
            for name in layout.wanted & set(file.keys()):
                require_plain(file, name, path)

        opened(path, check)
    try:
        # Classic files are read at once: their library maps them into memory and leaves them open.
        source = path if wide else io.BytesIO(path.read_bytes())
        engine = "h5netcdf" if wide else "scipy"
        with library.open_dataset(source, engine=engine, decode_cf=False, mask_and_scale=False) as data:
            if not wide:
                require_plausible(path, data.nbytes, path.stat().st_size)
            raw, axes = arrays_of(data, layout)
            text = data.attrs.get("metadata", "{}")
            others = [str(name) for name in data.variables if name not in raw]
    except (DataError, UsageError):
        raise
    except Exception as error:
        # Damaged files reach all kinds of errors in the library.
        raise unreadable(path, "netCDF file", error, _REMEDY) from None
    layout = dataclasses.replace(layout, axes=axes)
    return assembled(raw, layout, parsed_metadata(text, path), str(path), others)


def arrays_of(data: Any, layout: Layout) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Wanted variables of an xarray data set as arrays, and the order of the axes of positions."""
    raw, axes = {}, layout.axes
    for name in layout.wanted:
        if name not in data.variables:
            continue
        variable = data.variables[name]
        dims = [str(dim) for dim in variable.dims]
        if {"trajectory", "time"} <= set(dims):
            variable = variable.transpose("trajectory", "time", ...)
            if len(dims) > 2:
                axes = _named(variable.dims)
        raw[name] = np.asarray(variable.values)
    return raw, axes


def _named(dims: Sequence[Any]) -> tuple[str, ...]:
    return tuple(str(dim) for dim in dims)
