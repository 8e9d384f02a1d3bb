"""n gravitating bodies in any dimension, softened: SE(dim), and the products of its momenta."""

from __future__ import annotations

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array, Key
from noethers_razor.conserved.quadratic import QuadraticForm
from noethers_razor.errors import UsageError
from noethers_razor.systems.base import System

_AXES = "xyz"
_OFFSET = 3.0
"""Deviation of the common shift of all bodies of an initial state (paper, section 5.3)."""


@dataclasses.dataclass(frozen=True)
class NBody(System):
    """H = sum |p_i|^2 / 2 m_i - sum_{i<j} m_i m_j / sqrt(|q_i - q_j|^2 + softening^2), with G = 1.

    Positions at the start are standard normal about a common point N(0, 3^2), momenta normal.

    Args:
        n_bodies: number of bodies.
        dim: dimension of space; coordinates are ordered body by body.
        masses: m_i, all 1 by default.
        softening: length below which attraction stops growing; the paper's experiments use 1.
        momentum: deviation of the initial momenta for unit mass; p_i has momentum * sqrt(m_i).
    Raises:
        UsageError: for fewer than 2 bodies, a dimension below 1, a wrong number of masses, or values
            that are not positive.
    """

    n_bodies: int = dataclasses.field(default=3, metadata={"flag": "n", "help": "number of bodies"})
    dim: int = dataclasses.field(default=2, metadata={"flag": "dim", "help": "dimension of space"})
    masses: tuple[float, ...] = ()
    softening: float = 1.0
    momentum: float = 0.5
    name = "nbody"
    group = "SE(dim)"

    def __post_init__(self) -> None:
        if self.n_bodies < 2 or self.dim < 1:
            raise UsageError(f"{self.n_bodies} bodies in dimension {self.dim}; expected at least 2 and 1")
        masses = tuple(float(m) for m in self.masses) or (1.0,) * self.n_bodies
        if len(masses) != self.n_bodies or not all(0 < m < math.inf for m in masses):
            raise UsageError(f"masses = {masses}; expected {self.n_bodies} positive numbers")
        for label in ("softening", "momentum"):
            if not 0 < getattr(self, label) < math.inf:
                raise UsageError(f"{label} = {getattr(self, label)}; expected a positive number")
        object.__setattr__(self, "masses", masses)

    @property
    def dof(self) -> int:
        """n_bodies * dim."""
        return self.n_bodies * self.dim

    @property
    def coordinates(self) -> list[str]:
        """qx1, qy1, qx2, ... then momenta; numbers for axes beyond three."""
        axes = _AXES[: self.dim] if self.dim <= len(_AXES) else [f"{d + 1}_" for d in range(self.dim)]
        return [f"{half}{axis}{i + 1}" for half in "qp" for i in range(self.n_bodies) for axis in axes]

    def hamiltonian(self, x: Array) -> Array:
        """Energy of a state (2 n_bodies dim,)."""
        q, p = x.reshape(2, self.n_bodies, self.dim)
        masses = jnp.asarray(self.masses, x.dtype)
        first, second = np.triu_indices(self.n_bodies, k=1)
        distance = jnp.sqrt(jnp.sum((q[first] - q[second]) ** 2, axis=-1) + self.softening**2)
        kinetic = 0.5 * jnp.sum(jnp.sum(p**2, axis=-1) / masses)
        return kinetic - jnp.sum(masses[first] * masses[second] / distance)

    def initial_states(self, key: Key, count: int) -> Array:
        """Random states (count, 2 n_bodies dim)."""
        shape = (count, self.n_bodies, self.dim)
        position_key, shift_key, momentum_key = jax.random.split(key, 3)
        q = jax.random.normal(position_key, shape, jnp.float64)
        q = q + _OFFSET * jax.random.normal(shift_key, (count, 1, self.dim), jnp.float64)
        root = jnp.sqrt(jnp.asarray(self.masses, jnp.float64))[:, None]
        p = self.momentum * root * jax.random.normal(momentum_key, shape, jnp.float64)
        return jnp.concatenate([q.reshape(count, -1), p.reshape(count, -1)], axis=1)

    def conserved(self) -> dict[str, QuadraticForm]:
        """Total momenta T, products P and Q, rotations about the origin and the centre of mass."""
        found = {}
        axes = [_AXES[d] if self.dim <= len(_AXES) else str(d + 1) for d in range(self.dim)]
        pairs = list(itertools.combinations(range(self.dim), 2))
        total = [self._total(d) for d in range(self.dim)]
        nothing = np.zeros((2 * self.dof,) * 2)
        for d in range(self.dim):
            found[f"T{axes[d]}"] = QuadraticForm(nothing, total[d])
        for d in range(self.dim):
            found[f"P{axes[d]}"] = QuadraticForm(_product(total[d], total[d]), np.zeros(2 * self.dof))
        for d, e in pairs:
            found[f"Q{axes[d]}{axes[e]}"] = QuadraticForm(
                _product(total[d], total[e]), np.zeros(2 * self.dof)
            )
        for d, e in pairs:
            form = sum(
                _product(self._unit(0, i, d), self._unit(1, i, e))
                - _product(self._unit(0, i, e), self._unit(1, i, d))
                for i in range(self.n_bodies)
            )
            found[f"Rabs{axes[d]}{axes[e]}"] = QuadraticForm(np.asarray(form), np.zeros(2 * self.dof))
        for d, e in pairs:
            form = _product(self._centre(d), total[e]) - _product(self._centre(e), total[d])
            found[f"Rcom{axes[d]}{axes[e]}"] = QuadraticForm(form, np.zeros(2 * self.dof))
        return found

    def _unit(self, half: int, body: int, axis: int) -> np.ndarray:
        """The linear function that reads q (half 0) or p (half 1) of a body along an axis."""
        out = np.zeros((2, self.n_bodies, self.dim))
        out[half, body, axis] = 1.0
        return out.ravel()

    def _total(self, axis: int) -> np.ndarray:
        """Total momentum along an axis."""
        out = np.zeros((2, self.n_bodies, self.dim))
        out[1, :, axis] = 1.0
        return out.ravel()

    def _centre(self, axis: int) -> np.ndarray:
        """Centre of mass along an axis."""
        out = np.zeros((2, self.n_bodies, self.dim))
        out[0, :, axis] = np.asarray(self.masses) / sum(self.masses)
        return out.ravel()


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The form A of (a.x)(b.x) = x'Ax/2."""
    return np.outer(a, b) + np.outer(b, a)
