"""Features of a Hamiltonian H(x) = w . phi(x), which is linear in its weights.

They are polynomials, functions of one variable, and random waves. The variables of the functions are what
Hamiltonians are often sums of: positions, their differences, distances from the origin and between bodies.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from noethers_razor.data.frame import Frame
from noethers_razor.numerics.polynomials import (
    monomial_gradients_in_numpy,
    monomials_in_numpy,
    number,
    slopes_of_polynomial,
)

_MOST_MONOMIALS = 150
"""Largest number of monomials. Their degree is at most 4, and at least 2."""
_DEGREE = 4
_FUNCTIONS = 12
"""Largest number of functions of one variable."""
_FEWEST_FUNCTIONS = 6
_MOST_FUNCTIONS = 280
"""Largest number of functions of all variables."""
_WAVES = 64
"""Number of random waves."""
_WIDTH = 2.0
"""Width of a function, in units of the distance to the next."""
_AT_REST = 1e-9
"""Spread of a coordinate in the frame that is rounding."""
_TAIL = 3.0
"""Degrees of freedom of Student's distribution of wave numbers: few waves are short."""


class Variables(NamedTuple):
    """V coordinates or differences, or V logarithms of distances; and functions of each.

    Args:
        rows: matrices (V, d, n) from the positions. For d = 1 the variables are linear, for d > 1 they are
            logarithms of the lengths of images.
        centres: centres (V, k) of the functions.
        width: widths (V,) of the functions.
    """

    rows: np.ndarray
    centres: np.ndarray
    width: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, q: np.ndarray, count: int) -> Variables:
        """Return variables with functions that cover their ranges at positions q (N, n)."""
        own = cls(rows, np.zeros((len(rows), count)), np.ones(len(rows)))
        low, high = np.quantile(own.values(q)[0], [0.001, 0.999], axis=0)
        centres = np.linspace(low, high, count, axis=1)
        return own._replace(
            centres=centres, width=np.maximum(_WIDTH * (centres[:, 1] - centres[:, 0]), 1e-12)
        )

    @property
    def number(self) -> int:
        """Number V k of functions."""
        return self.centres.size

    def values(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values (N, V) at positions q (N, n), and their gradients by the images (N, V, d)."""
        image = (q @ self.rows.reshape(-1, q.shape[1]).T).reshape(len(q), *self.rows.shape[:2])
        if image.shape[2] == 1:
            return image[..., 0], np.ones_like(image)
        square = np.maximum(np.sum(image**2, axis=2), 1e-300)
        return np.log(square) / 2, image / square[..., None]

    def functions(self, q: np.ndarray) -> np.ndarray:
        """Return the values (N, V k) of the functions at positions q (N, n)."""
        off = (self.values(q)[0][..., None] - self.centres) / self.width[:, None]
        return np.exp(-(off**2) / 2).reshape(len(q), -1)

    def gradients(self, q: np.ndarray) -> np.ndarray:
        """Return the gradients (N, V, k, n) of the functions at positions q (N, n)."""
        slopes, inner = self._slopes(q)
        return np.asarray((slopes / self.width[:, None])[..., None] * (inner[:, :, None] @ self.rows))

    def gradient(self, q: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the gradient (N, n) of a weighted sum of the functions, for weights (V k,)."""
        slopes, inner = self._slopes(q)
        total = np.einsum("nvk,vk->nv", slopes, weights.reshape(self.centres.shape) / self.width[:, None])
        return np.asarray((total[..., None] * inner).reshape(len(q), -1) @ self.rows.reshape(-1, q.shape[1]))

    def _slopes(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return derivatives (N, V, k) of the functions, times their width, and the gradients of `values`."""
        value, inner = self.values(q)
        off = value[..., None] - self.centres
        off /= self.width[:, None]
        bump = off**2
        bump *= -0.5
        np.exp(bump, out=bump)
        off *= bump
        return np.negative(off, out=off), inner


def _moves(rows: np.ndarray, q: np.ndarray, unit: np.ndarray) -> bool:
    """Return whether the positions of a variable move, each in its unit (n,)."""
    chosen = np.any(rows != 0, axis=0)
    return bool(np.any(np.std(q @ rows.T, axis=0) > _AT_REST * unit[chosen].max()))


class Features(NamedTuple):
    """D features of a state in the frame.

    Args:
        frame: map to data units, in which positions are combined to variables.
        degree: degree of the monomials.
        mean, scale: mean and standard deviation (M,) of the states, data units.
        variables: variables of the functions, those of one kind together.
        waves: wave vectors (W, M) for scaled states.
        phases: phases (W,) of the waves.
    """

    frame: Frame
    degree: int
    mean: np.ndarray
    scale: np.ndarray
    variables: tuple[Variables, ...]
    waves: np.ndarray
    phases: np.ndarray

    @classmethod
    def of(cls, frame: Frame, states: np.ndarray, seed: int = 0) -> Features:
        """Return features for states (N, M) in the frame, with waves that are drawn from a seed."""
        observed = frame.out_of(states)
        dim = observed.shape[1]
        # A coordinate that moves has a spread of about 1 in the frame. That of one at rest is rounding.
        unit, spread = np.linalg.norm(frame.inverse, axis=1), observed.std(axis=0)
        q = observed[:, : dim // 2]
        choices = _choices(dim // 2)
        count = int(np.clip(_MOST_FUNCTIONS // len(choices), _FEWEST_FUNCTIONS, _FUNCTIONS))
        # A variable that does not vary has no functions.
        moving = [rows for rows in choices if _moves(rows, q, unit[: dim // 2])]
        draw = np.random.default_rng(seed)
        heavy = np.sqrt(draw.chisquare(_TAIL, size=(_WAVES, 1)) / _TAIL)
        return cls(
            frame,
            max(d for d in range(2, _DEGREE + 1) if d == 2 or number(dim, d) <= _MOST_MONOMIALS),
            observed.mean(axis=0),
            np.where(spread > _AT_REST * unit, spread, unit),
            tuple(Variables.of(np.stack(list(kind)), q, count) for _, kind in itertools.groupby(moving, len)),
            2.0 * draw.normal(size=(_WAVES, dim)) / heavy / np.sqrt(dim),
            draw.uniform(0.0, 2 * np.pi, size=_WAVES),
        )

    @property
    def groups(self) -> np.ndarray:
        """Group (D,) of each feature: 0 monomials, 1 functions of a variable, 2 waves."""
        sizes = (
            number(len(self.mean), self.degree),
            sum(one.number for one in self.variables),
            len(self.waves),
        )
        return np.repeat([0, 1, 2], sizes)

    def values(self, states: np.ndarray) -> np.ndarray:
        """Return values (N, D) at states (N, M) in the frame."""
        observed, scaled = self._into(states)
        q = observed[:, : states.shape[1] // 2]
        functions = [one.functions(q) for one in self.variables]
        waves = np.cos(scaled @ self.waves.T + self.phases)
        return np.concatenate([monomials_in_numpy(scaled, self.degree), *functions, waves], axis=1)

    def gradients(self, states: np.ndarray) -> np.ndarray:
        """Return gradients (N, D, M) in the frame at states (N, M) in the frame."""
        return self.turned_gradients(states, self.frame.inverse)

    def turned_gradients(self, states: np.ndarray, matrix: np.ndarray, room: int = 0) -> np.ndarray:
        """Return gradients in data units, times a matrix.

        Args:
            states: states (N, M) in the frame.
            matrix: matrix (M, M).
            room: number E of rows that are left for the caller to fill.
        Returns:
            Rows (N, D + E, M).
        """
        observed, scaled = self._into(states)
        dim, half = states.shape[1], states.shape[1] // 2
        out = np.empty((len(states), len(self.groups) + room, dim))
        end = number(dim, self.degree)
        np.matmul(
            monomial_gradients_in_numpy(scaled, self.degree), matrix / self.scale[:, None], out=out[:, :end]
        )
        for one in self.variables:
            start, end = end, end + one.number
            slopes = one.gradients(observed[:, :half]).reshape(len(states), -1, half)
            np.matmul(slopes, matrix[:half], out=out[:, start:end])
        waves = -np.sin(scaled @ self.waves.T + self.phases)
        turned = self.waves @ (matrix / self.scale[:, None])
        np.multiply(waves[..., None], turned, out=out[:, end : end + len(turned)])
        return out

    def gradient(self, states: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the gradient (N, M) of w . phi at states (N, M), for weights (D,)."""
        observed, scaled = self._into(states)
        dim, half = states.shape[1], states.shape[1] // 2
        count = number(dim, self.degree)
        slopes = slopes_of_polynomial(weights[:count], dim, self.degree)
        total = (slopes[0] + monomials_in_numpy(scaled, self.degree - 1) @ slopes[1:]) / self.scale
        for one in self.variables:
            end = count + one.number
            total[:, :half] += one.gradient(observed[:, :half], weights[count:end])
            count = end
        waves = np.sin(scaled @ self.waves.T + self.phases) * weights[count:]
        return np.asarray((total - waves @ (self.waves / self.scale)) @ self.frame.inverse)

    def _into(self, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return states in data units, and scaled to mean zero and unit variance."""
        observed = self.frame.out_of(states)
        return observed, (observed - self.mean) / self.scale


def _choices(half: int) -> list[np.ndarray]:
    """Return the rows of variables of n positions: as many as leave each enough functions."""
    unit = np.eye(half)
    single = [unit[[i]] for i in range(half)]
    differences = [unit[[i]] - unit[[j]] for i, j in itertools.combinations(range(half), 2)]
    distances = []
    for dim in (2, 3):
        if half % dim == 0:
            bodies = unit.reshape(-1, dim, half)
            distances += list(bodies)
            distances += [a - b for a, b in itertools.combinations(bodies, 2)]
    most = _MOST_FUNCTIONS // _FEWEST_FUNCTIONS
    for more in (distances, differences):
        if len(single) + len(more) <= most:
            single = single + more
    return single
