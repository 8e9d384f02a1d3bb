"""Quadratic observables whose bracket with a fitted Hamiltonian is smallest, by one eigenproblem.

A c = w B c with A = mean {phi_i, H} {phi_j, H} and B = mean grad phi_i . grad phi_j over data states.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from noethers_razor.conserved.base import FieldSamples, Proposal

_TRIVIAL = 1e-8
"""Share of the largest displacement below which an observable counts as not moving any datum."""

_DOUBT = 3.0
"""A defect this many times what the posterior explains halves the initial orbit; twice that leaves 1/17."""


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


def brackets(states: np.ndarray, velocities: np.ndarray) -> np.ndarray:
    """{phi_i, H} = grad phi_i . velocity for every element of `basis`: (B, D)."""
    rows, columns = np.triu_indices(states.shape[-1])
    products = states[:, rows] * velocities[:, columns] + velocities[:, rows] * states[:, columns]
    return np.concatenate([0.5 * products, velocities], axis=1)


def candidates(
    states: np.ndarray, velocity: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The observables of least relative defect along a velocity field, each of displacement 1.

    Args:
        states: (B, M), in the frame.
        velocity: J grad H at the states (B, M).
        count: how many to return, fewer when the states move or test fewer.
    Returns:
        forms (k, M, M), linear parts (k, M) and their defects (k,), smallest first.
    """
    form, linear = basis(states.shape[-1])
    rows = embed(form, linear, second_moment(states))
    values, vectors = np.linalg.eigh(rows @ rows.T)
    moving = values > _TRIVIAL * values[-1]
    whiten = vectors[:, moving] / np.sqrt(values[moving])  # columns: displacement 1, orthogonal
    scaled = brackets(states, velocity) @ whiten / _size_of_bracket(states, velocity)
    turned, values = _smallest(scaled)
    weights = turned[:count] @ whiten.T
    return np.einsum("kd,dij->kij", weights, form), weights @ linear, values[:count]


def _smallest(brackets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit combinations (k, D) of brackets (B, D) and their root mean squares (k,), smallest first."""
    # Singular values, not eigenvalues of a product: squares would turn rounding of 1e-16 into 1e-8.
    triangle = np.linalg.qr(brackets / np.sqrt(len(brackets)), mode="r")
    # Fewer states than observables leave directions that no datum tests; those are not offered.
    _, values, turned = np.linalg.svd(triangle, full_matrices=False)
    return turned[::-1], values[::-1]


def least_defects(slopes: np.ndarray, samples: FieldSamples) -> tuple[np.ndarray, np.ndarray]:
    """Combinations (k, K) of observables by their relative defects (k,), smallest first.

    Args:
        slopes: gradients (K, B, M) of observables that are orthonormal in displacement.
        samples: states and posterior samples of the velocity.
    """
    mean = samples.velocities.mean(axis=0)
    scaled = np.einsum("kbi,bi->bk", slopes, mean) / _size_of_bracket(samples.states, mean)
    return _smallest(scaled)


def expected_defect(slopes: np.ndarray, samples: FieldSamples) -> np.ndarray:
    """Defects (K,) of true observables with gradients (K, B, M) under the posterior's spread."""
    mean = samples.velocities.mean(axis=0)
    deviations = np.einsum("kbi,wbi->wkb", slopes, samples.velocities - mean)
    draws = max(len(samples.velocities) - 1, 1)
    noise = np.mean(deviations**2, axis=-1).sum(axis=0) / draws
    return np.asarray(np.sqrt(noise) / _size_of_bracket(samples.states, mean))


def credible_length(defect: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Orbit lengths (K,) between 0 and 1 that defects leave credible: 1/2 at three times the expected one."""
    return np.asarray(1.0 / (1.0 + (defect / (_DOUBT * np.maximum(expected, 1e-12))) ** 4))


def _size_of_bracket(states: np.ndarray, velocity: np.ndarray) -> float:
    """|grad C| |grad H| of an observable of displacement 1, root mean squares."""
    speed, size = (np.sqrt(np.mean(np.sum(v**2, axis=-1))) for v in (velocity, states))
    return float(speed * size)


def proposal(samples: FieldSamples, count: int) -> Proposal:
    """The `candidates` of the posterior-mean field, each as long as its defect leaves it credible.

    Args:
        samples: states and posterior samples of the velocity.
        count: how many to return.
    """
    states, mean = samples.states, samples.velocities.mean(axis=0)
    form, linear, defect = candidates(states, mean, count)
    slopes = np.einsum("kij,bj->kbi", form, states) + linear[:, None]
    expected = expected_defect(slopes, samples)
    length = credible_length(defect, expected)
    # Observables that move no datum leave their places empty: the bound could not tell them apart.
    empty = count - len(defect)
    params = {
        "form": jnp.asarray(np.pad(form * length[:, None, None], [(0, empty), (0, 0), (0, 0)])),
        "linear": jnp.asarray(np.pad(linear * length[:, None], [(0, empty), (0, 0)])),
    }
    unknown = np.full(empty, np.nan)
    return Proposal(
        params,
        np.concatenate([defect, unknown]),
        np.concatenate([expected, unknown]),
        np.concatenate([length, np.zeros(empty)]),
    )
