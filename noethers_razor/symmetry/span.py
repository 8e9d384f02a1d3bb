"""The span of learned quadratic quantities: principal directions, singular values and rank.

The data determine quantities only up to linear combination. Therefore, no result here depends on the basis.
Vectors are embedded quadratic observables, see `mechanics.quadratic_form.embed`. The length of a vector is
the displacement of the data.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from noethers_razor.mechanics.quadratic_form import embed

IN_USE = 0.05
"""Smallest singular value in use, relative to the largest or to 1, a full orbit (paper, section 5.3)."""


def number_in_use(singular_values: np.ndarray) -> int:
    """Return the number of singular values (K,) in use."""
    return int(np.sum(in_use(singular_values)))


def in_use(singular_values: np.ndarray) -> np.ndarray:
    """Return whether each of the singular values (K,) is in use, see `IN_USE`."""
    return np.asarray(singular_values > IN_USE * np.max(singular_values, initial=1.0))


@dataclasses.dataclass(frozen=True)
class Span:
    """Principal directions of quadratic quantities x'Ax/2 + b'x.

    Args:
        singular_values: root-mean-square displacements (K,) per unit tau, the largest first.
        form: matrices A (K, M, M) of the directions, in the order of the singular values. A direction with a
            nonzero singular value has displacement 1.
        linear: vectors b (K, M) of the directions.
        vectors: embedded vectors (K, D) of the directions, orthonormal.
        rank: number of singular values in use.
    """

    singular_values: np.ndarray
    form: np.ndarray
    linear: np.ndarray
    vectors: np.ndarray
    rank: int

    @property
    def gap(self) -> float | None:
        """Ratio of the last singular value in use to the first one not in use.

        None if one of the two does not exist, or if the latter is zero.
        """
        values = self.singular_values
        if not 0 < self.rank < len(values) or values[self.rank] == 0:
            return None
        return float(values[self.rank - 1] / values[self.rank])


def span_of(form: np.ndarray, linear: np.ndarray, moment: np.ndarray) -> Span:
    """Return the span of quadratic quantities x'Ax/2 + b'x.

    Args:
        form: symmetric matrices A (K, M, M).
        linear: vectors b (K, M).
        moment: second moment (M+1, M+1) of the data, see `mechanics.quadratic_form.second_moment`.
    """
    rows = embed(form, linear, moment)
    rotation, values, vectors = np.linalg.svd(rows, full_matrices=False)
    # A direction of size zero cannot be scaled to size one.
    size = np.where(values > 0, values, 1.0)[:, None]
    weights = rotation.T / size
    return Span(
        values,
        np.einsum("rk,kij->rij", weights, form),
        weights @ linear,
        vectors,
        number_in_use(values),
    )
