"""One-step integrators for autonomous fields: Butcher coefficients and one loop.

Each method is a pure function (field, x, dt) -> x. ``dt`` broadcasts against states (..., M), so
transitions of different durations can share a batch. Source: Hairer, Lubich, Wanner, Geometric
Numerical Integration, chapters II and VI.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from noethers_razor._types import Array, VectorField

Step = Callable[[VectorField, Array, Array], Array]

# For each explicit method: the rows of the stage matrix below the diagonal, and the weights.
_TABLEAUS: dict[str, tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]] = {
    "euler": ((), (1.0,)),
    "midpoint": (((0.5,),), (0.0, 1.0)),
    "rk4": (((0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}
ORDERS = {"euler": 1, "midpoint": 2, "rk4": 4, "implicit_midpoint": 2}
"""Order of convergence of each method. The keys are the names that `step` and the settings accept."""

_FIXED_POINT_ITERATIONS = 12
"""Fixed-point iterations of the implicit midpoint rule.

One iteration multiplies the error by |dt| L / 2, where L is the Lipschitz constant of the field. Twelve reach
the rounding error of float64 for |dt| L <= .1.
"""


def _explicit(name: str, field: VectorField, x: Array, dt: Array) -> Array:
    """Take one step of an explicit Runge-Kutta method."""
    rows, weights = _TABLEAUS[name]
    stages = [field(x)]
    for row in rows:
        shift = sum(a * k for a, k in zip(row, stages, strict=True) if a)
        stages.append(field(x + dt * shift))
    return x + dt * sum(b * k for b, k in zip(weights, stages, strict=True) if b)


def _implicit_midpoint(field: VectorField, x: Array, dt: Array) -> Array:
    """Solve x' = x + dt f((x + x')/2) by fixed-point iteration; symplectic for Hamiltonian fields."""
    start = x + dt * field(x)
    return jax.lax.fori_loop(0, _FIXED_POINT_ITERATIONS, lambda _, y: x + dt * field((x + y) / 2), start)


def step(method: str) -> Step:
    """Return the one-step map of a method.

    Args:
        method: ``euler``, ``midpoint``, ``rk4`` or ``implicit_midpoint``.
    Returns:
        Function (field, x (..., M), dt broadcastable to x) -> states (..., M).
    Raises:
        ValueError: if the name is unknown.
    """
    if method == "implicit_midpoint":
        return _implicit_midpoint
    if method not in _TABLEAUS:
        raise ValueError(f"unknown integrator {method!r}; expected one of {', '.join(ORDERS)}")
    return lambda field, x, dt: _explicit(method, field, x, dt)


def advance(method: str, field: VectorField, x: Array, dt: Array | float, substeps: int = 1) -> Array:
    """Integrate a field for a time dt in ``substeps`` equal steps.

    Args:
        method: name, see `step`.
        field: states (..., M) -> velocities (..., M).
        x: states (..., M).
        dt: duration, scalar or broadcastable to (..., 1).
        substeps: number of steps that divide the duration.
    Returns:
        States (..., M) at the end.
    """
    one = step(method)
    if substeps == 1:
        return one(field, x, jnp.asarray(dt))
    small = jnp.asarray(dt) / substeps
    return jax.lax.fori_loop(0, substeps, lambda _, y: one(field, y, small), x)


def trajectory(method: str, field: VectorField, x: Array, intervals: Array, substeps: int = 1) -> Array:
    """Return the start and the states at the end of successive intervals.

    Args:
        method: name, see `step`.
        field: states (..., M) -> velocities (..., M).
        x: initial states (..., M).
        intervals: durations (T,), or (T, B, 1) if each of B states has its own durations.
        substeps: number of steps for each interval.
    Returns:
        States (T + 1, ..., M).
    """

    def body(state: Array, dt: Array) -> tuple[Array, Array]:
        after = advance(method, field, state, dt, substeps)
        return after, after

    _, path = jax.lax.scan(body, x, intervals)
    return jnp.concatenate([x[None], path])
