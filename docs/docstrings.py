"""Sections of docstrings, which have no blank lines between them, set apart for the reference."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_SECTION = re.compile(r"\n(?=(?:Args|Returns|Raises):\n)")


class Sections(Extension):
    """A blank line before every section."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = _SECTION.sub("\n\n", obj.docstring.value)
