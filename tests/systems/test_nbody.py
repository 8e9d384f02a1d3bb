"""n bodies: energy, named quantities, initial states, and errors of impossible parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import noethers_razor as nr
from noethers_razor.errors import UsageError
from noethers_razor.mechanics.quadratic_form import quadratic_value, stack_forms
from noethers_razor.systems import NBody, build


def values(system, x):
    named = system.conserved()
    return dict(zip(named, np.asarray(quadratic_value(*stack_forms(named), jnp.asarray(x))), strict=True))


def test_energy_of_two_bodies_by_hand(x64):
    system = NBody(n_bodies=2, dim=2, masses=(1.0, 4.0), softening=0.5)
    q1, q2, p1, p2 = np.array([0.0, 1.0]), np.array([3.0, 5.0]), np.array([0.5, -1.0]), np.array([2.0, 0.0])
    expected = (0.25 + 1.0) / 2 + 4.0 / 8 - 4.0 / np.sqrt(25 + 0.25)
    np.testing.assert_allclose(system.hamiltonian(jnp.concatenate([q1, q2, p1, p2])), expected, rtol=1e-14)


def test_named_quantities_by_hand(x64):
    system = NBody(n_bodies=2, dim=2, masses=(1.0, 3.0))
    q = np.array([[0.3, -1.1], [2.0, 0.4]])
    p = np.array([[0.7, 0.2], [-0.5, 1.5]])
    total, centre = p.sum(axis=0), (q[0] + 3 * q[1]) / 4
    expected = {
        "Tx": total[0],
        "Ty": total[1],
        "Px": total[0] ** 2,
        "Py": total[1] ** 2,
        "Qxy": total[0] * total[1],
        "Rabsxy": sum(q[i, 0] * p[i, 1] - q[i, 1] * p[i, 0] for i in range(2)),
        "Rcomxy": centre[0] * total[1] - centre[1] * total[0],
    }
    found = values(system, np.concatenate([q.ravel(), p.ravel()]))
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-13, err_msg=name)


@pytest.mark.slow
def test_seven_quantities_of_three_bodies_are_found():
    system = NBody(n_bodies=3, dim=2)
    data = system.simulate(21, dt=0.3)
    result = nr.fit(data, seed=4, conserved=10, config=nr.FitConfig.of(steps=3000))
    report = nr.find_symmetries(result, system)
    assert report.rank == 7
    assert report.parallelness.min() >= 0.98
    assert report.singular_values[7] <= report.singular_values[6] / 3
    assert report.largest_angle <= 3.0
    assert report.bounds["quadratic"]["negative_elbo"] < report.bounds["none"]["negative_elbo"]


@pytest.mark.parametrize(("dim", "count"), [(1, 2), (2, 7), (3, 15), (4, 26)])
def test_number_of_quantities(dim, count):
    assert len(NBody(n_bodies=3, dim=dim).conserved()) == count == 2 * dim + 3 * dim * (dim - 1) // 2


def test_initial_states_have_the_spread_that_is_stated(x64):
    system, count = NBody(n_bodies=3, dim=2, masses=(1.0, 4.0, 9.0), momentum=0.2), 4000
    q, p = np.split(np.asarray(system.initial_states(jax.random.key(0), count)), 2, axis=1)
    q, p = q.reshape(count, 3, 2), p.reshape(count, 3, 2)
    tolerance = 5 / np.sqrt(2 * count)
    np.testing.assert_allclose(q.std(axis=0), np.sqrt(10.0), rtol=tolerance)
    np.testing.assert_allclose((q[:, 0] - q[:, 1]).std(axis=0), np.sqrt(2.0), rtol=tolerance)
    np.testing.assert_allclose(
        p.std(axis=0), 0.2 * np.sqrt([[1.0], [4.0], [9.0]]) * np.ones(2), rtol=tolerance
    )
    assert abs(np.corrcoef(q[:, 0, 0], p[:, 0, 0])[0, 1]) < 5 / np.sqrt(count)


def test_coordinates_name_axis_and_body():
    assert NBody(n_bodies=2, dim=2).coordinates == ["qx1", "qy1", "qx2", "qy2", "px1", "py1", "px2", "py2"]
    assert len(set(NBody(n_bodies=2, dim=5).coordinates)) == 20


def test_flags_and_parameters_build_it():
    assert build("nbody", {"n": 2, "dim": 3}, masses=[1, 2]) == NBody(2, 3, masses=(1.0, 2.0))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_bodies": 1}, "1 bodies in dimension 2; expected at least 2 and 1"),
        ({"dim": 0}, "3 bodies in dimension 0"),
        ({"masses": (1.0, 2.0)}, r"masses = \(1\.0, 2\.0\); expected 3 positive numbers"),
        ({"masses": (1.0, 2.0, -1.0)}, "expected 3 positive numbers"),
        ({"softening": 0.0}, r"softening = 0\.0; expected a positive number"),
        ({"momentum": float("inf")}, "momentum = inf; expected a positive number"),
    ],
)
def test_impossible_bodies_are_refused(parameters, message):
    with pytest.raises(UsageError, match=message):
        NBody(**parameters)
