"""Readers of trajectory files by suffix. A new format is one file and one line in READERS."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from noethers_razor.data.layout import Layout
from noethers_razor.data.readers.base import Reader, reads_folders
from noethers_razor.data.trajectories import Trajectories
from noethers_razor.errors import DataError, UsageError

READERS: dict[str, str | Reader] = {
    ".npz": "noethers_razor.data.readers.npz:read_npz",
    ".csv": "noethers_razor.data.readers.table:read_table",
    ".tsv": "noethers_razor.data.readers.table:read_table",
    ".h5": "noethers_razor.data.readers.hdf5:read_hdf5",
    ".hdf5": "noethers_razor.data.readers.hdf5:read_hdf5",
    ".nc": "noethers_razor.data.readers.netcdf:read_netcdf",
    ".zarr": "noethers_razor.data.readers.zarr:read_zarr",
    ".zip": "noethers_razor.data.readers.zarr:read_zarr",
    ".bin": "noethers_razor.data.readers.rebound:read_rebound",
}
"""File suffix in lower case -> module and function, or the function itself."""


def reader_of(suffix: str) -> Reader:
    """Return the reader of a suffix that is registered."""
    reader = READERS[suffix]
    if not isinstance(reader, str):
        return reader
    module, _, attribute = reader.partition(":")
    return getattr(importlib.import_module(module), attribute)


def load_trajectories(
    path: str | os.PathLike[str], layout: Layout | None = None, *, suffix: str | None = None
) -> Trajectories:
    """Load trajectories from a file. The suffix of the file chooses the reader.

    Args:
        path: file, or folder of a format that is a folder.
        layout: names, axes and masses of the arrays; by default q, p, t and axes (trajectory, time, dof).
        suffix: suffix of the format, such as csv, if the name of the file has another one.
    Returns:
        The trajectories. All numbers are float64.
    Raises:
        DataError: if the file is missing, has an unknown format, or holds data that cannot be used.
        UsageError: if the format needs a package that is not installed.
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
        raise DataError(
            "NR110",
            f"{file}: unknown format {kind!r}; expected one of {', '.join(READERS)}: name the format, such "
            "as --format csv, or write the file in one of these formats",
        )
    reader = reader_of(kind)
    if file.is_dir() and not reads_folders(reader):
        raise DataError("NR109", f"{file} is a folder; expected a file: give the path of a file")
    return reader(file, layout or Layout())
