"""An extension of griffe that separates sections of docstrings, which have no blank lines between them."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_SECTION = re.compile(r"\n(?=(?:Args|Attributes|Returns|Yields|Raises):\n)")


class Sections(Extension):
    """A blank line before every section."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Change the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = _SECTION.sub("\n\n", obj.docstring.value)
