"""Quadratic observables C(x) = x'Ax/2 + b'x as vectors.

A basis of all such observables, and an embedding in which the length of an observable is the displacement of
the data by its flow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array
from noethers_razor.mechanics.phase_space import symplectic_form

_TRIVIAL = 1e-8
"""Threshold relative to the largest squared displacement; an observable below it moves no data."""


def second_moment(states: np.ndarray) -> np.ndarray:
    """Return E[(x, 1)(x, 1)'] / mean |x|^2, the metric that `embed` needs.

    Args:
        states: states (B, M).
    Returns:
        Matrix (M+1, M+1).
    """
    size = np.sqrt(np.mean(np.sum(states**2, axis=-1)))
    lifted = np.concatenate([states, np.ones((len(states), 1))], axis=1) / size
    return lifted.T @ lifted / len(states)


def embed(form: np.ndarray, linear: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """Return observables as vectors whose length is the displacement that their flow causes.

    |embed(C)|^2 = mean |grad C|^2 / mean |x|^2 is the mean squared displacement per unit tau, relative to the
    size of the data. The inner product of C and D is mean(grad C . grad D) / mean |x|^2.

    Args:
        form: symmetric matrices A (K, M, M).
        linear: vectors b (K, M).
        moment: matrix (M+1, M+1), see `second_moment`.
    Returns:
        Vectors (K, M (M+1)).
    """
    values, vectors = np.linalg.eigh(moment)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    rows = np.concatenate([form, linear[..., None]], axis=-1) @ root
    return rows.reshape(len(rows), rows.shape[1] * rows.shape[2])


def orbit_scale(form: np.ndarray, linear: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Return the divisor of each quantity for which tau in [-pi, pi] gives a natural orbit.

    For a rotation it is the frequency. The interval is then one full period, and the orbit average is exact.
    For every other flow, such as a translation, it is the root-mean-square displacement relative to the data.

    Args:
        form: symmetric matrices A (K, M, M).
        linear: vectors b (K, M).
        states: data (B, M).
    Returns:
        Divisors (K,).
    """
    turned = symplectic_form(form.shape[-1]) @ form
    eigenvalues = np.linalg.eigvals(turned)
    frequency = np.abs(eigenvalues.imag).max(axis=1)
    rows = embed(form, linear, second_moment(states))
    elliptic = np.abs(eigenvalues.real).max(axis=1) <= 1e-6 * frequency
    size = np.linalg.norm(turned, ord=2, axis=(1, 2))
    return np.where(elliptic & (frequency > 1e-6 * size), frequency, np.linalg.norm(rows, axis=1))


def moving_combinations(rows: np.ndarray) -> np.ndarray:
    """Return combinations of observables that move the data, orthonormal in displacement.

    Args:
        rows: vectors of D observables (D, E), see `embed`.
    Returns:
        Coefficients (D, k) of k combinations, k <= D.
    """
    values, vectors = np.linalg.eigh(rows @ rows.T)
    moving = values > _TRIVIAL * values[-1]
    return vectors[:, moving] / np.sqrt(values[moving])


def basis(dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a basis of the quadratic observables on phase space.

    The elements are x_i x_j / 2 for all i <= j, row by row, followed by all x_i.

    Args:
        dim: dimension M of phase space.
    Returns:
        Symmetric matrices (D, M, M) and linear parts (D, M), D = `largest_count(dim)`.
    """
    rows, columns = np.triu_indices(dim)
    form = np.zeros((len(rows) + dim, dim, dim))
    index = np.arange(len(rows))
    form[index, rows, columns] += 0.5
    form[index, columns, rows] += 0.5
    linear = np.zeros((len(rows) + dim, dim))
    linear[len(rows) + np.arange(dim), np.arange(dim)] = 1.0
    return form, linear


def basis_values(states: np.ndarray) -> np.ndarray:
    """Return the values (B, D) of the elements of `basis` at states (B, M)."""
    rows, columns = np.triu_indices(states.shape[-1])
    return np.concatenate([0.5 * states[:, rows] * states[:, columns], states], axis=1)


def as_forms(weights: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Return quadratic observables from weights of the elements of `basis`.

    Args:
        weights: weights (K, D).
        dim: dimension M of phase space.
    Returns:
        Symmetric matrices A (K, M, M) and linear parts b (K, M).
    """
    form, linear = basis(dim)
    return np.einsum("kd,dij->kij", weights, form), weights @ linear


class QuadraticForm(NamedTuple):
    """A quadratic observable x'Ax/2 + b'x.

    Args:
        form: symmetric matrix A (M, M).
        linear: vector b (M,).
    """

    form: np.ndarray
    linear: np.ndarray


def poisson_brackets(
    form: np.ndarray, linear: np.ndarray, first: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the Poisson brackets {C_i, C_j} of quadratic observables x'Ax/2 + b'x, without their constants.

    Args:
        form: symmetric matrices A (K, M, M).
        linear: vectors b (K, M).
        first: number k of observables that are first arguments; all by default.
    Returns:
        The same for the brackets: (k, K, M, M), (k, K, M).
    """
    j = symplectic_form(form.shape[-1])
    turned = np.einsum("aij,jk,bkl->abil", form[:first], j, form, optimize=True)
    brackets = turned + turned.transpose(0, 1, 3, 2)
    shifts = np.einsum("aij,jk,bk->abi", form[:first], j, linear, optimize=True)
    back = np.einsum("bij,jk,ak->abi", form, j, linear[:first], optimize=True)
    return brackets, shifts - back


def embedded_brackets(
    form: np.ndarray, linear: np.ndarray, moment: np.ndarray, first: int | None = None
) -> np.ndarray:
    """Return the brackets of `poisson_brackets` as embedded vectors (k, K, E), see `embed`."""
    bracket_form, bracket_linear = poisson_brackets(form, linear, first)
    count, total, dim = bracket_linear.shape
    flat = embed(bracket_form.reshape(-1, dim, dim), bracket_linear.reshape(-1, dim), moment)
    return flat.reshape(count, total, -1)


def product_form(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the symmetric matrix A (M, M) with (a.x)(b.x) = x'Ax/2, for vectors a, b (M,)."""
    return np.outer(a, b) + np.outer(b, a)


def largest_count(dim: int) -> int:
    """Return M (M + 1) / 2 + M, the number of independent quadratic and linear observables."""
    return dim * (dim + 1) // 2 + dim


def stack_forms(named: Mapping[str, QuadraticForm]) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrices (K, M, M) and linear parts (K, M) of K named observables."""
    forms = list(named.values())
    return np.stack([c.form for c in forms]), np.stack([c.linear for c in forms])


def quadratic_value(form: Array, linear: Array, x: Array) -> Array:
    """Evaluate K quadratic observables x'Ax/2 + b'x.

    Args:
        form: symmetric matrices A (K, M, M).
        linear: vectors b (K, M).
        x: states (..., M).
    Returns:
        Values (..., K).
    """
    return 0.5 * jnp.einsum("...i,kij,...j->...k", x, form, x) + x @ linear.T
