"""Checks of archives from unknown sources, before any content is read."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

from noethers_razor.errors import DataError

_SMALL = 2**26
"""Size in bytes (64 MiB) up to which contents are accepted at any compression ratio."""
_MOST_RATIO = 100
"""Largest compression ratio of larger contents. Measurements do not compress as much."""


def require_plausible(path: Path, size: int, stored: int) -> None:
    """Raise an error if contents are far larger than their stored form.

    Args:
        path: file, for the message.
        size: bytes after decompression.
        stored: bytes in the file.
    Raises:
        DataError: if more than 64 MiB are compressed more than a hundredfold.
    """
    if size > _SMALL and size > _MOST_RATIO * max(stored, 1):
        raise DataError(
            "NR113",
            f"{path}: unpacks to {size} bytes from {stored}, and measurements do not compress as much; "
            "if the data are genuine, store them without compression",
        )


def require_safe_archive(path: Path) -> None:
    """Raise an error if a zip archive has members with paths outside it, or unpacks to an implausible size.

    No member is read.

    Args:
        path: zip archive.
    Raises:
        DataError: see above.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    for member in members:
        name = PurePosixPath(member.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts:
            raise DataError(
                "NR114",
                f"{path}: member {member.filename!r} has a path outside the archive; "
                "create the archive again with relative paths",
            )
    require_plausible(
        path, sum(member.file_size for member in members), sum(member.compress_size for member in members)
    )
