"""Inverses of the small matrices of a manifold, without LAPACK.

A batched LAPACK solve of jaxlib waits for tasks in the pool whose thread it holds; two of them at once, as
derivatives of a pseudoinverse have them, wait for each other for ever on a machine of two cores.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from noethers_razor._types import Array

_UNROLLED = 8
"""Steps that are compiled one after the other, at most."""


@jax.custom_jvp
def inverted(matrix: Array) -> tuple[Array, Array]:
    """(Inverse (d, d), log determinant) of a positive definite matrix, by Gauss-Jordan elimination.

    Not finite where it is not positive definite. Without pivots, which such matrices do not need.
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
    # Products of the inverse, rather than derivatives of each step: less to compile.
    (matrix,), (change,) = primals, tangents
    inverse, log_det = inverted(matrix)
    return (inverse, log_det), (-inverse @ change @ inverse, jnp.sum(inverse.T * change))


def exponential(matrices: Array) -> Array:
    """expm of matrices (..., m, m) by products alone: a Taylor polynomial of degree 12, scaled and squared.

    `jax.scipy.linalg.expm` solves with a batched LAPACK call, which waits for tasks in the pool whose thread
    it holds: two devices of the host that do so at once wait for ever (jaxlib 0.10).

    Returns:
        (..., m, m); not a number, and of gradient zero, where the 1-norm exceeds 256.
    """
    # The largest norm at which the polynomial's relative error, norm^12 / 13!, is below rounding, and the
    # doublings from it to 256.
    largest, most = (0.25, 10) if matrices.dtype == jnp.float64 else (1.0, 8)
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


def log_determinant(gram: Array) -> Array:
    """log det of positive definite matrices (..., K, K) by elimination."""
    total = jnp.zeros(gram.shape[:-2], gram.dtype)
    for _ in range(gram.shape[-1]):
        pivot = gram[..., :1, :1]
        total = total + jnp.log(pivot[..., 0, 0])
        gram = gram[..., 1:, 1:] - gram[..., 1:, :1] * gram[..., :1, 1:] / pivot
    return total
