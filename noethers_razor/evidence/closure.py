"""Closure of sets of conserved quantities under Poisson brackets.

The bracket of two conserved quantities is conserved. So the quadratic ones are a Lie algebra, up to constants
(Poisson 1809). A set whose brackets leave its span is a part of a larger set, or has false members.
"""

from __future__ import annotations

import numpy as np

from noethers_razor.mechanics.quadratic_form import (
    basis,
    embed,
    embedded_brackets,
    moving_combinations,
    second_moment,
)

# Sets of oscillators, bodies and Kepler's problem, noise 0 to .25: true ones reach .5, others .87 and more.
_OPEN = 0.7
"""Largest part of a bracket outside the span, relative to a typical bracket, of a closed set."""


def is_closed(form: np.ndarray, linear: np.ndarray, states: np.ndarray) -> bool:
    """Return whether the brackets of quadratic quantities stay in their span, but for errors.

    Args:
        form: matrices A (K, M, M), orthonormal in displacement.
        linear: linear parts b (K, M).
        states: states (N, M), canonical up to a common factor.
    """
    return open_part(form, linear, states) <= _OPEN


def open_part(form: np.ndarray, linear: np.ndarray, states: np.ndarray) -> float:
    """Return the largest part of brackets outside the span, relative to a typical bracket.

    A typical bracket is the root mean square over brackets of the quantities with all observables. Arguments
    as for `is_closed`.
    """
    moment, count = second_moment(states), len(form)
    if count < 2:
        return 0.0
    every_form, every_linear = basis(form.shape[-1])
    unit = moving_combinations(embed(every_form, every_linear, moment)).T
    rows = unit @ embed(every_form, every_linear, moment)
    unit = np.linalg.solve(np.linalg.cholesky(rows @ rows.T), unit)
    every_form = np.concatenate([form, np.tensordot(unit, every_form, axes=1)])
    every_linear = np.concatenate([linear, unit @ every_linear])
    brackets = embedded_brackets(every_form, every_linear, moment, count)
    own, others = brackets[:, :count].reshape(count**2, -1), brackets[:, count:]
    inside, _ = np.linalg.qr(embed(form, linear, moment).T)
    outside = own - (own @ inside) @ inside.T
    return float(np.linalg.norm(outside, 2) / np.sqrt(np.mean(np.sum(others**2, axis=-1))))
