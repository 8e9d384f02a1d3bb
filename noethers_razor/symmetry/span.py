"""The span of learned quantities: singular values, rank, parallelness and angles to a known span.

Learned quantities are identified only up to linear combination, so nothing here depends on the basis.
Vectors are embedded quadratic forms (`conserved.forms.embed`): lengths are displacements of data.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from noethers_razor.mechanics.quadratic_form import embed

ACTIVE = 0.05
"""A singular value below this share of the largest, or of a full orbit, is not counted (paper, sec. 5.3)."""


def active_count(singular_values: np.ndarray) -> int:
    """How many singular values (K,) are in use."""
    return int(np.sum(active(singular_values)))


def active(singular_values: np.ndarray) -> np.ndarray:
    """Which singular values (K,) are in use."""
    return np.asarray(singular_values > ACTIVE * np.max(singular_values, initial=1.0))


@dataclasses.dataclass(frozen=True)
class Span:
    """Quadratic quantities by size.

    Args:
        singular_values: (K,) root-mean-square displacement per unit tau, largest first.
        form, linear: unit directions (K, M, M), (K, M), in the order of the singular values.
        vectors: their embedded vectors (K, D), orthonormal.
        rank: number in use.
    """

    singular_values: np.ndarray
    form: np.ndarray
    linear: np.ndarray
    vectors: np.ndarray
    rank: int

    @property
    def gap(self) -> float | None:
        """Ratio of the last singular value in use to the first one that is not; None without either."""
        values = self.singular_values
        if not 0 < self.rank < len(values) or values[self.rank] == 0:
            return None
        return float(values[self.rank - 1] / values[self.rank])


def span_of(form: np.ndarray, linear: np.ndarray, moment: np.ndarray) -> Span:
    """The span of quantities (K, M, M), (K, M), measured on data of second moment (M+1, M+1)."""
    rows = embed(form, linear, moment)
    rotation, values, vectors = np.linalg.svd(rows, full_matrices=False)
    # Directions of size zero have no meaning of their own and are left unscaled.
    size = np.where(values > 0, values, 1.0)[:, None]
    weights = rotation.T / size
    return Span(
        values,
        np.einsum("rk,kij->rij", weights, form),
        weights @ linear,
        vectors,
        active_count(values),
    )
