"""Phase space: the symplectic form, Poisson brackets, Hamiltonian fields and their invariants.

A state is x = (q, p) in R^M, M = 2 n, all positions first, then all momenta.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from noethers_razor._types import Array, ArrayLike, Observable, VectorField


def symplectic_form(dim: int) -> np.ndarray:
    """The matrix J = [[0, I], [-I, 0]] of phase space.

    Args:
        dim: dimension M of phase space; even and positive.
    Returns:
        (M, M) float64.
    Raises:
        ValueError: for an odd or non-positive dimension.
    """
    if dim <= 0 or dim % 2:
        raise ValueError(f"phase space has dimension {dim}; expected an even, positive number (q, p)")
    n = dim // 2
    zero, one = np.zeros((n, n)), np.eye(n)
    return np.block([[zero, one], [-one, zero]])


def apply_form(gradient: Array) -> Array:
    """J g for gradients (..., M): swaps the halves with one sign, cheaper than a product with J."""
    dq, dp = jnp.split(gradient, 2, axis=-1)
    return jnp.concatenate([dp, -dq], axis=-1)


def poisson_bracket(a: Observable, b: Observable) -> Observable:
    """{a, b}(x) = grad a . J grad b; the rate of change of a along the flow of b (Noether, sec. 2).

    Args:
        a, b: functions of one state (M,) -> scalar.
    Returns:
        function of one state (M,) -> scalar.
    """
    return lambda x: jnp.dot(jax.grad(a)(x), apply_form(jax.grad(b)(x)))


def hamiltonian_field(hamiltonian: Observable) -> VectorField:
    """The field x' = J grad H(x) that H generates, over states (..., M)."""

    def field(x: Array) -> Array:
        def total(states: Array) -> Array:
            flat = states.reshape(-1, states.shape[-1])
            return jax.vmap(hamiltonian)(flat).sum()

        return apply_form(jax.grad(total)(x))

    return field


def symplectic_defect(jacobian: ArrayLike) -> Array:
    """max |D' J D - J| for Jacobians D (..., M, M); zero for a canonical transformation."""
    form = jnp.asarray(symplectic_form(jacobian.shape[-1]), dtype=jacobian.dtype)
    transported = jnp.swapaxes(jacobian, -1, -2) @ form @ jacobian
    return jnp.max(jnp.abs(transported - form), axis=(-2, -1))


def bracket_defect(gradient_a: Array, gradient_b: Array) -> Array:
    """|{A, B}| / (|grad A| |grad B|) from gradients (..., M): 0 commuting, at most 1."""
    norm = jnp.linalg.norm(gradient_a, axis=-1) * jnp.linalg.norm(gradient_b, axis=-1)
    bracket = jnp.sum(gradient_a * apply_form(gradient_b), axis=-1)
    return jnp.abs(bracket) / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny)


def energy_drift(hamiltonian: Observable, path: Array, scale: Array | float | None = None) -> Array:
    """Largest change of energy along paths (..., time, M), relative to a scale of energy.

    Args:
        hamiltonian: of one state; a constant added to it must not matter, so give a scale if there is one.
        path: states (..., time, M).
        scale: a spread of energies; by default max |H| over the given states.
    Returns:
        (...,) the largest |H(t) - H(0)| / scale of each path.
    """
    flat = jax.vmap(hamiltonian)(path.reshape(-1, path.shape[-1])).reshape(path.shape[:-1])
    size = jnp.max(jnp.abs(flat)) if scale is None else jnp.asarray(scale, flat.dtype)
    drift = jnp.max(jnp.abs(flat - flat[..., :1]), axis=-1)
    return drift / jnp.maximum(size, jnp.finfo(flat.dtype).tiny)


def symplectic_normaliser(covariance: np.ndarray) -> np.ndarray:
    """The positive definite symplectic S for which S cov S' has equal spread in q and p of each mode.

    Williamson's theorem gives a symplectic W with W cov W' = diag(nu, nu); S is the positive factor of
    its polar decomposition, the one that is the identity when nothing needs to be squeezed. Data
    related by a linear canonical transformation get the same normal form up to a rotation in
    U(n). Source: J. Williamson, Amer. J. Math. 58 (1936) 141.

    Args:
        covariance: (M, M) positive definite, float64.
    Returns:
        (M, M) symmetric, symplectic, float64.
    Raises:
        ValueError: when the covariance is not positive definite.
    """
    eigenvalues, vectors = np.linalg.eigh(covariance)
    if eigenvalues.min() <= 0:
        raise ValueError(
            f"covariance has the eigenvalue {eigenvalues.min():.3g}; expected all positive, add a floor"
        )
    root = (vectors * np.sqrt(eigenvalues)) @ vectors.T
    form = symplectic_form(covariance.shape[0])
    skew = root @ form @ root
    # S'S = W'W is a smooth function of the covariance: root^-1 |skew| root^-1 with |skew| = (skew' skew)^1/2
    inverse_root = (vectors / np.sqrt(eigenvalues)) @ vectors.T
    # Singular values, not eigenvalues of skew' skew: squares would lose the small modes.
    _, moduli, modes = np.linalg.svd(skew)
    modulus = (modes.T * moduli) @ modes
    gram = inverse_root @ modulus @ inverse_root
    return np.real(scipy.linalg.sqrtm((gram + gram.T) / 2))
