"""Objective of a variational manifold embedding, and its exact identities.

The objective (Vastola, Gershman, Rajan 2025) is

    J[phi] = E_q [ e(z) ],   e = log det(G) / 2 + log p(phi(z)) - log q(z),   G = D' D,

where D is the Jacobian of phi. Let Z = E_q exp e be the area of the manifold weighted by p. Then
J = log Z - KL. The manifold makes Z large, and its parametrisation makes e constant.

Let P+ = G^-1 D' be the pseudoinverse of D. The functional gradient of J, divided by q, is the residual of the
Euler-Lagrange equations:

    R_i = d log p / d phi_i - sum_j [ d_j P+_ji + P+_ji d_j log q ].

A vector field xi(x) has the current j = q P+ xi(phi). Its divergence is exactly

    div j / q = <xi, grad log p> + tr(D P+ D xi) - <R, xi>,

where D xi is the Jacobian of xi.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from noethers_razor._types import Array
from noethers_razor.numerics.budget import Budget
from noethers_razor.numerics.linear_algebra import inverted

Map = Callable[[Array], Array]
"""A decoder (d,) -> (D,), a log density (D,) -> (), or a vector field on data points (D,) -> (D,)."""
POTENTIAL = "density"
"""Name of the term <xi, grad log p>, the change of log p along the field."""
KINETIC = "kinetic"
"""Name of the term tr(D P+ D xi), the change of log det(G) / 2 along the field."""
OFF_SHELL = "off shell"
"""Name of the term -<R, xi>, which is zero at a stationary phi."""


def energy(value: Array, first: Array, log_p: Map, log_q: Array) -> Array:
    """Return e at a latent point.

    Args:
        value: phi (D,) at the point.
        first: Jacobian of phi (D, d) at the point.
        log_p: log density of the data, nats.
        log_q: log latent density () at the point, nats.
    Returns:
        e (), nats.
    """
    return inverted(first.T @ first)[1] / 2 + log_p(value) - log_q


def second(phi: Map, z: Array) -> Array:
    """Return second derivatives (D, d, d) of a map at a latent point z (d,)."""
    return jax.jacfwd(jax.jacfwd(phi))(z)


def inverse(phi: Map, z: Array) -> Array:
    """Return P+ (d, D), the pseudoinverse of the Jacobian of phi at a latent point z (d,)."""
    jacobian = jax.jacfwd(phi)(z)
    return inverted(jacobian.T @ jacobian)[0] @ jacobian.T


def residual(phi: Map, log_p: Map, log_q: Map, z: Array) -> Array:
    """Return R, the residual of the Euler-Lagrange equations.

    Args:
        phi: decoder (d,) -> (D,).
        log_p: log density of the data.
        log_q: log latent density.
        z: latent point (d,).
    Returns:
        R (D,). It is zero everywhere if phi is stationary among all functions.
    """
    push = jnp.einsum("jij->i", jax.jacfwd(lambda u: inverse(phi, u))(z))
    return jax.grad(log_p)(phi(z)) - push - jax.grad(log_q)(z) @ inverse(phi, z)


def current(phi: Map, field: Map, z: Array) -> Array:
    """Return the current of a vector field, divided by the latent density.

    Args:
        phi: decoder (d,) -> (D,).
        field: vector field on data points (D,) -> (D,).
        z: latent point (d,).
    Returns:
        j / q (d,).
    """
    return inverse(phi, z) @ field(phi(z))


def budget(phi: Map, log_p: Map, log_q: Map, field: Map, z: Array) -> Budget:
    """Return div j / q of a vector field, and the terms whose sum it equals.

    Args:
        phi: decoder (d,) -> (D,).
        log_p: log density of the data.
        log_q: log latent density.
        field: vector field on data points (D,) -> (D,).
        z: latent point (d,).
    Returns:
        Rate, the divergence () from the current itself, and the terms `POTENTIAL`, `KINETIC` and `OFF_SHELL`.
    """
    flow = current(phi, field, z)
    rate = jnp.trace(jax.jacfwd(lambda u: current(phi, field, u))(z)) + flow @ jax.grad(log_q)(z)
    x, slope = phi(z), jax.grad(log_p)(phi(z))
    xi, off = field(x), residual(phi, log_p, log_q, z)
    projection = jax.jacfwd(phi)(z) @ inverse(phi, z)
    terms = {
        POTENTIAL: xi @ slope,
        KINETIC: jnp.sum(projection.T * jax.jacfwd(field)(x)),
        OFF_SHELL: -off @ xi,
    }
    return Budget(rate, terms, jnp.linalg.norm(xi) * (jnp.linalg.norm(slope) + jnp.linalg.norm(off)))
