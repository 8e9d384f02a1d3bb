"""NumPy archives."""

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

# RuntimeError: encrypted members, unknown compression; MemoryError: absurd sizes.
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


def read_npz(path: Path, layout: Layout) -> Trajectories:
    """Trajectories from a .npz archive with q, p (or v and mass), t and optionally mask and metadata (JSON).

    Raises:
        DataError: when the file is no such archive; pickled contents are never read.
    """
    try:
        require_safe_archive(path)
        # Opened here: numpy leaves the file open when the archive is damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            raw = {name: archive[name] for name in archive.files if name in layout.wanted}
            others = [name for name in archive.files if name not in raw]
            text = archive["metadata"][()] if "metadata" in archive.files else "{}"
    except DataError:
        raise
    except _UNREADABLE as error:
        if "pickle" in str(error):
            # NumPy says this of any file that is no archive, and advises to load it unsafely.
            error = ValueError("no archive, or objects in place of numbers")
        raise unreadable(path, ".npz archive of plain arrays", error, "write it with numpy.savez") from None
    return assembled(raw, layout, parsed_metadata(text, path), str(path), others)
