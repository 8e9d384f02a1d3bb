"""What readers share: files that cannot be read, archives that are not safe, flags of no use."""

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
"""(file, where things are in it) -> trajectories."""


def require_unused(layout: Layout, fields: Sequence[str], what: str) -> None:
    """Refuse flags that a format has no use for.

    Raises:
        UsageError: naming one.
    """
    for field in fields:
        if field in layout.names:
            raise UsageError(f"--map {field}=... with {what}, where it is known; leave it out")
    if layout.axes != AXES:
        raise UsageError(f"--axes with {what}, which has none; leave it out")


def unreadable(path: Path, what: str, error: BaseException, remedy: str) -> DataError:
    """The error for a file that a library cannot read: its first line, and what to do."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError("NR108", f"{path}: not a readable {what} ({reason[:200]}): {remedy}")


@contextlib.contextmanager
def reading(path: Path, what: str, remedy: str) -> Iterator[None]:
    """Turn whatever a library raises inside the block into a refusal: damaged files reach all kinds of it.

    Raises:
        DataError: see `unreadable`; errors of this package's own go through.
    """
    try:
        yield
    except NoetherError:
        raise
    except Exception as error:
        raise unreadable(path, what, error, remedy) from None


def parsed_metadata(text: Any, path: Path) -> dict[str, Any]:
    """Notes from JSON text.

    Raises:
        DataError: when it is no JSON object.
    """

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    try:
        # C and MATLAB write text of fixed length, as bytes.
        text = text.decode("utf-8") if isinstance(text, bytes) else str(text)
        metadata = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise unreadable(path, "file: its metadata are no JSON", error, "write a JSON object") from None
    if not isinstance(metadata, dict):
        raise DataError("NR108", f"{path}: metadata is {type(metadata).__name__}; expected a JSON object")
    return metadata
