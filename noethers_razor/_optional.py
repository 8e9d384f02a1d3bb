"""Optional packages, imported at first use, with an installation hint if they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from noethers_razor.errors import UsageError


def extra(module: str, name: str, what: str) -> Any:
    """Import a module that belongs to an extra of this package.

    Args:
        module: name of the module.
        name: name of the extra, see ``pyproject.toml``.
        what: what needs the module, for the message.
    Returns:
        The module.
    Raises:
        UsageError: if the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UsageError(f"{what} needs {module}; run: pip install 'noethers_razor[{name}]'") from None
