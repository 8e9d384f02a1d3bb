"""Quadratic observables as vectors: their basis, and lengths that are displacements of data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array
from noethers_razor.mechanics.phase_space import symplectic_form

_TRIVIAL = 1e-8
"""Share of the largest squared displacement below which an observable counts as not moving any datum."""


def second_moment(states: np.ndarray) -> np.ndarray:
    """E (x, 1)(x, 1)' of states (B, M), its states scaled to unit root-mean-square length: (M+1, M+1).

    With it `embed` measures an observable by the displacement that its flow causes on the data.
    """
    size = np.sqrt(np.mean(np.sum(states**2, axis=-1)))
    lifted = np.concatenate([states, np.ones((len(states), 1))], axis=1) / size
    return lifted.T @ lifted / len(states)


def embed(form: np.ndarray, linear: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """Observables (K, M, M), (K, M) as vectors (K, M (M+1)) whose length is their displacement.

    |embed(C)|^2 = mean |grad C|^2 / mean |x|^2: the squared root-mean-square displacement per unit tau,
    relative to the size of the data; inner products are mean grad C . grad D.
    """
    values, vectors = np.linalg.eigh(moment)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    rows = np.concatenate([form, linear[..., None]], axis=-1) @ root
    return rows.reshape(len(rows), rows.shape[1] * rows.shape[2])


def orbit_scale(form: np.ndarray, linear: np.ndarray, states: np.ndarray) -> np.ndarray:
    """What to divide quantities (K, M, M), (K, M) by so that tau in [-pi, pi] makes a natural orbit.

    A rotation gets its frequency: the interval is then one full turn, and the average over it exact. Any
    other flow, such as a translation, gets its root-mean-square displacement relative to the data.
    """
    turned = symplectic_form(form.shape[-1]) @ form
    eigenvalues = np.linalg.eigvals(turned)
    frequency = np.abs(eigenvalues.imag).max(axis=1)
    rows = embed(form, linear, second_moment(states))
    elliptic = np.abs(eigenvalues.real).max(axis=1) <= 1e-6 * frequency
    size = np.linalg.norm(turned, ord=2, axis=(1, 2))
    return np.where(elliptic & (frequency > 1e-6 * size), frequency, np.linalg.norm(rows, axis=1))


def moving_combinations(rows: np.ndarray) -> np.ndarray:
    """Combinations (D, k) of observables with vectors (D, E) that move data: orthonormal in displacement."""
    values, vectors = np.linalg.eigh(rows @ rows.T)
    moving = values > _TRIVIAL * values[-1]
    return vectors[:, moving] / np.sqrt(values[moving])


def basis(dim: int) -> tuple[np.ndarray, np.ndarray]:
    """All products x_i x_j (i <= j), then all x_i, as forms (D, M, M) and linear parts (D, M)."""
    rows, columns = np.triu_indices(dim)
    form = np.zeros((len(rows) + dim, dim, dim))
    index = np.arange(len(rows))
    form[index, rows, columns] += 0.5
    form[index, columns, rows] += 0.5
    linear = np.zeros((len(rows) + dim, dim))
    linear[len(rows) + np.arange(dim), np.arange(dim)] = 1.0
    return form, linear


def basis_values(states: np.ndarray) -> np.ndarray:
    """Values of the elements of `basis` at states (B, M): (B, D)."""
    rows, columns = np.triu_indices(states.shape[-1])
    return np.concatenate([0.5 * states[:, rows] * states[:, columns], states], axis=1)


class QuadraticForm(NamedTuple):
    """One quadratic observable x'Ax/2 + b'x: A (M, M) symmetric, b (M,)."""

    form: np.ndarray
    linear: np.ndarray


def product_form(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The form A of (a.x)(b.x) = x'Ax/2."""
    return np.outer(a, b) + np.outer(b, a)


def largest_count(dim: int) -> int:
    """M (M + 1) / 2 + M, the number of independent quadratic and linear observables."""
    return dim * (dim + 1) // 2 + dim


def stack_forms(named: Mapping[str, QuadraticForm]) -> tuple[np.ndarray, np.ndarray]:
    """Named quadratic forms as arrays (K, M, M) and (K, M)."""
    forms = list(named.values())
    return np.stack([c.form for c in forms]), np.stack([c.linear for c in forms])


def quadratic_value(form: Array, linear: Array, x: Array) -> Array:
    """C(x) of forms (K, M, M), (K, M) at states (..., M) -> (..., K)."""
    return 0.5 * jnp.einsum("...i,kij,...j->...k", x, form, x) + x @ linear.T
