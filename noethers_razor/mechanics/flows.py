"""Flows of observables: exact for quadratic observables, numerically integrated for all others."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from noethers_razor._types import Array, Observable
from noethers_razor.mechanics import integrators
from noethers_razor.mechanics.phase_space import apply_j, hamiltonian_field
from noethers_razor.numerics.linear_algebra import exponential


def affine_generator(form: Array, linear: Array) -> Array:
    """Return the generator G = [[J A, J b], [0, 0]] of the flow of C(x) = x'Ax/2 + b'x, acting on (x, 1).

    Args:
        form: symmetric matrices A (..., M, M).
        linear: vectors b (..., M).
    Returns:
        Matrices (..., M+1, M+1).
    """
    rotated = jnp.swapaxes(apply_j(jnp.swapaxes(form, -1, -2)), -1, -2)
    top = jnp.concatenate([rotated, apply_j(linear)[..., None]], axis=-1)
    return jnp.concatenate([top, jnp.zeros_like(top[..., :1, :])], axis=-2)


def affine_flow(generators: Array, tau: Array) -> Array:
    """Return g_tau = expm(sum_k tau_k G_k), the time-one flows of combinations of quadratic observables.

    One exponential gives the linear and the constant part of each map. It is exact for singular J A too.

    Args:
        generators: matrices (K, M+1, M+1), see `affine_generator`.
        tau: flow times (S, K).
    Returns:
        Affine maps (S, M+1, M+1). A map is NaN where its exponent exceeds the range of `exponential`.
    """
    # The name marks these matrix products in a profile.
    with jax.named_scope("exponential"):
        return exponential(jnp.einsum("sk,kij->sij", tau, generators))


def apply_affine(maps: Array, x: Array) -> Array:
    """Apply every affine map to every state.

    Args:
        maps: affine maps (S, M+1, M+1).
        x: states (..., M).
    Returns:
        States (S, ..., M).
    """
    shape = (maps.shape[0],) + (1,) * (x.ndim - 1) + (x.shape[-1],)
    return jnp.einsum("sij,...j->s...i", maps[:, :-1, :-1], x) + maps[:, :-1, -1].reshape(shape)


def move_affine(maps: Array, points: Array) -> Array:
    """Apply one affine map to each set of points.

    Args:
        maps: affine maps (S, M+1, M+1), one for each set.
        points: sets of points (S, ..., M).
    Returns:
        Points (S, ..., M).
    """
    shape = (maps.shape[0],) + (1,) * (points.ndim - 2) + (points.shape[-1],)
    return jnp.einsum("sij,s...j->s...i", maps[:, :-1, :-1], points) + maps[:, :-1, -1].reshape(shape)


def hamiltonian_flow(
    observable: Observable, x: Array, time: float, steps: int, method: str = "implicit_midpoint"
) -> Array:
    """Integrate the flow of any observable with a fixed-step method.

    Args:
        observable: function of one state (M,) -> scalar.
        x: states (..., M).
        time: duration of the flow.
        steps: number of equal steps.
        method: name, see `integrators.step`.
    Returns:
        States (..., M) after the duration.
    """
    return integrators.advance(method, hamiltonian_field(observable), x, time, steps)


def combination_path(
    features: Callable[[Array], Array], rows: Array, x: Array, *, substeps: int, limit: float
) -> Array:
    """Move states along the time-one flows of S functions C_s = rows_s . phi.

    All rows are multiples of one row, in ascending order. Their flows therefore share one orbit, and a single
    integration in both directions gives all points. The earlier half of the rows leads backwards from the
    state, the later half forwards. The method is fourth-order Runge-Kutta.

    A speed v is divided by (1 + (v / limit)^8)^(1/8). It then stays below the limit, and the orbit stays the
    same. Where speeds are below half the limit, volume is conserved up to the error of the steps: the divisor
    there is at most (1 + (1/2)^8)^(1/8).

    Args:
        features: phi, states (..., M) -> (..., D).
        rows: coefficients (S, D), ascending multiples of one row.
        x: states (..., M).
        substeps: Runge-Kutta steps from point to point.
        limit: largest displacement from point to point.
    Returns:
        States (S, ..., M).
    """
    half = rows.shape[0] // 2
    after = jnp.diff(rows[half:], axis=0, prepend=jnp.zeros_like(rows[:1]))
    before = jnp.diff(rows[:half][::-1], axis=0, prepend=jnp.zeros_like(rows[:1]))
    # For odd S the forward side has one more step. The backward side gets a zero step, dropped at the end.
    before = jnp.concatenate([before, jnp.zeros_like(after[: after.shape[0] - half])])
    steps = jnp.stack([before, after], axis=1)

    def move(states: Array, step: Array) -> tuple[Array, Array]:
        def total(y: Array) -> Array:
            return jnp.sum(jnp.einsum("s...d,sd->s...", features(y), step))

        def field(y: Array) -> Array:
            velocity = apply_j(jax.grad(total)(y))
            share = jnp.sum(velocity**2, axis=-1, keepdims=True) / limit**2
            # Far from the data a function can be very steep. The bounds keep all powers finite.
            slower = (1.0 + jnp.minimum(share, 1e6) ** 4) ** -0.125
            return velocity * slower / jnp.sqrt(jnp.maximum(share * 1e-6, 1.0))

        moved = integrators.advance("rk4", field, states, 1.0, substeps)
        return moved, moved

    _, path = jax.lax.scan(move, jnp.broadcast_to(x, (2, *x.shape)), steps)
    return jnp.concatenate([path[:half, 0][::-1], path[:, 1]])
