"""Archives from strangers: their members and sizes are checked before any content is read."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

from noethers_razor.errors import DataError

_SMALL = 2**26
_MOST_RATIO = 100
"""Bytes in a file per byte stored, from which on more than 64 MiB are no measurements."""


def require_plausible(path: Path, size: int, stored: int) -> None:
    """Refuse contents that are far larger than what is stored.

    Raises:
        DataError: before any of it is read.
    """
    if size > _SMALL and size > _MOST_RATIO * max(stored, 1):
        raise DataError(
            "NR113",
            f"{path}: {size} bytes when unpacked, from {stored}; no measurements are so even: store them "
            "without compression if they are",
        )


def require_safe_archive(path: Path) -> None:
    """Refuse a zip archive whose members name places outside it, or unpack to absurd sizes.

    Raises:
        DataError: before any member is read.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    for member in members:
        name = PurePosixPath(member.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts:
            raise DataError(
                "NR114",
                f"{path}: member {member.filename!r} names a place outside; such archives are not read",
            )
    require_plausible(
        path, sum(member.file_size for member in members), sum(member.compress_size for member in members)
    )
