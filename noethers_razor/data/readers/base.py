"""Helpers of readers: errors of files that cannot be read, flags that a format does not use, metadata."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from noethers_razor.data.layout import AXES, Layout
from noethers_razor.data.trajectories import Trajectories
from noethers_razor.errors import DataError, NoetherError, UsageError

Reader = Callable[[Path, Layout], Trajectories]
"""Function (file, layout of its arrays) -> trajectories."""
_FOLDERS: set[Reader] = set()
"""Readers of formats that may be folders, see `folders`."""


def folders(reader: Reader) -> Reader:
    """Decorate a reader whose format may be a folder. Other readers only get files."""
    _FOLDERS.add(reader)
    return reader


def reads_folders(reader: Reader) -> bool:
    """Return whether a reader is decorated with `folders`."""
    return reader in _FOLDERS


def require_unused(layout: Layout, fields: Sequence[str], what: str) -> None:
    """Check that the layout sets nothing that a format does not use.

    Args:
        layout: layout of the file.
        fields: fields that the format has under fixed names.
        what: format, for the message, such as "a table".
    Raises:
        UsageError: for such a field, or for axes.
    """
    for field in fields:
        if field in layout.names:
            raise UsageError(
                f"--map {field}=... has no effect on {what}, which has fixed names; leave it out"
            )
    if layout.axes != AXES:
        raise UsageError(f"--axes has no effect on {what}, which has no axes; leave it out")


def unreadable(path: Path, what: str, error: BaseException, remedy: str) -> DataError:
    """Return the error for a file that cannot be read.

    Args:
        path: file.
        what: what the file should be, such as "HDF5 file".
        error: exception of the library. The message has its first line.
        remedy: what the user can do.
    """
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError("NR108", f"{path}: not a readable {what} ({reason[:200]}): {remedy}")


@contextlib.contextmanager
def reading(path: Path, what: str, remedy: str) -> Iterator[None]:
    """Convert every exception of a library in the block into a `DataError`.

    Corrupted files raise exceptions of many types.

    Args:
        path, what, remedy: as for `unreadable`.
    Raises:
        DataError: for any exception except those of this package, which are passed on.
    """
    try:
        yield
    except NoetherError:
        raise
    except Exception as error:
        raise unreadable(path, what, error, remedy) from None


def parsed_metadata(text: Any, path: Path) -> dict[str, Any]:
    """Return metadata from JSON text.

    Args:
        text: JSON object, as text or UTF-8 bytes.
        path: file, for messages.
    Raises:
        DataError: if the text is not a JSON object.
    """

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not valid JSON")

    try:
        # C and MATLAB write text as bytes of fixed length.
        text = text.decode("utf-8") if isinstance(text, bytes) else str(text)
        metadata = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise unreadable(path, "file, its metadata are not JSON", error, "write a JSON object") from None
    if not isinstance(metadata, dict):
        raise DataError(
            "NR108", f"{path}: metadata have type {type(metadata).__name__}; expected a JSON object"
        )
    return metadata
