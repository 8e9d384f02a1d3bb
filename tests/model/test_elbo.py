"""Tests of the bound: the evidence of a conjugate case, and gradients against finite differences."""

import dataclasses
import functools
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.distributions.kl import kl_divergence

from noethers_razor.conserved import FAMILIES, family_class
from noethers_razor.conserved.expansion import Expansion
from noethers_razor.conserved.none import NoSymmetry
from noethers_razor.model import posterior
from noethers_razor.model.elbo import (
    NOISE,
    Batch,
    Likelihood,
    Model,
    OrbitSampling,
    initial_params,
    layer_distribution,
)
from noethers_razor.model.network import NetworkFunction, network_function
from noethers_razor.model.parameters import conserved_of

pytestmark = pytest.mark.usefixtures("strict")

TRANSITIONS, FEATURES, DRAWS = 12, 4, 20_000
DEVIATION, LOG_DENSITY = 0.1, -0.7
ORBITS = OrbitSampling(3, "ball", "quasi")
TRAINED = ["none", *(name for name in FAMILIES if family_class(name).trainable)]
# Programs with non-quadratic quantities take long to compile.
TIMED = [
    pytest.param(name, marks=[pytest.mark.slow] * (name in ("polynomial", "neural"))) for name in TRAINED
]
"""Test cases: the family `none` and all families with trainable quantities."""


class Linear(NamedTuple):
    """A regression y = X w + noise, whose evidence and posterior are Gaussian integrals."""

    design: np.ndarray
    target: np.ndarray

    def evidence(self, variance):
        """Return log p(data) for weights N(0, variance I), nats."""
        covariance = DEVIATION**2 * np.eye(len(self.target)) + variance * self.design @ self.design.T
        quadratic = self.target @ np.linalg.solve(covariance, self.target)
        log_determinant = np.linalg.slogdet(2 * np.pi * covariance)[1]
        return -0.5 * (quadratic + log_determinant) + TRANSITIONS * LOG_DENSITY

    def posterior(self, variance):
        """Return mean and covariance of the weights given the data."""
        precision = self.design.T @ self.design / DEVIATION**2 + np.eye(FEATURES) / variance
        covariance = np.linalg.inv(precision)
        return covariance @ self.design.T @ self.target / DEVIATION**2, covariance

    def log_likelihood(self, mean, covariance):
        """Return mean and standard deviation of log p(data | w) for w ~ N(mean, covariance)."""
        residual = self.target - self.design @ mean
        root = np.linalg.cholesky(covariance)
        slope = root.T @ self.design.T @ residual / DEVIATION**2
        curvature = root.T @ self.design.T @ self.design @ root / DEVIATION**2
        constant = -len(self.target) * np.log(np.sqrt(2 * np.pi) * DEVIATION) + TRANSITIONS * LOG_DENSITY
        at_mean = -0.5 * residual @ residual / DEVIATION**2 + constant
        # log p(w = mean + root z) = at_mean + slope z - z' curvature z / 2, z standard normal.
        deviation = np.sqrt(slope @ slope + 0.5 * np.sum(curvature**2))
        return at_mean - 0.5 * np.trace(curvature), deviation


def empirical_variance(mean, covariance):
    return (np.trace(covariance) + mean @ mean) / FEATURES


def divergence(mean, covariance):
    """Return KL(N(mean, covariance) || N(0, v I)) for the empirical v, by the general formula."""
    variance = empirical_variance(mean, covariance)
    trace = np.trace(covariance) / variance + mean @ mean / variance
    log_ratio = FEATURES * np.log(variance) - np.linalg.slogdet(covariance)[1]
    return 0.5 * (trace - FEATURES + log_ratio)


def parameters(mean, covariance):
    """Return the flat parameters of a posterior N(mean, covariance) over one row of weights."""
    factor = np.linalg.cholesky(covariance)
    raw = np.tril(factor, -1) + np.diag(np.log(np.diag(factor)))
    leaves = {"mean": mean[None], "row": np.zeros((1, 1)), "column": raw}
    return {f"posterior/0/{name}": jnp.asarray(value) for name, value in leaves.items()}


def conjugate_case():
    """Return a model linear in its weights, with one Euler step per transition, its data and regression."""
    rng = np.random.default_rng(0)
    gradients, phases = rng.normal(size=(FEATURES, 2)), rng.uniform(0, 2 * np.pi, FEATURES)

    def apply(weights, x):
        return jnp.sin(x @ jnp.asarray(gradients).T + jnp.asarray(phases)) @ weights[0][0]

    start, duration = rng.normal(size=(TRANSITIONS, 2)), rng.uniform(0.1, 0.3, size=(TRANSITIONS, 1))
    # J grad of sin(a x + b) is cos(a x + b) (a_p, -a_q).
    turned = np.stack([gradients[:, 1], -gradients[:, 0]], axis=1)
    velocity = np.cos(start @ gradients.T + phases)[:, None, :] * turned.T
    residual = np.array([[2.0, 0.3], [-0.5, 1.5]])
    design = (residual @ velocity * duration[:, :, None]).reshape(-1, FEATURES)
    target = design @ rng.normal(size=FEATURES) + DEVIATION * rng.normal(size=2 * TRANSITIONS)
    end = start + target.reshape(-1, 2) @ np.linalg.inv(residual).T
    likelihood = Likelihood(
        residual=jnp.asarray(residual),
        log_density=LOG_DENSITY,
        integrator="euler",
        substeps=1,
        noise=DEVIATION,
        floor=0.0,
        total=TRANSITIONS,
    )
    network = NetworkFunction(((1, FEATURES),), jnp.dtype("float64"), lambda key: [], apply)
    model = Model(network, NoSymmetry(), (), ORBITS, likelihood)
    return model, Batch(*map(jnp.asarray, (start, duration, end))), Linear(design, target)


def optimal_variance(linear):
    """Return the prior variance that equals the empirical variance of its posterior (EM)."""
    variance = 1.0
    for _ in range(500):
        variance = empirical_variance(*linear.posterior(variance))
    return variance


@functools.cache
def compiled_conjugate_case():
    model, batch, linear = conjugate_case()
    bound = jax.jit(lambda params, key: -TRANSITIONS * model.negative_elbo(params, key, batch, DRAWS))
    return model, batch, linear, bound


@pytest.fixture
def conjugate(x64):
    return compiled_conjugate_case()


@pytest.mark.parametrize("seed", [0, 1])
def test_bound_equals_the_evidence_at_the_exact_posterior(seed, conjugate):
    model, _, linear, bound = conjugate
    variance = optimal_variance(linear)
    mean, covariance = linear.posterior(variance)
    expected, deviation = linear.log_likelihood(mean, covariance)
    # First check the reference: likelihood minus divergence of the exact posterior is the evidence.
    evidence = linear.evidence(variance)
    np.testing.assert_allclose(expected - divergence(mean, covariance), evidence, rtol=1e-10)
    params = parameters(mean, covariance)
    np.testing.assert_allclose(model.divergence(params), divergence(mean, covariance), rtol=1e-10)
    error = deviation / np.sqrt(DRAWS)
    assert error < 0.02
    assert abs(bound(params, jax.random.key(seed)) - evidence) < 4 * error


@pytest.mark.parametrize("seed", range(4))
def test_bound_is_below_the_evidence_elsewhere(seed, conjugate):
    model, _, linear, bound = conjugate
    rng = np.random.default_rng(seed)
    mean, covariance = linear.posterior(optimal_variance(linear))
    # Move the posterior in mean and in shape, by about one standard deviation.
    root = np.linalg.cholesky(covariance)
    mean = mean + root @ rng.normal(size=FEATURES)
    turn = np.eye(FEATURES) + 0.5 * rng.normal(size=(FEATURES, FEATURES))
    covariance = root @ turn @ turn.T @ root.T
    expected, deviation = linear.log_likelihood(mean, covariance)
    params = parameters(mean, covariance)
    np.testing.assert_allclose(model.divergence(params), divergence(mean, covariance), rtol=1e-10)
    value, error = bound(params, jax.random.key(seed)), deviation / np.sqrt(DRAWS)
    assert abs(value - (expected - divergence(mean, covariance))) < 4 * error
    assert value < linear.evidence(empirical_variance(mean, covariance)) - 4 * error


@pytest.fixture
def narrow(conjugate):
    """Return parameters whose samples equal the mean up to rounding, and the exact bound for them."""
    _, _, linear, _ = conjugate
    mean, _ = linear.posterior(1.0)
    covariance = 1e-24 * np.eye(FEATURES)
    exact = linear.log_likelihood(mean, covariance)[0] - divergence(mean, covariance)
    return parameters(mean, covariance), -exact / TRANSITIONS


def test_bound_without_weight_noise_is_exact(conjugate, narrow):
    model, batch, _, _ = conjugate
    params, exact = narrow
    value = jax.jit(model.negative_elbo)(params, jax.random.key(0), batch)
    np.testing.assert_allclose(value, exact, rtol=1e-9)


def test_minibatches_stand_for_all_transitions(conjugate, narrow):
    model, batch, _, _ = conjugate
    params, exact = narrow
    halves = [Batch(*(array[part] for array in batch)) for part in (slice(0, 6), slice(6, None))]
    bound = jax.jit(model.negative_elbo)
    values = [bound(params, jax.random.key(1), half) for half in halves]
    assert abs(values[0] - values[1]) > 1e-2
    np.testing.assert_allclose(sum(values) / 2, exact, rtol=1e-9)


@pytest.mark.parametrize("floor", [0.0, 0.8 * DEVIATION])
def test_learned_noise_enters_as_the_fixed_one(floor, conjugate, narrow):
    model, batch, _, _ = conjugate
    params, exact = narrow
    likelihood = dataclasses.replace(model.likelihood, noise=None, floor=floor)
    learned = dataclasses.replace(model, likelihood=likelihood)
    # The floor adds to the learned variance: .8^2 + .6^2 = 1.
    own = jnp.log(jnp.asarray(DEVIATION * (0.6 if floor else 1.0)))
    np.testing.assert_allclose(likelihood.deviation(own), DEVIATION, rtol=1e-14)
    value = learned.negative_elbo(params | {NOISE: own}, jax.random.key(0), batch)
    np.testing.assert_allclose(value, exact, rtol=1e-9)


def test_fixed_noise_has_no_floor(conjugate):
    likelihood = dataclasses.replace(conjugate[0].likelihood, floor=1.0)
    assert likelihood.deviation(None) == DEVIATION


# Below: small networks with symmetries, in float64, with learned noise and several steps per transition.


def entry_variances(layer):
    row, column = layer.scale_tril_row, layer.scale_tril_column
    return np.outer(jnp.sum(row**2, axis=1), jnp.sum(column**2, axis=1))


def make_model(family):
    """Return a model of width 3 on one degree of freedom, generic parameters, and data."""
    network = network_function(2, width=3, depth=1, activation="squareplus", dtype=jnp.float64)
    params = initial_params(network, jax.random.key(0), 0.3, -1.0)
    conserved = {k: jnp.asarray(v, jnp.float64) for k, v in family.init(jax.random.key(1), 2).items()}
    params |= {f"conserved/{name}": value for name, value in conserved.items()}
    rng = np.random.default_rng(0)
    params = {k: v + jnp.asarray(0.1 * rng.normal(size=v.shape)) for k, v in params.items()}
    likelihood = Likelihood(
        residual=jnp.asarray([[1.2, 0.1], [0.0, 0.8]]),
        log_density=0.4,
        integrator="midpoint",
        substeps=2,
        noise=None,
        floor=0.01,
        total=20,
    )
    model = Model(network, family, tuple(conserved), ORBITS, likelihood)
    start = rng.normal(size=(5, 2))
    end = start + 0.2 * rng.normal(size=(5, 2))
    return model, params, Batch(*map(jnp.asarray, (start, rng.uniform(0.1, 0.3, size=(5, 1)), end)))


@functools.cache
def compiled(name):
    """Return a model, its parameters, and a function (parameters, key) -> bound and gradient."""
    family = family_class(name)()
    if name == "quadratic":
        family = dataclasses.replace(family, count=5)
    if isinstance(family, Expansion):
        # Set the counts explicitly: one degree of freedom would give no non-quadratic quantity.
        family = dataclasses.replace(family, count=3, non_quadratic=1)
    model, params, batch = make_model(family)
    bound = jax.jit(jax.value_and_grad(lambda p, key: model.negative_elbo(p, key, batch)))
    return model, params, bound


@pytest.mark.parametrize("name", TIMED)
def test_gradients_are_those_of_differences(name, x64):
    _, params, bound = compiled(name)
    key, small = jax.random.key(2), 1e-4
    gradient = bound(params, key)[1]
    for leaf, value in params.items():
        # Differentiate along the gradient, where cancellation cannot hide a wrong entry.
        direction = gradient[leaf] / jnp.linalg.norm(gradient[leaf])
        at = [bound(params | {leaf: value + k * small * direction}, key)[0] for k in (-2, -1, 1, 2)]
        # Fourth-order differences have error small^4 and rounding error 1e-16 / small.
        difference = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * small)
        slope = jnp.sum(gradient[leaf] * direction)
        np.testing.assert_allclose(slope, difference, rtol=1e-6, err_msg=leaf)


@pytest.mark.parametrize("name", TIMED)
def test_every_trainable_leaf_has_a_gradient(name, x64):
    model, params, bound = compiled(name)
    value, gradient = bound(params, jax.random.key(0))
    assert np.isfinite(value)
    assert len(params) == 3 * model.layers + 1 + len(model.conserved_names)
    for leaf in params:
        assert np.isfinite(gradient[leaf]).all(), leaf
        assert jnp.linalg.norm(gradient[leaf]) > 1e-6, leaf


def test_the_checks_above_reach_the_conserved_quantities(x64):
    assert {"conserved/form", "conserved/linear", NOISE, "posterior/1/column"} < set(compiled("quadratic")[1])


def test_key_decides_on_weights_and_orbits(x64):
    _, params, bound = compiled("quadratic")
    first, again, other = (bound(params, jax.random.key(seed))[0] for seed in (0, 0, 1))
    assert first == again
    assert abs(first - other) > 1e-6


def test_threads_may_trace_the_bound_at_once():
    # NumPyro has one stack of handlers per process. Frequent switching makes conflicts of threads likely.
    ordinary = sys.getswitchinterval()

    def trace(seed):
        with jax.enable_x64(True):
            model, params, batch = make_model(family_class("quadratic")(5))
            return jax.eval_shape(model.negative_elbo, params, jax.random.key(seed), batch).shape

    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(trace, range(4))) == [()] * 4
    finally:
        sys.setswitchinterval(ordinary)


def test_divergence_is_the_sum_over_layers(x64):
    model, params, _ = make_model(NoSymmetry())
    layers = [layer_distribution(params, i) for i in range(model.layers)]
    parts = [kl_divergence(layer, posterior.empirical_prior(layer)) for layer in layers]
    assert len(parts) == 2
    np.testing.assert_allclose(model.divergence(params), sum(parts), rtol=1e-13)


def test_sampled_weights_follow_the_posterior_of_each_layer(x64):
    model, params, _ = make_model(NoSymmetry())
    keys = jax.random.split(jax.random.key(0), 4000)
    draws = jax.jit(jax.vmap(lambda key: model.sample_weights(params, key)))(keys)
    for i, samples in enumerate(draws):
        layer = layer_distribution(params, i)
        assert samples.shape == (4000, *model.network.shapes[i])
        variance = entry_variances(layer)
        error = np.abs(samples.mean(axis=0) - layer.loc)
        np.testing.assert_array_less(error, 5 * np.sqrt(variance / 4000))
        np.testing.assert_allclose(samples.var(axis=0), variance, rtol=5 * np.sqrt(2 / 4000))
    # Layers are independent: readout and first bias of the same draw are not correlated.
    correlation = np.corrcoef(draws[0][:, 0, -1], draws[1][:, 0, 0])[0, 1]
    assert abs(correlation) < 5 / np.sqrt(4000)


def test_initial_posterior_surrounds_the_network():
    network = network_function(2, width=3, depth=1, activation="tanh", dtype=jnp.float32)
    params = initial_params(network, jax.random.key(3), 0.3, -1.5)
    assert params[NOISE] == -1.5
    for i, matrix in enumerate(network.init(jax.random.key(3))):
        layer = layer_distribution(params, i)
        np.testing.assert_array_equal(layer.loc, matrix)
        # The standard deviation is .3 / sqrt(fan-in). The bias counts as an input.
        np.testing.assert_allclose(entry_variances(layer), 0.09 / matrix.shape[1], rtol=1e-5)
    assert {value.dtype.name for value in params.values()} == {"float32"}
    assert NOISE not in initial_params(network, jax.random.key(3), 0.3, None)


def test_conserved_parameters_are_found_by_their_prefix():
    flat = {"posterior/0/mean": 0, "conserved/form": 1, "conserved/linear": 2, NOISE: 3}
    assert conserved_of(flat) == {"form": 1, "linear": 2}


def test_without_symmetry_the_orbit_is_the_state(x64):
    model, _, batch = make_model(NoSymmetry())
    points = model.orbit({}, jax.random.key(0))(batch.start)
    np.testing.assert_array_equal(points, batch.start[None])
