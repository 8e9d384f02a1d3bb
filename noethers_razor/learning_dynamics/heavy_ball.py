"""Whether an optimiser is heavy-ball momentum with decay, and its numbers: asked of it, not told.

    v' = beta v - (g + k q),   q' = q + eta v'

An optax optimiser is functions without names. What it does is seen by a few steps of it on small arrays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from noethers_razor.learning_dynamics.generators import paths_of

_PROBE = 1e-3
"""Size of the gradients that are tried: below what optimisers clip."""
_ROUNDING = 64.0
"""Units of the last place within which two numbers are one."""
_SMALL = 2
"""Lengths of the axes of what is tried, at most: masks look at names and ranks."""


@dataclasses.dataclass(frozen=True)
class HeavyBall:
    """What an optimiser does to a parameter.

    Args:
        beta: momentum.
        decay: k, of the decay that goes through the momentum (L2).
        eta: learning rate; None where it changes from step to step.
        moves: whether a step is the learning rate times the momentum; it is not in Nesterov's, or with
            decoupled decay.
    """

    beta: float
    decay: float
    eta: float | None
    moves: bool


class _Tried(NamedTuple):
    """One step: what went in, the momentum after it, if it is there, and the step, by path."""

    gradient: dict[str, Any]
    place: dict[str, Any]
    momentum: dict[str, Any] | None
    step: dict[str, Any]


def momentum_of(state: Any, params: Any) -> Any | None:
    """The trace -v in an optimiser's state, structured as the parameters; None unless there is one such."""
    own: Any = jax.tree.structure(params)
    traces = (value for _, value in optax.tree.get_all_with_path(state, "trace"))
    found = [trace for trace in traces if jax.tree.structure(trace) == own]
    return found[0] if len(found) == 1 else None


def identify(optimizer: optax.GradientTransformation, params: Any) -> dict[str, HeavyBall]:
    """Path of a parameter -> its numbers; without those whose motion is another.

    Args:
        params: a pytree of arrays or shapes.
    """
    with jax.ensure_compile_time_eval():
        try:
            steps = list(_tried(optax.with_extra_args_support(optimizer), params))
        except Exception:
            return {}
    found = {path: _read(path, steps) for path in paths_of(params)}
    return {path: ball for path, ball in found.items() if ball}


def _tried(optimizer: Any, params: Any) -> Iterator[_Tried]:
    draw = np.random.default_rng(0)

    def some(size: float) -> Any:
        def one(leaf: Any) -> Any:
            values = draw.uniform(0.5, 1.0, [min(n, _SMALL) for n in jnp.shape(leaf)])
            return jnp.asarray(_PROBE * size * values, jnp.result_type(leaf))

        return jax.tree.map(one, params)

    state = optimizer.init(some(0.0))
    # A parameter alone, a gradient alone, nothing, and all of it, which says whether that was all.
    for gradient, place in ((0, 1), (1, 0), (0, 0), (1, 1), (1, 1)):
        g, q = some(gradient), some(place)
        step, state = optimizer.update(g, state, q)
        momentum = momentum_of(state, params)
        yield _Tried(
            paths_of(g), paths_of(q), None if momentum is None else paths_of(momentum), paths_of(step)
        )


def _read(path: str, steps: list[_Tried]) -> HeavyBall | None:
    """The numbers of one parameter, if they say all that happened."""
    exact = _ROUNDING * float(jnp.finfo(jnp.result_type(steps[0].step[path])).eps)
    pushes, places, fallen = (
        [np.asarray(one[i][path], np.float64) for one in steps]  # type: ignore[index]
        for i in (0, 1, 3)
    )
    fallen = [-one for one in fallen]
    traced = all(one.momentum is not None for one in steps)
    slow = [np.asarray(one.momentum[path], np.float64) for one in steps if one.momentum] if traced else fallen
    beta = _ratio(slow[2], slow[1]) if traced else 0.0
    gain = 1.0 if traced else _ratio(slow[1], pushes[1])
    decay = _ratio(slow[0], gain * places[0])
    before = np.zeros_like(slow[0])
    for now, push, place in zip(slow, pushes, places, strict=True):
        if not _same(now, beta * before + gain * (push + decay * place), exact):
            return None
        before = now
    rates = [_ratio(step, now) for step, now in zip(fallen, slow, strict=True)]
    moves = all(_same(step, rate * now, exact) for step, now, rate in zip(fallen, slow, rates, strict=True))
    # Without decay the first step moves nothing.
    rates = [rate for rate, now in zip(rates, slow, strict=True) if now.any()]
    steady = moves and all(abs(rate - rates[-1]) <= exact * abs(rate) for rate in rates)
    eta = (rates[-1] if traced else gain) if steady else None
    return HeavyBall(
        _short(beta, exact), _short(decay, exact), None if eta is None else _short(eta, exact), moves
    )


def _ratio(a: np.ndarray, b: np.ndarray) -> float:
    """The number that makes a of b, in the mean of squares."""
    square = float(np.sum(b * b))
    return float(np.sum(a * b)) / square if square else 0.0


def _same(a: np.ndarray, b: np.ndarray, exact: float) -> bool:
    return bool(np.all(np.abs(a - b) <= exact * np.max(np.abs([a, b]), initial=0.0)))


def _short(value: float, exact: float) -> float:
    """The number of fewest digits that it may have been before it was rounded."""
    for digits in range(1, 17):
        if abs((short := float(f"{value:.{digits}g}")) - value) <= exact * abs(value):
            return short
    return value
