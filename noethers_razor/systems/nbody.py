"""n gravitating bodies in any dimension, softened: the symmetry group SE(dim), and products of momenta."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array, Key
from noethers_razor.errors import UsageError
from noethers_razor.mechanics.quadratic_form import QuadraticForm, product_form
from noethers_razor.systems.base import System, positive_numbers, require_positive

_AXES = "xyz"
_OFFSET = 3.0
"""Standard deviation of the common shift of all bodies of an initial state (Noether's Razor, section 5.3)."""


@dataclasses.dataclass(frozen=True)
class NBody(System):
    """n bodies, H = sum |p_i|^2 / 2 m_i - sum_{i<j} m_i m_j / sqrt(|q_i - q_j|^2 + softening^2), with G = 1.

    Initial positions are standard normal about a common point N(0, 3^2). Initial momenta are normal.

    Args:
        n_bodies: number of bodies, at least 2.
        dim: dimension of space, at least 1. Coordinates are ordered body by body.
        masses: masses m_i, positive, all 1 by default.
        softening: length below which the attraction does not grow, positive. The paper uses 1.
        momentum: standard deviation of the initial momenta at unit mass, positive. That of p_i is
            momentum * sqrt(m_i).
    Raises:
        UsageError: for fewer than 2 bodies, a dimension below 1, a wrong number of masses, or values
            that are not positive.
    """

    n_bodies: int = dataclasses.field(default=3, metadata={"flag": "n"})
    dim: int = dataclasses.field(default=2, metadata={"flag": "dim"})
    masses: tuple[float, ...] = ()
    softening: float = 1.0
    momentum: float = 0.5
    name = "nbody"

    def __post_init__(self) -> None:
        if self.n_bodies < 2 or self.dim < 1:
            raise UsageError(f"{self.n_bodies} bodies in dimension {self.dim}; expected at least 2 and 1")
        for label in ("softening", "momentum"):
            require_positive(label, getattr(self, label))
        object.__setattr__(self, "masses", positive_numbers("masses", self.masses, self.n_bodies))

    @property
    def dof(self) -> int:
        """Degrees of freedom, n_bodies * dim."""
        return self.n_bodies * self.dim

    @property
    def coordinates(self) -> list[str]:
        """Names qx1, qy1, qx2, ..., then momenta. In more than three dimensions axes have numbers."""
        mark = "" if self.dim <= len(_AXES) else "_"
        bodies = range(1, self.n_bodies + 1)
        return [f"{half}{axis}{mark}{i}" for half in "qp" for i in bodies for axis in self._axes]

    @property
    def _axes(self) -> Sequence[str]:
        """Names of the axes: x, y, z, or numbers in more than three dimensions."""
        return _AXES[: self.dim] if self.dim <= len(_AXES) else [str(d + 1) for d in range(self.dim)]

    def hamiltonian(self, x: Array) -> Array:
        """Return the energy of a state (2 n_bodies dim,)."""
        q, p = x.reshape(2, self.n_bodies, self.dim)
        masses = jnp.asarray(self.masses, x.dtype)
        first, second = np.triu_indices(self.n_bodies, k=1)
        distance = jnp.sqrt(jnp.sum((q[first] - q[second]) ** 2, axis=-1) + self.softening**2)
        kinetic = 0.5 * jnp.sum(jnp.sum(p**2, axis=-1) / masses)
        return kinetic - jnp.sum(masses[first] * masses[second] / distance)

    def initial_states(self, key: Key, count: int) -> Array:
        """Return random states (count, 2 n_bodies dim)."""
        shape = (count, self.n_bodies, self.dim)
        position_key, shift_key, momentum_key = jax.random.split(key, 3)
        q = jax.random.normal(position_key, shape, jnp.float64)
        q = q + _OFFSET * jax.random.normal(shift_key, (count, 1, self.dim), jnp.float64)
        root = jnp.sqrt(jnp.asarray(self.masses, jnp.float64))[:, None]
        p = self.momentum * root * jax.random.normal(momentum_key, shape, jnp.float64)
        return jnp.concatenate([q.reshape(count, -1), p.reshape(count, -1)], axis=1)

    def conserved(self) -> dict[str, QuadraticForm]:
        """Return total momenta T, their products P and Q, and angular momenta R.

        Rabs is the angular momentum about the origin, Rcom that of the centre of mass.
        """
        axes, total = self._axes, [self._total(d) for d in range(self.dim)]
        none, nothing = np.zeros(2 * self.dof), np.zeros((2 * self.dof,) * 2)
        found = {f"T{axis}": QuadraticForm(nothing, slope) for axis, slope in zip(axes, total, strict=True)}
        forms = {f"P{axis}": product_form(slope, slope) for axis, slope in zip(axes, total, strict=True)}
        pairs = list(itertools.combinations(range(self.dim), 2))
        for d, e in pairs:
            forms[f"Q{axes[d]}{axes[e]}"] = product_form(total[d], total[e])
        for d, e in pairs:
            forms[f"Rabs{axes[d]}{axes[e]}"] = np.sum(
                [
                    product_form(self._unit(0, i, d), self._unit(1, i, e))
                    - product_form(self._unit(0, i, e), self._unit(1, i, d))
                    for i in range(self.n_bodies)
                ],
                axis=0,
            )
        for d, e in pairs:
            forms[f"Rcom{axes[d]}{axes[e]}"] = product_form(self._centre(d), total[e]) - product_form(
                self._centre(e), total[d]
            )
        return found | {name: QuadraticForm(form, none) for name, form in forms.items()}

    def _unit(self, half: int, body: int, axis: int) -> np.ndarray:
        """Return the linear function (M,) that is q (half 0) or p (half 1) of a body along an axis."""
        out = np.zeros((2, self.n_bodies, self.dim))
        out[half, body, axis] = 1.0
        return out.ravel()

    def _total(self, axis: int) -> np.ndarray:
        """Return the total momentum along an axis as a linear function (M,)."""
        out = np.zeros((2, self.n_bodies, self.dim))
        out[1, :, axis] = 1.0
        return out.ravel()

    def _centre(self, axis: int) -> np.ndarray:
        """Return the centre of mass along an axis as a linear function (M,)."""
        out = np.zeros((2, self.n_bodies, self.dim))
        out[0, :, axis] = np.asarray(self.masses) / sum(self.masses)
        return out.ravel()
