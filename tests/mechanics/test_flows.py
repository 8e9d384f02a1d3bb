"""Flows of observables: closed forms, symplecticity, conservation and the group law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from noethers_razor.mechanics import flows
from noethers_razor.mechanics import phase_space as mechanics

pytestmark = pytest.mark.usefixtures("strict")

DIM = 4


def random_quadratics(seed, count, dtype):
    """Return matrices of spectral norm 1 and unit linear parts: time-one flows move states by about one."""
    rng = np.random.default_rng(seed)
    form = rng.normal(size=(count, DIM, DIM))
    form = form + form.transpose(0, 2, 1)
    form /= np.linalg.norm(form, ord=2, axis=(1, 2), keepdims=True)
    linear = rng.normal(size=(count, DIM))
    linear /= np.linalg.norm(linear, axis=1, keepdims=True)
    return jnp.asarray(form, dtype), jnp.asarray(linear, dtype)


@jax.jit
def flow_maps(form, linear, tau):
    return flows.affine_flow(flows.affine_generator(form, linear), tau)


def move(form, linear, tau, x):
    """Return the states (S, ..., M) after the flows with times tau (S, K)."""
    maps = flow_maps(jnp.asarray(form), jnp.asarray(linear), jnp.asarray(tau))
    return flows.apply_affine(maps, jnp.asarray(x))


def one_quadratic(entries, linear):
    form = np.zeros((1, 2, 2))
    for (i, j), value in entries.items():
        form[0, i, j] = form[0, j, i] = value
    return form, np.asarray([linear])


CLOSED_FORMS = {
    "rotation": (
        ({(0, 0): 1.0, (1, 1): 1.0}, [0.0, 0.0]),
        lambda q, p, t: (q * np.cos(t) + p * np.sin(t), p * np.cos(t) - q * np.sin(t)),
    ),
    "translation of q": (({}, [0.0, 1.0]), lambda q, p, t: (q + t, p)),
    "translation of p": (({}, [1.0, 0.0]), lambda q, p, t: (q, p - t)),
    "shear": (({(1, 1): 1.0}, [0.0, 0.0]), lambda q, p, t: (q + t * p, p)),
    # The linear and the constant part do not commute: separate exponentials would be wrong.
    "free fall": (({(1, 1): 1.0}, [2.0, 0.0]), lambda q, p, t: (q + t * p - t**2, p - 2 * t)),
    "squeeze": (({(0, 1): 1.0}, [0.0, 0.0]), lambda q, p, t: (q * np.exp(t), p * np.exp(-t))),
}


@pytest.mark.parametrize("case", CLOSED_FORMS)
def test_affine_flow_is_the_closed_form(case, x64):
    parts, expected = CLOSED_FORMS[case]
    form, linear = one_quadratic(*parts)
    times = np.array([-1.3, 0.0, 0.7, np.pi])
    q, p = np.array([0.5, -1.0, 2.0]), np.array([1.5, 0.25, -0.5])
    moved = move(form, linear, times[:, None], np.stack([q, p], axis=-1))
    for half, exact in enumerate(expected(q, p, times[:, None])):
        exact = np.broadcast_to(exact, (4, 3))
        np.testing.assert_allclose(moved[..., half], exact, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_affine_flows_are_symplectic(dtype):
    # 1e-6 is eight rounding units of float32. The margin of 1e-12 for float64 is wider.
    with jax.enable_x64(dtype == "float64"):
        form, linear = random_quadratics(0, 3, dtype)
        tau = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, size=(8, 3)) / 2, dtype)
        maps = flow_maps(form, linear, tau)
        assert maps.dtype == dtype
        linear_part = maps[:, :DIM, :DIM]
        assert jnp.abs(linear_part - jnp.eye(DIM, dtype=dtype)).max() > 0.3
        assert mechanics.symplectic_defect(linear_part).max() < (1e-6 if dtype == "float32" else 1e-12)


def test_flow_conserves_what_generates_it(x64):
    form, linear = random_quadratics(2, 1, "float64")

    def value(x):
        return 0.5 * jnp.einsum("...i,ij,...j->...", x, form[0], x) + x @ linear[0]

    x = jnp.asarray(np.random.default_rng(3).normal(size=(5, DIM)))
    moved = move(form, linear, np.linspace(-2, 2, 8)[:, None], x)
    assert jnp.abs(moved - x).max() > 1.0
    np.testing.assert_allclose(value(moved), jnp.broadcast_to(value(x), (8, 5)), rtol=1e-12, atol=1e-12)


def test_flow_times_add(x64):
    form, linear = random_quadratics(4, 1, "float64")
    x = jnp.asarray(np.random.default_rng(5).normal(size=(5, DIM)))
    first = move(form, linear, [[0.7]], x)[0]
    np.testing.assert_allclose(
        move(form, linear, [[-1.1]], first)[0], move(form, linear, [[-0.4]], x)[0], rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(move(form, linear, [[-0.7]], first)[0], x, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(move(form, linear, [[0.0]], x)[0], x)


def test_times_combine_observables_before_the_exponential(x64):
    form, linear = random_quadratics(6, 2, "float64")
    tau = np.array([0.3, -0.8])
    combined = move(
        np.tensordot(tau, form, 1)[None], np.tensordot(tau, linear, 1)[None], [[1.0]], np.eye(DIM)
    )
    np.testing.assert_allclose(move(form, linear, tau[None], np.eye(DIM)), combined, rtol=1e-13, atol=1e-13)


def test_generator_of_a_bracket_is_the_commutator_of_generators(x64):
    form, linear = random_quadratics(7, 2, "float64")

    def value(k):
        return lambda x: 0.5 * x @ form[k] @ x + linear[k] @ x

    bracket = mechanics.poisson_bracket(value(0), value(1))
    origin = jnp.zeros(DIM)
    # The bracket is quadratic too: its matrix and linear part are derivatives at the origin.
    parts = jax.jit(lambda x: (jax.hessian(bracket)(x), jax.grad(bracket)(x)))(origin)
    of_bracket = flows.affine_generator(*parts)
    a, b = flows.affine_generator(form, linear)
    np.testing.assert_allclose(of_bracket, a @ b - b @ a, atol=1e-13)


def test_maps_act_on_states_in_any_arrangement(x64):
    form, linear = random_quadratics(8, 2, "float64")
    maps = flow_maps(form, linear, jnp.asarray([[0.1, 0.2], [0.5, -0.3]]))
    states = np.random.default_rng(9).normal(size=(3, 5, DIM))
    moved = flows.apply_affine(maps, jnp.asarray(states))
    assert moved.shape == (2, 3, 5, DIM)
    by_hand = np.stack([states @ np.asarray(m)[:DIM, :DIM].T + np.asarray(m)[:DIM, DIM] for m in maps])
    np.testing.assert_allclose(moved, by_hand, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(flows.apply_affine(maps, jnp.asarray(states[0, 0])), by_hand[:, 0, 0])


def test_integrated_flow_agrees_with_the_exact_one(x64):
    form, linear = random_quadratics(10, 1, "float64")
    x = jnp.asarray(np.random.default_rng(11).normal(size=(5, DIM)))
    exact = move(form, linear, [[0.8]], x)[0]
    integrated = flows.hamiltonian_flow(
        lambda y: 0.5 * y @ form[0] @ y + linear[0] @ y, x, 0.8, 50, method="rk4"
    )
    # Error of fourth order with 50 steps of 0.016: 0.016^4 * 0.8 < 1e-7, times derivatives of size one / 120.
    np.testing.assert_allclose(integrated, exact, atol=1e-8)


def test_integrated_flow_of_any_observable_is_symplectic_and_conserves_it(x64):
    def observable(x):
        return 0.5 * x[2] ** 2 + 0.3 * x[3] ** 2 - jnp.cos(x[0]) * jnp.cos(x[1]) + 0.2 * x[0] * x[3]

    def flow(x):
        return flows.hamiltonian_flow(observable, x, 1.5, 30)

    x = jnp.asarray([0.8, -0.4, 0.5, 0.3])
    assert mechanics.symplectic_defect(jax.jit(jax.jacobian(flow))(x)) < 1e-12
    # The implicit midpoint rule conserves it up to dt^2 / 24 times third derivatives of size one.
    assert jnp.abs(flow(x) - x).max() > 0.3
    np.testing.assert_allclose(observable(flow(x)), observable(x), atol=0.05**2)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-13)])
@pytest.mark.parametrize("size", [0.0, 0.1, 3.0, 30.0])
def test_exponential_and_its_derivative(size, dtype, tolerance, x64):
    rng = np.random.default_rng(0)
    # Rotations are bounded and shears grow as a polynomial, like the flows of conserved quantities.
    turning = rng.normal(size=(5, 7, 7))
    matrices = np.concatenate([turning - turning.transpose(0, 2, 1), np.triu(turning, 1)])
    matrices *= size / np.abs(matrices).sum(axis=1).max(axis=1)[:, None, None]
    directions = rng.normal(size=matrices.shape)
    pair = [jnp.asarray(part, dtype) for part in (matrices, directions)]
    values, changes = jax.jit(lambda a, b: jax.jvp(flows.exponential, (a,), (b,)))(*pair)
    assert values.dtype == dtype
    for matrix, direction, value, change in zip(matrices, directions, values, changes, strict=True):
        known, derivative = scipy.linalg.expm_frechet(matrix, direction)
        np.testing.assert_allclose(value, known, atol=tolerance * np.abs(known).max())
        np.testing.assert_allclose(change, derivative, atol=tolerance * np.abs(derivative).max())


def test_an_exponential_out_of_reach_is_no_number():
    assert jnp.isnan(flows.exponential(jnp.full((1, 3, 3), 200.0))).all()
    assert jnp.isfinite(flows.exponential(jnp.asarray([[[0.0, 250.0], [-250.0, 0.0]]]))).all()
