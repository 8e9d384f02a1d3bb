"""Reader of HDF5 files. Needs the extra ``hdf5``."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from noethers_razor._optional import extra
from noethers_razor.data.layout import Layout, assembled
from noethers_razor.data.readers.base import parsed_metadata, reading
from noethers_razor.data.trajectories import Trajectories
from noethers_razor.errors import DataError
from noethers_razor.storage.archives import require_plausible

_REMEDY = "write arrays q, p, t with h5py"


def opened(path: Path, read: Callable[[Any], Any]) -> Any:
    """Open an HDF5 file and return the result of a function of it.

    Args:
        path: file.
        read: function of the open file.
    Raises:
        DataError: if the library cannot read the file.
        UsageError: if h5py is not installed.
    """
    library = extra("h5py", "hdf5", "reading HDF5")
    with reading(path, "HDF5 file", _REMEDY), library.File(path, "r") as file:
        return read(file)


def require_plain(place: Any, name: str, path: Path) -> Any:
    """Return a dataset, after a check that it holds numbers and lies completely in this file.

    Args:
        place: object of h5py.
        name: its name, for messages.
        path: file, for messages.
    Raises:
        DataError: for groups, data in other files, values that are not numbers, and implausible sizes.
    """
    library = extra("h5py", "hdf5", "reading HDF5")
    if not isinstance(place, library.Dataset):
        raise DataError(
            "NR108", f"{path}: {name} is a group; expected an array: name one, such as --map q=GROUP/NAME"
        )
    if place.external or place.is_virtual:
        raise DataError(
            "NR114",
            f"{path}: {name} is stored in other files, which are not read: copy the array into this file",
        )
    if place.dtype.kind not in "biuf":
        raise DataError(
            "NR101", f"{path}: {name} holds {place.dtype}; expected real numbers: store it as float64"
        )
    # A chunk is always read as a whole, so that a large chunk needs memory even for a small array.
    size = max(place.size, math.prod(place.chunks or (0,)))
    require_plausible(path, size * place.dtype.itemsize, place.id.get_storage_size())
    return place


def followed(file: Any, name: str, path: Path) -> Any:
    """Return the object at a path of names such as ``run/q``, or None if there is none.

    Raises:
        DataError: if the path contains a soft or external link. Links are not followed.
    """
    library = extra("h5py", "hdf5", "reading HDF5")
    place = file
    for part in filter(None, name.split("/")):
        link = place.get(part, getlink=True) if isinstance(place, library.Group) else None
        if link is None:
            return None
        if not isinstance(link, library.HardLink):
            raise DataError(
                "NR114",
                f"{path}: {name} is a link of type {type(link).__name__}, and such links are not followed: "
                "copy the array to this place in the file",
            )
        place = place[part]
    return place


def require_no_links(file: Any, path: Path) -> None:
    """Check that no object of a file is a link or lies in another file.

    This is for libraries that follow links when they open a file.

    Raises:
        DataError: as `followed` and `require_plain`.
    """

    def look(group: Any) -> None:
        for name in group:
            place = followed(group, name, path)
            if hasattr(place, "keys"):
                look(place)
            elif hasattr(place, "dtype") and place.dtype.kind in "biuf":
                require_plain(place, name, path)

    look(file)


def read_hdf5(path: Path, layout: Layout) -> Trajectories:
    """Read trajectories from datasets q, p (or v and mass), t, mask (optional), attribute metadata (JSON).

    Names may be paths in groups, such as ``run/q``. External links and virtual datasets are not followed.

    Raises:
        DataError: if the file cannot be read or its data cannot be used.
    """

    def read(file: Any) -> tuple[dict[str, np.ndarray], dict[str, Any], list[str]]:
        raw = {
            name: require_plain(place, name, path)[()]
            for name in layout.wanted
            if (place := followed(file, name, path)) is not None
        }
        text = file.attrs.get("metadata", "{}")
        return raw, parsed_metadata(text, path), [name for name in file if name not in raw]

    raw, metadata, others = opened(path, read)
    return assembled(raw, layout, metadata, str(path), others)
