"""Reader of zarr groups, in a folder or a zip archive. Needs the extra ``zarr``."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from noethers_razor._optional import extra
from noethers_razor.data.layout import Layout, assembled
from noethers_razor.data.readers.base import folders, parsed_metadata, reading
from noethers_razor.data.trajectories import Trajectories
from noethers_razor.errors import DataError
from noethers_razor.storage.archives import require_plausible, require_safe_archive

_CODECS = {
    *("zlib", "gzip", "bz2", "lzma", "zstd", "lz4", "blosc", "shuffle", "delta", "crc32c", "crc32"),
    *("bytes", "endian", "transpose", "sharding_indexed", "fixedscaleoffset", "quantize", "bitround"),
}
"""Codecs that only make numbers. Others may make objects and run code, such as the codec pickle."""
_REMEDY = "write arrays q, p, t with zarr"
_DOCUMENTS = (".zarray", ".zmetadata", "zarr.json")
"""Names of the JSON documents that describe arrays, in zarr formats 2 and 3."""
_LARGEST_DOCUMENT = 2**20
"""Largest size of such a document, bytes."""


@folders
def read_zarr(path: Path, layout: Layout) -> Trajectories:
    """Read trajectories from arrays q, p (or v and mass), t, mask (optional), attribute metadata (JSON).

    Codecs are checked before any array is opened.

    Raises:
        DataError: if the group cannot be read, has codecs of objects, or holds data that cannot be used.
        UsageError: if zarr is not installed.
    """
    library = extra("zarr", "zarr", "reading zarr")
    with reading(path, "zarr group", _REMEDY):
        if path.is_file():
            require_safe_archive(path)
        for name, text in _documents(path):
            require_numbers(name, text, path)
        store: Any = library.storage.ZipStore(path, mode="r") if path.is_file() else path
        try:
            group = library.open_group(store, mode="r")
            raw = {name: _array(group, name, path) for name in layout.wanted if name in group}
            others = [name for name in group if name not in raw]
            text = group.attrs.get("metadata", "{}")
        finally:
            if path.is_file():
                store.close()
    metadata = text if isinstance(text, dict) else parsed_metadata(text, path)
    return assembled(raw, layout, metadata, str(path), others)


def _array(group: Any, name: str, path: Path) -> np.ndarray:
    """Return an array of numbers of a plausible size."""
    array = group[name]
    if not hasattr(array, "dtype"):
        raise DataError(
            "NR108", f"{path}: {name} is a group; expected an array: name one, such as --map q=GROUP/NAME"
        )
    if array.dtype.kind not in "biuf":
        raise DataError(
            "NR101", f"{path}: {name} holds {array.dtype}; expected real numbers: store it as float64"
        )
    pieces = [array.size, math.prod(array.chunks), math.prod(array.shards or (0,))]
    require_plausible(path, max(pieces) * array.dtype.itemsize, array.nbytes_stored())
    return np.asarray(array[...])


def _documents(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of the documents that describe arrays."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_symlink():
                raise DataError(
                    "NR114", f"{file} is a link, and links are not followed: copy its target to this place"
                )
            if file.name in _DOCUMENTS:
                _require_short(file.stat().st_size, file)
                yield str(file.relative_to(path)), file.read_text("utf-8")
        return
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename.rpartition("/")[2] in _DOCUMENTS:
                _require_short(member.file_size, path)
                yield member.filename, archive.read(member).decode("utf-8")


def _require_short(size: int, path: Path) -> None:
    """Check the size of a document in bytes."""
    if size > _LARGEST_DOCUMENT:
        raise DataError(
            "NR114",
            f"{path}: the description of an array has {size} bytes; expected at most {_LARGEST_DOCUMENT}: "
            "write the arrays again with zarr",
        )


def require_numbers(name: str, text: str, path: Path) -> None:
    """Check that a document names only codecs of numbers.

    Args:
        name: name of the document, for messages.
        text: its JSON text.
        path: file or folder, for messages.
    Raises:
        DataError: for another codec, with its name.
    """
    stack = [json.loads(text)]
    while stack:
        value = stack.pop()
        if isinstance(value, list):
            stack += value
        elif isinstance(value, dict):
            stack += value.values()
            steps = [value.get("compressor"), *(value.get("filters") or []), *(value.get("codecs") or [])]
            for step in filter(None, steps):
                codec = str(step.get("id") or step.get("name")).removeprefix("numcodecs.")
                if codec not in _CODECS:
                    raise DataError(
                        "NR114",
                        f"{path}: {name} names the codec {codec!r}, which is not for plain numbers: write "
                        "the array again with another one, such as zstd",
                    )
