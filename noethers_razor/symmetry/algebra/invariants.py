"""What characterises a Lie algebra."""

from __future__ import annotations

import dataclasses
from typing import Any

from noethers_razor.symmetry.algebra.simple import Simple


@dataclasses.dataclass(frozen=True)
class Invariants:
    """What characterises a Lie algebra g, as far as noise lets it be decided.

    Args:
        dimension: of g.
        centre: dimension of the centre.
        derived, lower_central: dimensions of the two series from g on, until they stay.
        signature: numbers of positive, negative and zero eigenvalues of the Killing form.
        radical: dimension of the radical; g is semisimple beside it (Levi).
        simple: the simple ideals that commute with everything else.
        name: such as ``u(3)``, or None.
        open: what was left open; empty with a name.
    """

    dimension: int
    centre: int | None = None
    derived: tuple[int, ...] = ()
    lower_central: tuple[int, ...] = ()
    signature: tuple[int, int, int] | None = None
    radical: int | None = None
    simple: tuple[Simple, ...] = ()
    name: str | None = None
    open: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**values, "simple": [part.name for part in self.simple]}


def circles(count: int) -> str:
    """Name of the abelian algebra of a dimension."""
    return "u(1)" if count == 1 else f"u(1)^{count}"


def abelian(r: int) -> Invariants:
    """Where everything is central nothing else is left to decide."""
    return Invariants(
        dimension=r,
        centre=r,
        derived=(r, 0),
        lower_central=(r, 0),
        signature=(0, 0, r),
        radical=r,
        name=circles(r),
    )
