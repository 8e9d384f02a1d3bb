"""Monomials of several variables, and their powers."""

from __future__ import annotations

import functools
import itertools
import math

import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array

MOST = 1000
"""Monomials that one function is made of, at most."""


def monomials(x: Array, degree: int) -> Array:
    """All products of 1 to ``degree`` of the last axis: (..., V) -> (..., D), in the order of `exponents`.

    By products with matrices of zeros and ones: slices and concatenations say the same, but their second
    derivatives take XLA minutes to compile.
    """
    levels = [x]
    for earlier, factor in _ladder(x.shape[-1], degree):
        levels.append((levels[-1] @ jnp.asarray(earlier, x.dtype)) * (x @ jnp.asarray(factor, x.dtype)))
    return jnp.concatenate(levels, axis=-1)


@functools.cache
def _ladder(size: int, degree: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each degree from 2 on, which monomial of the degree before (D', D) and which variable (V, D)."""
    steps = []
    for total in range(2, degree + 1):
        before = list(itertools.combinations_with_replacement(range(size), total - 1))
        place = {factors: i for i, factors in enumerate(before)}
        after = list(itertools.combinations_with_replacement(range(size), total))
        earlier, factor = np.zeros((len(before), len(after))), np.zeros((size, len(after)))
        for j, factors in enumerate(after):
            earlier[place[factors[1:]], j] = factor[factors[0], j] = 1.0
        steps.append((earlier, factor))
    return steps


def number(size: int, degree: int) -> int:
    """How many `exponents` has."""
    return math.comb(size + degree, degree) - 1


def exponents(size: int, degree: int) -> np.ndarray:
    """Powers (D, V) of the monomials of V variables up to a degree, constants aside."""
    rows = [
        np.bincount(factors, minlength=size)
        for total in range(1, degree + 1)
        for factors in itertools.combinations_with_replacement(range(size), total)
    ]
    return np.array(rows)
