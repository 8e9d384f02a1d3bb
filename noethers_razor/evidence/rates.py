"""Functions of the state that may be the rate of change of a quantity, dC/dt = g(x).

They are polynomials, orthonormal on the data. Brackets of quadratic quantities with polynomials are
polynomials of the same degree, so they are known in this basis. Brackets of other functions are fitted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from noethers_razor.data.frame_trajectories import thinned
from noethers_razor.mechanics.phase_space import apply_j_in_numpy
from noethers_razor.numerics.polynomials import monomial_gradients_in_numpy, monomials_in_numpy, number

_MOST = 300
"""Largest number of polynomials. Their degree is at most 4, and at least 2."""
_DEGREE = 4
_DEPENDENT = 1e-6
"""Singular value, relative to the largest, below which a polynomial is constant on the data."""


class Rates(NamedTuple):
    """Polynomials that are orthonormal on the data, the constant first.

    Args:
        degree: their degree.
        mean: means (F,) of the scaled monomials.
        scale: standard deviations (M,) of the coordinates.
        weights: weights (F, D - 1) of the scaled monomials without their means.
    """

    degree: int
    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, states: np.ndarray) -> Rates:
        """Return the polynomials for states (N, M)."""
        dim = states.shape[1]
        degree = max(d for d in range(2, _DEGREE + 1) if d == 2 or number(dim, d) <= _MOST)
        spread = states.std(axis=0)
        scale = np.where(spread > 0, spread, 1.0)
        values = monomials_in_numpy(states / scale, degree)
        mean = values.mean(axis=0)
        _, size, rows = np.linalg.svd(values - mean, full_matrices=False)
        kept = size > _DEPENDENT * size[0]
        return cls(degree, mean, scale, rows[kept].T / size[kept] * np.sqrt(len(states)))

    @property
    def number(self) -> int:
        """Number D of polynomials."""
        return self.weights.shape[1] + 1

    def values(self, states: np.ndarray) -> np.ndarray:
        """Return values (N, D) at states (N, M)."""
        own = (monomials_in_numpy(states / self.scale, self.degree) - self.mean) @ self.weights
        return np.concatenate([np.ones((len(states), 1)), own], axis=1)

    def by_hamiltonians(self, gradients: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Return the rates of functions when a polynomial is added to H.

        Args:
            gradients: gradients (N, K, M) of the functions.
            states: states (N, M) of the data.
        Returns:
            Coefficients (K, D, D - 1) of the rate, for each function and each polynomial but the constant.
        """
        near = self._sample(states)
        slopes = monomial_gradients_in_numpy(near / self.scale, self.degree) / self.scale
        fields = apply_j_in_numpy(np.einsum("nfm,fd->ndm", slopes, self.weights, optimize=True))
        return self._coefficients(gradients, near, fields)

    def by_linear_fields(self, gradients: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Return the rates of functions when a field x_j e_i or e_i is added to dx/dt.

        x_j is in units of its standard deviation.

        Args and result as for `by_hamiltonians`, with M (M + 1) fields instead of D - 1 polynomials.
        """
        near = self._sample(states)
        lifted = np.concatenate([near / self.scale, np.ones((len(near), 1))], axis=1)
        fields = np.einsum("nj,im->njim", lifted, np.eye(near.shape[1]))
        return self._coefficients(gradients, near, fields.reshape(len(near), -1, near.shape[1]))

    def _sample(self, rows: np.ndarray) -> np.ndarray:
        """Return rows enough to determine coefficients, of an array with a row for each state."""
        return np.asarray(thinned(rows, 3 * self.number + 200))

    def _coefficients(self, gradients: np.ndarray, states: np.ndarray, fields: np.ndarray) -> np.ndarray:
        """Return the coefficients (K, D, F) of grad C . f, for fields (n, F, M) at n of the states."""
        inverse = np.linalg.pinv(self.values(states))
        near = np.swapaxes(self._sample(gradients), 0, 1)
        return np.stack([inverse @ (fields @ own[..., None])[..., 0] for own in near])
