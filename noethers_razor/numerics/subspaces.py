"""Angles between subspaces that are given by spanning vectors."""

from __future__ import annotations

import math

import numpy as np


def orthonormal(rows: np.ndarray) -> np.ndarray:
    """An orthonormal basis (r, D) of the space that vectors (K, D) span, rounding aside."""
    _, values, vectors = np.linalg.svd(rows, full_matrices=False)
    return vectors[values > 1e-9 * values[0]] if len(values) else rows


def parallelness(vectors: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Norm of the projection of unit vectors (r, D) on the span of ``truth`` (T, D) (paper, sec. 5.1)."""
    return np.minimum(np.linalg.norm(vectors @ orthonormal(truth).T, axis=1), 1.0)


def largest_angle(vectors: np.ndarray, truth: np.ndarray) -> float:
    """The largest principal angle in degrees between two spans, taken both ways.

    A span that misses a direction of the other has an angle of 90 degrees to it.
    """
    a, b = orthonormal(vectors), orthonormal(truth)
    return 90.0 if len(a) != len(b) else float(np.degrees(np.arcsin(largest_sine(b, a))))


def largest_sine(vectors: np.ndarray, span: np.ndarray) -> float:
    """Sine of the largest angle of the space of vectors (k, ...) to that of ``span`` (K, ...), one way."""
    unit, basis = (
        orthonormal(rows.reshape(len(rows), math.prod(rows.shape[1:]))) for rows in (vectors, span)
    )
    if not len(unit) or not len(basis):
        return float(len(unit) > 0)
    # The sine keeps small angles that the cosine rounds away.
    return min(1.0, float(np.linalg.norm(unit - (unit @ basis.T) @ basis, ord=2)))


def angles_of(vectors: np.ndarray, span: np.ndarray) -> np.ndarray:
    """Angle in degrees of each vector (r, D) to the space that ``span`` (T, D) spans."""
    basis = orthonormal(span)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    sine = np.linalg.norm(unit - (unit @ basis.T) @ basis, axis=1)
    return np.degrees(np.arcsin(np.minimum(1.0, sine)))
