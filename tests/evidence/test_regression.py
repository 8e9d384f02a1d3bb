"""Tests of the evidence of a regression against brute force."""

import numpy as np
import pytest

from noethers_razor.evidence.regression import Products, fitted, log_evidence


def problem(count=12, seed=0):
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(count, 2))
    values = features @ [0.7, -0.4] + 0.3 * draw.normal(size=count)
    return features, values


PRECISION = np.array([[1.5, 0.4], [0.4, 0.8]])


def test_it_is_the_integral_over_the_weights():
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
    np.testing.assert_allclose(
        log_evidence(Products.of(features, values), PRECISION, variance), integral, rtol=1e-9
    )


def test_it_is_the_density_of_the_values():
    features, values = problem()
    covariance = features @ np.linalg.inv(PRECISION) @ features.T + 0.09 * np.eye(len(values))
    density = (
        -0.5 * values @ np.linalg.solve(covariance, values)
        - 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    )
    np.testing.assert_allclose(
        log_evidence(Products.of(features, values), PRECISION, 0.09), density, rtol=1e-10
    )


def test_the_maximum_has_no_slope_and_finds_the_noise():
    features, values = problem(count=4000)
    products = Products.of(features, values)
    found = fitted(products, np.array([0, 1]), 1e-6)
    assert abs(np.sqrt(found.variance) / 0.3 - 1) < 0.03
    np.testing.assert_allclose(found.mean, [0.7, -0.4], atol=0.02)

    def value(first, second, noise):
        return log_evidence(products, np.diag(np.exp([first, second])), np.exp(noise))

    at = np.append(np.log(found.precisions), np.log(found.variance))
    np.testing.assert_allclose(value(*at), found.log_evidence, rtol=1e-10)
    for axis in np.eye(3):
        slope = (value(*(at + 1e-4 * axis)) - value(*(at - 1e-4 * axis))) / 2e-4
        assert abs(slope) < 0.05


def test_a_group_without_effect_vanishes():
    draw = np.random.default_rng(1)
    features = draw.normal(size=(500, 4))
    values = features[:, :2] @ [1.0, 2.0] + 0.1 * draw.normal(size=500)
    found = fitted(Products.of(features, values), np.array([0, 0, 1, 1]), 1e-6)
    assert found.precisions[1] > 1e3 * found.precisions[0]
    assert np.abs(found.mean[2:]).max() < 0.01


def test_products_add_up_and_scale():
    features, values = problem(30)
    whole = Products.of(features, values)
    parts = Products.of(features[:11], values[:11]).joined(Products.of(features[11:], values[11:]))
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other)
    size = np.array([2.0, 5.0])
    np.testing.assert_allclose(whole.scaled(size).gram, Products.of(features / size, values).gram)
    np.testing.assert_allclose(whole.part(np.array([False, True])).cross, whole.cross[1:])


@pytest.mark.parametrize("least", [1e-6, 0.5])
def test_the_noise_has_a_lower_bound(least):
    features = np.random.default_rng(0).normal(size=(10, 20))
    found = fitted(Products.of(features, features[:, 0]), np.zeros(20, int), least)
    assert found.variance >= least and np.isfinite(found.log_evidence)
