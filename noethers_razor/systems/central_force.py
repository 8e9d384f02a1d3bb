"""One body in a central field: the Kepler problem, and potentials that are powers of the distance."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array, Key
from noethers_razor.errors import UsageError
from noethers_razor.mechanics.quadratic_form import QuadraticForm
from noethers_razor.systems.base import System, require_positive

_AXES = "xyz"


def angular_momenta(dim: int) -> dict[str, QuadraticForm]:
    """Return the angular momenta L_de = q_d p_e - q_e p_d of one body in 2 or 3 dimensions: Lxy, Lxz, Lyz."""
    found = {}
    for d, e in itertools.combinations(range(dim), 2):
        form = np.zeros((2 * dim, 2 * dim))
        form[d, dim + e] = form[dim + e, d] = 1.0
        form[e, dim + d] = form[dim + d, e] = -1.0
        found[f"L{_AXES[d]}{_AXES[e]}"] = QuadraticForm(form, np.zeros(2 * dim))
    return found


class _Central(System):
    """Common part of the systems in this file: one body, its axes, its angular momentum."""

    dim: int

    def __post_init__(self) -> None:
        if self.dim not in (2, 3):
            raise UsageError(f"{self.name} in dimension {self.dim}; expected 2 or 3")

    @property
    def dof(self) -> int:
        """Dimension of space."""
        return self.dim

    @property
    def coordinates(self) -> list[str]:
        """Names qx, qy, ..., then px, py, ..."""
        return [f"{half}{axis}" for half in "qp" for axis in _AXES[: self.dim]]

    def conserved(self) -> dict[str, QuadraticForm]:
        """Return the components of angular momentum."""
        return angular_momenta(self.dim)


@dataclasses.dataclass(frozen=True)
class Kepler(_Central):
    """Kepler problem, H = |p|^2 / 2 - 1 / |q|. Its Laplace-Runge-Lenz vector is conserved and not quadratic.

    Initial states lie on ellipses with semi-major axis .7 to 1.3, uniform eccentric anomaly and uniform
    orientation. In the plane all orbits run counter-clockwise.

    Args:
        dim: dimension of space, 2 or 3.
        eccentricity: largest eccentricity, 0 to .9. Squared eccentricities are uniform.
    Raises:
        UsageError: for another dimension, or an eccentricity outside [0, .9].
    """

    dim: int = dataclasses.field(default=2, metadata={"flag": "dim"})
    eccentricity: float = 0.4
    name = "kepler"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.eccentricity <= 0.9:
            raise UsageError(f"eccentricity = {self.eccentricity}; expected 0 to .9")

    def hamiltonian(self, x: Array) -> Array:
        """Return the energy of a state (2 dim,)."""
        q, p = jnp.split(x, 2)
        return 0.5 * jnp.sum(p**2) - 1.0 / jnp.sqrt(jnp.sum(q**2))

    def initial_states(self, key: Key, count: int) -> Array:
        """Return random states (count, 2 dim) on ellipses."""
        keys = jax.random.split(key, 4)
        axis = jax.random.uniform(keys[0], (count, 1), jnp.float64, 0.7, 1.3)
        flat = self.eccentricity * jnp.sqrt(jax.random.uniform(keys[1], (count, 1), jnp.float64))
        anomaly = jax.random.uniform(keys[2], (count, 1), jnp.float64, 0.0, 2 * jnp.pi)
        cosine, sine, minor = jnp.cos(anomaly), jnp.sin(anomaly), jnp.sqrt(1 - flat**2)
        q = axis * jnp.concatenate([cosine - flat, minor * sine], axis=1)
        p = jnp.concatenate([-sine, minor * cosine], axis=1) / jnp.sqrt(axis) / (1 - flat * cosine)
        # The first columns of a random orthogonal matrix. In the plane it must keep the sense of rotation.
        frame, triangle = jnp.linalg.qr(jax.random.normal(keys[3], (count, self.dim, self.dim), jnp.float64))
        # Signs as in a Gram-Schmidt basis. Without them orientations are not uniform.
        frame = frame * jnp.sign(jnp.diagonal(triangle, axis1=1, axis2=2))[:, None, :]
        turn = frame[:, :, :2] if self.dim > 2 else _proper(frame)
        return jnp.concatenate([jnp.einsum("bij,bj->bi", turn, part) for part in (q, p)], axis=1)

    def integrals(self) -> dict[str, Callable[[Array], Array]]:
        """Return H, L and the Laplace-Runge-Lenz vector A = (p.p) q - (q.p) p - q / |q|."""

        def component(axis: int) -> Callable[[Array], Array]:
            def value(x: Array) -> Array:
                q, p = jnp.split(x, 2)
                radius = jnp.sqrt(jnp.sum(q**2))
                return (jnp.sum(p**2) * q - jnp.sum(q * p) * p - q / radius)[axis]

            return value

        return super().integrals() | {f"A{_AXES[d]}": component(d) for d in range(self.dim)}


def _proper(frame: Array) -> Array:
    """Return rotations (B, 2, 2) of the plane with the first columns of orthogonal matrices (B, 2, 2)."""
    first = frame[:, :, 0]
    return jnp.stack([first, jnp.stack([-first[:, 1], first[:, 0]], axis=1)], axis=2)


@dataclasses.dataclass(frozen=True)
class CentralForce(_Central):
    """Central force, H = |p|^2 / 2 + |q|^power / power. Only angular momentum and energy are conserved.

    Initial states are standard normal.

    Args:
        dim: dimension of space, 2 or 3.
        power: power of the potential, positive and not 2.
    Raises:
        UsageError: for another dimension, a power that is not positive, or power 2, which conserves more.
    """

    dim: int = dataclasses.field(default=2, metadata={"flag": "dim"})
    power: float = 4.0
    name = "central_force"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("power", self.power)
        if self.power == 2:
            raise UsageError(
                f"power = 2 is the isotropic oscillator; use system oscillators with n = {self.dim}, "
                "which has all of its conserved quantities"
            )

    def hamiltonian(self, x: Array) -> Array:
        """Return the energy of a state (2 dim,)."""
        q, p = jnp.split(x, 2)
        return 0.5 * jnp.sum(p**2) + jnp.sum(q**2) ** (self.power / 2) / self.power

    def initial_states(self, key: Key, count: int) -> Array:
        """Return standard normal states (count, 2 dim)."""
        return jax.random.normal(key, (count, 2 * self.dim), jnp.float64)
