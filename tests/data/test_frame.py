"""The frame: it is canonical, independent of units, and exactly invertible."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from noethers_razor.data.frame import Frame, fit_frame, suggested_substeps
from noethers_razor.data.trajectories import Trajectories
from noethers_razor.mechanics.phase_space import hamiltonian_field, symplectic_form

N = 3
DIM = 2 * N
FLOOR = 1e-4
"""Share of its variance that is added to each coordinate. Only this is not invariant."""
RESTING = 1e-6
"""Share of the mean variance that is added to each coordinate."""


def oscillations(frequencies=(1.0, 1.4, 0.6), count=40, steps=10, dt=0.2):
    """Return states (trajectory, time, M) of oscillators, and their times."""
    w, times = np.asarray(frequencies), np.arange(steps + 1) * dt
    n = len(w)
    start = np.random.default_rng(0).normal(size=(count, 1, 2 * n)) + 0.5
    cos, sin = np.cos(np.outer(times, w)), np.sin(np.outer(times, w))
    q, p = start[..., :n], start[..., n:]
    return np.concatenate([q * cos + p * sin, p * cos - q * sin], axis=-1), times


def framed(states, times, **options):
    """Return the frame and the transitions of states (trajectory, time, M)."""
    q, p = np.split(states, 2, axis=-1)
    data = Trajectories(q=q, p=p, t=times)
    transitions = data.transitions()
    return fit_frame(data.observed(), transitions, **options), transitions


def spectrum(frame, states):
    """Return the eigenvalues of the covariance in the frame."""
    return np.linalg.eigvalsh(np.cov(frame.into(states).reshape(-1, frame.dim).T, bias=True))


def random_symplectic(seed, size):
    form = np.random.default_rng(seed).normal(size=(DIM, DIM)) * size
    return scipy.linalg.expm(symplectic_form(DIM) @ (form + form.T) / 2)


def random_frame(seed=0):
    """Return a conformal symplectic change of coordinates that is far from the identity."""
    rng = np.random.default_rng(seed)
    matrix = 1.7 * random_symplectic(seed, 0.4)
    return Frame(rng.normal(size=DIM), matrix, 0.6, np.exp(rng.normal(size=DIM)))


def assert_conformal(frame):
    form = symplectic_form(frame.dim)
    product = frame.matrix @ form @ frame.matrix.T * frame.action
    np.testing.assert_allclose(product, form, atol=1e-10)


def test_training_data_are_centred_with_unit_spread_and_speed():
    states, times = oscillations()
    frame, transitions = framed(states, times)
    z = frame.into(states)
    np.testing.assert_allclose(z.mean(axis=(0, 1)), 0.0, atol=1e-12)
    # The trace includes the floor: the standard deviation is 1 up to this share.
    assert abs(np.mean(z**2) - 1) < 2 * FLOOR
    moved = frame.into(transitions.end) - frame.into(transitions.start)
    speed = np.sqrt(np.mean(moved**2)) / (0.2 / frame.time)
    assert abs(speed - 1) < 1e-12
    assert_conformal(frame)


def test_frame_equalises_squeezed_modes():
    # Each mode is squeezed by a different canonical factor.
    states, times = oscillations()
    squeezed = states * np.array([3.0, 2.0, 0.4, 1 / 3, 1 / 2, 1 / 0.4])
    frame, _ = framed(squeezed, times)
    covariance = np.cov(frame.into(squeezed).reshape(-1, DIM).T, bias=True)
    form = symplectic_form(DIM)
    # The covariance with the floor commutes with J. The transformed floor itself does not.
    floor = FLOOR * np.linalg.norm(frame.matrix * frame.noise_scale, 2) ** 2
    assert np.abs(covariance @ form - form @ covariance).max() < 2 * floor < 0.01
    raw = np.cov(squeezed.reshape(-1, DIM).T, bias=True)
    assert 4 * np.linalg.cond(covariance) < np.linalg.cond(raw)


def test_absurd_units_change_nothing():
    states, times = oscillations()
    frame, transitions = framed(states, times)
    units = np.array([1e9] * N + [1e-3] * N)
    other, moved = framed(states * units, times * 1e-6)
    np.testing.assert_allclose(other.into(states * units), frame.into(states), atol=1e-10)
    np.testing.assert_allclose(spectrum(other, states * units), spectrum(frame, states), rtol=1e-10)
    np.testing.assert_allclose(other.time, frame.time * 1e-6, rtol=1e-10)
    # Action is q p, 1e9 * 1e-3. Energy is action over time.
    np.testing.assert_allclose(other.action, frame.action * 1e6, rtol=1e-10)
    np.testing.assert_allclose(other.energy, frame.energy * 1e12, rtol=1e-10)
    np.testing.assert_allclose(other.residual_matrix, frame.residual_matrix, rtol=1e-8, atol=1e-10)
    assert suggested_substeps(other, moved) == suggested_substeps(frame, transitions)
    assert_conformal(other)


@pytest.mark.parametrize("seed", range(3))
def test_canonical_coordinates_do_not_matter(seed):
    states, times = oscillations()
    covariance = np.cov(states.reshape(-1, DIM).T, bias=True)
    # Williamson: the invariants under canonical maps are the moduli of the eigenvalues of J cov, in pairs.
    modes = np.sort(np.abs(np.linalg.eigvals(symplectic_form(DIM) @ covariance).imag))
    for moved in (states, states @ random_symplectic(seed, 0.5).T):
        frame, _ = framed(moved, times)
        units = np.repeat(np.sqrt(moved.reshape(-1, 2, N).var(axis=0).mean(axis=1)), N)
        smallest = np.linalg.eigvalsh(np.cov((moved / units).reshape(-1, DIM).T, bias=True)).min()
        # With r = floor / smallest eigenvalue, scaled cov <= cov + floor <= (1 + r) cov. Symplectic
        # eigenvalues are monotone, so each eigenvalue in the frame is within (1 + r)^2 of its mode.
        off = np.abs(np.log(spectrum(frame, moved) / (modes / modes.mean())))
        assert off.max() < 2 * np.log1p(FLOOR / smallest) < 0.05
        assert_conformal(frame)


def test_a_coordinate_that_never_moves_is_not_enlarged():
    states, times = oscillations()
    states[..., 0], states[..., N] = 3.0, -0.1
    frame, _ = framed(states, times)
    z = frame.into(states)
    assert np.abs(z).max() < 10
    np.testing.assert_allclose(z[..., [0, N]], 0.0, atol=1e-6)
    assert np.linalg.cond(frame.matrix) < 10
    assert_conformal(frame)


@pytest.mark.parametrize("momentum", [0.0, 0.1, -7e5])
def test_momenta_that_never_change_are_not_enlarged(momentum):
    # A free particle. The mean of many .1 is not exactly .1. This rounding error must not become the unit.
    times = np.arange(5) * 0.2
    start = np.random.default_rng(1).normal(size=(7, 1))
    states = np.stack(np.broadcast_arrays(start + 0.1 * times, np.float64(momentum)), axis=-1)
    frame, transitions = framed(states, times)
    z = frame.into(states)
    assert 0.5 < np.abs(z[..., 0]).max() < 5
    assert np.abs(z[..., 1]).max() < 1e-6
    # The floor of a coordinate at rest is 1/1000 of the standard deviation.
    assert (
        np.linalg.cond(frame.matrix * [1.0, frame.noise_scale[1] / frame.noise_scale[0]]) < 2 / RESTING**0.5
    )
    assert 1e-3 < frame.noise_scale[1] / frame.noise_scale[0] < 1e3
    assert suggested_substeps(frame, transitions) == 1


def test_states_come_back():
    frame = random_frame()
    x = np.random.default_rng(1).normal(size=(4, 5, DIM))
    np.testing.assert_allclose(frame.out_of(frame.into(x)), x, atol=1e-13)
    np.testing.assert_allclose(frame.into(frame.out_of(x)), x, atol=1e-13)
    np.testing.assert_allclose(frame.matrix @ frame.inverse, np.eye(DIM), atol=1e-13)


def random_quadratics(count=3):
    rng = np.random.default_rng(2)
    form = rng.normal(size=(count, DIM, DIM))
    return form + form.transpose(0, 2, 1), rng.normal(size=(count, DIM))


def quadratic_values(form, linear, x):
    return 0.5 * np.einsum("...i,kij,...j->...k", x, form, x) + x @ linear.T


@pytest.mark.parametrize("way", ["into", "out of"])
def test_quadratics_keep_their_values_up_to_a_constant(way):
    frame, (form, linear) = random_frame(), random_quadratics()
    x = np.random.default_rng(3).normal(size=(20, DIM))
    if way == "into":
        before = quadratic_values(form, linear, x)
        after = quadratic_values(*frame.quadratic_into(form, linear), frame.into(x))
    else:
        before = quadratic_values(form, linear, frame.into(x))
        after = quadratic_values(*frame.quadratic_out_of(form, linear), x)
    difference = after - before
    np.testing.assert_allclose(difference, np.broadcast_to(difference[0], difference.shape), atol=1e-11)
    assert np.ptp(before, axis=0).min() > 1


def test_quadratics_come_back():
    frame, quadratics = random_frame(), random_quadratics()
    for there, back in (
        (frame.quadratic_into, frame.quadratic_out_of),
        (frame.quadratic_out_of, frame.quadratic_into),
    ):
        for value, original in zip(back(*there(*quadratics)), quadratics, strict=True):
            np.testing.assert_allclose(value, original, atol=1e-11)


def test_one_quadratic_needs_no_axis_of_its_own():
    frame, (form, linear) = random_frame(), random_quadratics()
    many, one = frame.quadratic_into(form, linear), frame.quadratic_into(form[1], linear[1])
    np.testing.assert_allclose(one[0], many[0][1], rtol=1e-12)
    np.testing.assert_allclose(one[1], many[1][1], rtol=1e-12)


def test_energy_in_the_frame_generates_the_true_motion(x64):
    frame, x = random_frame(), jnp.asarray(np.random.default_rng(4).normal(size=(5, DIM)))

    def energy(state):
        return jnp.sum(jnp.cos(state[:N])) + 0.5 * state[N:] @ state[N:] + state[0] * state[N + 1]

    back, centre = jnp.asarray(frame.inverse), jnp.asarray(frame.centre)
    # The same energy as a function of frame coordinates, in frame units.
    inner = hamiltonian_field(lambda z: energy(back @ z + centre) / frame.energy)
    velocity = inner(jnp.asarray(frame.into(np.asarray(x)))) @ back.T / frame.time
    np.testing.assert_allclose(velocity, hamiltonian_field(energy)(x), rtol=1e-10, atol=1e-10)


def test_densities_in_noise_units_become_those_of_data():
    frame, rng = random_frame(), np.random.default_rng(5)
    mean, x, deviation = rng.normal(size=DIM), rng.normal(size=DIM), 0.3
    residual = frame.residual_matrix @ (frame.into(x) - frame.into(mean))
    in_noise_units = scipy.stats.norm.logpdf(residual, scale=deviation).sum() + frame.log_density
    in_data_units = scipy.stats.norm.logpdf(x, mean, deviation * frame.noise_scale).sum()
    np.testing.assert_allclose(in_noise_units, in_data_units, rtol=1e-12)


def test_noise_scale_is_the_spread_of_each_coordinate_unless_given():
    states, times = oscillations()
    states = states * np.array([5.0] * N + [0.2] * N)
    frame, _ = framed(states, times)
    np.testing.assert_allclose(frame.noise_scale, states.reshape(-1, DIM).std(axis=0))
    own = np.arange(1.0, DIM + 1)
    other, _ = framed(states, times, noise_scale=own)
    np.testing.assert_array_equal(other.noise_scale, own)
    np.testing.assert_array_equal(other.matrix, frame.matrix)


@pytest.mark.parametrize(("angle", "substeps"), [(0.2, 1), (0.7, 2), (1.2, 3), (3.0, 5)])
def test_substeps_follow_the_angle_of_a_transition(angle, substeps):
    # A rotation by an angle moves a state by 2 sin(angle / 2) of its size, and a step may move it by .45.
    states, times = oscillations((1.0, 1.0, 1.0), dt=angle, count=200)
    states -= states.mean(axis=(0, 1))
    assert suggested_substeps(*framed(states, times)) == substeps


def test_substeps_stay_between_one_and_sixteen():
    identity = Frame(np.zeros(2), np.eye(2), 1.0, np.ones(2))
    _, transitions = framed(np.random.default_rng(6).normal(size=(3, 4, 2)), np.arange(4.0))
    still = transitions._replace(end=transitions.start)
    assert suggested_substeps(identity, still) == 1
    assert suggested_substeps(identity, transitions._replace(end=transitions.start + 1e6)) == 16


def test_data_at_rest_still_have_a_frame():
    # Each trajectory rests at another place. There is no speed that could set the unit of time.
    states = np.repeat(np.random.default_rng(7).normal(size=(6, 1, 2)), 4, axis=1)
    frame, _ = framed(states, np.arange(4) * 0.5)
    assert frame.time == 0.5
    assert np.isfinite(frame.matrix).all()


def test_modes_in_different_units_get_the_same_frame():
    # A length in millimetres with an angle in radians: each mode is squeezed separately.
    states, times = oscillations()
    units = np.ones(DIM)
    units[0], units[N] = 100.0, 0.01
    plain, _ = framed(states, times)
    mixed, _ = framed(states * units, times)
    np.testing.assert_allclose(mixed.into(states * units), plain.into(states), atol=1e-9)
    np.testing.assert_allclose(mixed.noise_scale, plain.noise_scale * units)
