"""Two coupled pendulums: a system that is not in the package, from a NumPy file, without truth."""

import numpy as np
import pytest
import scipy.integrate

import noethers_razor as nr
from noethers_razor.data.readers import load_trajectories
from noethers_razor.mechanics.quadratic_form import embed, product_form, second_moment
from noethers_razor.numerics.subspaces import angles_of

COUPLING = 0.4
"""Strength of the spring."""
ANGLE = 0.15
"""Standard deviation of initial angles and momenta: small, so that the modes hardly exchange energy."""
NOISE = 0.002
"""Standard deviation of the noise of states."""


def swing(t, x):
    """Return the velocities of two pendulums of unit mass and length with a spring: two modes."""
    q1, q2, p1, p2 = x.reshape(4, -1)
    pull = COUPLING * (q1 - q2)
    return np.concatenate([p1, p2, -np.sin(q1) - pull, -np.sin(q2) + pull])


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    rng, times, count = np.random.default_rng(3), np.linspace(0.0, 10.0, 51), 60
    start = ANGLE * rng.normal(size=4 * count)
    path = scipy.integrate.solve_ivp(swing, (0.0, 10.0), start, t_eval=times, rtol=1e-9, atol=1e-12).y
    states = path.reshape(4, count, len(times)).transpose(1, 2, 0)
    states = states + NOISE * rng.normal(size=states.shape)
    target = tmp_path_factory.mktemp("pendulums") / "pendulums.npz"
    np.savez(target, q=states[..., :2], p=states[..., 2:], t=times)
    return target


def modes(frame, moment):
    """Return embedded energies of the two modes: equal angles with frequency 1, and opposite angles."""
    both, other = np.array([1.0, 1.0, 0, 0]), np.array([1.0, -1.0, 0, 0])
    forms = [
        product_form(np.roll(mode, 2), np.roll(mode, 2)) + square * product_form(mode, mode)
        for mode, square in ((both, 1.0), (other, 1.0 + 2 * COUPLING))
    ]
    return embed(*frame.quadratic_into(np.stack(forms), np.zeros((2, 4))), moment)


def test_the_energies_of_the_modes_are_approximate_not_exact(file):
    """Pendulums are not oscillators: modes exchange energy. Version 0.1 called both energies conserved."""
    data = load_trajectories(file)
    found = nr.answer(data)
    assert found.count == 0 and not found.answer.cannot_tell
    two = found.answer.approximate[:2]
    moment = second_moment(found.frame.into(data.observed()))
    rows = embed(np.stack([one.form for one in two]), np.stack([one.linear for one in two]), moment)
    assert angles_of(modes(found.frame, moment), rows).max() < 3.0
    assert all(one.interval[1] < 0.01 for one in two)
    assert str(found).count("approximate      ") == len(found.answer.approximate) >= 2
