"""The span of learned quantities: singular values, rank, parallelness and angles to a known span.

Learned quantities are identified only up to linear combination, so nothing here depends on the basis.
Vectors are embedded quadratic forms (`conserved.forms.embed`): lengths are displacements of data.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from noethers_razor.conserved.forms import embed

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


def orthonormal(rows: np.ndarray) -> np.ndarray:
    """An orthonormal basis (r, D) of the space that vectors (K, D) span, rounding aside."""
    _, values, vectors = np.linalg.svd(rows, full_matrices=False)
    return vectors[values > 1e-9 * values[0]] if len(values) else rows


def parallelness(vectors: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Norm of the projection of unit vectors (r, D) on the span of ``truth`` (T, D) (paper, sec. 5.1)."""
    return np.minimum(np.linalg.norm(vectors @ orthonormal(truth).T, axis=1), 1.0)


def largest_angle(vectors: np.ndarray, truth: np.ndarray) -> float:
    """The largest principal angle in degrees between two spans, taken both ways.

    A span that misses a direction of the other has an angle of 90 degrees to it.
    """
    a, b = orthonormal(vectors), orthonormal(truth)
    return 90.0 if len(a) != len(b) else float(np.degrees(np.arcsin(largest_sine(b, a))))


def largest_sine(vectors: np.ndarray, span: np.ndarray) -> float:
    """Sine of the largest angle of the space of vectors (k, ...) to that of ``span`` (K, ...), one way."""
    unit, basis = (
        orthonormal(rows.reshape(len(rows), math.prod(rows.shape[1:]))) for rows in (vectors, span)
    )
    if not len(unit) or not len(basis):
        return float(len(unit) > 0)
    # The sine keeps small angles that the cosine rounds away.
    return min(1.0, float(np.linalg.norm(unit - (unit @ basis.T) @ basis, ord=2)))


def angles_of(vectors: np.ndarray, span: np.ndarray) -> np.ndarray:
    """Angle in degrees of each vector (r, D) to the space that ``span`` (T, D) spans."""
    basis = orthonormal(span)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    sine = np.linalg.norm(unit - (unit @ basis.T) @ basis, axis=1)
    return np.degrees(np.arcsin(np.minimum(1.0, sine)))
