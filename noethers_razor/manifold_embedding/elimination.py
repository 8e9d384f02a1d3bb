"""Inverses of the small matrices of a manifold, without LAPACK.

A batched LAPACK solve of jaxlib waits for tasks in the pool whose thread it holds; two of them at once, as
derivatives of a pseudoinverse have them, wait for each other for ever on a machine of two cores.
"""

from __future__ import annotations

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
