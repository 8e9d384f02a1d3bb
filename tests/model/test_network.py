"""Tests of the network as a function of its matrices, and of its average over orbits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from flax import nnx

from noethers_razor.mechanics import flows
from noethers_razor.mechanics import phase_space as mechanics
from noethers_razor.model import network as hamiltonian

pytestmark = pytest.mark.usefixtures("strict")

DIM, WIDTH = 4, 5

REFERENCE = {
    "squareplus": lambda x: (x + np.sqrt(x**2 + 4)) / 2,
    "softplus": lambda x: np.log1p(np.exp(x)),
    "tanh": np.tanh,
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    # JAX uses the tanh approximation of the Gaussian error linear unit by default.
    "gelu": lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
}


@functools.cache
def make(depth=2, activation="squareplus", dtype=jnp.float64):
    return hamiltonian.network_function(DIM, width=WIDTH, depth=depth, activation=activation, dtype=dtype)


def energy_of(network):
    """Return the energy of the initial matrices."""
    matrices = network.init(jax.random.key(0))
    return lambda x: network.apply(matrices, x)


@pytest.fixture
def states(x64):
    return jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, DIM)))


@pytest.fixture
def rotations(x64):
    """Return the orbit of four points under a common rotation of both oscillators."""
    generator = flows.affine_generator(jnp.eye(DIM)[None], jnp.zeros((1, DIM)))
    maps = flows.affine_flow(generator, jnp.asarray([[0.0], [0.5], [1.5], [4.0]]))
    return lambda x: flows.apply_affine(maps, x)


def test_squareplus_is_a_smooth_maximum_of_zero_and_x(x64):
    x = jnp.linspace(-5, 5, 11)
    # The function y = squareplus(x) solves y (y - x) = 1, and x = y(x) - y(-x).
    y = hamiltonian.squareplus(x)
    np.testing.assert_allclose(y * (y - x), 1.0, rtol=1e-12)
    np.testing.assert_allclose(y - hamiltonian.squareplus(-x), x, atol=1e-14)
    assert hamiltonian.squareplus(0.0) == 1.0


@pytest.mark.parametrize("activation", list(hamiltonian.ACTIVATIONS))
@pytest.mark.parametrize("depth", [1, 3])
def test_energy_is_the_perceptron_of_the_matrices(activation, depth, states):
    network = make(depth, activation)
    assert network.shapes == ((WIDTH, DIM + 1), *[(WIDTH, WIDTH + 1)] * (depth - 1), (1, WIDTH))
    rng = np.random.default_rng(1)
    matrices = [rng.normal(size=shape) for shape in network.shapes]
    by_hand = np.asarray(states)
    for matrix in matrices[:-1]:
        by_hand = REFERENCE[activation](by_hand @ matrix[:, :-1].T + matrix[:, -1])
    by_hand = (by_hand @ matrices[-1].T)[..., 0]
    energy = network.apply([jnp.asarray(m) for m in matrices], states)
    assert energy.shape == states.shape[:-1]
    np.testing.assert_allclose(energy, by_hand, rtol=1e-12)


def test_initial_matrices_are_those_of_the_flax_network():
    network = make(dtype=jnp.float32)
    module = hamiltonian.Network(DIM, WIDTH, 2, "squareplus", rngs=nnx.Rngs(params=jax.random.key(0)))
    states = jax.random.normal(jax.random.key(1), (6, DIM))
    np.testing.assert_allclose(energy_of(network)(states), module(states), rtol=1e-5)
    matrices = network.init(jax.random.key(0))
    assert tuple(m.shape for m in matrices) == network.shapes
    assert not np.any(matrices[-1] == network.init(jax.random.key(1))[-1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_matrices_and_energies_have_the_precision_asked_for(dtype, x64):
    network = make(dtype=jnp.dtype(dtype))
    assert {m.dtype.name for m in network.init(jax.random.key(0))} == {dtype}
    assert network.dtype == dtype
    assert energy_of(network)(jnp.zeros((2, DIM), dtype)).dtype == dtype


def test_field_of_a_batch_is_that_of_each_state_alone(states):
    energy = energy_of(make())

    together = jax.jit(hamiltonian.field_of(energy))(states)
    form = mechanics.symplectic_form(DIM)
    gradient = jax.jit(jax.grad(energy))
    alone = [form @ gradient(x) for x in states.reshape(-1, DIM)]
    np.testing.assert_allclose(together.reshape(-1, DIM), alone, rtol=1e-12, atol=1e-14)


def test_hamiltonian_is_the_mean_energy_of_the_orbit(states, rotations):
    energy = energy_of(make())

    by_hand = sum(energy(point) for point in rotations(states)) / 4
    averaged = hamiltonian.orbit_hamiltonian(energy, rotations)(states)
    np.testing.assert_allclose(averaged, by_hand, rtol=1e-13)
    assert np.abs(averaged - energy(states)).max() > 1e-3


def test_average_over_a_whole_circle_commutes_with_its_generator(states):
    energy = energy_of(make())
    generator = flows.affine_generator(jnp.eye(DIM)[None], jnp.zeros((1, DIM)))
    maps = flows.affine_flow(generator, 2 * jnp.pi * jnp.arange(48.0)[:, None] / 48)
    flat = states.reshape(-1, DIM)

    def defect(energy):
        gradient = jax.jit(jax.vmap(jax.grad(energy)))(flat)
        return mechanics.bracket_defect(flat, gradient).max()  # grad of |x|^2 / 2 is x

    averaged = hamiltonian.orbit_hamiltonian(energy, lambda x: flows.apply_affine(maps, x))
    # The singularities of squareplus are 2 away from the real axis. So 48 points leave harmonics below 1e-6.
    assert defect(averaged) < 1e-6
    assert defect(energy) > 1e-2


def test_gelu_reference_is_close_to_the_exact_gelu():
    x = np.linspace(-3, 3, 13)
    np.testing.assert_allclose(REFERENCE["gelu"](x), x * scipy.special.ndtr(x), atol=1e-3)
