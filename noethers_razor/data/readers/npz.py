"""Reader of NumPy archives."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from noethers_razor.data.layout import Layout, assembled
from noethers_razor.data.readers.base import parsed_metadata, unreadable
from noethers_razor.data.trajectories import Trajectories
from noethers_razor.errors import DataError
from noethers_razor.storage.archives import require_safe_archive

_UNREADABLE = (
    ValueError,
    OSError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    RuntimeError,
    MemoryError,
    AttributeError,
    TypeError,
)
"""Exceptions of NumPy and zipfile for corrupted files. RuntimeError: encrypted members, unknown compression.
MemoryError: implausible sizes."""


def read_npz(path: Path, layout: Layout) -> Trajectories:
    """Read trajectories from arrays q, p (or v and mass), t, mask (optional), metadata (JSON text, optional).

    Pickled contents are never read.

    Raises:
        DataError: if the file cannot be read or its data cannot be used.
    """
    try:
        require_safe_archive(path)
        # Opened here, because NumPy leaves the file open if the archive is corrupted.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            raw = {name: archive[name] for name in archive.files if name in layout.wanted}
            others = [name for name in archive.files if name not in raw]
            text = archive["metadata"][()] if "metadata" in archive.files else "{}"
    except DataError:
        raise
    except _UNREADABLE as error:
        if "pickle" in str(error):
            # NumPy has this message for any file that is not an archive, and advises to load it unsafely.
            error = ValueError("it is not an archive, or it holds objects instead of numbers")
        raise unreadable(path, ".npz archive of plain arrays", error, "write it with numpy.savez") from None
    return assembled(raw, layout, parsed_metadata(text, path), str(path), others)
