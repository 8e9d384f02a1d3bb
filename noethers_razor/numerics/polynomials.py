"""Monomials of several variables, and their powers."""

from __future__ import annotations

import functools
import itertools
import math

import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array

MOST = 1000
"""Largest number of monomials in one function."""


def monomials(x: Array, degree: int) -> Array:
    """Return all monomials of degree 1 to ``degree``, in the order of `exponents`.

    Args:
        x: values of V variables (..., V).
        degree: largest total degree.
    Returns:
        Values of the monomials (..., D).
    """
    # Products with matrices of zeros and ones select the factors. With slices and concatenations instead,
    # XLA takes minutes to compile second derivatives.
    levels = [x]
    for earlier, factor in _ladder(x.shape[-1], degree):
        levels.append((levels[-1] @ jnp.asarray(earlier, x.dtype)) * (x @ jnp.asarray(factor, x.dtype)))
    return jnp.concatenate(levels, axis=-1)


def monomials_in_numpy(x: np.ndarray, degree: int) -> np.ndarray:
    """Return the values (N, D) of `monomials` at points x (N, V), in their own precision."""
    levels = [x]
    for before, by in _places(x.shape[1], degree):
        levels.append(levels[-1][:, before] * x[:, by])
    return np.concatenate(levels, axis=1)


def monomial_gradients_in_numpy(x: np.ndarray, degree: int) -> np.ndarray:
    """Return the gradients (N, D, V) of `monomials` at points x (N, V), in their own precision."""
    level, slopes = x, [np.tile(np.eye(x.shape[1]), (len(x), 1, 1))]
    for before, by in _places(x.shape[1], degree):
        slope = slopes[-1][:, before] * x[:, by, None]
        slope[:, np.arange(len(by)), by] += level[:, before]
        level = level[:, before] * x[:, by]
        slopes.append(slope)
    return np.concatenate(slopes, axis=1)


def slopes_of_polynomial(weights: np.ndarray, size: int, degree: int) -> np.ndarray:
    """Return the partial derivatives of a polynomial, as weights of the constant and of monomials.

    Args:
        weights: weights (D,) of the monomials of ``size`` variables up to ``degree``, see `exponents`.
        size: number V of variables.
        degree: largest total degree.
    Returns:
        Weights (1 + D', V) of the constant and the monomials up to ``degree - 1``.
    """
    source, variable, target, power = _derivatives(size, degree)
    out = np.zeros((1 + (number(size, degree - 1) if degree > 1 else 0), size))
    np.add.at(out, (target, variable), weights[source] * power)
    return out


@functools.cache
def _derivatives(size: int, degree: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return monomial, variable, monomial of the derivative (0 is the constant) and its factor, for each."""
    powers = exponents(size, degree)
    place = {tuple(row): i + 1 for i, row in enumerate(powers)} | {(0,) * size: 0}
    source, variable = np.nonzero(powers)
    lower = powers[source]
    lower[np.arange(len(source)), variable] -= 1
    return source, variable, np.array([place[tuple(row)] for row in lower]), powers[source, variable]


def _places(size: int, degree: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the places of the two factors of every monomial, for each degree from 2 on, see `_ladder`."""
    return [(np.argmax(a, axis=0), np.argmax(b, axis=0)) for a, b in _ladder(size, degree)]


@functools.cache
def _ladder(size: int, degree: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the two factors of every monomial, for each degree from 2 on, as matrices of zeros and ones.

    The first (D', D) selects a monomial of the degree before, the second (V, D) a variable.
    """
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
    """Return the number D of monomials of ``size`` variables up to ``degree``, see `exponents`."""
    return math.comb(size + degree, degree) - 1


def exponents(size: int, degree: int) -> np.ndarray:
    """Return the powers of all monomials up to a degree, except the constant.

    Args:
        size: number V of variables.
        degree: largest total degree.
    Returns:
        Integer powers (D, V), one row for each monomial.
    """
    rows = [
        np.bincount(factors, minlength=size)
        for total in range(1, degree + 1)
        for factors in itertools.combinations_with_replacement(range(size), total)
    ]
    return np.array(rows)
