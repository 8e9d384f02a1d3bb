"""Packages that only some uses need: imported when used, with a hint where they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from noethers_razor.errors import UsageError


def extra(module: str, name: str, what: str) -> Any:
    """A module of an extra.

    Raises:
        UsageError: when it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UsageError(f"{what} needs {module}; install noethers_razor[{name}]") from None
