"""Readers of trajectory files by suffix; a new format is one function and one line in READERS."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from noethers_razor.data.trajectories import Trajectories
from noethers_razor.errors import DataError

# RuntimeError: encrypted members, unknown compression, JSON nested too deep; MemoryError: absurd sizes.
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


def read_npz(path: Path) -> Trajectories:
    """Trajectories from a .npz archive with q, p, t and optionally mask and metadata (JSON text).

    Raises:
        DataError: when the file is no such archive; pickled contents are never read.
    """
    try:
        # Opened here: numpy leaves the file open when the archive is damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = set(archive.files)
            missing = [name for name in ("q", "p", "t") if name not in names]
            if missing:
                raise DataError(
                    "NR107",
                    f"{path}: no array {', '.join(missing)} among {', '.join(sorted(names)) or 'none'}; "
                    "expected q, p and t (momenta p, not velocities)",
                )
            metadata = json.loads(str(archive["metadata"][()])) if "metadata" in names else {}
            mask = archive["mask"] if "mask" in names else None
            q, p, t = (archive[name] for name in ("q", "p", "t"))
    except DataError:
        raise
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "pickle" in reason:
            # NumPy says this of any file that is no archive, and advises to load it unsafely.
            reason = "no archive, or objects in place of numbers"
        raise DataError(
            "NR108",
            f"{path}: not a readable .npz archive of plain arrays ({reason}): write it with numpy.savez",
        ) from None
    if not isinstance(metadata, dict):
        raise DataError("NR108", f"{path}: metadata is {type(metadata).__name__}; expected a JSON object")
    return Trajectories(q, p, t, mask=mask, metadata=metadata, source=str(path))


READERS: dict[str, Callable[[Path], Trajectories]] = {".npz": read_npz}
"""File suffix -> reader."""


def load_trajectories(path: str | os.PathLike[str]) -> Trajectories:
    """Trajectories from a file, the reader chosen by its suffix.

    Raises:
        DataError: when the file is missing, of another format, or holds unusable data.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError("NR109", f"{file}: no such file; check the path")
    if file.suffix not in READERS:
        raise DataError(
            "NR110", f"{file}: unknown format {file.suffix!r}; expected one of {', '.join(READERS)}"
        )
    return READERS[file.suffix](file)
