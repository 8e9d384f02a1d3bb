"""Norms of scale-invariant parameters, predicted from gradients and decay.

If the loss does not depend on the scale of q, let r = |q|. The gradient is then ghat / r, where ghat depends
only on the direction of q. The direction therefore learns at the rate eta / r^2. Gradients make r grow, and
decay makes it shrink. For small eta and slowly changing r

    d (r^4) / dn = - 4 eta k / (1 - beta) r^4 + 2 R (eta / (1 - beta))^2 |ghat|^2
    R = 1 + 2 sum_j beta^j rho_j

where rho_j is the autocorrelation of gradients at lag j. Slowly changing gradients have R = (1 + beta) / (1 -
beta), which gives equation 17 of Tanaka and Kunin (2021). Gradients of mini-batches are nearly white: R = 1.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np

from noethers_razor._types import ArrayLike
from noethers_razor.errors import UsageError

Kind = Literal["exact", "bernoulli", "white", "autocorrelated"]
"""Theories of norms, see `predict_norm`."""


class RMSProp(NamedTuple):
    """RMSProp that moves the directions as momentum and decay do (paper, section 5).

    Args:
        learning_rate: learning rate of RMSProp.
        rho: factor of the previous mean of squares in each step.
        memory: number of steps 1 / (1 - rho) over which squares are averaged.
    """

    learning_rate: float
    rho: float
    memory: float


def _require(eta: float, beta: float, decay: float) -> None:
    if not (eta > 0 and 0 <= beta < 1 and decay >= 0):
        raise UsageError(
            f"eta = {eta}, beta = {beta}, decay = {decay}; expected eta > 0, 0 <= beta < 1 and decay >= 0"
        )


def equivalent_rmsprop(eta: float, beta: float, decay: float) -> RMSProp:
    """Return the RMSProp whose learning rate lr / sqrt(mean of |ghat|^2) is eta / r^2 with equation 17.

    Args:
        eta: learning rate, positive.
        beta: momentum, from 0 to below 1.
        decay: coupled decay k, positive.
    Raises:
        UsageError: if a number is out of its range, or if 4 eta k >= 1 - beta.
    """
    _require(eta, beta, decay)
    if not decay:
        raise UsageError("decay = 0; no RMSProp is equivalent, because norms only grow: give a decay above 0")
    lost = 4.0 * eta * decay / (1.0 - beta)
    if lost >= 1.0:
        raise UsageError(
            f"eta = {eta}, beta = {beta}, decay = {decay}; this decay removes a norm within one step: give "
            "numbers with 4 eta decay < 1 - beta"
        )
    return RMSProp((1.0 - beta) * float(np.sqrt(2.0 * eta * decay / (1.0 + beta))), 1.0 - lost, 1.0 / lost)


def angle_per_step(eta: float, beta: float, decay: float) -> float:
    """Return the angle of a direction per step at equilibrium, sqrt(2 eta k / (1 + beta)), in radians.

    Args:
        eta: learning rate, positive.
        beta: momentum, from 0 to below 1.
        decay: coupled decay k, 0 or more.
    Raises:
        UsageError: if a number is out of its range.
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
    """Predict squared norms from the first norm and from gradients or steps.

    Args:
        square: |q|^2 (T, ...) before each of T consecutive steps. After the first step only |ghat|^2 =
            |g|^2 |q|^2 is used; ``exact`` does not use it.
        gradient: |g|^2 (T, ...) of each step.
        step: |q' - q|^2 (T, ...) of each step.
        eta: learning rate, positive.
        beta: momentum, from 0 to below 1.
        decay: coupled decay k, 0 or more.
        kind: ``exact`` is the discrete recursion, driven by steps; ``bernoulli`` is equation 17; ``white``
            has R = 1; ``autocorrelated`` measures R. The momentum contains the sum over all lags: R |g|^2 =
            |v'|^2 - beta^2 |v|^2.
    Returns:
        Squared norms (T, ...) before each step.
    Raises:
        UsageError: if a number is out of its range, shapes differ, or the kind is unknown.
    """
    _require(eta, beta, decay)
    squares, gradients, steps = (np.asarray(one, np.float64) for one in (square, gradient, step))
    if not squares.shape == gradients.shape == steps.shape or not squares.ndim or not len(squares):
        raise UsageError(
            f"shapes {squares.shape}, {gradients.shape}, {steps.shape}; expected one shape (T, ...) for all"
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
    # The equation for r^2 instead of r^4 stays accurate for steps that are not small compared with r.
    for n in range(1, len(out)):
        out[n] = (1.0 - pull) * out[n - 1] + source[n - 1] / out[n - 1]
    return out


def _recursion(first: np.ndarray, steps: np.ndarray, eta: float, beta: float, decay: float) -> np.ndarray:
    """Iterate D' = beta D - 2 eta k r^2 + |d'|^2 + beta |d|^2, where D is the change of r^2.

    This is exact if the loss has the symmetry exactly.
    """
    out = np.empty_like(steps)
    out[0], change, before = first, np.zeros_like(first), np.zeros_like(first)
    for n in range(1, len(steps)):
        change = beta * change - 2.0 * eta * decay * out[n - 1] + steps[n - 1] + beta * before
        out[n], before = out[n - 1] + change, steps[n - 1]
    return out


def correlation_factor(gradients: ArrayLike, beta: float) -> np.ndarray:
    """Compute R = 1 + 2 sum_j beta^j rho_j from the autocorrelation of stored gradients, lag by lag.

    `predict_norm` needs no stored gradients: it computes R from the momentum.

    Args:
        gradients: gradients (T, ..., D) of T consecutive steps.
        beta: momentum, from 0 to below 1.
    Returns:
        R (...).
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
