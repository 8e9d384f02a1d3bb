"""Names of simple Lie algebras.

The dimension, the signature of the Killing form and the index of the action determine a name.
"""

from __future__ import annotations

import dataclasses

import numpy as np

_LARGEST = 12
"""Largest size of the defining matrices in the table."""
_SAME_INDEX = 0.15
"""Largest relative difference of an index from that in the table; noise changes the index."""
_COUPLED = 0.1
"""Smallest norm of a product of two matrices, relative to the product of their norms, that is not noise."""


@dataclasses.dataclass(frozen=True)
class Simple:
    """A simple ideal.

    Args:
        name: name such as ``su(3)``, or None if the ideal is not in the table.
        dimension: dimension d of the ideal.
        compact: whether the Killing form is negative definite.
        matrices: matrices (d, m, m) of a basis of the ideal on phase space.
    """

    name: str | None
    dimension: int
    compact: bool
    matrices: np.ndarray = dataclasses.field(repr=False, compare=False)

    @property
    def unitary(self) -> bool:
        """Whether the ideal is su(n) or su(p,q)."""
        return self.name is not None and self.name.startswith("su(")

    @property
    def half(self) -> bool:
        """Whether two such ideals may form so(4) or so(2,2)."""
        return self.name in ("su(2)", "sp(2,R)")

    def acts_with(self, others: np.ndarray) -> bool:
        """Return whether other matrices act on the same subspace as this ideal.

        They do if the products of matrices are not all zero.

        Args:
            others: matrices (k, m, m).
        """
        products = np.linalg.norm(np.einsum("aij,bjk->abik", self.matrices, others), axis=(2, 3))
        lengths = np.outer(np.linalg.norm(self.matrices, axis=(1, 2)), np.linalg.norm(others, axis=(1, 2)))
        return bool(products.size) and bool(np.max(products / np.maximum(lengths, 1e-300)) > _COUPLED)


def _table() -> dict[tuple[int, int], list[tuple[str, float]]]:
    """Return the names and indices of simple algebras.

    A key holds the dimension and the number of positive eigenvalues of the Killing form. The index is
    tr(X Y) / Killing(X, Y) in the defining representation, divided by the dimension of this representation.
    Several copies of a representation have the same index as one.
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
"""Dimensions of the exceptional algebras G2, F4 and E6, which the table does not contain."""


def simple_name(dimension: int, positive: int, index: float, matrices: np.ndarray) -> Simple:
    """Return the simple ideal with the name that its invariants determine.

    Args:
        dimension: dimension d of the ideal.
        positive: number of positive eigenvalues of the Killing form.
        index: index of the action, see `_table`. It selects one of several isomorphic algebras.
        matrices: matrices (d, m, m) of a basis of the ideal.
    Returns:
        The ideal. Its name is None if the invariants are not in the table or do not determine a name.
    """
    names = _TABLE.get((dimension, positive), [])
    if dimension in _AMBIGUOUS_DIMENSIONS:
        names = []
    near = [name for name, own in names if abs(index / own - 1) < _SAME_INDEX]
    # Algebras in the table with equal dimension and signature are isomorphic, so any of their names is right.
    # The exceptions have these dimensions, such as so(7) and sp(3): only the index distinguishes them.
    if not near and len(names) > 1 and dimension in (21, 36, 55):
        names = []
    name = near[0] if near else names[0][0] if names else None
    return Simple(name, dimension, positive == 0, matrices)
