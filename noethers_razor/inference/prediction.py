"""The posterior-mean Hamiltonian, its rollouts, and those of posterior samples.

Functions work in the frame; `Prediction` is in data units. Averages are over weight samples: the network at
the posterior-mean weights is *not* the mean Hamiltonian.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri

from noethers_razor._optional import extra
from noethers_razor._types import Array, ArrayLike, Key
from noethers_razor.errors import UsageError
from noethers_razor.mechanics import integrators
from noethers_razor.mechanics.phase_space import hamiltonian_field
from noethers_razor.model.elbo import NOISE, Batch, Model
from noethers_razor.model.network import field_of
from noethers_razor.model.parameters import FlatParams, conserved_of

_FLOW_STEPS = 4096
"""Largest number of steps in the integration of a flow."""


class Prediction(NamedTuple):
    """Rollouts in data units, from B starts over T times.

    Args:
        t: times (T,) or (B, T).
        mean: (B, T, M), of the posterior-mean Hamiltonian.
        samples: (W, B, T, M), of W Hamiltonians drawn from the posterior.
        energy_drift: (B,), largest change of the posterior-mean energy along ``mean``, relative to the
            standard deviation of energy over the held-out states.
        coordinates: names of the M coordinates.
    """

    t: np.ndarray
    mean: np.ndarray
    samples: np.ndarray
    energy_drift: np.ndarray
    coordinates: tuple[str, ...] = ()

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation over posterior samples (B, T, M)."""
        return self.samples.std(axis=0)

    def coverage(self, truth: np.ndarray, levels: np.ndarray, noise: float | np.ndarray = 0.0) -> np.ndarray:
        """Return the share (L,) of true coordinate values inside central normal intervals, starts left out.

        Args:
            truth: states (B, T, M), data units.
            levels: (L,) nominal shares.
            noise: standard deviation of the noise of the true states, one or (M,), data units.
        Raises:
            UsageError: without posterior samples.
        """
        if not len(self.samples):
            raise UsageError("coverage of a prediction without samples; predict with samples=32")
        wide = np.sqrt(self.deviation**2 + np.asarray(noise) ** 2)[:, 1:]
        off = np.abs(np.asarray(truth) - self.mean)[:, 1:]
        known = np.isfinite(off)
        reach = ndtri(0.5 + 0.5 * np.asarray(levels, np.float64))
        return np.array([float(np.mean((off <= z * wide)[known])) for z in reach])

    def to_xarray(self) -> Any:
        """Return an xarray data set with axes trajectory, time, coordinate and sample, data units.

        Raises:
            UsageError: when xarray is not installed.
        """
        xarray = extra("xarray", "netcdf", "to_xarray")
        axes = ("trajectory", "time", "coordinate")
        names = self.coordinates or tuple(f"x{i + 1}" for i in range(self.mean.shape[-1]))
        shared = self.t.ndim == 1
        return xarray.Dataset(
            {
                "mean": (axes, self.mean),
                "sample": (("sample", *axes), self.samples),
                "deviation": (axes, self.deviation if len(self.samples) else np.zeros_like(self.mean)),
                "energy_drift": ("trajectory", self.energy_drift),
            },
            coords={
                "t": (("time",) if shared else ("trajectory", "time"), self.t),
                "coordinate": list(names),
            },
        )


class PosteriorDraws(NamedTuple):
    """Weight samples, leaves (W, out, in), and for each its own S flow times (W, S, K)."""

    weights: list[Array]
    tau: Array


def posterior_draws(
    model: Model, params: FlatParams, key: Key, draws: int, orbit_samples: int
) -> PosteriorDraws:
    """Draw samples of theta and tau; without symmetry each weight sample has one orbit point."""
    weight_key, orbit_key = jax.random.split(key)
    weights = jax.vmap(lambda k: model.sample_weights(params, k))(jax.random.split(weight_key, draws))
    if model.family.count == 0:
        return PosteriorDraws(weights, jnp.zeros((draws, 1, 0)))
    tau = jax.vmap(lambda k: model.flow_times(k, orbit_samples))(jax.random.split(orbit_key, draws))
    return PosteriorDraws(weights, tau)


def mean_energy(model: Model, params: FlatParams, samples: PosteriorDraws) -> Callable[[Array], Array]:
    """Return E_q[H_theta]: states (..., M) -> (...,). The flows of all draws are computed once, here."""
    draws = samples.weights[0].shape[0]
    points = _orbit(model, params, samples.tau)

    def energy(x: Array) -> Array:
        moved = points(x) if model.family.count else jnp.broadcast_to(x, (draws, 1, *x.shape))
        return jnp.mean(jax.vmap(model.network.apply)(samples.weights, moved), axis=(0, 1))

    return energy


def _orbit(model: Model, params: FlatParams, tau: Array) -> Callable[[Array], Array]:
    if model.family.count == 0:
        return lambda x: x[None]
    return model.family.orbit(conserved_of(params), tau)


def mean_rollout(
    model: Model,
    params: FlatParams,
    samples: PosteriorDraws,
    start: Array,
    intervals: Array,
    substeps: int,
) -> Array:
    """Return the path (T + 1, B, M) of the posterior-mean Hamiltonian from states (B, M)."""
    field = field_of(mean_energy(model, params, samples))
    return integrators.trajectory(model.likelihood.integrator, field, start, intervals, substeps)


def flows(values: Callable[[Array], Array], count: int, start: Array, tau: ArrayLike) -> np.ndarray:
    """Return states (K, T, M) along the flow of each of K quantities.

    Args:
        values: state (M,) -> (K,).
        count: K.
        start: state (M,).
        tau: flow times (T,), increasing, none below 0.
    Raises:
        UsageError: for other times, or where a flow could not be followed that far.
    """
    # Slow to import, and nothing else needs it.
    import diffrax

    times = np.asarray(tau, np.float64)
    fits = times.ndim == 1 and np.isfinite(times).all() and (np.diff(times, prepend=0.0) >= 0).all()
    if not fits or not (np.diff(times) > 0).all():
        raise UsageError(f"flow times {times.tolist()!s:.60}; expected (T,), increasing, none below 0")
    if count == 0 or not len(times):
        return np.zeros((count, len(times), start.shape[-1]))
    ends = jnp.asarray(times, start.dtype)

    def path(k: Array) -> Array:
        field = hamiltonian_field(lambda z: values(z)[k])
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, z, _: field(z)),
            diffrax.Tsit5(),
            0.0,
            ends[-1],
            None,
            start,
            saveat=diffrax.SaveAt(ts=ends),
            stepsize_controller=diffrax.PIDController(rtol=1e-5, atol=1e-6),
            max_steps=_FLOW_STEPS,
            throw=False,
        )
        return solution.ys

    paths = np.asarray(jax.lax.map(path, jnp.arange(count)), np.float64)
    if not np.isfinite(paths).all():
        lost = int(np.argmin(np.isfinite(paths).all(axis=(1, 2))))
        raise UsageError(
            f"the flow of quantity {lost + 1} could not be followed to tau = {times[-1]:g} in {_FLOW_STEPS} "
            "steps; ask for shorter times"
        )
    return paths


def sample_rollouts(
    model: Model,
    params: FlatParams,
    samples: PosteriorDraws,
    start: Array,
    intervals: Array,
    substeps: int,
) -> Array:
    """Return paths (W, T + 1, B, M), one for each posterior sample of the Hamiltonian."""
    draws = samples.weights[0].shape[0]
    # One set of S flows serves all samples; a set each would move every state W times as often.
    shared = samples.tau[0]
    points = _orbit(model, params, shared)

    def energy(x: Array) -> Array:
        energies = jax.vmap(model.network.apply, in_axes=(0, 1))(samples.weights, points(x))
        return jnp.mean(energies, axis=1)

    field = field_of(energy)
    paths = integrators.trajectory(
        model.likelihood.integrator,
        field,
        jnp.broadcast_to(start, (draws, *start.shape)),
        intervals,
        substeps,
    )
    return jnp.moveaxis(paths, 0, 1)


def log_density(model: Model, params: FlatParams, samples: PosteriorDraws, pairs: Batch) -> Array:
    """Return log E_q[p(x' | x)] (N,) of transitions, nats, in data units.

    Args:
        model, params: of the fit.
        samples: W draws; the flows of the first serve all, as in `sample_rollouts`.
        pairs: N transitions in the frame.
    """
    likelihood = model.likelihood
    points = _orbit(model, params, samples.tau[0])
    deviation = likelihood.deviation(params.get(NOISE))

    def one(weights: list[Array]) -> Array:
        moved = model.step(weights, points, pairs.start, pairs.duration)
        missed = (pairs.end - moved) @ likelihood.residual.T / deviation
        squares = jnp.sum(missed**2, axis=-1)
        constant = missed.shape[-1] * (jnp.log(deviation) + 0.5 * jnp.log(2 * jnp.pi))
        return likelihood.log_density - constant - 0.5 * squares

    densities = jax.lax.map(one, samples.weights)
    return jax.nn.logsumexp(densities, axis=0) - jnp.log(len(densities))
