"""Parameters of a fit in one flat dictionary of arrays, and the precision of their arithmetic.

The names are ``posterior/<layer>/mean|row|column``, ``conserved/<name>`` and ``noise/log_deviation``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from noethers_razor._types import Array, Params

FlatParams = dict[str, Array]


def conserved_of(params: Params) -> Params:
    """Return the parameters of the family from the flat dictionary."""
    prefix = "conserved/"
    return {k[len(prefix) :]: v for k, v in params.items() if k.startswith(prefix)}


def prefixed(conserved: Params, dtype: jnp.dtype) -> FlatParams:
    """Return the parameters of the family as entries of the flat dictionary: inverse of `conserved_of`."""
    return {f"conserved/{k}": jnp.asarray(v, dtype) for k, v in conserved.items()}


@contextlib.contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Use float64 arithmetic inside the block if ``dtype`` is float64; change nothing otherwise."""
    if dtype == "float64":
        with jax.enable_x64(True):
            yield
    else:
        yield
