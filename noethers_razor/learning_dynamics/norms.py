"""Norms of what is scaled: predicted from gradients and decay, and what they make of the learning rate.

Where a loss is blind to the scale of q, r = |q| and the gradient is ghat / r, with ghat a function of the
direction of q alone. So the learning rate of the direction is eta / r^2, and training makes it: gradients let
r grow, decay lets it shrink, and for small eta and slow r

    d (r^4) / dn = - 4 eta k / (1 - beta) r^4 + 2 R (eta / (1 - beta))^2 |ghat|^2
    R = 1 + 2 sum_j beta^j rho_j

with rho_j the autocorrelation of gradients at lag j. Gradients that change slowly, R = (1 + beta) / (1 -
beta), give equation 17 of Tanaka and Kunin (2021); gradients of mini-batches are nearly white, R = 1.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np

from noethers_razor._types import ArrayLike
from noethers_razor.errors import UsageError

Kind = Literal["exact", "bernoulli", "white", "autocorrelated"]


class RMSProp(NamedTuple):
    """What momentum and decay make of a scale-invariant network: RMSProp on the direction (paper, section 5).

    Args:
        learning_rate: of it.
        rho: what the mean of squares keeps in a step.
        memory: steps, 1 / (1 - rho).
    """

    learning_rate: float
    rho: float
    memory: float


def _require(eta: float, beta: float, decay: float) -> None:
    if not (eta > 0 and 0 <= beta < 1 and decay >= 0):
        raise UsageError(
            f"eta = {eta}, beta = {beta}, k = {decay}; expected a learning rate above 0, momentum from 0 to "
            "below 1, decay of 0 or more"
        )


def equivalent_rmsprop(eta: float, beta: float, decay: float) -> RMSProp:
    """The RMSProp whose learning rate lr / sqrt(mean of |ghat|^2) is eta / r^2 with equation 17.

    Args:
        eta, beta, decay: of the heavy ball; decay is k, coupled, and above 0.
    Raises:
        UsageError: for numbers out of their range, or without decay.
    """
    _require(eta, beta, decay)
    if not decay:
        raise UsageError("without decay norms only grow: there is no RMSProp that forgets nothing")
    lost = 4.0 * eta * decay / (1.0 - beta)
    if lost >= 1.0:
        raise UsageError(
            f"eta = {eta}, beta = {beta}, k = {decay}: decay forgets a norm in less than a step; theory is "
            "of less"
        )
    return RMSProp((1.0 - beta) * float(np.sqrt(2.0 * eta * decay / (1.0 + beta))), 1.0 - lost, 1.0 / lost)


def angle_per_step(eta: float, beta: float, decay: float) -> float:
    """Radians that the direction turns in a step at equilibrium, sqrt(2 eta k / (1 + beta)).

    Raises:
        UsageError: for numbers out of their range.
    """
    _require(eta, beta, decay)
    return float(np.sqrt(2.0 * eta * decay / (1.0 + beta)))


def predict_norm(
    square: ArrayLike,
    gradient: ArrayLike,
    step: ArrayLike,
    *,
    eta: float,
    beta: float,
    decay: float,
    kind: Kind = "autocorrelated",
) -> np.ndarray:
    """Squared norms (T, ...) that theory makes of the first, and of what drives them.

    Args:
        square: |q|^2 before each of T steps in a row (T, ...); of all but the first only the product with
            |g|^2 is used, which is |ghat|^2, and nothing by ``exact``.
        gradient: |g|^2 of each (T, ...).
        step: |q' - q|^2 of each (T, ...).
        eta, beta, decay: of the heavy ball.
        kind: ``exact``, the discrete recursion driven by steps; ``bernoulli``, equation 17; ``white``, R = 1;
            ``autocorrelated``, R as it is measured: the sum over all lags is in the momentum, R |g|^2 =
            |v'|^2 - beta^2 |v|^2.
    Raises:
        UsageError: for numbers out of their range, unequal shapes, or another kind.
    """
    _require(eta, beta, decay)
    squares, gradients, steps = (np.asarray(one, np.float64) for one in (square, gradient, step))
    if not squares.shape == gradients.shape == steps.shape or not squares.ndim or not len(squares):
        raise UsageError(
            f"shapes {squares.shape}, {gradients.shape}, {steps.shape}; expected one of (T, ...) for all"
        )
    if kind == "exact":
        return _recursion(squares[0], steps, eta, beta, decay)
    pull, push = 2.0 * eta * decay / (1.0 - beta), (eta / (1.0 - beta)) ** 2
    out = squares.copy()
    if kind == "bernoulli":
        source = 2.0 * push * (1.0 + beta) / (1.0 - beta) * gradients * squares
        for n in range(1, len(out)):
            out[n] = np.sqrt((1.0 - 2.0 * pull) * out[n - 1] ** 2 + source[n - 1])
        return out
    if kind == "white":
        source = push * gradients * squares
    elif kind == "autocorrelated":
        before = np.concatenate([np.zeros_like(steps[:1]), steps[:-1]])
        source = push * (steps - beta**2 * before) / eta**2 * squares
    else:
        raise UsageError(f"kind {kind!r}; expected one of {', '.join(get_args(Kind))}")
    # The same in r^2, which keeps what a step that is not small beside r adds.
    for n in range(1, len(out)):
        out[n] = (1.0 - pull) * out[n - 1] + source[n - 1] / out[n - 1]
    return out


def _recursion(first: np.ndarray, steps: np.ndarray, eta: float, beta: float, decay: float) -> np.ndarray:
    """D' = beta D - 2 eta k r^2 + |d'|^2 + beta |d|^2, D the change of r^2: exact with an exact symmetry."""
    out = np.empty_like(steps)
    out[0], change, before = first, np.zeros_like(first), np.zeros_like(first)
    for n in range(1, len(steps)):
        change = beta * change - 2.0 * eta * decay * out[n - 1] + steps[n - 1] + beta * before
        out[n], before = out[n - 1] + change, steps[n - 1]
    return out


def correlation_factor(gradients: ArrayLike, beta: float) -> np.ndarray:
    """R = 1 + 2 sum_j beta^j rho_j of gradients (T, ..., D) of steps in a row, from their autocorrelation.

    The definition, lag by lag, for those who keep gradients; `predict_norm` reads the same off the momentum.
    """
    g = np.asarray(gradients, np.float64)
    _require(1.0, beta, 0.0)
    power = np.sum(g * g, axis=-1).mean(axis=0)
    factor = np.ones_like(power)
    for lag in range(1, len(g)):
        if beta**lag < 1e-6:
            break
        factor += 2.0 * beta**lag * np.sum(g[lag:] * g[:-lag], axis=-1).mean(axis=0) / power
    return factor
