"""Integrators: order, stability polynomials, structure, and batches of unequal durations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from noethers_razor.mechanics import integrators
from noethers_razor.mechanics import phase_space as mechanics

pytestmark = pytest.mark.usefixtures("strict")

METHODS = tuple(integrators.ORDERS)


def pendulum_energy(x):
    return 0.5 * x[1] ** 2 - jnp.cos(x[0])


def pendulum_field(x):
    return jnp.stack([x[..., 1], -jnp.sin(x[..., 0])], axis=-1)


def march(method, x, dt, steps):
    return jax.jit(lambda y: integrators.advance(method, pendulum_field, y, dt * steps, steps))(x)


def test_promised_orders():
    assert integrators.ORDERS == {"euler": 1, "midpoint": 2, "rk4": 4, "implicit_midpoint": 2}


@pytest.mark.parametrize("method", METHODS)
def test_error_falls_with_the_promised_order(method, x64):
    start, duration = np.array([1.2, 0.4]), 2.0
    exact = scipy.integrate.solve_ivp(
        lambda _, y: [y[1], -np.sin(y[0])], (0, duration), start, method="DOP853", rtol=1e-13, atol=1e-13
    ).y[:, -1]
    # Small enough for the leading error term to dominate, large enough for errors of rk4 above rounding.
    steps = np.array([80, 160, 320, 640]) if integrators.ORDERS[method] < 4 else np.array([20, 40, 80, 160])
    errors = [
        np.linalg.norm(march(method, jnp.asarray(start), duration / count, int(count)) - exact)
        for count in steps
    ]
    order = np.polyfit(np.log(duration / steps), np.log(errors), 1)[0]
    assert abs(order - integrators.ORDERS[method]) < 0.1


@pytest.mark.parametrize(
    ("method", "growth"),
    [
        ("euler", lambda z: 1 + z),
        ("midpoint", lambda z: 1 + z + z**2 / 2),
        ("rk4", lambda z: 1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24),
        ("implicit_midpoint", lambda z: (1 + z / 2) / (1 - z / 2)),
    ],
)
def test_one_step_of_linear_decay_is_the_stability_function(method, growth, x64):
    rate, dt = -0.7, 0.1
    after = integrators.step(method)(lambda x: rate * x, jnp.asarray([2.0]), jnp.asarray(dt))
    np.testing.assert_allclose(after, [2.0 * growth(rate * dt)], rtol=1e-14)


def test_implicit_midpoint_keeps_the_energy_bounded(x64):
    start, dt, steps = jnp.asarray([1.0, 0.0]), 0.1, 10_000

    def drift(method):
        path = jax.jit(lambda x: integrators.trajectory(method, pendulum_field, x, jnp.full(steps, dt)))(
            start
        )
        error = np.abs(jax.vmap(pendulum_energy)(path) - pendulum_energy(start))
        return error[: steps // 10].max(), error.max()

    early, ever = drift("implicit_midpoint")
    # Backward error analysis: the error is of size dt^2, oscillates, and has no trend in polynomial time.
    assert early < dt**2
    assert ever < 1.01 * early
    # The same criterion detects the energy drift of a method that is not symplectic.
    early, ever = drift("midpoint")
    assert ever > 5 * early


def test_implicit_midpoint_keeps_quadratic_energies_to_rounding(x64):
    field = mechanics.hamiltonian_field(lambda x: 0.5 * jnp.sum(jnp.asarray([2.0, 0.5]) * x**2))
    path = integrators.trajectory("implicit_midpoint", field, jnp.asarray([1.0, 1.0]), jnp.full(300, 0.1))
    energy = path[:, 0] ** 2 + 0.25 * path[:, 1] ** 2
    np.testing.assert_allclose(energy, 1.25, rtol=1e-13)


@pytest.mark.parametrize(("method", "symplectic"), [("implicit_midpoint", True), ("rk4", False)])
def test_only_implicit_midpoint_is_symplectic(method, symplectic, x64):
    one = integrators.step(method)
    jacobian = jax.jacobian(lambda x: one(pendulum_field, x, jnp.asarray(0.1)))(jnp.asarray([1.2, 0.4]))
    defect = mechanics.symplectic_defect(jacobian)
    # rk4 changes areas by dt^6 times a constant of size .01.
    assert defect < 1e-14 if symplectic else defect > 1e-10


def test_implicit_midpoint_is_undone_by_a_step_back(x64):
    one, x = integrators.step("implicit_midpoint"), jnp.asarray([1.2, 0.4])
    there = one(pendulum_field, x, jnp.asarray(0.1))
    np.testing.assert_allclose(one(pendulum_field, there, jnp.asarray(-0.1)), x, rtol=1e-14)


@pytest.mark.parametrize("substeps", [1, 3])
@pytest.mark.parametrize("method", METHODS)
def test_each_row_has_its_own_duration(method, substeps, x64):
    states = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2)))
    durations = np.array([0.1, 0.02, 0.3, 0.0])
    together = integrators.advance(method, pendulum_field, states, jnp.asarray(durations[:, None]), substeps)
    alone = [
        integrators.advance(method, pendulum_field, x, float(dt), substeps)
        for x, dt in zip(states, durations, strict=True)
    ]
    np.testing.assert_allclose(together, jnp.stack(alone), rtol=1e-14)
    np.testing.assert_array_equal(together[3], states[3])
    assert not np.allclose(together[:3], states[:3], atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_substeps_share_the_duration_equally(method, x64):
    x = jnp.asarray([1.2, 0.4])
    by_hand = x
    for _ in range(4):
        by_hand = integrators.step(method)(pendulum_field, by_hand, jnp.asarray(0.05))
    after = integrators.advance(method, pendulum_field, x, 0.2, 4)
    np.testing.assert_allclose(after, by_hand, rtol=1e-14)


def test_trajectory_holds_the_start_and_each_interval(x64):
    starts = jnp.asarray([[1.2, 0.4], [-0.3, 0.1], [0.0, 1.0]])
    intervals = jnp.asarray([0.1, 0.3, 0.05])
    path = integrators.trajectory("rk4", pendulum_field, starts, intervals, substeps=2)
    assert path.shape == (4, 3, 2)
    np.testing.assert_array_equal(path[0], starts)
    for before, after, dt in zip(path[:-1], path[1:], intervals, strict=True):
        expected = integrators.advance("rk4", pendulum_field, before, dt, 2)
        np.testing.assert_allclose(after, expected, rtol=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_steps_can_be_differentiated_backwards(method, x64):
    def end(x):
        return jnp.sum(integrators.advance(method, pendulum_field, x, 0.2, 3))

    x, direction, small = jnp.asarray([1.2, 0.4]), jnp.asarray([0.6, -0.8]), 1e-5
    difference = (end(x + small * direction) - end(x - small * direction)) / (2 * small)
    np.testing.assert_allclose(jax.grad(end)(x) @ direction, difference, rtol=1e-8)


def test_states_keep_single_precision():
    after = integrators.advance("rk4", pendulum_field, jnp.ones((2, 2)), 0.1, 2)
    assert after.dtype == jnp.float32


def test_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown integrator 'leapfrog'; expected one of euler, midpoint"):
        integrators.step("leapfrog")
