"""Names of simple Lie algebras, from dimension, signature of the Killing form, and how they act."""

from __future__ import annotations

import dataclasses

import numpy as np

_LARGEST = 12
"""Size of the matrices up to which the table goes."""
_SAME_INDEX = 0.15
_COUPLED = 0.1


@dataclasses.dataclass(frozen=True)
class Simple:
    """A simple ideal.

    Args:
        name: such as ``su(3)``, None when it is not in the table.
        dimension: of the ideal.
        compact: whether its Killing form is negative definite.
        matrices: (d, m, m) its action.
    """

    name: str | None
    dimension: int
    compact: bool
    matrices: np.ndarray = dataclasses.field(repr=False, compare=False)

    @property
    def unitary(self) -> bool:
        """Whether it is one of su(n), su(p,q)."""
        return self.name is not None and self.name.startswith("su(")

    @property
    def half(self) -> bool:
        """Whether it is one of the two halves that so(4) and so(2,2) may have."""
        return self.name in ("su(2)", "sp(2,R)")

    def acts_with(self, others: np.ndarray) -> bool:
        """Whether other matrices (k, m, m) act where this ideal does: products are not all zero."""
        products = np.linalg.norm(np.einsum("aij,bjk->abik", self.matrices, others), axis=(2, 3))
        lengths = np.outer(np.linalg.norm(self.matrices, axis=(1, 2)), np.linalg.norm(others, axis=(1, 2)))
        return bool(products.size) and bool(np.max(products / np.maximum(lengths, 1e-300)) > _COUPLED)


def _table() -> dict[tuple[int, int], list[tuple[str, float]]]:
    """(dimension, positive eigenvalues of the Killing form) -> names and index per dimension of the action.

    The index is tr(X Y) / Killing(X, Y) of the defining action, over its dimension: copies leave it as it is.
    """
    found: dict[tuple[int, int], list[tuple[str, float]]] = {}

    def add(name: str, dimension: int, positive: int, index: float) -> None:
        found.setdefault((dimension, positive), []).append((name, index))

    for n in range(2, _LARGEST + 1):
        own = 1 / (2 * n * n)
        add(f"su({n})", n * n - 1, 0, own)
        for q in range(1, n // 2 + 1):
            if n > 2:
                add(f"su({n - q},{q})", n * n - 1, 2 * q * (n - q), own)
        if n > 2:
            add(f"sl({n},R)", n * n - 1, n * (n + 1) // 2 - 1, own)
    for n in range(1, _LARGEST // 2 + 1):
        add(f"sp({2 * n},R)", n * (2 * n + 1), n * (n + 1), 1 / ((2 * n + 2) * 2 * n))
        if n > 1:
            add(f"sp({n})", n * (2 * n + 1), 0, 1 / ((2 * n + 2) * 2 * n))
    for n in (3, *range(5, _LARGEST + 1)):
        for q in range(n // 2 + 1):
            name = f"so({n - q},{q})" if q else f"so({n})"
            add(name, n * (n - 1) // 2, q * (n - q), 1 / (n * (n - 2)))
    add("so(3,1)", 6, 3, 1 / 8)
    return found


_TABLE = _table()
_AMBIGUOUS_DIMENSIONS = (14, 52, 78)
"""Those of exceptional algebras."""


def simple_name(dimension: int, positive: int, index: float, matrices: np.ndarray) -> Simple:
    """The simple algebra of a dimension, with so many positive eigenvalues of the Killing form.

    Args:
        index: see `_table`; of isomorphic algebras the one that acts like this is named.
        matrices: (d, m, m) its action.
    """
    names = _TABLE.get((dimension, positive), [])
    if dimension in _AMBIGUOUS_DIMENSIONS:
        names = []
    near = [name for name, own in names if abs(index / own - 1) < _SAME_INDEX]
    # Isomorphic ones all are right; of others that share dimension and signature only the action decides.
    if not near and len(names) > 1 and dimension in (21, 36, 55):
        names = []
    name = near[0] if near else names[0][0] if names else None
    return Simple(name, dimension, positive == 0, matrices)
