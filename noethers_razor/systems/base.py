"""Base class of systems: energy, initial states, conserved quantities, and simulation."""

from __future__ import annotations

import dataclasses
import functools
import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array, Key, Observable
from noethers_razor.data.trajectories import Trajectories
from noethers_razor.errors import UsageError
from noethers_razor.mechanics.phase_space import hamiltonian_field
from noethers_razor.mechanics.quadratic_form import QuadraticForm, quadratic_value

_TOLERANCE = 1e-12
"""Relative and absolute error that the solver accepts in one step."""
_ENERGY_TOLERANCE = 1e-8
"""Largest relative energy error of a simulation."""


def named_stream(seed: int, name: str) -> Key:
    """Return a random key for a purpose. Streams of different names are independent.

    Args:
        seed: seed of all streams.
        name: name of the stream, such as ``train``.
    """
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))


def require_positive(label: str, value: float) -> None:
    """Check that a number is positive and finite.

    Args:
        label: name of the number, for the message.
        value: the number.
    Raises:
        UsageError: if it is not.
    """
    if not 0 < value < math.inf:
        raise UsageError(f"{label} = {value}; expected a positive number")


def positive_numbers(label: str, values: Sequence[float], count: int) -> tuple[float, ...]:
    """Return positive numbers as floats, after a check.

    Args:
        label: name of the numbers, for the message.
        values: the numbers. An empty sequence stands for ones.
        count: expected number of values.
    Raises:
        UsageError: for another number of values, or a value that is not positive and finite.
    """
    numbers = tuple(float(value) for value in values) or (1.0,) * count
    if len(numbers) != count or not all(0 < value < math.inf for value in numbers):
        raise UsageError(f"{label} = {numbers}; expected {count} positive numbers")
    return numbers


def _observable(quantity: QuadraticForm) -> Observable:
    """Return a quadratic observable as a function of one state (M,)."""

    def value(x: Array) -> Array:
        form, linear = jnp.asarray(quantity.form, x.dtype), jnp.asarray(quantity.linear, x.dtype)
        return quadratic_value(form[None], linear[None], x)[0]

    return value


class System(ABC):
    """A Hamiltonian system with known conserved quantities.

    A subclass is a frozen dataclass whose fields are its parameters: numbers or tuples, which have a hash. It
    sets ``name``, its name in SYSTEMS. The key ``flag`` in the metadata of a field names the command-line
    flag (``n``, ``dim``) that sets it.
    """

    name: ClassVar[str]

    @property
    @abstractmethod
    def dof(self) -> int:
        """Degrees of freedom n. States have dimension M = 2 n."""

    @abstractmethod
    def hamiltonian(self, x: Array) -> Array:
        """Return the energy of one state (M,), a scalar."""

    @abstractmethod
    def initial_states(self, key: Key, count: int) -> Array:
        """Return random initial states (count, M), float64.

        Args:
            key: random key, the only source of randomness.
            count: number of states.
        """

    @abstractmethod
    def conserved(self) -> Mapping[str, QuadraticForm]:
        """Return the quadratic conserved quantities by their usual names: a basis of their span."""

    def integrals(self) -> dict[str, Observable]:
        """Return conserved functions of one state (M,), H first.

        All known conserved quantities are functions of these.
        """
        found: dict[str, Observable] = {"H": self.hamiltonian}
        return found | {name: _observable(form) for name, form in self.conserved().items()}

    @property
    def coordinates(self) -> list[str]:
        """Names of the M coordinates, positions first."""
        return [f"{half}{i + 1}" for half in "qp" for i in range(self.dof)]

    def parameters(self) -> dict[str, Any]:
        """Return the parameters as plain JSON values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    def simulate(
        self,
        seed: int,
        *,
        n_trajectories: int = 200,
        n_steps: int = 50,
        dt: float = 0.2,
        noise: float = 0.0,
        stream: str = "train",
        widen: float = 1.0,
        move: float = 0.0,
    ) -> Trajectories:
        """Simulate trajectories from random initial states, in float64 with Dormand-Prince 8(7).

        Args:
            seed: seed of the initial states and the noise.
            n_trajectories: number of trajectories, at least 1.
            n_steps: number of transitions in each trajectory, at least 1.
            dt: time between stored states, positive.
            noise: standard deviation of Gaussian noise on the stored states, 0 or positive.
            stream: name of the random stream. ``train`` and ``test`` share no initial state.
            widen: positive factor of all initial positions. Other values than 1 give states outside the
                training distribution (Noether's Razor, section 5.3).
            move: shift of all initial positions, after the factor.
        Returns:
            Trajectories of n_steps + 1 states.
        Raises:
            UsageError: for a setting out of range, or if the simulation does not conserve energy.
        """
        positive = "a positive number"
        for label, value, good, expected in (
            ("n_trajectories", n_trajectories, n_trajectories >= 1, positive),
            ("n_steps", n_steps, n_steps >= 1, positive),
            ("dt", dt, np.isfinite(dt) and dt > 0, positive),
            ("noise", noise, np.isfinite(noise) and noise >= 0, f"0 or {positive}"),
            ("widen", widen, np.isfinite(widen) and widen > 0, positive),
            ("move", move, np.isfinite(move), "a finite number"),
        ):
            if not good:
                raise UsageError(f"{label} = {value}; expected {expected}")
        with jax.enable_x64(True):
            start_key, noise_key = jax.random.split(named_stream(seed, stream))
            start = self.initial_states(start_key, n_trajectories).astype(jnp.float64)
            start = start.at[:, : self.dof].set(widen * start[:, : self.dof] + move)
            times = jnp.arange(n_steps + 1, dtype=jnp.float64) * float(dt)
            path, energy = self._solve(start, times)
            # The zero of energy is arbitrary. Near zero, the energies of all trajectories set the scale.
            floor = 1e-2 * np.sqrt(np.mean(energy**2)) + 1e-300
            scale = np.maximum(np.abs(energy).max(axis=1, keepdims=True), floor)
            drift = float(np.max(np.abs(energy - energy[:, :1]) / scale))
            if not drift <= _ENERGY_TOLERANCE:
                raise UsageError(
                    f"{self.name}: relative energy error {drift:.1e} in simulation; expected below "
                    f"{_ENERGY_TOLERANCE:.0e}: reduce n_steps or dt, or increase the softening of bodies"
                )
            path = path + noise * jax.random.normal(noise_key, path.shape, jnp.float64)
            states = np.asarray(path)
        metadata = {
            "system": {"name": self.name, "parameters": self.parameters()},
            "coordinates": self.coordinates,
            "seed": int(seed),
            "stream": stream,
            "noise": float(noise),
            "widen": float(widen),
            "move": float(move),
        }
        q, p = states[..., : self.dof], states[..., self.dof :]
        return Trajectories(q=q, p=p, t=np.asarray(times), metadata=metadata, source=self.name)

    @functools.partial(jax.jit, static_argnums=0)
    def _solve(self, start: Array, times: Array) -> tuple[Array, Array]:
        """Return states (trajectory, time, M) from initial states (trajectory, M), and their energies."""
        import diffrax

        field = hamiltonian_field(self.hamiltonian)

        def one(x: Array) -> Array:
            solution = diffrax.diffeqsolve(
                diffrax.ODETerm(lambda t, y, args: field(y)),
                diffrax.Dopri8(),
                times[0],
                times[-1],
                None,
                x,
                saveat=diffrax.SaveAt(ts=times),
                # Steps end at stored times. Interpolation between steps would lose three digits of energy.
                stepsize_controller=diffrax.ClipStepSizeController(
                    diffrax.PIDController(rtol=_TOLERANCE, atol=_TOLERANCE), step_ts=times
                ),
                max_steps=16**5,
            )
            return solution.ys

        path = jax.vmap(one)(start)
        return path, jax.vmap(jax.vmap(self.hamiltonian))(path)
