"""The periodic Toda lattice of three particles. It conserves energy, momentum and a cubic quantity."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array, Key
from noethers_razor.mechanics.quadratic_form import QuadraticForm
from noethers_razor.systems.base import System, require_positive


@dataclasses.dataclass(frozen=True)
class Toda(System):
    """Toda lattice, H = sum_i p_i^2 / 2 + exp(q_i - q_{i+1}) on a ring of three (Toda 1967, Henon 1974).

    Args:
        spread: standard deviation of the initial positions and momenta, positive.
    Raises:
        UsageError: for a spread that is not positive.
    """

    spread: float = 0.7
    name = "toda"

    def __post_init__(self) -> None:
        require_positive("spread", self.spread)

    @property
    def dof(self) -> int:
        """Degrees of freedom, 3."""
        return 3

    def hamiltonian(self, x: Array) -> Array:
        """Return the energy of a state (6,)."""
        q, p = jnp.split(x, 2)
        return 0.5 * jnp.sum(p**2) + jnp.sum(jnp.exp(q - jnp.roll(q, -1)))

    def initial_states(self, key: Key, count: int) -> Array:
        """Return normal states (count, 6)."""
        return self.spread * jax.random.normal(key, (count, 6), jnp.float64)

    def conserved(self) -> dict[str, QuadraticForm]:
        """Return the total momentum T and P, its square."""
        total = np.repeat([0.0, 1.0], 3)
        nothing = np.zeros((6, 6))
        return {
            "T": QuadraticForm(nothing, total),
            "P": QuadraticForm(2 * np.outer(total, total), np.zeros(6)),
        }

    def integrals(self) -> dict[str, Callable[[Array], Array]]:
        """Return H, total momentum T, and I3 = p1 p2 p3 - sum_i p_i exp(q_{i+1} - q_{i+2})."""

        def cubic(x: Array) -> Array:
            q, p = jnp.split(x, 2)
            return jnp.prod(p) - jnp.sum(p * jnp.exp(jnp.roll(q, -1) - jnp.roll(q, -2)))

        found = super().integrals()
        return {name: found[name] for name in ("H", "T")} | {"I3": cubic}
