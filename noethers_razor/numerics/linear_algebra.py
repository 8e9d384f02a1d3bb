"""Exponential, inverse and log determinant of small matrices, from products and elimination, without LAPACK.

In jaxlib 0.10 a batched LAPACK call holds a thread of a pool and waits for tasks in the same pool. On a
machine of two cores, two such calls at once can wait for each other for ever. Two devices of the host can
make them, or one program with two calls, such as the derivative of a pseudoinverse. `jax.scipy.linalg.expm`
makes such a call too.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from noethers_razor._types import Array

_UNROLLED = 8
"""Largest number of elimination steps that are compiled one after the other, without a loop."""


def exponential(matrices: Array) -> Array:
    """Return matrix exponentials by a Taylor polynomial of degree 12 with scaling and squaring.

    Args:
        matrices: square matrices (..., m, m), float32 or float64.
    Returns:
        Exponentials (..., m, m). Where the 1-norm of a matrix exceeds 256 they are NaN, with gradient zero.
    """
    double = matrices.dtype == jnp.float64
    # The largest 1-norm at which the relative error of the polynomial, norm^12 / 13!, is below rounding.
    largest = 0.25 if double else 1.0
    # The number of doublings from this norm to 256.
    most = 10 if double else 8
    norm = jnp.max(jnp.sum(jnp.abs(jax.lax.stop_gradient(matrices)), axis=-2), axis=-1)[..., None, None]
    squarings = jnp.maximum(jnp.ceil(jnp.log2(jnp.maximum(norm, 1e-30) / largest)), 0.0)
    a = matrices * 2.0**-squarings
    square = a @ a
    cube = square @ a
    unit = jnp.eye(a.shape[-1], dtype=a.dtype)
    c = [1.0 / math.factorial(i) for i in range(13)]
    total = c[9] * unit + c[10] * a + c[11] * square + c[12] * cube
    for i in (6, 3, 0):
        total = c[i] * unit + c[i + 1] * a + c[i + 2] * square + cube @ total
    for i in range(most):
        total = jnp.where(i < squarings, total @ total, total)
    return jnp.where(squarings <= most, total, jnp.nan)


@jax.custom_jvp
def inverted(matrix: Array) -> tuple[Array, Array]:
    """Return inverse and log determinant of a positive definite matrix, by Gauss-Jordan elimination.

    Positive definite matrices need no pivoting.

    Args:
        matrix: positive definite matrix (d, d).
    Returns:
        Inverse (d, d) and log determinant (). They are not finite if the matrix is not positive definite.
    """
    size = matrix.shape[0]
    order = jnp.arange(size)

    def step(carry: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], None]:
        matrix, log_det = carry
        pivot, row, column = matrix[k, k], matrix[k], matrix[:, k]
        in_row, in_column = (order == k)[:, None], (order == k)[None]
        rest = jnp.where(in_column, -column[:, None] / pivot, matrix - jnp.outer(column, row) / pivot)
        swept = jnp.where(in_row, jnp.where(in_column, 1.0, row[None]) / pivot, rest)
        return (swept, log_det + jnp.log(pivot)), None

    start = (matrix, jnp.zeros((), matrix.dtype))
    return jax.lax.scan(step, start, order, unroll=min(size, _UNROLLED))[0]


@inverted.defjvp
def _derivative(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Any, Any]:
    # Products of the inverse compile faster than derivatives of each elimination step.
    (matrix,), (change,) = primals, tangents
    inverse, log_det = inverted(matrix)
    return (inverse, log_det), (-inverse @ change @ inverse, jnp.sum(inverse.T * change))


def log_determinant(gram: Array) -> Array:
    """Return log determinants (...) of positive definite matrices (..., K, K), by elimination."""
    total = jnp.zeros(gram.shape[:-2], gram.dtype)
    for _ in range(gram.shape[-1]):
        pivot = gram[..., :1, :1]
        total = total + jnp.log(pivot[..., 0, 0])
        gram = gram[..., 1:, 1:] - gram[..., 1:, :1] * gram[..., :1, 1:] / pivot
    return total
