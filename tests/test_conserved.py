"""Families of conserved quantities: what all promise, and the null space against known answers."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from noethers_razor import mechanics
from noethers_razor.conserved import (
    FAMILIES,
    ConservedFamily,
    FieldSamples,
    KnownQuadratic,
    NoSymmetry,
    Quadratic,
    nullspace,
)
from noethers_razor.conserved.quadratic import largest_count, stack_forms
from noethers_razor.data.frame import Frame
from noethers_razor.systems import Oscillators

pytestmark = pytest.mark.usefixtures("strict")

N = 3
DIM = 2 * N
ANISOTROPIC = (1.0, 2**0.5, np.pi / 2)


def make(name):
    family = FAMILIES[name]
    return family.of(Oscillators(n=N).conserved()) if hasattr(family, "of") else family()


def parameters(family):
    """Parameters that move states: a random start alone hardly would."""
    params = family.init(jax.random.key(0), DIM)
    rng, size = np.random.default_rng(1), 0.1 if family.trainable else 0.0
    return {name: value + jnp.asarray(size * rng.normal(size=value.shape)) for name, value in params.items()}


@functools.cache
def orbit_of(name):
    """(parameters, tau, states) -> orbit points, compiled once for a family."""
    return jax.jit(lambda params, tau, x: make(name).orbit(params, tau)(x))


def states_of(seed, count=200):
    return np.random.default_rng(seed).normal(size=(count, DIM))


def velocities_of(frequencies, states):
    """J grad H of oscillators: q' = w p, p' = -w q."""
    return np.concatenate([states[:, N:] * frequencies, -states[:, :N] * frequencies], axis=1)


def exact_samples(frequencies, draws=2):
    states = states_of(0)
    velocities = velocities_of(np.asarray(frequencies), states)
    return FieldSamples(states, np.stack([velocities] * draws))


def flat(form, linear):
    return np.concatenate([np.asarray(form).reshape(len(form), -1), np.asarray(linear)], axis=1)


def largest_angle(params, named):
    """Largest principal angle, radians, between the span of parameters and that of named quantities."""
    truth = flat([c.form for c in named.values()], [c.linear for c in named.values()])
    return scipy.linalg.subspace_angles(flat(params["form"], params["linear"]).T, truth.T).max()


@pytest.mark.parametrize("name", list(FAMILIES))
def test_family_keeps_its_promises(name, x64):
    family = make(name)
    assert isinstance(family, ConservedFamily)
    assert family.name == name
    params = family.init(jax.random.key(0), DIM)
    assert all(value.shape[0] == family.count for value in params.values())
    x = jnp.asarray(states_of(1, 6).reshape(2, 3, DIM))
    assert family.value(params, x).shape == (2, 3, family.count)
    settings = json.loads(json.dumps(family.settings()))
    restored = FAMILIES[name].restored(settings, params)
    assert restored.count == family.count
    np.testing.assert_array_equal(restored.value(params, x), family.value(params, x))


@pytest.mark.parametrize("name", [name for name in FAMILIES if make(name).count])
def test_flows_start_at_the_state_and_conserve_their_generator(name, x64):
    family = make(name)
    params = parameters(family)
    x = jnp.asarray(states_of(2, 5))
    for k in (0, family.count - 1):
        tau = jnp.zeros((3, family.count)).at[:, k].set(jnp.asarray([0.0, 0.3, -0.6]))
        points = orbit_of(name)(params, tau, x)
        assert points.shape == (3, 5, DIM)
        np.testing.assert_allclose(points[0], x, atol=1e-12)
        assert jnp.abs(points[1:] - x).max() > 0.05
        value = family.value(params, x)[:, k]
        np.testing.assert_allclose(
            family.value(params, points)[..., k], jnp.broadcast_to(value, (3, 5)), rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("name", [name for name in FAMILIES if make(name).count])
def test_velocity_of_a_flow_is_the_field_of_its_generator(name, x64):
    family = make(name)
    params, x = parameters(family), jnp.asarray(states_of(3, 1)[0])
    direction = jnp.asarray(np.random.default_rng(4).normal(size=family.count))
    _, velocity = jax.jit(
        lambda: jax.jvp(lambda t: family.orbit(params, t * direction[None])(x)[0], (0.0,), (1.0,))
    )()
    field = mechanics.hamiltonian_field(lambda y: family.value(params, y) @ direction)(x)
    np.testing.assert_allclose(velocity, field, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", [name for name in FAMILIES if make(name).count])
def test_principal_directions_span_the_same_and_are_orthogonal(name, x64):
    family = make(name)
    params, states = parameters(family), states_of(5)
    values, rotated = family.principal(params, states)
    assert values.shape == (family.count,)
    assert np.all(np.diff(values) <= 0)
    # The same quantities up to a rotation: their Gram matrix of values has the same spectrum.
    x = jnp.asarray(states)
    before, after = (np.asarray(family.value(p, x)) for p in (params, rotated))
    rotation, *_ = np.linalg.lstsq(before, after, rcond=None)
    np.testing.assert_allclose(before @ rotation, after, atol=1e-8)
    # Displacements: mean grad C_i . grad C_j over mean |x|^2 is diagonal, with the squared values.
    gradients = jax.jit(jax.vmap(jax.jacobian(lambda y: family.value(rotated, y))))(x)
    gram = np.einsum("bki,bli->kl", gradients, gradients) / np.sum(states**2)
    np.testing.assert_allclose(gram, np.diag(values**2), atol=1e-10 * values[0] ** 2)


def test_without_symmetry_there_is_nothing():
    family = NoSymmetry()
    assert (family.count, family.trainable) == (0, False)
    x = jnp.ones((4, DIM))
    np.testing.assert_array_equal(family.orbit({}, jnp.zeros((3, 0)))(x), x[None])
    proposal = family.propose(exact_samples(np.ones(N)), jax.random.key(0))
    assert proposal.params == {}
    assert len(proposal.defect) == len(proposal.expected) == len(proposal.length) == 0
    assert family.principal({}, states_of(0))[0].shape == (0,)


def test_quadratic_counts_below_one_are_refused():
    with pytest.raises(ValueError, match=r"0 quadratic conserved quantities; expected at least 1 .*'none'"):
        Quadratic(0)


def test_unknown_start_is_refused():
    with pytest.raises(ValueError, match=r"unknown start 'zero'; expected one of proposal, random"):
        Quadratic(3, start="zero")


def identity_frame(dim):
    return Frame(np.zeros(dim), np.eye(dim), 1.0, np.ones(dim))


def test_quadratic_looks_for_no_more_than_phase_space_holds():
    # q^2, qp, p^2, q, p; a larger family would have to repeat itself.
    assert largest_count(2) == 5
    assert Quadratic(15).fitted_to(identity_frame(2)).count == 5
    assert Quadratic(4, start="random").fitted_to(identity_frame(2)) == Quadratic(4, start="random")


def test_only_the_symmetric_part_of_a_form_counts(x64):
    family = make("quadratic")
    params = parameters(family)
    transposed = params | {"form": jnp.swapaxes(params["form"], -1, -2)}
    assert not np.allclose(params["form"], transposed["form"])
    x, tau = jnp.asarray(states_of(6, 5)), jnp.full((3, family.count), 0.05)
    np.testing.assert_allclose(family.value(params, x), family.value(transposed, x), rtol=1e-12)
    points, again = (orbit_of("quadratic")(p, tau, x) for p in (params, transposed))
    np.testing.assert_allclose(points, again, rtol=1e-12, atol=1e-12)


def test_value_is_half_the_form_plus_the_linear_part(x64):
    params = {"form": jnp.asarray([[[2.0, 3.0], [3.0, 5.0]]]), "linear": jnp.asarray([[7.0, 11.0]])}
    # q^2 + 3 q p + 5 p^2 / 2 + 7 q + 11 p at (2, -1): 4 - 6 + 2.5 + 14 - 11.
    np.testing.assert_allclose(Quadratic(1).value(params, jnp.asarray([2.0, -1.0])), [3.5])


def test_known_quantities_in_the_frame_are_the_same_observables(x64):
    rng = np.random.default_rng(7)
    oracle = KnownQuadratic.of(Oscillators(n=N).conserved())
    frame = Frame(rng.normal(size=DIM), np.eye(DIM) + 0.3 * rng.normal(size=(DIM, DIM)), 2.0, np.ones(DIM))
    moved, x = oracle.fitted_to(frame), states_of(8, 10)

    def values(family, states):
        return np.asarray(family.value(family.init(jax.random.key(0), DIM), jnp.asarray(states)))

    difference = values(moved, frame.into(x)) - values(oracle, x)
    np.testing.assert_allclose(difference, np.broadcast_to(difference[0], difference.shape), atol=1e-10)


def test_known_quantities_of_another_phase_space_are_refused():
    oracle = KnownQuadratic.of(Oscillators(n=2).conserved())
    with pytest.raises(ValueError, match=r"dimension 4, the data on 6; choose the system"):
        oracle.fitted_to(identity_frame(DIM))


@pytest.mark.parametrize("size", [1.0, 40.0, 1e-9])
def test_known_rotations_turn_once_in_two_pi(size, x64):
    # Whatever the units of the given quantities: the average over [-pi, pi] is then exact.
    named = Oscillators(n=N).conserved()
    oracle = KnownQuadratic(*(size * part for part in stack_forms(named)))
    samples = exact_samples(np.ones(N))
    params = oracle.propose(samples, jax.random.key(0)).params
    assert largest_angle(params, named) < 1e-7
    x = jnp.asarray(samples.states[:5])
    points = orbit_of("oracle")(params, jnp.pi * jnp.eye(oracle.count), x)
    twice = orbit_of("oracle")(params, 2 * jnp.pi * jnp.eye(oracle.count), x)
    np.testing.assert_allclose(twice, jnp.broadcast_to(x, twice.shape), atol=1e-9)
    assert jnp.abs(points - x).max(axis=(1, 2)).min() > 0.5


@pytest.mark.parametrize("size", [1.0, 40.0, 1e-9])
def test_other_known_quantities_start_with_unit_displacement(size, x64):
    # A translation, a shear and a squeeze never come back.
    form, linear = np.zeros((3, DIM, DIM)), np.zeros((3, DIM))
    linear[0, N] = form[1, N, N] = form[2, 0, N] = form[2, N, 0] = size
    samples, oracle = exact_samples(np.ones(N)), KnownQuadratic(form, linear)
    params = oracle.propose(samples, jax.random.key(0)).params
    gradients = jax.vmap(jax.jacobian(lambda y: oracle.value(params, y)))(jnp.asarray(samples.states))
    displacement = np.sum(gradients**2, axis=(0, 2)) / np.sum(samples.states**2)
    np.testing.assert_allclose(displacement, 1.0, rtol=1e-10)


def test_embedding_measures_displacement(x64):
    form, linear = nullspace.basis(DIM)
    assert len(form) == largest_count(DIM)
    states = states_of(9) + 0.5
    rows = nullspace.embed(form, linear, nullspace.second_moment(states))
    gradients = np.einsum("kij,bj->bki", form, states) + linear
    gram = np.einsum("bki,bli->kl", gradients, gradients) / np.sum(states**2)
    np.testing.assert_allclose(rows @ rows.T, gram, atol=1e-12)


def test_brackets_are_those_of_the_basis(x64):
    states, rng = states_of(10, 4), np.random.default_rng(11)
    velocities = rng.normal(size=states.shape)
    form, linear = nullspace.basis(DIM)
    expected = np.einsum("kij,bj,bi->bk", form, states, velocities) + velocities @ linear.T
    np.testing.assert_allclose(nullspace.brackets(states, velocities), expected, atol=1e-13)


@pytest.mark.parametrize(
    ("frequencies", "count"), [((1.0, 1.0, 1.0), N**2), (ANISOTROPIC, 3)], ids=["isotropic", "anisotropic"]
)
def test_null_space_of_exact_velocities_is_the_truth(frequencies, count, x64):
    truth = Oscillators(n=N, frequencies=frequencies).conserved()
    assert len(truth) == count
    proposal = nullspace.proposal(exact_samples(frequencies), largest_count(DIM))
    assert np.all(np.diff(proposal.defect) >= 0)
    # The true directions have no defect but rounding; all others are far from conserved.
    assert np.sum(proposal.defect < 1e-10) == count
    assert proposal.defect[count] > 0.01
    found = {name: value[:count] for name, value in proposal.params.items()}
    assert largest_angle(nullspace.proposal(exact_samples(frequencies), count).params, truth) < 1e-7
    np.testing.assert_array_less(1e-3, np.linalg.norm(flat(**found), axis=1))


def test_defect_is_the_relative_bracket(x64):
    samples = exact_samples(np.ones(N))
    family = Quadratic(largest_count(DIM))
    proposal = nullspace.proposal(samples, family.count)
    gradients = np.asarray(
        jax.vmap(jax.jacobian(lambda y: family.value(proposal.params, y)))(jnp.asarray(samples.states))
    )
    # {C, H} = grad C . velocity, over the root mean squares of both.
    bracket = np.sqrt(np.mean(np.einsum("bki,bi->bk", gradients, samples.velocities[0]) ** 2, axis=0))
    speed = np.sqrt(np.mean(np.sum(samples.velocities[0] ** 2, axis=1)))
    length = np.sqrt(np.mean(np.sum(gradients**2, axis=2), axis=0))
    false = slice(N**2, None)  # those of the true ones are rounding
    np.testing.assert_allclose((bracket / (speed * length))[false], proposal.defect[false], rtol=1e-8)


def test_doubtful_directions_start_short(x64):
    states, rng = states_of(12), np.random.default_rng(13)
    # A posterior of deviation .01 in each velocity whose mean is off by as much: as a truth that is
    # one of its draws would have it.
    mean = velocities_of(np.ones(N), states) + 0.01 * rng.normal(size=states.shape)
    samples = FieldSamples(states, mean + 0.01 * rng.normal(size=(32, *states.shape)))
    proposal = nullspace.proposal(samples, largest_count(DIM))
    # The posterior's scatter explains the defects of the true directions, and of no other.
    ratio = proposal.defect / proposal.expected
    assert 0.5 < ratio[: N**2].min() < ratio[: N**2].max() < 2.0
    assert ratio[N**2 :].min() > 10.0
    assert proposal.length[: N**2].min() > 0.5
    assert proposal.length[N**2 :].max() < 0.1
    # Length is displacement: the proposed quantities are orthogonal in it.
    displacement = Quadratic(largest_count(DIM)).principal(proposal.params, states)[0]
    np.testing.assert_allclose(displacement, np.sort(proposal.length)[::-1], rtol=1e-6)


def test_observables_that_move_no_datum_leave_their_places_empty(x64):
    states = states_of(14)
    states[:, [0, N]] = 0.0  # the first oscillator rests
    velocities = velocities_of(np.ones(N), states)
    proposal = nullspace.proposal(FieldSamples(states, velocities[None]), largest_count(DIM))
    # q1^2, q1 p1 and p1^2 have no gradient where q1 = p1 = 0.
    empty = np.isnan(proposal.defect)
    assert empty.sum() == 3
    np.testing.assert_array_equal(proposal.params["form"][empty], 0.0)
    np.testing.assert_array_equal(proposal.length[empty], 0.0)
    assert np.isfinite(proposal.length).all()
    assert all(np.isfinite(value).all() for value in proposal.params.values())


def test_random_start_is_small_and_follows_the_key(x64):
    family = Quadratic(5, start="random")
    samples = exact_samples(np.ones(N))
    first, again, other = (family.propose(samples, jax.random.key(seed)).params for seed in (0, 0, 1))
    np.testing.assert_array_equal(first["form"], again["form"])
    assert not np.any(first["form"] == other["form"])
    entries = flat(**first)
    # Deviation .02, within five standard errors.
    assert abs(entries.std() / 0.02 - 1) < 5 / np.sqrt(2 * entries.size)
    proposed = Quadratic(5).propose(samples, jax.random.key(0)).params
    assert largest_angle(proposed, Oscillators(n=N).conserved()) < 1e-6
