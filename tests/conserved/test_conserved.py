"""Tests of families of conserved quantities: common properties, and proposals compared with the truth."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from experiments.threshold import candidates
from noethers_razor.conserved import FAMILIES, family_class
from noethers_razor.conserved.base import Family
from noethers_razor.conserved.features import REACH
from noethers_razor.conserved.none import NoSymmetry
from noethers_razor.conserved.proposal import constancy
from noethers_razor.conserved.quadratic import KnownQuadratic, Quadratic
from noethers_razor.data.frame import Frame
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.evidence.answer import Answer
from noethers_razor.mechanics import phase_space as mechanics
from noethers_razor.mechanics import quadratic_form
from noethers_razor.mechanics.quadratic_form import largest_count, stack_forms
from noethers_razor.systems import Oscillators

pytestmark = pytest.mark.usefixtures("strict")

N = 3
DIM = 2 * N
ANISOTROPIC = (1.0, 2**0.5, np.pi / 2)


def identity_frame(dim):
    return Frame(np.zeros(dim), np.eye(dim), 1.0, np.ones(dim))


def make(name):
    family = family_class(name)
    if hasattr(family, "of"):
        return family.of(Oscillators(n=N).conserved())
    return family().fitted_to(identity_frame(DIM))


def parameters(family):
    """Return parameters that move states, which a random start hardly does."""
    params = family.init(jax.random.key(0), DIM)
    rng, size = np.random.default_rng(1), 0.1 if family.trainable else 0.0
    return {name: value + jnp.asarray(size * rng.normal(size=value.shape)) for name, value in params.items()}


@functools.cache
def orbit_of(name):
    """Return the function (parameters, tau, states) -> orbit points, compiled once for each family."""
    return jax.jit(lambda params, tau, x: make(name).orbit(params, tau)(x))


def states_of(seed, count=200):
    return np.random.default_rng(seed).normal(size=(count, DIM))


def tracks_of(frequencies, noise=0.0, count=60, steps=12):
    """Return trajectories of oscillators with noise on every state."""
    system = Oscillators(n=N, frequencies=tuple(frequencies))
    data = system.simulate(0, n_trajectories=count, n_steps=steps - 1, dt=0.4, noise=noise)
    return FrameTrajectories.of(identity_frame(DIM), data)._replace(noise=max(noise, 1e-3) ** 2 * np.eye(DIM))


def flat(form, linear):
    return np.concatenate([np.asarray(form).reshape(len(form), -1), np.asarray(linear)], axis=1)


def largest_angle(params, named):
    """Return the largest principal angle, radians, between the spans of parameters and named quantities."""
    truth = flat([c.form for c in named.values()], [c.linear for c in named.values()])
    return scipy.linalg.subspace_angles(flat(params["form"], params["linear"]).T, truth.T).max()


@pytest.mark.parametrize("name", list(FAMILIES))
def test_family_keeps_its_promises(name, x64):
    family = make(name)
    assert isinstance(family, Family)
    assert family.name == name
    params = family.init(jax.random.key(0), DIM)
    forms = int(np.sum(~family.integrated))
    sizes = {"weights": family.count - forms, "form": forms, "linear": forms}
    assert all(v.shape[0] == sizes[name] for name, v in params.items() if not name.startswith("shared/"))
    x = jnp.asarray(states_of(1, 6).reshape(2, 3, DIM))
    assert family.value(params, x).shape == (2, 3, family.count)
    settings = json.loads(json.dumps(family.settings()))
    restored = family_class(name).restored(settings, params)
    assert restored.count == family.count
    np.testing.assert_array_equal(restored.value(params, x), family.value(params, x))


@pytest.mark.parametrize("name", [name for name in FAMILIES if make(name).count])
def test_flows_start_at_the_state_and_conserve_their_generator(name, x64):
    family = make(name)
    params = parameters(family)
    x = jnp.asarray(states_of(2, 5))
    for k in (0, family.count - 1):
        # Flows are exact, or integrated over short times.
        integrated = family.integrated[k]
        times = jnp.asarray([0.0, 0.3, -0.6]) * (0.1 / REACH if integrated else 1.0)
        tau = jnp.zeros((3, family.count)).at[:, k].set(times)
        points = orbit_of(name)(params, tau, x)
        assert points.shape == (3, 5, DIM)
        np.testing.assert_allclose(points[0], x, atol=1e-12)
        assert jnp.abs(points[1:] - x).max() > 0.01
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
    direction = jnp.where(family.integrated, REACH * direction, direction)
    field = mechanics.hamiltonian_field(lambda y: family.value(params, y) @ direction)(x)
    np.testing.assert_allclose(velocity, field, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", [name for name in FAMILIES if make(name).count])
def test_principal_directions_span_the_same_and_are_orthogonal(name, x64):
    family = make(name)
    params, states = parameters(family), states_of(5)
    values, rotated = family.principal(params, states)
    assert values.shape == (family.count,)
    forms = int(np.sum(~family.integrated))
    assert np.all(np.diff(values[:forms]) <= 0) and np.all(np.diff(values[forms:]) <= 0)
    # The quantities are the same up to a linear combination.
    x = jnp.asarray(states)
    before, after = (np.asarray(family.value(p, x)) for p in (params, rotated))
    rotation, *_ = np.linalg.lstsq(before, after, rcond=None)
    np.testing.assert_allclose(before @ rotation, after, atol=1e-8)
    # The matrix of mean grad C_i . grad C_j over mean |x|^2 is diagonal, with the squared values.
    gradients = jax.jit(jax.vmap(jax.jacobian(lambda y: family.value(rotated, y))))(x)
    gram = np.einsum("bki,bli->kl", gradients, gradients) / np.sum(states**2)
    for part in (slice(0, forms), slice(forms, family.count)):
        expected = np.diag(values[part] ** 2)
        np.testing.assert_allclose(gram[part, part], expected, atol=1e-10 * max(values) ** 2)


def test_without_symmetry_there_is_nothing():
    family = NoSymmetry()
    assert (family.count, family.trainable) == (0, False)
    x = jnp.ones((4, DIM))
    np.testing.assert_array_equal(family.orbit({}, jnp.zeros((3, 0)))(x), x[None])
    proposal = family.propose(tracks_of(np.ones(N)), jax.random.key(0))
    assert proposal.params == {}
    assert len(proposal.length) == 0
    assert family.principal({}, states_of(0))[0].shape == (0,)


def test_quadratic_counts_below_one_are_refused():
    with pytest.raises(
        ValueError, match=r"0 conserved quantities of family quadratic; expected at least 1 .*'none'"
    ):
        Quadratic(0)


def test_unknown_start_is_refused():
    with pytest.raises(ValueError, match=r"unknown start 'zero'; expected one of proposal, random"):
        Quadratic(3, start="zero")


def test_quadratic_looks_for_no_more_than_phase_space_holds():
    # There are five: q^2, qp, p^2, q, p.
    assert largest_count(2) == 5
    assert Quadratic(15).fitted_to(identity_frame(2)).count == 5
    # The default is n^2 + 6, at least 15, at most 128, and at most the number of observables.
    automatic = {dim: Quadratic().fitted_to(identity_frame(dim)).count for dim in (2, 4, 6, 12, 30)}
    assert automatic == {2: 5, 4: 14, 6: 15, 12: 42, 30: 128}
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
    # This must not depend on the units of the given quantities. The average over [-pi, pi] is then exact.
    named = Oscillators(n=N).conserved()
    oracle = KnownQuadratic(*(size * part for part in stack_forms(named)))
    trajectories = tracks_of(np.ones(N))
    params = oracle.propose(trajectories, jax.random.key(0)).params
    assert largest_angle(params, named) < 1e-7
    x = jnp.asarray(trajectories.states[::12][:5])
    points = orbit_of("oracle")(params, jnp.pi * jnp.eye(oracle.count), x)
    twice = orbit_of("oracle")(params, 2 * jnp.pi * jnp.eye(oracle.count), x)
    np.testing.assert_allclose(twice, jnp.broadcast_to(x, twice.shape), atol=1e-9)
    assert jnp.abs(points - x).max(axis=(1, 2)).min() > 0.5


@pytest.mark.parametrize("size", [1.0, 40.0, 1e-9])
def test_other_known_quantities_start_with_unit_displacement(size, x64):
    # The orbits of a translation, a shear and a squeeze are not closed.
    form, linear = np.zeros((3, DIM, DIM)), np.zeros((3, DIM))
    linear[0, N] = form[1, N, N] = form[2, 0, N] = form[2, N, 0] = size
    trajectories, oracle = tracks_of(np.ones(N)), KnownQuadratic(form, linear)
    params = oracle.propose(trajectories, jax.random.key(0)).params
    gradients = jax.vmap(jax.jacobian(lambda y: oracle.value(params, y)))(jnp.asarray(trajectories.states))
    displacement = np.sum(gradients**2, axis=(0, 2)) / np.sum(trajectories.states**2)
    np.testing.assert_allclose(displacement, 1.0, rtol=1e-10)


def test_embedding_measures_displacement(x64):
    form, linear = quadratic_form.basis(DIM)
    assert len(form) == largest_count(DIM)
    states = states_of(9) + 0.5
    rows = quadratic_form.embed(form, linear, quadratic_form.second_moment(states))
    gradients = np.einsum("kij,bj->bki", form, states) + linear
    gram = np.einsum("bki,bli->kl", gradients, gradients) / np.sum(states**2)
    np.testing.assert_allclose(rows @ rows.T, gram, atol=1e-12)


def test_values_are_those_of_the_basis(x64):
    states = states_of(10, 4)
    form, linear = quadratic_form.basis(DIM)
    expected = 0.5 * np.einsum("kij,bi,bj->bk", form, states, states) + states @ linear.T
    np.testing.assert_allclose(quadratic_form.basis_values(states), expected, atol=1e-13)


def test_too_few_data_leave_every_combination_varying_on_other_folds(x64):
    # With 33 degrees of freedom and 27 observables, some combination is nearly constant on any data.
    states = np.random.default_rng(3).normal(size=(36, DIM))
    trajectories = FrameTrajectories(states, np.repeat(np.arange(3), 12), 0.1**2 * np.eye(DIM))
    values = quadratic_form.basis_values(states)
    fitted = np.sqrt(np.linalg.eigvalsh(constancy.scatter(values, trajectories.trajectory)[0])[0] / 33)
    assert fitted < 0.1
    assert candidates(trajectories, 10)[2].min() > 0.15


def test_least_varying_combinations_of_a_mixed_span(x64):
    trajectories, rng = tracks_of(np.ones(N), 0.01), np.random.default_rng(6)
    form, linear, _ = candidates(trajectories, largest_count(DIM))
    chosen = np.r_[0 : N**2, N**2 + 3 : N**2 + 6]
    mixing = np.linalg.qr(rng.normal(size=(len(chosen), len(chosen))))[0]
    a, b = np.tensordot(mixing, form[chosen], 1), mixing @ linear[chosen]
    values = (
        0.5 * np.einsum("kij,bi,bj->bk", a, trajectories.states, trajectories.states)
        + trajectories.states @ b.T
    )
    gradients = np.einsum("kij,bj->kbi", a, trajectories.states) + b[:, None]
    turned, defect = constancy.least_varying(values, gradients, trajectories)
    np.testing.assert_allclose(turned @ turned.T, np.eye(len(chosen)), atol=1e-10)
    assert np.all(np.diff(defect) >= 0)
    assert defect[N**2 - 1] < 0.02 < 0.2 < defect[N**2]
    # The first nine rows are combinations of the nine conserved quantities only.
    np.testing.assert_allclose((turned @ mixing)[: N**2, N**2 :], 0.0, atol=0.02)


def answered(form, linear):
    """An answer with these exact quantities."""
    return Answer(form, linear, np.ones(len(form)), np.ones(len(form)))


def test_the_proposal_is_what_the_trajectories_show_and_zeros(x64):
    truth = Oscillators(n=N).conserved()
    form, linear = quadratic_form.stack_forms(truth)
    proposal = Quadratic(12).propose(tracks_of(np.ones(N)), jax.random.key(0), answered(form, linear))
    np.testing.assert_array_equal(proposal.params["form"][: N**2], form)
    np.testing.assert_array_equal(proposal.params["form"][N**2 :], 0.0)
    np.testing.assert_array_equal(proposal.length, np.arange(12) < N**2)


def test_one_proposed_rotation_turns_once_in_two_pi(x64):
    # The average over an orbit that is only nearly closed is wrong, and training changes C too slowly to
    # correct it.
    states = np.asarray(tracks_of(np.ones(N)).states)[:, [0, N]]
    stretched = FrameTrajectories(states * [3.0, 0.4], np.arange(len(states)) // 12, np.eye(2))
    form = np.diag([1 / 9.0, 1 / 0.16])[None]
    proposal = Quadratic(1).propose(stretched, jax.random.key(0), answered(form, np.zeros((1, 2))))
    family, x = Quadratic(1), jnp.asarray(stretched.states[:5])
    around = family.orbit(proposal.params, jnp.array([[2 * np.pi], [np.pi]]))(x)
    np.testing.assert_allclose(around[0], x, atol=2e-3 * np.abs(x).max())
    np.testing.assert_allclose(around[1], -x, atol=2e-3 * np.abs(x).max())


def test_random_start_is_small_and_follows_the_key(x64):
    family = Quadratic(5, start="random")
    trajectories = tracks_of(np.ones(N))
    first, again, other = (family.propose(trajectories, jax.random.key(seed)).params for seed in (0, 0, 1))
    np.testing.assert_array_equal(first["form"], again["form"])
    assert not np.any(first["form"] == other["form"])
    entries = flat(**first)
    # The standard deviation is .02 within five standard errors.
    assert abs(entries.std() / 0.02 - 1) < 5 / np.sqrt(2 * entries.size)
