"""Functions that commands share: names of systems, checks of output files, text of summaries."""

from __future__ import annotations

from pathlib import Path

from noethers_razor.errors import UsageError
from noethers_razor.systems import SYSTEMS


def names_of_systems() -> str:
    """Return the names of all systems, for help texts."""
    return ", ".join(SYSTEMS)


def require_writable(*targets: Path | None, overwrite: bool) -> None:
    """Check that output files can be written.

    Args:
        targets: paths to write; None is ignored.
        overwrite: whether existing files may be replaced.
    Raises:
        UsageError: if a file exists and may not be replaced, or if its folder does not exist.
    """
    for target in targets:
        if target is not None and target.exists() and not overwrite:
            raise UsageError(f"{target} exists; choose another name or pass --overwrite")
        if target is not None and not target.resolve().parent.is_dir():
            raise UsageError(f"folder {target.resolve().parent} does not exist; create it first")


def text_of_summary(values: dict[str, float | None]) -> str:
    """Return lines of names and numbers, without missing numbers."""
    return "\n".join(f"{name:<22} {value:.4g}" for name, value in values.items() if value is not None)
