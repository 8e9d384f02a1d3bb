"""The model, its guide and the lower bound, as NumPyro functions (paper, section 4).

    theta_l ~ N(0, v_l I)           weights [W b] of layer l; v_l in closed form
    tau     ~ mu^S                  latent; its variational law is its prior
    x'      ~ N(Phi_H^dt(x), sigma^2 I),   H = mean_s F_theta(g_tau_s x)
    guide:  theta_l ~ matrix normal

The parameters are one flat dictionary of arrays, see `parameters`.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.distributions.kl import kl_divergence
from numpyro.infer import TraceMeanField_ELBO

from noethers_razor._types import Array, Key, Params, VectorField
from noethers_razor.config import FitConfig
from noethers_razor.conserved.base import Family
from noethers_razor.data.frame import Frame
from noethers_razor.mechanics import integrators
from noethers_razor.mechanics.orbits import Orbit, sample_tau
from noethers_razor.model import posterior
from noethers_razor.model.network import NetworkFunction, field_of, network_function, orbit_hamiltonian
from noethers_razor.model.parameters import FlatParams

NOISE = "noise/log_deviation"

# NumPyro keeps one stack of handlers per process: two threads that trace at once would share their sites.
_HANDLERS = threading.Lock()


class Batch(NamedTuple):
    """Transitions in the frame: start (B, M), duration (B, 1), end (B, M)."""

    start: Array
    duration: Array
    end: Array


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """The likelihood of a transition under the flow of H.

    Args:
        residual: (M, M), from frame residuals to residuals in noise units.
        log_density: change of log density from noise units to data units, nats per transition.
        integrator: method of a step, see `integrators.ORDERS`.
        substeps: steps per transition.
        noise: fixed standard deviation in noise units, or None when it is learned.
        floor: smallest learned standard deviation, noise units.
        total: number N of transitions that a batch represents.
    """

    residual: Array
    log_density: float | Array
    integrator: str
    substeps: int
    noise: float | None
    floor: float
    total: int

    def deviation(self, log_deviation: Array | None) -> Array:
        """Return sigma in noise units. Without a floor, sigma would fall towards zero on noise-free data."""
        if self.noise is not None or log_deviation is None:
            return jnp.asarray(self.noise, self.residual.dtype)
        return jnp.sqrt(self.floor**2 + jnp.exp(2.0 * log_deviation))


@dataclasses.dataclass(frozen=True)
class OrbitSampling:
    """The draw of tau: S samples of a measure, see `orbits.sample_tau`."""

    samples: int
    measure: str
    sampling: str


@dataclasses.dataclass(frozen=True)
class Model:
    """Everything that the bound depends on, except parameters and data."""

    network: NetworkFunction
    family: Family
    conserved_names: tuple[str, ...]
    orbits: OrbitSampling
    likelihood: Likelihood

    @property
    def layers(self) -> int:
        """Number of weight matrices."""
        return len(self.network.shapes)

    def flow_times(self, key: Key, samples: int) -> Array:
        """Draw tau (S, K): of the measure for exact flows, on a line in random order for integrated ones."""
        integrated = self.family.integrated

        def draw(key: Key, count: int, measure: str) -> Array:
            sampling, dtype = self.orbits.sampling, self.network.dtype
            return sample_tau(key, samples, count, measure=measure, sampling=sampling, dtype=dtype)

        if not integrated.any():
            return draw(key, self.family.count, self.orbits.measure)
        exact_key, line_key, order_key = jax.random.split(key, 3)
        line = jax.random.permutation(order_key, draw(line_key, int(integrated.sum()), "line"))
        if integrated.all():
            return line
        exact = draw(exact_key, int((~integrated).sum()), self.orbits.measure)
        return jnp.concatenate([exact, line], axis=1)

    def orbit(self, conserved: Params, key: Key) -> Orbit:
        """Return one draw of tau^S, with its flows computed once."""
        if self.family.count == 0:
            return lambda x: x[None]
        return self.family.orbit(conserved, self.flow_times(key, self.orbits.samples))

    def field(self, weights: Sequence[Array], orbit: Orbit) -> VectorField:
        """Return x' = J grad H of the orbit-averaged network."""
        return field_of(orbit_hamiltonian(lambda x: self.network.apply(weights, x), orbit))

    def step(self, weights: Sequence[Array], orbit: Orbit, x: Array, duration: Array) -> Array:
        """Return states after the flow of H over a transition, by the integrator of the likelihood."""
        method, substeps = self.likelihood.integrator, self.likelihood.substeps
        return integrators.advance(method, self.field(weights, orbit), x, duration, substeps)

    def model(self, batch: Batch) -> None:
        """Define the generative side: prior over weights, orbits, and next states."""
        weights = [
            numpyro.sample(f"weights{i}", posterior.empirical_prior(_layer_of(i))) for i in range(self.layers)
        ]
        key = numpyro.prng_key()
        assert key is not None, "the bound always seeds the model"
        names = self.conserved_names
        conserved = {name: numpyro.param(f"conserved/{name}") for name in names}
        orbit = self.orbit(conserved, key)
        likelihood = self.likelihood
        deviation = likelihood.deviation(numpyro.param(NOISE) if likelihood.noise is None else None)
        predicted = self.step(weights, orbit, batch.start, batch.duration)
        size = batch.start.shape[0]
        with numpyro.plate("transitions", likelihood.total, subsample_size=size):
            numpyro.sample(
                "next_state",
                dist.Normal(predicted @ likelihood.residual.T, deviation).to_event(1),
                obs=batch.end @ likelihood.residual.T,
            )
            numpyro.factor("units", jnp.full(size, likelihood.log_density))

    def guide(self, batch: Batch) -> None:
        """Define the variational side: a matrix normal for each layer."""
        del batch
        for i in range(self.layers):
            numpyro.sample(f"weights{i}", _layer_of(i))

    def negative_elbo(self, params: Params, key: Key, batch: Batch, draws: int = 1) -> Array:
        """Estimate -ELBO per transition, nats, on a batch with ``draws`` weight samples."""
        objective = TraceMeanField_ELBO(num_particles=draws)
        with _HANDLERS:
            loss = objective.loss(key, params, self.model, self.guide, batch)
        return loss / self.likelihood.total

    def divergence(self, params: Params) -> Array:
        """Return KL(q(theta) || p(theta)), nats, summed over all layers."""
        total = jnp.zeros((), self.network.dtype)
        for i in range(self.layers):
            q = layer_distribution(params, i)
            total = total + kl_divergence(q, posterior.empirical_prior(q))
        return total

    def sample_weights(self, params: Params, key: Key) -> list[Array]:
        """Draw all weight matrices once from the posterior."""
        keys = jax.random.split(key, self.layers)
        return [layer_distribution(params, i).sample(keys[i]) for i in range(self.layers)]


def build_model(
    config: FitConfig,
    family: Family,
    conserved_names: tuple[str, ...],
    frame: Frame,
    *,
    substeps: int,
    total: int,
) -> Model:
    """Return the model of a configuration, a family and a frame.

    Args:
        config: settings.
        family: in the frame.
        conserved_names: names of its parameters.
        frame: of the data.
        substeps: integrator steps per transition.
        total: number of transitions.
    """
    dtype = jnp.dtype(config.dtype)
    network = network_function(
        frame.dim,
        width=config.network.width,
        depth=config.network.depth,
        activation=config.network.activation,
        dtype=dtype,
    )
    noise = config.likelihood
    likelihood = Likelihood(
        residual=jnp.asarray(frame.residual_matrix, dtype),
        log_density=frame.log_density,
        integrator=noise.integrator,
        substeps=substeps,
        noise=None if noise.noise_variance is None else float(noise.noise_variance) ** 0.5,
        floor=noise.noise_floor,
        total=total,
    )
    orbits = OrbitSampling(config.orbits.samples, config.orbits.measure, config.orbits.sampling)
    return Model(network, family, conserved_names, orbits, likelihood)


def layer_distribution(params: Params, layer: int) -> dist.MatrixNormal:
    """Return the posterior of one layer of the flat parameters."""
    leaves = [params[f"posterior/{layer}/{leaf}"] for leaf in posterior.LEAVES]
    return posterior.layer_posterior(*leaves)


def _layer_of(layer: int) -> dist.MatrixNormal:
    names = [f"posterior/{layer}/{leaf}" for leaf in posterior.LEAVES]
    return posterior.layer_posterior(*(numpyro.param(name) for name in names))


def initial_params(
    network: NetworkFunction, key: Key, deviation: float, log_noise: float | None
) -> FlatParams:
    """Return parameters at the start: the posterior lies around the initial weights.

    Args:
        network: whose initial weights are drawn.
        key: of the draw.
        deviation: standard deviation of a weight, times sqrt(fan-in).
        log_noise: log of the noise standard deviation; None if it is fixed.
    """
    params: FlatParams = {}
    for i, weights in enumerate(network.init(key)):
        layer = posterior.initial_layer(weights, deviation / weights.shape[1] ** 0.5)
        params |= {f"posterior/{i}/{leaf}": value for leaf, value in layer.items()}
    if log_noise is not None:
        params[NOISE] = jnp.asarray(log_noise, network.dtype)
    return params
