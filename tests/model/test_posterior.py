"""Tests of the matrix-normal posterior and its divergence, against dense Gaussians and Monte Carlo."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions.kl import kl_divergence
from numpyro.infer import TraceMeanField_ELBO

from noethers_razor.model import posterior

pytestmark = pytest.mark.usefixtures("strict")

ROWS, COLUMNS = 2, 3
ENTRIES = ROWS * COLUMNS


def random_leaves(seed=0):
    rng = np.random.default_rng(seed)
    shapes = ((ROWS, COLUMNS), (ROWS, ROWS), (COLUMNS, COLUMNS))
    return [jnp.asarray(rng.normal(size=shape) * 0.5) for shape in shapes]


@pytest.fixture
def layer(x64):
    return posterior.layer_posterior(*random_leaves())


def dense_divergence(mean, covariance, prior_mean, prior_variance):
    """Return the KL divergence of Gaussians over vectors, the second with a diagonal covariance."""
    shift = mean - prior_mean
    return 0.5 * (
        np.sum(np.diag(covariance) / prior_variance)
        + np.sum(shift**2 / prior_variance)
        - len(mean)
        + np.sum(np.log(prior_variance))
        - np.linalg.slogdet(covariance)[1]
    )


def dense(layer):
    """Return mean and covariance of the entries, row by row."""
    row, column = (np.asarray(f @ f.T) for f in (layer.scale_tril_row, layer.scale_tril_column))
    return np.asarray(layer.loc).ravel(), np.kron(row, column)


def variance_of(prior):
    return float(jnp.unique(prior.variance)[0])


def test_factor_is_triangular_with_the_exponential_on_its_diagonal(x64):
    raw = np.arange(1.0, 10.0).reshape(3, 3) / 4
    factor = np.asarray(posterior.factor(jnp.asarray(raw)))
    np.testing.assert_array_equal(np.tril(factor, -1), np.tril(raw, -1))
    np.testing.assert_array_equal(np.triu(factor, 1), 0.0)
    np.testing.assert_allclose(np.diag(factor), np.exp(np.diag(raw)), rtol=1e-15)


def test_initial_layer_is_independent_with_one_deviation(x64):
    weights = random_leaves()[0]
    leaves = posterior.initial_layer(weights, 0.3)
    assert tuple(leaves) == posterior.LEAVES
    mean, covariance = dense(posterior.layer_posterior(**leaves))
    np.testing.assert_array_equal(mean, weights.ravel())
    np.testing.assert_allclose(covariance, 0.09 * np.eye(ENTRIES), rtol=1e-14, atol=1e-16)


def test_samples_have_the_kronecker_covariance(layer):
    draws = np.asarray(layer.sample(jax.random.key(0), (20_000,))).reshape(-1, ENTRIES)
    mean, covariance = dense(layer)
    deviation = np.sqrt(np.diag(covariance))
    np.testing.assert_array_less(np.abs(draws.mean(axis=0) - mean), 5 * deviation / np.sqrt(len(draws)))
    # An entry of a sample covariance has variance (c_ii c_jj + c_ij^2) / N.
    error = np.sqrt((np.outer(deviation, deviation) ** 2 + covariance**2) / len(draws))
    np.testing.assert_array_less(np.abs(np.cov(draws.T) - covariance), 5 * error)


def test_divergence_is_that_of_dense_gaussians(layer):
    mean, covariance = dense(layer)
    rng = np.random.default_rng(1)
    prior_mean, prior_deviation = rng.normal(size=ENTRIES), np.exp(0.5 * rng.normal(size=ENTRIES))
    shape = (ROWS, COLUMNS)
    prior = dist.Normal(
        jnp.asarray(prior_mean.reshape(shape)), jnp.asarray(prior_deviation.reshape(shape))
    ).to_event(2)
    expected = dense_divergence(mean, covariance, prior_mean, prior_deviation**2)
    np.testing.assert_allclose(kl_divergence(layer, prior), expected, rtol=1e-13)


def test_divergence_is_the_mean_log_ratio(layer):
    prior = posterior.empirical_prior(layer)

    @jax.jit
    def log_ratios(key):
        draws = layer.sample(key, (100_000,))
        return layer.log_prob(draws) - prior.log_prob(draws)

    ratios = np.asarray(log_ratios(jax.random.key(0)))
    standard_error = ratios.std() / np.sqrt(len(ratios))
    assert standard_error < 0.01
    assert abs(ratios.mean() - kl_divergence(layer, prior)) < 3 * standard_error


def test_divergence_from_the_empirical_prior_has_the_reduced_form(layer):
    variance = variance_of(posterior.empirical_prior(layer))
    log_determinant = np.linalg.slogdet(dense(layer)[1])[1]
    reduced = 0.5 * (ENTRIES * np.log(variance) - log_determinant)
    np.testing.assert_allclose(kl_divergence(layer, posterior.empirical_prior(layer)), reduced, rtol=1e-13)


def test_empirical_variance_is_the_second_moment_of_the_weights(layer):
    mean, covariance = dense(layer)
    expected = (np.trace(covariance) + mean @ mean) / ENTRIES
    prior = posterior.empirical_prior(layer)
    assert prior.event_shape == (ROWS, COLUMNS)
    np.testing.assert_allclose(prior.variance, np.full((ROWS, COLUMNS), expected), rtol=1e-13)


def test_empirical_variance_minimises_the_divergence(layer):
    best = variance_of(posterior.empirical_prior(layer))

    def divergence(log_variance):
        prior = dist.Normal(0.0, jnp.exp(0.5 * log_variance)).expand((ROWS, COLUMNS)).to_event(2)
        return kl_divergence(layer, prior)

    at = jnp.log(jnp.asarray(best))
    # d KL / d log v = (D - D best / v) / 2. At the best v it is zero, and its derivative is D / 2.
    assert abs(jax.grad(divergence)(at)) < 1e-12
    np.testing.assert_allclose(jax.grad(jax.grad(divergence))(at), ENTRIES / 2, rtol=1e-12)


def test_bound_uses_the_closed_form(x64):
    # A Monte Carlo estimate, the silent fallback of NumPyro, would differ between keys.
    leaves = random_leaves(2)

    def model():
        numpyro.sample("weights", posterior.empirical_prior(posterior.layer_posterior(*leaves)))

    def guide():
        numpyro.sample("weights", posterior.layer_posterior(*leaves))

    layer = posterior.layer_posterior(*leaves)
    expected = kl_divergence(layer, posterior.empirical_prior(layer))
    for seed in (0, 1):
        loss = TraceMeanField_ELBO().loss(jax.random.key(seed), {}, model, guide)
        np.testing.assert_allclose(loss, expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("prior", "found"),
    [
        (dist.Laplace(0.0, 1.0).expand((ROWS, COLUMNS)).to_event(2), "Laplace with event_dim 2"),
        (dist.Normal(0.0, 1.0).expand((ROWS, COLUMNS)).to_event(1), "Normal with event_dim 1"),
    ],
)
def test_other_priors_have_no_closed_form(prior, found):
    # The error is intended: without it, NumPyro silently falls back to Monte Carlo.
    layer = posterior.layer_posterior(jnp.zeros((ROWS, COLUMNS)), jnp.eye(ROWS), jnp.eye(COLUMNS))
    with pytest.raises(NotImplementedError, match=f"needs a Normal prior .* found {found}"):
        kl_divergence(layer, prior)
