"""Tests of the evidence of a regression against brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noethers_razor.evidence.regression import Products, log_evidence, maximised, posterior


def problem(count=12, seed=0):
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(count, 2))
    values = features @ [0.7, -0.4] + 0.3 * draw.normal(size=count)
    return features, values


PRECISION = np.array([[1.5, 0.4], [0.4, 0.8]])


def test_it_is_the_integral_over_the_weights(x64):
    features, values = problem()
    variance = 0.09
    axis = np.linspace(-6, 6, 1201)
    weights = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    prior = 0.5 * np.log(np.linalg.det(PRECISION)) - np.log(2 * np.pi)
    prior = prior - 0.5 * np.einsum("wi,ij,wj->w", weights, PRECISION, weights)
    off = values - weights @ features.T
    likelihood = -0.5 * np.sum(off**2, axis=1) / variance
    likelihood -= 0.5 * len(values) * np.log(2 * np.pi * variance)
    integral = np.log(np.sum(np.exp(prior + likelihood)) * (axis[1] - axis[0]) ** 2)
    found = log_evidence(Products.of(features, values), jnp.asarray(PRECISION), jnp.asarray(variance))
    np.testing.assert_allclose(found, integral, rtol=1e-9)
    # The posterior mean is the maximum of the integrand.
    mean, _ = posterior(Products.of(features, values), PRECISION, variance)
    assert np.abs(mean - weights[np.argmax(prior + likelihood)]).max() <= axis[1] - axis[0]


def test_it_is_the_density_of_the_values(x64):
    features, values = problem()
    covariance = features @ np.linalg.inv(PRECISION) @ features.T + 0.09 * np.eye(len(values))
    density = (
        -0.5 * values @ np.linalg.solve(covariance, values)
        - 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    )
    found = log_evidence(Products.of(features, values), jnp.asarray(PRECISION), jnp.asarray(0.09))
    np.testing.assert_allclose(found, density, rtol=1e-12)


def test_gradients_are_those_of_differences(x64):
    products = Products.of(*problem())

    def value(hyper):
        return log_evidence(products, jnp.exp(hyper[0]) * jnp.asarray(PRECISION), jnp.exp(hyper[1]))

    at, step = jnp.asarray([0.3, -1.2]), 1e-5
    slope = [(value(at + step * e) - value(at - step * e)) / (2 * step) for e in jnp.eye(2)]
    np.testing.assert_allclose(jax.grad(value)(at), slope, rtol=1e-7)


@pytest.mark.parametrize("start", [[0.0, 0.0], [5.0, -6.0]])
def test_the_maximum_has_no_slope_and_finds_the_noise(start, x64):
    features, values = problem(count=4000)
    products = Products.of(features, values)
    found = maximised(products, np.eye(2)[None], np.array(start))
    assert abs(np.exp(found.log_variance / 2) / 0.3 - 1) < 0.03

    def value(hyper):
        return log_evidence(products, jnp.exp(hyper[0]) * jnp.eye(2), jnp.exp(hyper[1]))

    at = jnp.asarray([*found.log_precisions, found.log_variance])
    np.testing.assert_allclose(value(at), found.log_evidence, rtol=1e-12)
    assert np.abs(jax.grad(value)(at)).max() < 1e-2
