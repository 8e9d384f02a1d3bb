"""Flows that observables generate: exact for quadratic ones, integrated for all others."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from noethers_razor._types import Array, Observable
from noethers_razor.mechanics import integrators
from noethers_razor.mechanics.phase_space import apply_form, hamiltonian_field
from noethers_razor.numerics.linear_algebra import exponential


def affine_generator(form: Array, linear: Array) -> Array:
    """The matrix G = [[J A, J b], [0, 0]] of the flow of C(x) = x'Ax/2 + b'x, acting on (x, 1).

    Args:
        form: symmetric A (..., M, M).
        linear: b (..., M).
    Returns:
        (..., M+1, M+1).
    """
    rotated = jnp.swapaxes(apply_form(jnp.swapaxes(form, -1, -2)), -1, -2)
    top = jnp.concatenate([rotated, apply_form(linear)[..., None]], axis=-1)
    return jnp.concatenate([top, jnp.zeros_like(top[..., :1, :])], axis=-2)


def affine_flow(generators: Array, tau: Array) -> Array:
    """g_tau = expm(sum_k tau_k G_k): time-one flows of combinations of quadratic observables.

    The linear and the constant part share one exponential, which stays exact for singular J A.

    Args:
        generators: (K, M+1, M+1), see `affine_generator`.
        tau: (S, K).
    Returns:
        (S, M+1, M+1), as far as `exponential` reaches.
    """
    # Named, so that a profile can tell it from other products.
    with jax.named_scope("exponential"):
        return exponential(jnp.einsum("sk,kij->sij", tau, generators))


def apply_affine(maps: Array, x: Array) -> Array:
    """States (..., M) moved by affine maps (S, M+1, M+1) -> (S, ..., M)."""
    shape = (maps.shape[0],) + (1,) * (x.ndim - 1) + (x.shape[-1],)
    return jnp.einsum("sij,...j->s...i", maps[:, :-1, :-1], x) + maps[:, :-1, -1].reshape(shape)


def move_affine(maps: Array, points: Array) -> Array:
    """Points (S, ..., M), each set moved by a map of its own (S, M+1, M+1)."""
    shape = (maps.shape[0],) + (1,) * (points.ndim - 2) + (points.shape[-1],)
    return jnp.einsum("sij,s...j->s...i", maps[:, :-1, :-1], points) + maps[:, :-1, -1].reshape(shape)


def hamiltonian_flow(
    observable: Observable, x: Array, time: float, steps: int, method: str = "implicit_midpoint"
) -> Array:
    """States (..., M) after a time along the flow of any observable, by a fixed-step method."""
    return integrators.advance(method, hamiltonian_field(observable), x, time, steps)


def combination_path(
    features: Callable[[Array], Array], rows: Array, x: Array, *, substeps: int, limit: float
) -> Array:
    """States (..., M) moved by time-one flows of S functions rows (S, D) @ phi -> (S, ..., M).

    One integration in both directions makes all points: rows must be multiples of one and ascend; the earlier
    half lies before the state, the later one after it. Fourth-order Runge-Kutta; speeds near the limit and
    above are reduced to it, along the same orbits. Volume is kept to the error of the steps where speeds are
    below half the limit (1 + (1/2)^8 to the power 1/8).

    Args:
        features: phi, states (..., M) -> (..., D).
        rows: (S, D).
        substeps: Runge-Kutta steps from point to point.
        limit: largest displacement from point to point.
    """
    half = rows.shape[0] // 2
    after = jnp.diff(rows[half:], axis=0, prepend=jnp.zeros_like(rows[:1]))
    before = jnp.diff(rows[:half][::-1], axis=0, prepend=jnp.zeros_like(rows[:1]))
    # An odd number has a last step on one side only; the other stands still and is left out.
    before = jnp.concatenate([before, jnp.zeros_like(after[: after.shape[0] - half])])
    steps = jnp.stack([before, after], axis=1)

    def move(states: Array, step: Array) -> tuple[Array, Array]:
        def total(y: Array) -> Array:
            return jnp.sum(jnp.einsum("s...d,sd->s...", features(y), step))

        def field(y: Array) -> Array:
            velocity = apply_form(jax.grad(total)(y))
            share = jnp.sum(velocity**2, axis=-1, keepdims=True) / limit**2
            # Of finite powers, however steep a function is where no data are.
            slower = (1.0 + jnp.minimum(share, 1e6) ** 4) ** -0.125
            return velocity * slower / jnp.sqrt(jnp.maximum(share * 1e-6, 1.0))

        moved = integrators.advance("rk4", field, states, 1.0, substeps)
        return moved, moved

    _, path = jax.lax.scan(move, jnp.broadcast_to(x, (2, *x.shape)), steps)
    return jnp.concatenate([path[:half, 0][::-1], path[:, 1]])
