"""Invariants of a Lie algebra. The record; `lie` computes it."""

from __future__ import annotations

import dataclasses
from typing import Any

from noethers_razor.symmetry.algebra.simple import Simple


@dataclasses.dataclass(frozen=True)
class Invariants:
    """Invariants and name of a Lie algebra g.

    An invariant is None or empty where the noise does not determine it.

    Args:
        dimension: dimension of g.
        centre: dimension of the centre.
        derived: dimensions of the terms of the derived series, starting with g, until they no longer change.
        lower_central: the same for the lower central series.
        signature: numbers of positive, negative and zero eigenvalues of the Killing form.
        radical: dimension of the radical. The quotient of g by it is semisimple (Levi).
        simple: simple ideals that commute with the other parts.
        name: name such as ``u(3)``, or None.
        open: reason why there is no name; empty with a name.
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
        """Return the invariants as plain JSON values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**values, "simple": [part.name for part in self.simple]}


def circles(count: int) -> str:
    """Return the name of the abelian algebra of dimension ``count``."""
    return "u(1)" if count == 1 else f"u(1)^{count}"


def abelian(r: int) -> Invariants:
    """Return the invariants of the abelian algebra of dimension r."""
    return Invariants(
        dimension=r,
        centre=r,
        derived=(r, 0),
        lower_central=(r, 0),
        signature=(0, 0, r),
        radical=r,
        name=circles(r),
    )
