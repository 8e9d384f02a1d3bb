"""The Henon-Heiles system. Only energy is conserved: a negative control."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from noethers_razor._types import Array, Key
from noethers_razor.errors import UsageError
from noethers_razor.mechanics.quadratic_form import QuadraticForm
from noethers_razor.systems.base import System

_ESCAPE = 1.0 / 6.0
"""Energy above which orbits can leave the well."""


@dataclasses.dataclass(frozen=True)
class HenonHeiles(System):
    """Henon-Heiles system, H = |p|^2 / 2 + |q|^2 / 2 + x^2 y - y^3 / 3 with q = (x, y) (Henon, Heiles 1964).

    Initial energies are uniform between two bounds below the energy of escape, 1/6.

    Args:
        lowest, highest: bounds of the initial energy.
    Raises:
        UsageError: unless 0 < lowest < highest < 1/6.
    """

    lowest: float = 0.08
    highest: float = 0.16
    name = "henon_heiles"

    def __post_init__(self) -> None:
        if not 0 < self.lowest < self.highest < _ESCAPE:
            raise UsageError(
                f"energies from {self.lowest} to {self.highest}; expected 0 < lowest < highest < 1/6"
            )

    @property
    def dof(self) -> int:
        """Degrees of freedom, 2."""
        return 2

    @property
    def coordinates(self) -> list[str]:
        """Names of x, y and their momenta."""
        return ["qx", "qy", "px", "py"]

    def _potential(self, q: Array) -> Array:
        """Return the potential at positions (..., 2)."""
        return 0.5 * jnp.sum(q**2, axis=-1) + q[..., 0] ** 2 * q[..., 1] - q[..., 1] ** 3 / 3.0

    def hamiltonian(self, x: Array) -> Array:
        """Return the energy of a state (4,)."""
        q, p = jnp.split(x, 2)
        return 0.5 * jnp.sum(p**2) + self._potential(q)

    def initial_states(self, key: Key, count: int) -> Array:
        """Return random states (count, 4) inside the well."""
        keys = jax.random.split(key, 4)
        energy = jax.random.uniform(keys[0], (count, 1), jnp.float64, self.lowest, self.highest)
        # The potential is at most r^2/2 + r^3/3 at distance r. Inside this radius kinetic energy is positive.
        radius = jnp.sqrt(2 * energy)
        for _ in range(20):
            radius -= (radius**2 / 2 + radius**3 / 3 - energy) / (radius + radius**2)
        directions = jax.random.normal(keys[1], (2, count, 2), jnp.float64)
        directions /= jnp.linalg.norm(directions, axis=-1, keepdims=True)
        inside = jnp.sqrt(jax.random.uniform(keys[2], (count, 1), jnp.float64))
        q = radius * inside * directions[0]
        p = jnp.sqrt(2 * (energy - self._potential(q)[:, None])) * directions[1]
        return jnp.concatenate([q, p], axis=1)

    def conserved(self) -> dict[str, QuadraticForm]:
        """Return nothing: no quadratic quantity is conserved."""
        return {}
