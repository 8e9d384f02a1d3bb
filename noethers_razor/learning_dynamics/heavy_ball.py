"""Identification of optimisers: whether an optimiser is heavy-ball momentum with decay, and its numbers.

    v' = beta v - (g + k q),   q' = q + eta v'

An optax optimiser consists of functions and does not list its numbers. A few trial steps on small arrays
show them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from noethers_razor.learning_dynamics.generators import paths_of, working_dtype

_PROBE = 1e-3
"""Size of the gradients and parameters of trial steps. Optimisers do not clip such small gradients."""
_ROUNDING = 64.0
"""Units of the last place within which two numbers count as equal."""
_LARGE = 2**20
"""Number of entries above which a smaller array replaces a parameter in trial steps."""
_SMALL = 2
"""Largest axis of the smaller array. Masks usually depend on names and ranks, not on sizes."""


@dataclasses.dataclass(frozen=True)
class HeavyBall:
    """Heavy-ball momentum of one parameter.

    Args:
        beta: momentum.
        k: coupled decay (L2), which is added to the gradient.
        eta: first learning rate; 0 if the parameter stays constant.
        moves: whether a step is a learning rate times the momentum. With Nesterov momentum or decoupled
            decay it is not.
        traced: whether the state contains the momentum. If not, beta is 0.
    """

    beta: float
    k: float
    eta: float
    moves: bool
    traced: bool


class _Tried(NamedTuple):
    """One trial step: gradient, parameters, momentum after the step, and the step, each by path."""

    gradient: dict[str, Any]
    place: dict[str, Any]
    momentum: dict[str, Any]
    step: dict[str, Any]


def momenta(state: Any) -> dict[str, Any]:
    """Return the traces -v in the state of an optimiser, by path; without paths that have several traces."""
    found: dict[str, list[Any]] = {}
    for _, trace in optax.tree.get_all_with_path(state, "trace"):
        # `optax.partition` masks the parameters of other parts; these are not leaves.
        for path, leaf in paths_of(trace).items():
            found.setdefault(path, []).append(leaf)
    return {path: leaves[0] for path, leaves in found.items() if len(leaves) == 1}


def identify(optimizer: optax.GradientTransformation, params: Any) -> tuple[dict[str, HeavyBall], str]:
    """Find the parameters that an optimiser moves by heavy-ball momentum.

    Args:
        optimizer: optimiser of optax.
        params: pytree of arrays or shapes.
    Returns:
        Path -> momentum for these parameters, and the reason why other parameters are missing.
    """
    with jax.ensure_compile_time_eval():
        try:
            steps = list(_tried(optax.with_extra_args_support(optimizer), params))
        except Exception as error:
            return {}, f"a trial step failed: {type(error).__name__}: {' '.join(str(error).split())[:120]}"
    found = {path: _read(path, steps) for path in paths_of(params)}
    return {path: ball for path, ball in found.items() if ball}, "trial steps do not follow it"


def _tried(optimizer: Any, params: Any) -> Iterator[_Tried]:
    draw = np.random.default_rng(0)

    def some(size: float) -> Any:
        def one(leaf: Any) -> Any:
            shape = jnp.shape(leaf)
            if np.prod(shape) > _LARGE:
                shape = tuple(min(n, _SMALL) for n in shape)
            return jnp.asarray(_PROBE * size * draw.uniform(0.5, 1.0, shape), working_dtype(leaf))

        return jax.tree.map(one, params)

    state = optimizer.init(some(0.0))
    # Steps with only parameters, only gradients and nothing give the numbers. Two steps with both test them.
    for gradient, place in ((0, 1), (1, 0), (0, 0), (1, 1), (1, 1)):
        g, q = some(gradient), some(place)
        step, state = optimizer.update(g, state, q)
        yield _Tried(paths_of(g), paths_of(q), momenta(state), paths_of(step))


def _read(path: str, steps: list[_Tried]) -> HeavyBall | None:
    """Return the numbers of one parameter, or None if they do not explain all trial steps."""
    exact = _ROUNDING * float(jnp.finfo(working_dtype(steps[0].gradient[path])).eps)
    pushes, places, fallen = (
        [np.asarray(part, np.float64) for part in parts]
        for parts in (
            [one.gradient[path] for one in steps],
            [one.place[path] for one in steps],
            [one.step[path] for one in steps],
        )
    )
    fallen = [-step for step in fallen]
    traced = all(path in one.momentum for one in steps)
    slow = [np.asarray(one.momentum[path], np.float64) for one in steps] if traced else fallen
    beta = _ratio(slow[2], slow[1]) if traced else 0.0
    gain = 1.0 if traced else _ratio(slow[1], pushes[1])
    k = _ratio(slow[0], gain * places[0])
    before = np.zeros_like(slow[0])
    for now, push, place in zip(slow, pushes, places, strict=True):
        if not _same(now, beta * before + gain * (push + k * place), exact):
            return None
        before = now
    rates = [_ratio(step, now) for step, now in zip(fallen, slow, strict=True)]
    moves = all(_same(step, rate * now, exact) for step, now, rate in zip(fallen, slow, rates, strict=True))
    eta = rates[1] if traced else gain
    beta, k, eta = (_short(value, exact) for value in (beta, k, eta))
    return HeavyBall(beta, k, eta, moves, traced)


def _ratio(a: np.ndarray, b: np.ndarray) -> float:
    """Return the factor c that minimises |a - c b|^2; 0 if b is 0."""
    square = float(np.sum(b * b))
    return float(np.sum(a * b)) / square if square else 0.0


def _same(a: np.ndarray, b: np.ndarray, exact: float) -> bool:
    return bool(np.all(np.abs(a - b) <= exact * np.max(np.abs([a, b]), initial=0.0)))


def _short(value: float, exact: float) -> float:
    """Return the number with the fewest digits that equals the value up to rounding."""
    for digits in range(1, 17):
        if abs((short := float(f"{value:.{digits}g}")) - value) <= exact * abs(value):
            return short
    return value
