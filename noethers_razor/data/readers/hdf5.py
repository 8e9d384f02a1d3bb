"""HDF5 files, with the extra ``hdf5``."""

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

_REMEDY = "write plain arrays q, p, t with h5py"


def opened(path: Path, read: Callable[[Any], Any]) -> Any:
    """What a function reads of an HDF5 file.

    Raises:
        DataError: where the library cannot read it.
        UsageError: without h5py.
    """
    library = extra("h5py", "hdf5", "reading HDF5")
    with reading(path, "HDF5 file", _REMEDY), library.File(path, "r") as file:
        return read(file)


def require_plain(place: Any, name: str, path: Path) -> Any:
    """A dataset of numbers that is all in this file.

    Raises:
        DataError: for groups, datasets in other files, text, and absurd sizes.
    """
    library = extra("h5py", "hdf5", "reading HDF5")
    if not isinstance(place, library.Dataset):
        raise DataError("NR108", f"{path}: {name} is a group; expected an array")
    if place.external or place.is_virtual:
        raise DataError("NR114", f"{path}: {name} lies in other files, which are not read: copy it here")
    if place.dtype.kind not in "biuf":
        raise DataError("NR101", f"{path}: {name} holds {place.dtype}; expected real numbers")
    # A chunk is read as a whole, however little of it belongs to the array.
    size = max(place.size, math.prod(place.chunks or (0,)))
    require_plausible(path, size * place.dtype.itemsize, place.id.get_storage_size())
    return place


def followed(file: Any, name: str, path: Path) -> Any:
    """What is at a path of names, None where nothing is; links are not followed.

    Raises:
        DataError: where a link leads elsewhere.
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
                f"{path}: {name} is a {type(link).__name__} to another place; such links are not followed: "
                "copy the array into the file",
            )
        place = place[part]
    return place


def require_no_links(file: Any, path: Path) -> None:
    """Refuse a file that leads elsewhere anywhere: for libraries that follow what they find."""

    def look(group: Any) -> None:
        for name in group:
            place = followed(group, name, path)
            if hasattr(place, "keys"):
                look(place)
            elif hasattr(place, "dtype") and place.dtype.kind in "biuf":
                require_plain(place, name, path)

    look(file)


def read_hdf5(path: Path, layout: Layout) -> Trajectories:
    """Trajectories from datasets q, p (or v and mass), t and optionally mask; attribute metadata (JSON).

    Names may be paths in groups, such as ``run/q``.

    Raises:
        DataError: when it cannot be read; external links and virtual datasets are not followed.
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
