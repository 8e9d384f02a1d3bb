"""Angles between subspaces that are given by spanning vectors."""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg

_RANK = 1e-9
"""Singular values below this share of the largest are treated as rounding errors."""


def orthonormal(rows: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis (r, D) of the span of vectors (K, D); r is their numerical rank."""
    _, values, vectors = np.linalg.svd(rows, full_matrices=False)
    return vectors[values > _RANK * values[0]] if len(values) else rows


def parallelness(vectors: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the parallelness of vectors to a span: the norm of their projection (paper, section 5.1).

    Args:
        vectors: unit vectors (r, D).
        truth: vectors (T, D) that span the true space.
    Returns:
        Norms (r,) in [0, 1].
    """
    return np.minimum(np.linalg.norm(vectors @ orthonormal(truth).T, axis=1), 1.0)


def largest_angle(vectors: np.ndarray, truth: np.ndarray) -> float:
    """Return the largest principal angle in degrees between two spans.

    Args:
        vectors: vectors (r, D) of the first span.
        truth: vectors (T, D) of the second span.
    Returns:
        Angle in [0, 90]. It is 90 if the dimensions differ: one span then misses a direction of the other.
    """
    a, b = orthonormal(vectors), orthonormal(truth)
    return 90.0 if len(a) != len(b) else float(np.degrees(np.arcsin(largest_sine(b, a))))


def largest_sine(vectors: np.ndarray, span: np.ndarray) -> float:
    """Return the sine of the largest angle from vectors of one space to another space.

    The order matters. The sine is 0 if the first space is part of the second, and 1 if it has a larger
    dimension. All axes after the first are flattened.

    Args:
        vectors: vectors (k, ...) that span the first space.
        span: vectors (K, ...) that span the second space.
    Returns:
        Sine in [0, 1]; 0 if the first space is empty, 1 if only the second is.
    """
    unit, basis = (
        orthonormal(rows.reshape(len(rows), math.prod(rows.shape[1:]))) for rows in (vectors, span)
    )
    if not len(unit):
        return 0.0
    if len(unit) > len(basis):
        return 1.0
    return float(np.sin(scipy.linalg.subspace_angles(unit.T, basis.T)[0]))


def angles_of(vectors: np.ndarray, span: np.ndarray) -> np.ndarray:
    """Return the angle of each vector to a space.

    Args:
        vectors: vectors (r, D).
        span: vectors (T, D) that span the space.
    Returns:
        Angles (r,) in degrees, in [0, 90].
    """
    basis = orthonormal(span)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    # The sine keeps small angles, which the cosine would round to zero.
    sine = np.linalg.norm(unit - (unit @ basis.T) @ basis, axis=1)
    return np.degrees(np.arcsin(np.minimum(1.0, sine)))
