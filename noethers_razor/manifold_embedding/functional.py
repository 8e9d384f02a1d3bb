"""The objective of a variational manifold embedding, and what is exact of it.

    J[phi] = E_q [ e(z) ],   e = log det(G) / 2 + log p(phi(z)) - log q(z),   G = D' D, D the Jacobian of phi

(Vastola, Gershman, Rajan 2025). With Z = E_q exp e, the area of the manifold weighted by p, J = log Z - KL:
the manifold makes Z large, the parametrisation makes e constant. With the pseudoinverse P+ = G^-1 D' the
functional gradient of J, per q, is the residual of the Euler-Lagrange equations

    R_i = d log p / d phi_i - sum_j [ d_j P+_ji + P+_ji d_j log q ]

and a vector field xi(x) has the current j = q P+ xi(phi), of which exactly

    div j / q = <xi, grad log p> + tr(D P+ D xi) - <R, xi>.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from noethers_razor._types import Array
from noethers_razor.numerics.budget import Budget
from noethers_razor.numerics.linear_algebra import inverted

Map = Callable[[Array], Array]
"""A decoder, latent point (d,) -> (D,), a log density, or a vector field on data points (D,) -> (D,)."""
POTENTIAL, KINETIC, OFF_SHELL = "density", "kinetic", "off shell"


def energy(value: Array, first: Array, log_p: Map, log_q: Array) -> Array:
    """e at a point, nats.

    Args:
        value, first: phi (D,) and its Jacobian (D, d).
        log_q: log latent density there.
    """
    return inverted(first.T @ first)[1] / 2 + log_p(value) - log_q


def second(phi: Map, z: Array) -> Array:
    """Second derivatives (D, d, d) of a map at z (d,)."""
    return jax.jacfwd(jax.jacfwd(phi))(z)


def inverse(phi: Map, z: Array) -> Array:
    """P+ (d, D), the pseudoinverse of the Jacobian."""
    jacobian = jax.jacfwd(phi)(z)
    return inverted(jacobian.T @ jacobian)[0] @ jacobian.T


def residual(phi: Map, log_p: Map, log_q: Map, z: Array) -> Array:
    """R (D,): zero where phi is stationary among all functions."""
    push = jnp.einsum("jij->i", jax.jacfwd(lambda u: inverse(phi, u))(z))
    return jax.grad(log_p)(phi(z)) - push - jax.grad(log_q)(z) @ inverse(phi, z)


def current(phi: Map, field: Map, z: Array) -> Array:
    """j / q (d,) of a vector field on data points."""
    return inverse(phi, z) @ field(phi(z))


def budget(phi: Map, log_p: Map, log_q: Map, field: Map, z: Array) -> Budget:
    """The divergence of a current per q at z, and the terms that it is the sum of."""
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
