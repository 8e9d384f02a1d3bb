"""n harmonic oscillators, with symmetry group U(n) if all frequencies are equal."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array, Key
from noethers_razor.errors import UsageError
from noethers_razor.mechanics.quadratic_form import QuadraticForm
from noethers_razor.systems.base import System, positive_numbers


@dataclasses.dataclass(frozen=True)
class Oscillators(System):
    """n oscillators, H = sum_i w_i (p_i^2 + q_i^2) / 2 (Noether's Razor, section 5.1).

    Initial states are standard normal.

    Args:
        n: number of oscillators, at least 1.
        frequencies: frequencies w_i, positive, all 1 by default. Different frequencies break the symmetry
            group U(n) to a product of smaller groups U(k).
    Raises:
        UsageError: for n < 1, a wrong number of frequencies, or one that is not positive.
    """

    n: int = dataclasses.field(default=3, metadata={"flag": "n"})
    frequencies: tuple[float, ...] = ()
    name = "oscillators"

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UsageError(f"n = {self.n} oscillators; expected at least 1")
        object.__setattr__(self, "frequencies", positive_numbers("frequencies", self.frequencies, self.n))

    @property
    def dof(self) -> int:
        """Degrees of freedom, n."""
        return self.n

    def hamiltonian(self, x: Array) -> Array:
        """Return the energy of a state (2 n,)."""
        weights = jnp.asarray(self.frequencies * 2, dtype=x.dtype)
        return 0.5 * jnp.sum(weights * x**2)

    def initial_states(self, key: Key, count: int) -> Array:
        """Return standard normal states (count, 2 n)."""
        return jax.random.normal(key, (count, 2 * self.n), jnp.float64)

    def conserved(self) -> dict[str, QuadraticForm]:
        """Return H_i of each oscillator, and R_ij and F_ij of each pair with equal frequencies."""
        n, found = self.n, {}
        for i in range(n):
            found[f"H{i + 1}"] = self._form({(i, i): 1.0, (n + i, n + i): 1.0})
        for i, j in itertools.combinations(range(n), 2):
            if self.frequencies[i] == self.frequencies[j]:
                found[f"R{i + 1}{j + 1}"] = self._form({(i, n + j): 1.0, (j, n + i): -1.0})
                found[f"F{i + 1}{j + 1}"] = self._form({(i, j): 1.0, (n + i, n + j): 1.0})
        return found

    def _form(self, entries: dict[tuple[int, int], float]) -> QuadraticForm:
        """Return the quadratic observable with given entries of its symmetric matrix."""
        form = np.zeros((2 * self.n, 2 * self.n))
        for (i, j), value in entries.items():
            form[i, j] = form[j, i] = value
        return QuadraticForm(form, np.zeros(2 * self.n))
