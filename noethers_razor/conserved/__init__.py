"""Families of conserved quantities. A new family is one file and one line in FAMILIES.

Importing this package loads no family, so that the command line can list their names at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from noethers_razor.errors import UsageError

if TYPE_CHECKING:
    from noethers_razor.conserved.base import Family

FAMILIES = {
    "quadratic": "noethers_razor.conserved.quadratic:Quadratic",
    "polynomial": "noethers_razor.conserved.polynomial:Polynomial",
    "neural": "noethers_razor.conserved.neural:Neural",
    "none": "noethers_razor.conserved.none:NoSymmetry",
    "oracle": "noethers_razor.conserved.quadratic:KnownQuadratic",
}
"""Name, as on the command line -> module and class."""


def family_class(name: str) -> type[Family]:
    """Return the class of a family by its name.

    Raises:
        UsageError: for a name that is not registered.
    """
    if name not in FAMILIES:
        raise UsageError(f"unknown family {name!r}; expected one of {', '.join(FAMILIES)}")
    module, _, attribute = FAMILIES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
