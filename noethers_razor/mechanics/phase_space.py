"""Phase space: the symplectic form, Poisson brackets, Hamiltonian fields and their invariants.

A state is x = (q, p) in R^M with M = 2 n: first all positions, then all momenta.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from noethers_razor._types import Array, ArrayLike, Observable, VectorField


def symplectic_form(dim: int) -> np.ndarray:
    """Return the symplectic matrix J = [[0, I], [-I, 0]].

    Args:
        dim: dimension M of phase space, even and positive.
    Returns:
        Matrix (M, M), float64.
    Raises:
        ValueError: if the dimension is odd or not positive.
    """
    if dim <= 0 or dim % 2:
        raise ValueError(f"phase space has dimension {dim}; expected an even, positive number (q, p)")
    n = dim // 2
    zero, one = np.zeros((n, n)), np.eye(n)
    return np.block([[zero, one], [-one, zero]])


def apply_j(gradient: Array) -> Array:
    """Multiply gradients (..., M) by the symplectic matrix J: swap the halves, and negate one."""
    dq, dp = jnp.split(gradient, 2, axis=-1)
    return jnp.concatenate([dp, -dq], axis=-1)


def apply_j_in_numpy(gradient: np.ndarray) -> np.ndarray:
    """Multiply gradients (..., M) by J as `apply_j` does, in their own precision."""
    dq, dp = np.split(gradient, 2, axis=-1)
    return np.concatenate([dp, -dq], axis=-1)


def poisson_bracket(a: Observable, b: Observable) -> Observable:
    """Return the Poisson bracket {a, b}(x) = grad a . J grad b (Noether's Razor, section 2).

    It is the rate of change of a along the flow of b.

    Args:
        a, b: functions of one state (M,) -> scalar.
    Returns:
        Function of one state (M,) -> scalar.
    """
    return lambda x: jnp.dot(jax.grad(a)(x), apply_j(jax.grad(b)(x)))


def hamiltonian_field(hamiltonian: Observable) -> VectorField:
    """Return the vector field x' = J grad H(x) of a Hamiltonian.

    Args:
        hamiltonian: function of one state (M,) -> scalar.
    Returns:
        Function of states (..., M) -> velocities (..., M).
    """

    def field(x: Array) -> Array:
        def total(states: Array) -> Array:
            flat = states.reshape(-1, states.shape[-1])
            return jax.vmap(hamiltonian)(flat).sum()

        return apply_j(jax.grad(total)(x))

    return field


def symplectic_defect(jacobian: ArrayLike) -> Array:
    """Return max |D' J D - J| for Jacobians D (..., M, M); zero for a canonical transformation."""
    form = jnp.asarray(symplectic_form(jacobian.shape[-1]), dtype=jacobian.dtype)
    transported = jnp.swapaxes(jacobian, -1, -2) @ form @ jacobian
    return jnp.max(jnp.abs(transported - form), axis=(-2, -1))


def bracket_defect(gradient_a: Array, gradient_b: Array) -> Array:
    """Return the bracket defect |{A, B}| / (|grad A| |grad B|).

    Args:
        gradient_a, gradient_b: gradients of A and B (..., M).
    Returns:
        Values (...) in [0, 1], 0 where A and B commute or a gradient is zero.
    """
    norm = jnp.linalg.norm(gradient_a, axis=-1) * jnp.linalg.norm(gradient_b, axis=-1)
    bracket = jnp.sum(gradient_a * apply_j(gradient_b), axis=-1)
    return jnp.abs(bracket) / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny)


def energy_drift(hamiltonian: Observable, path: Array, scale: Array | float | None = None) -> Array:
    """Return the largest energy change along paths, relative to a scale of energy.

    Args:
        hamiltonian: function of one state (M,) -> scalar.
        path: states (..., time, M).
        scale: spread of energies; by default max |H| over the given states. The default depends on the
            constant in H, so give a scale where one is known.
    Returns:
        Largest |H(t) - H(0)| / scale of each path (...).
    """
    flat = jax.vmap(hamiltonian)(path.reshape(-1, path.shape[-1])).reshape(path.shape[:-1])
    size = jnp.max(jnp.abs(flat)) if scale is None else jnp.asarray(scale, flat.dtype)
    drift = jnp.max(jnp.abs(flat - flat[..., :1]), axis=-1)
    return drift / jnp.maximum(size, jnp.finfo(flat.dtype).tiny)


def symplectic_normaliser(covariance: np.ndarray) -> np.ndarray:
    """Return a positive definite symplectic S such that S cov S' has equal spread in q and p of each mode.

    Williamson's theorem gives a symplectic W with W cov W' = diag(nu, nu). S is the positive factor of the
    polar decomposition of W. It is the identity if the spreads are already equal. Data related by a linear
    canonical transformation get the same normal form up to a rotation in U(n).
    Source: J. Williamson, Amer. J. Math. 58 (1936) 141.

    Args:
        covariance: positive definite matrix (M, M), float64.
    Returns:
        Symmetric symplectic matrix (M, M), float64.
    Raises:
        ValueError: if the covariance is not positive definite.
    """
    eigenvalues, vectors = np.linalg.eigh(covariance)
    if eigenvalues.min() <= 0:
        raise ValueError(
            f"covariance has the eigenvalue {eigenvalues.min():.3g}; expected positive eigenvalues, "
            "add a small multiple of the identity"
        )
    root = (vectors * np.sqrt(eigenvalues)) @ vectors.T
    form = symplectic_form(covariance.shape[0])
    skew = root @ form @ root
    # S'S = W'W equals root^-1 |skew| root^-1 with |skew| = (skew' skew)^1/2, smooth in the covariance.
    inverse_root = (vectors / np.sqrt(eigenvalues)) @ vectors.T
    # |skew| from singular values: the eigenvalues of skew' skew would lose the small modes to rounding.
    _, moduli, modes = np.linalg.svd(skew)
    modulus = (modes.T * moduli) @ modes
    gram = inverse_root @ modulus @ inverse_root
    return np.real(scipy.linalg.sqrtm((gram + gram.T) / 2))
