"""What a network without symmetry says of the data: noise and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array, Key
from noethers_razor.data.frame_trajectories import FrameTrajectories, thinned
from noethers_razor.inference.problem import Problem
from noethers_razor.inference.runtime import Runtime
from noethers_razor.model.elbo import Batch, Model
from noethers_razor.model.parameters import FlatParams

_Averaged = Callable[[FlatParams, Key, Any], Array]
"""(params, keys of weight samples, something else) -> a mean over the samples."""
_TRANSITIONS = 2048
"""Transitions whose residuals are looked at."""
_DRAWS = 32
"""Weight samples of a mean."""
_MEDIAN_OF_NORMAL = 0.6745
"""Median of |x| for x ~ N(0, 1)."""
_LEAST_NOISE = 1e-6
"""Smallest noise, so that data without any, fitted exactly, still have a scale."""


def _averaged(model: Model, function: Callable[[list[Array], Any], Array]) -> _Averaged:
    """Return the mean over weight samples of a function of weights and of something else."""

    def average(params: FlatParams, keys: Key, other: Any) -> Array:
        def one(key: Key) -> Array:
            return function(model.sample_weights(params, key), other)

        return jax.lax.map(one, keys).mean(0)

    return average


def with_estimated_noise(
    problem: Problem, runtime: Runtime, data: FrameTrajectories, params: FlatParams
) -> FrameTrajectories:
    """Return trajectories with the noise that the network leaves unexplained.

    Args:
        problem: of the fit.
        runtime: keeps the compiled program.
        data: all trajectories of the fit.
        params: of the network without symmetry.
    """
    model = problem.model_without_symmetry
    likelihood = model.likelihood

    def one(weights: list[Array], pairs: Batch) -> Array:
        return model.step(weights, lambda x: x[None], pairs.start, pairs.duration)

    predictions = runtime.program("predictions", lambda: jax.jit(_averaged(model, one)))
    pairs = Batch(*(thinned(part, _TRANSITIONS) for part in problem.transitions))
    keys = jax.random.split(problem.key_for("residuals"), _DRAWS)
    back = np.asarray(likelihood.residual, np.float64)
    missed = np.asarray(pairs.end - predictions(params, keys, pairs), np.float64) @ back.T
    # The median separates noise from the few transitions that the network does not follow. The noise of a
    # transition is that of two states.
    deviation = np.median(np.abs(missed), axis=0) / _MEDIAN_OF_NORMAL / 2**0.5
    floor = likelihood.floor if likelihood.noise is None else _LEAST_NOISE
    root = np.linalg.solve(back, np.diag(np.hypot(deviation, max(floor, _LEAST_NOISE))))
    return data._replace(noise=root @ root.T)


def with_gradients(
    problem: Problem, runtime: Runtime, data: FrameTrajectories, params: FlatParams
) -> FrameTrajectories:
    """Return trajectories with the gradient of the network's mean energy at their states."""
    model = problem.model_without_symmetry

    def one(weights: list[Array], states: Array) -> Array:
        return jax.grad(lambda x: jnp.sum(model.network.apply(weights, x)))(states)

    gradients = runtime.program("gradients", lambda: jax.jit(_averaged(model, one)))
    keys = jax.random.split(problem.key_for("slopes"), _DRAWS)
    states = jnp.asarray(data.states, problem.dtype)
    return data._replace(gradients=np.asarray(gradients(params, keys, states), np.float64))
