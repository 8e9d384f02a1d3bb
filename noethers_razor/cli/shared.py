"""What commands share: names, files that are not to be replaced, summaries."""

from __future__ import annotations

from pathlib import Path

from noethers_razor.errors import UsageError
from noethers_razor.systems import SYSTEMS


def names_of_systems() -> str:
    """For help."""
    return ", ".join(SYSTEMS)


def require_writable(*targets: Path | None, overwrite: bool) -> None:
    """Refuse what exists, unless asked to replace it, and what has no folder."""
    for target in targets:
        if target is not None and target.exists() and not overwrite:
            raise UsageError(f"{target} exists; choose another name or pass --overwrite")
        if target is not None and not target.resolve().parent.is_dir():
            raise UsageError(f"folder {target.resolve().parent} does not exist; create it first")


def text_of_summary(values: dict[str, float | None]) -> str:
    """Lines of names and numbers."""
    return "\n".join(f"{name:<22} {value:.4g}" for name, value in values.items() if value is not None)
