"""Distributions of the flow times, samples of them, and orbit averages."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from noethers_razor.mechanics import flows
from noethers_razor.mechanics import orbits as orbit

pytestmark = pytest.mark.usefixtures("strict")

SAMPLINGS = ("plain", "antithetic", "quasi")
KEYS = 3000
SAMPLES = 4


@functools.cache
def draws(measure, sampling, count, samples=SAMPLES, keys=KEYS):
    """Return tau (keys, S, K) for independent random keys."""
    one = functools.partial(
        orbit.sample_tau, samples=samples, count=count, measure=measure, sampling=sampling
    )
    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), keys)), np.float64)


def moments(measure, count):
    """Return the variance and the fourth moment of one component of tau."""
    if measure == "normal":
        return 1.0, 3.0
    if measure == "uniform" or count == 1:
        return np.pi**2 / 3, np.pi**4 / 5
    # E r^2 = R^2 K / (K + 2), E r^4 = R^4 K / (K + 4); a direction has E u^2 = 1/K, E u^4 = 3/(K (K + 2)).
    return np.pi**2 / (count + 2), np.pi**4 * 3 / ((count + 2) * (count + 4))


@pytest.mark.parametrize(("sampling", "count"), [(sampling, 3) for sampling in SAMPLINGS] + [("quasi", 1)])
@pytest.mark.parametrize("measure", ["uniform", "ball", "normal"])
def test_every_sample_has_the_moments_of_the_measure(measure, sampling, count):
    # Each of the S points must follow the measure. This makes the bound valid.
    tau = draws(measure, sampling, count)
    assert tau.shape == (KEYS, SAMPLES, count)
    variance, fourth = moments(measure, count)
    # Five standard errors. With at most 24 numbers in one test a correct sampler fails once in 70,000.
    np.testing.assert_allclose(tau.mean(axis=0), 0.0, atol=5 * np.sqrt(variance / KEYS))
    spread = np.sqrt((fourth - variance**2) / KEYS)
    np.testing.assert_allclose((tau**2).mean(axis=0), variance, atol=5 * spread)
    for a, b in itertools.combinations(range(count), 2):
        product = np.sqrt(np.mean(tau[..., a] ** 2 * tau[..., b] ** 2) / KEYS)
        np.testing.assert_allclose((tau[..., a] * tau[..., b]).mean(axis=0), 0.0, atol=5 * product)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize(
    ("measure", "count", "to_uniform"),
    [
        ("uniform", 3, lambda tau: (tau[..., 0] / np.pi + 1) / 2),
        ("normal", 3, lambda tau: scipy.stats.norm.cdf(tau[..., 0])),
        # The share of the ball within radius r is (r / R)^K. The directions are isotropic.
        ("ball", 3, lambda tau: (np.linalg.norm(tau, axis=-1) / np.pi) ** 3),
        ("ball", 3, lambda tau: (tau[..., 0] / np.linalg.norm(tau, axis=-1) + 1) / 2),
        ("ball", 1, lambda tau: (tau[..., 0] / np.pi + 1) / 2),
    ],
)
def test_every_sample_follows_the_measure(measure, sampling, count, to_uniform):
    shares = to_uniform(draws(measure, sampling, count))
    for s in range(SAMPLES):
        assert scipy.stats.kstest(shares[:, s], "uniform").pvalue > 1e-4


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_line_is_ascending_times_in_one_direction(sampling):
    tau = draws("line", sampling, 3)
    # At least one end of the line lies far from zero.
    ends = np.where(np.linalg.norm(tau[:, :1], axis=-1, keepdims=True) > 0.1, tau[:, :1], tau[:, -1:])
    along = np.sum(tau * ends / np.linalg.norm(ends, axis=-1, keepdims=True), axis=-1)
    np.testing.assert_allclose(np.abs(along), np.linalg.norm(tau, axis=-1), rtol=1e-4, atol=1e-4)
    steps = np.diff(along, axis=1)
    assert np.all((steps >= 0).all(axis=1) | (steps <= 0).all(axis=1))
    # A time chosen at random is uniform, and the direction is isotropic.
    time = np.random.default_rng(0).permuted(along, axis=1)[:, 0]
    assert scipy.stats.kstest((time / np.pi + 1) / 2, "uniform").pvalue > 1e-4
    axis = np.abs(ends[:, 0, 0]) / np.linalg.norm(ends[:, 0], axis=-1)
    assert scipy.stats.kstest(axis, "uniform").pvalue > 1e-4


def test_times_on_a_line_are_equally_spaced():
    tau = draws("line", "quasi", 3)
    gaps = np.linalg.norm(np.diff(tau, axis=1), axis=-1)
    np.testing.assert_allclose(gaps, 2 * np.pi / SAMPLES, rtol=1e-3)


def test_ball_and_cube_have_their_radius():
    assert np.linalg.norm(draws("ball", "quasi", 3), axis=-1).max() <= np.pi * (1 + 1e-6)
    assert np.abs(draws("uniform", "quasi", 3)).max() <= np.pi


@pytest.mark.parametrize(("measure", "samples"), [("ball", 6), ("ball", 5), ("normal", 5)])
def test_antithetic_samples_come_with_their_negatives(measure, samples):
    tau = draws(measure, "antithetic", 3, samples=samples, keys=1)[0]
    half = (samples + 1) // 2
    assert tau.shape == (samples, 3)
    np.testing.assert_array_equal(tau[half:], -tau[: samples - half])
    assert len(np.unique(tau, axis=0)) == samples


@pytest.mark.parametrize("measure", ["uniform", "ball"])
def test_quasi_samples_of_one_time_are_equally_spaced(measure):
    # In one dimension the ball is the interval.
    tau = np.sort(draws(measure, "quasi", 1, samples=7, keys=20)[..., 0], axis=1)
    gaps = np.diff(tau, axis=1, append=tau[:, :1] + 2 * np.pi)
    np.testing.assert_allclose(gaps, 2 * np.pi / 7, rtol=1e-5)
    # The shift differs from key to key.
    assert np.ptp(tau[:, 0]) > 0.5


def test_quasi_samples_integrate_better_than_plain_ones():
    def error(sampling):
        tau = draws("uniform", sampling, 2, samples=64, keys=200)
        return np.sqrt(np.mean(np.cos(tau).prod(axis=-1).mean(axis=1) ** 2))

    # Plain samples: standard deviation .5 / sqrt(64). Tolerance: five relative errors 1 / sqrt(2 * 200).
    assert abs(error("plain") / (0.5 / 8) - 1) < 0.25
    assert error("quasi") < 0.25 * error("plain")


def test_keys_decide():
    draw = jax.jit(lambda key: orbit.sample_tau(key, 5, 3, measure="ball", sampling="quasi"))
    np.testing.assert_array_equal(draw(jax.random.key(1)), draw(jax.random.key(1)))
    assert not np.any(draw(jax.random.key(1)) == draw(jax.random.key(2)))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_precision_is_the_one_asked_for(dtype, x64):
    # The ball uses all transformations.
    draw = jax.jit(lambda key: orbit.sample_tau(key, 3, 2, measure="ball", sampling="quasi", dtype=dtype))
    assert draw(jax.random.key(0)).dtype == dtype


def test_unknown_names_are_refused():
    key = jax.random.key(0)
    with pytest.raises(
        ValueError, match=r"unknown orbit measure 'cauchy'; expected one of uniform, ball, normal"
    ):
        orbit.sample_tau(key, 2, 1, measure="cauchy", sampling="plain")
    with pytest.raises(ValueError, match=r"unknown sampling 'sobol'; expected plain, antithetic or quasi"):
        orbit.sample_tau(key, 2, 1, measure="ball", sampling="sobol")


def bumpy(x):
    """Evaluate a smooth function without symmetry."""
    return jnp.tanh(x[..., 0] + 0.3) + 0.5 * jnp.sin(2.0 * x[..., 1]) + x[..., 0] ** 2


@jax.jit
def turned_average(tau, states):
    """Return the orbit average of `bumpy` at states rotated by several angles: (angles, B)."""
    rotation = flows.affine_generator(jnp.eye(2)[None], jnp.zeros((1, 2)))
    maps = flows.affine_flow(rotation, tau)
    cos, sin = (turn(jnp.linspace(0.0, 3.0, 9))[:, None] for turn in (jnp.cos, jnp.sin))
    q, p = states[:, 0], states[:, 1]
    turned = jnp.stack([q * cos + p * sin, p * cos - q * sin], axis=-1)
    return orbit.orbit_average(bumpy, lambda x: flows.apply_affine(maps, x))(turned)


def test_orbit_average_over_a_circle_is_invariant():
    states = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2)), jnp.float32)
    tau = orbit.sample_tau(jax.random.key(0), 64, 1, measure="uniform", sampling="quasi")
    # Equally spaced points integrate all harmonics below the 64th exactly. The higher harmonics of `bumpy`
    # are far below single precision.
    values = turned_average(tau, states)
    assert np.ptp(values, axis=0).max() < 1e-5
    assert np.ptp(bumpy(states)) > 0.5
    # Independent points leave an error of order 1/8.
    plain = orbit.sample_tau(jax.random.key(0), 64, 1, measure="uniform", sampling="plain")
    assert np.ptp(turned_average(plain, states), axis=0).max() > 1e-2


def test_orbit_average_is_the_mean_over_the_first_axis():
    average = orbit.orbit_average(lambda x: x[..., 0], lambda x: jnp.stack([x, 3 * x, 8 * x]))
    np.testing.assert_allclose(average(jnp.asarray([[1.0, 5.0], [2.0, 6.0]])), [4.0, 8.0])
