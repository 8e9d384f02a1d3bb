"""Readers of trajectory files by suffix; a new format is one file, one function and one line in READERS."""

from __future__ import annotations

import os
from pathlib import Path

from noethers_razor.data.layout import Layout
from noethers_razor.data.readers.base import Reader
from noethers_razor.data.readers.hdf5 import read_hdf5
from noethers_razor.data.readers.netcdf import read_netcdf
from noethers_razor.data.readers.npz import read_npz
from noethers_razor.data.readers.rebound import read_rebound
from noethers_razor.data.readers.table import read_table
from noethers_razor.data.readers.zarr import read_zarr
from noethers_razor.data.trajectories import Trajectories
from noethers_razor.errors import DataError, UsageError

READERS: dict[str, Reader] = {
    ".npz": read_npz,
    ".csv": read_table,
    ".tsv": read_table,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    ".nc": read_netcdf,
    ".zarr": read_zarr,
    ".zip": read_zarr,
    ".bin": read_rebound,
}
"""File suffix -> reader."""


def load_trajectories(
    path: str | os.PathLike[str], layout: Layout | None = None, *, suffix: str | None = None
) -> Trajectories:
    """Trajectories from a file, the reader chosen by its suffix.

    Args:
        layout: where things are in it; q, p, t with axes (trajectory, time, dof) by default.
        suffix: of the format, where that of the file is another.
    Raises:
        DataError: when the file is missing, of another format, or holds unusable data.
        UsageError: when its format needs a package that is not installed.
    """
    if not (layout is None or isinstance(layout, Layout)):
        raise UsageError(f"layout is {type(layout).__name__}; expected Layout(names, ...)")
    file = Path(path)
    kind = file.suffix.lower() if suffix is None else f".{suffix.lower().lstrip('.')}"
    try:
        there = file.exists()
    except OSError as error:
        raise DataError("NR109", f"{str(file)[:200]}: {error.strerror}; check the path") from None
    if not there:
        raise DataError("NR109", f"{file}: no such file; check the path")
    if kind not in READERS:
        raise DataError("NR110", f"{file}: unknown format {kind!r}; expected one of {', '.join(READERS)}")
    if file.is_dir() and kind != ".zarr":
        raise DataError("NR109", f"{file} is a folder; expected a file")
    return READERS[kind](file, layout or Layout())
