"""The pendulum. Only energy is conserved, and its flow is the only symmetry."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from noethers_razor._types import Array, Key
from noethers_razor.errors import UsageError
from noethers_razor.mechanics.quadratic_form import QuadraticForm
from noethers_razor.systems.base import System


@dataclasses.dataclass(frozen=True)
class Pendulum(System):
    """Pendulum, H = p^2 / 2 - cos q. Initial states have energies below the separatrix.

    Args:
        amplitude: largest angle of the swings, radian, 0 to 3.1. Squared amplitudes are uniform.
    Raises:
        UsageError: unless 0 < amplitude < 3.1.
    """

    amplitude: float = 2.5
    name = "pendulum"

    def __post_init__(self) -> None:
        if not 0 < self.amplitude < 3.1:
            raise UsageError(f"amplitude = {self.amplitude}; expected 0 to 3.1 radian, below the separatrix")

    @property
    def dof(self) -> int:
        """Degrees of freedom, 1."""
        return 1

    def hamiltonian(self, x: Array) -> Array:
        """Return the energy of a state (2,)."""
        return 0.5 * x[1] ** 2 - jnp.cos(x[0])

    def initial_states(self, key: Key, count: int) -> Array:
        """Return random states (count, 2) that move in either direction with equal probability."""
        keys = jax.random.split(key, 3)
        widest = self.amplitude * jnp.sqrt(jax.random.uniform(keys[0], (count,), jnp.float64))
        q = widest * jnp.sin(jax.random.uniform(keys[1], (count,), jnp.float64, -jnp.pi, jnp.pi))
        # p^2 / 2 = cos q - cos widest, written as a product that is exact for small swings.
        p = 2 * jnp.sqrt(jnp.sin((widest - q) / 2) * jnp.sin((widest + q) / 2))
        sign = jnp.where(jax.random.bernoulli(keys[2], shape=(count,)), 1.0, -1.0)
        return jnp.stack([q, sign * p], axis=1)

    def conserved(self) -> dict[str, QuadraticForm]:
        """Return nothing: no quadratic quantity is conserved."""
        return {}
