"""Tests of polynomial and neural quantities: features, flows, and proposals from trajectories."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noethers_razor.conserved.base import gradients_of
from noethers_razor.conserved.neural import Neural
from noethers_razor.conserved.polynomial import Polynomial
from noethers_razor.conserved.proposal import independence
from noethers_razor.data.frame import fit_frame
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.errors import UsageError
from noethers_razor.mechanics.flows import combination_path
from noethers_razor.mechanics.phase_space import bracket_defect, symplectic_defect
from noethers_razor.numerics.polynomials import exponents, monomials
from noethers_razor.systems import CentralForce, HenonHeiles, Kepler, Oscillators, Toda

EXPONENTIALS = ("exp(q1-q2)", "exp(q2-q3)", "exp(q3-q1)")
NOISE = 0.01


@functools.cache
def prepared(system):
    """Return noisy data, their frame, trajectories with known noise, and held-out states of the system."""
    data = system.simulate(3, n_trajectories=120, n_steps=40, noise=NOISE)
    frame = fit_frame(data.observed(), data.transitions())
    root = NOISE * frame.matrix
    gradients = gradients_of_integrals(system, frame, data.observed())["H"]
    trajectories = FrameTrajectories.of(frame, data)._replace(noise=root @ root.T, gradients=gradients)
    held = system.simulate(3, n_trajectories=10, n_steps=20, stream="test").observed()
    return data, frame, trajectories, held


@functools.cache
def proposed(system, family):
    """Return a family in the frame of a system's data, and its proposal."""
    data, frame, trajectories, _ = prepared(system)
    fitted = family.fitted_to(frame, data.coordinates)
    return fitted, fitted.propose(trajectories, jax.random.key(1))


def gradients_of_integrals(system, frame, states):
    """Return the gradients (B, M) of the integrals by name, in the frame."""
    with jax.enable_x64(True):
        return {
            name: np.asarray(jax.vmap(jax.grad(integral))(jnp.asarray(states))) @ frame.inverse
            for name, integral in system.integrals().items()
        }


def test_monomials_follow_their_exponents(x64):
    x = np.random.default_rng(0).normal(size=(4, 3))
    powers = exponents(3, 4)
    assert len(powers) == math.comb(7, 4) - 1
    assert len({tuple(row) for row in powers}) == len(powers)
    expected = np.prod(x[:, None, :] ** powers, axis=-1)
    np.testing.assert_allclose(monomials(jnp.asarray(x), 4), expected, rtol=1e-12)


def test_monomials_can_be_traced_in_both_precisions():
    family = Polynomial(degree=3).in_phase_space(4)
    params = family.init(jax.random.key(0), 4)
    narrow = jax.jit(family.value)(params, jnp.ones((2, 4)))
    with jax.enable_x64(True):
        wide = {name: jnp.asarray(np.asarray(value, np.float64)) for name, value in params.items()}
        np.testing.assert_allclose(jax.jit(family.value)(wide, jnp.ones((2, 4))), narrow, rtol=1e-5)


CASES = [
    (Oscillators(n=2), Polynomial(quadratic=False, degree=2), 2, 0.01),
    (CentralForce(), Polynomial(quadratic=False, degree=4), 1, 0.02),
    (Kepler(), Polynomial(quadratic=False, degree=3, terms=("1/sqrt(qx^2+qy^2)",)), 2, 0.01),
    (Toda(), Polynomial(quadratic=False, degree=3, terms=EXPONENTIALS), 2, 0.02),
    (HenonHeiles(), Polynomial(quadratic=False, degree=4), 0, 0.02),
    (Kepler(), Neural(quadratic=False), 2, 0.02),
    (HenonHeiles(), Neural(quadratic=False), 0, 0.02),
]


@pytest.mark.parametrize(
    ("system", "family", "count", "largest"),
    [
        pytest.param(
            *case,
            id=f"{case[0].name}-{case[1].name}",
            marks=[pytest.mark.slow] * (case[1].name == "neural" or case[0].name != "kepler"),
        )
        for case in CASES
    ],
)
def test_proposal_finds_every_integral_besides_the_energy_and_no_other(system, family, count, largest):
    fitted, proposal = proposed(system, family)
    _, frame, _, held = prepared(system)
    assert np.sum(proposal.length) == count
    assert proposal.test.p_value is None or proposal.test.p_value > 0.05
    np.testing.assert_array_equal(proposal.params["weights"][count:], 0.0)
    gradients = gradients_of(fitted, proposal.params, np.asarray(frame.into(held), np.float32))[:count]
    truth = gradients_of_integrals(system, frame, held)
    with jax.enable_x64(True):
        found = np.asarray(bracket_defect(jnp.asarray(gradients), jnp.asarray(truth["H"])[None]))
    assert all(np.median(found, axis=1) < largest)
    # At every state, the gradient of each integral is in the span of the gradients of the found quantities
    # and of H.
    spanned = np.concatenate([np.swapaxes(gradients, 0, 1), truth["H"][:, None]], axis=1)
    for name, slope in truth.items():
        sine = np.linalg.norm(independence.off_span(slope[:, None], spanned)[:, 0], axis=1)
        assert np.median(sine / np.linalg.norm(slope, axis=1)) < 2 * largest, name


@pytest.mark.slow
def test_polynomials_keep_only_the_terms_that_they_need():
    system = Toda()
    fitted, proposal = proposed(system, Polynomial(quadratic=False, degree=3, terms=EXPONENTIALS))
    _, frame, _, _ = prepared(system)
    used = np.asarray(proposal.params["weights"][:2])
    assert used.shape[1] == 219
    assert np.all(np.count_nonzero(used, axis=1) <= 30)
    # A sparse quantity remains a function of the integrals far from the data; a dense one does not.
    far = jax.random.normal(jax.random.key(5), (200, 6)) * 2.0
    gradients = gradients_of(fitted, proposal.params, np.asarray(frame.into(np.asarray(far)), np.float32))[:2]
    truth = np.stack(
        list(gradients_of_integrals(system, frame, np.asarray(far, np.float64)).values()), axis=1
    )
    truth /= np.linalg.norm(truth, axis=-1, keepdims=True)
    for slope in gradients:
        off = np.linalg.norm(independence.off_span(slope[:, None], truth)[:, 0], axis=1)
        assert np.median(off / np.linalg.norm(slope, axis=1)) < 0.02
    # Training does not bring back a term that was removed.
    gradient = jax.grad(lambda p: jnp.sum(fitted.value(p, jnp.ones((3, 6)))))(proposal.params)["weights"]
    np.testing.assert_array_equal((np.asarray(gradient) != 0)[:2], used != 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "forms", "functions"),
    [(Kepler(), 1, 2), (Oscillators(n=2), 4, 0)],
    ids=["kepler", "oscillators"],
)
def test_functions_are_proposed_besides_forms_where_there_are_more_integrals(system, forms, functions):
    fitted, proposal = proposed(system, Neural())
    assert fitted.count == 14 + 2 and fitted.non_quadratic == 2
    assert np.sum(proposal.length[:14] > 0.5) == forms
    assert np.sum(proposal.length[14:] > 0.5) == functions
    assert set(fitted.exact_part().init(jax.random.key(0), 4)) == {"form", "linear"}


@pytest.mark.parametrize("assumed", [1e-2, 1e-6])
def test_exact_polynomials_of_clean_data_are_found(assumed):
    # Their variation is a rounding error of either sign, so they cost nothing.
    system = Oscillators(n=2, frequencies=(1.0, 2**0.5))
    data = system.simulate(3, n_trajectories=40, n_steps=30)
    frame = fit_frame(data.observed(), data.transitions())
    gradients = gradients_of_integrals(system, frame, data.observed())
    trajectories = FrameTrajectories.of(frame, data)._replace(
        noise=assumed**2 * np.eye(4), gradients=gradients["H"]
    )
    fitted = Polynomial(quadratic=False, degree=2).fitted_to(frame, data.coordinates)
    proposal = fitted.propose(trajectories, jax.random.key(1))
    assert np.sum(proposal.length > 0.5) == 1
    found = gradients_of(fitted, proposal.params, np.asarray(trajectories.states, np.float32))[0]
    spanned = np.stack([gradients["H"], gradients["H1"]], axis=1)
    off = np.linalg.norm(independence.off_span(found[:, None], spanned)[:, 0], axis=1)
    assert np.median(off / np.linalg.norm(found, axis=1)) < 1e-3
    # The quantity is H1 or H2, with two terms each.
    assert np.count_nonzero(np.asarray(proposal.params["weights"])[0]) <= 4


def test_functions_of_others_are_not_counted(x64):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 1, 3))
    first, second = np.concatenate([np.ones((50, 1, 1)), 0 * x[..., 1:]], -1), x * [[[0, 1, 1]]]
    both = np.concatenate([first, second], axis=1)
    product = x[..., :1] * second + (x[..., 1:2] + 2) * first
    np.testing.assert_allclose(independence.off_span(product, both), 0, atol=1e-9)
    assert np.linalg.norm(independence.off_span(x, first)[..., 1:] - x[..., 1:]) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(
    "family", [Polynomial(quadratic=False, degree=4), Neural(quadratic=False)], ids=["polynomial", "neural"]
)
def test_paths_keep_volume_and_their_quantity_on_the_data(family, x64):
    system = CentralForce()
    fitted, proposal = proposed(system, family)
    _, frame, _, held = prepared(system)
    params = {name: jnp.asarray(np.asarray(value, np.float64)) for name, value in proposal.params.items()}
    states = jnp.asarray(frame.into(held))
    tau = jnp.linspace(-np.pi, np.pi, 8)[:, None] * jnp.eye(fitted.count)[:1]
    path = fitted.orbit(params, tau)
    jacobians = jax.jit(jax.vmap(jax.jacobian(path)))(states)
    volumes = np.abs(np.linalg.det(np.asarray(jacobians)) - 1)
    # The documented error: 1e-3 in the median, 3e-2 for nine tenths of states and points.
    assert np.median(volumes) < 1e-3
    assert np.quantile(volumes, 0.9) < 0.03
    assert np.median(symplectic_defect(jacobians)) < 1e-3
    moved = jax.vmap(path)(states)
    assert np.median(np.linalg.norm(moved - states[:, None], axis=-1)) > 0.2
    # The flow conserves the energy, which differs between states, and the quantity itself.
    energy = jax.vmap(jax.vmap(system.hamiltonian))(frame.out_of(moved))
    assert np.median(np.abs(energy / jax.vmap(system.hamiltonian)(held)[:, None] - 1)) < 0.05
    change = fitted.value(params, moved)[..., 0] - fitted.value(params, states)[:, None, 0]
    assert np.median(np.abs(change)) < 1e-3


@pytest.mark.parametrize("samples", [1, 2, 5, 8])
def test_a_path_is_the_flow_at_each_of_its_times(samples, x64):
    # The flow of C = |x|^2 / 2 rotates the plane by tau.
    times = jnp.sort(jnp.asarray(np.random.default_rng(samples).uniform(-3, 3, samples)))
    rows = times[:, None] * jnp.asarray([0, 0, 0.5, 0, 0.5])
    x = jnp.asarray([[1.0, 0.5], [0.2, -0.3]])
    path = combination_path(lambda y: monomials(y, 2), rows, x, substeps=64, limit=1e3)
    turned = [[[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]] for t in np.asarray(times)]
    np.testing.assert_allclose(path, np.einsum("sij,bj->sbi", turned, x), atol=1e-6)


@pytest.mark.parametrize("forms", [True, False])
def test_paths_of_several_draws_are_those_of_each(forms, x64):
    family = Polynomial(3, quadratic=forms, degree=2).in_phase_space(4)
    params = family.init(jax.random.key(0), 4)
    line = jnp.linspace(-1, 1, 6)[:, None] * jnp.asarray([[[0.3, 1.0]], [[-1.0, 0.2]]])
    ball = np.random.default_rng(1).normal(size=(2, 6, family.count - 2))
    tau = jnp.concatenate([ball, line], axis=-1)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)))
    together = family.orbit(params, tau)(x)
    assert together.shape == (2, 6, 3, 4)
    for both, times in zip(together, tau, strict=True):
        np.testing.assert_allclose(both, family.orbit(params, times)(x), rtol=1e-12)


def test_forms_move_what_functions_have_moved(x64):
    family = Polynomial(3, degree=2).in_phase_space(4)
    params = family.init(jax.random.key(0), 4)
    tau = jnp.linspace(-1, 1, 4)[:, None] * jnp.asarray([0.2, 0.5, -0.3, 0.4, 1.0])
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)))
    forms, functions = tau.at[:, 3:].set(0.0), tau.at[:, :3].set(0.0)
    first = family.orbit(params, functions)(x)
    for s in range(4):
        both = family.orbit(params, forms)(first[s])[s]
        np.testing.assert_allclose(family.orbit(params, tau)(x)[s], both, rtol=1e-9)


def test_principal_quantities_span_the_same(x64):
    family = Polynomial(2, degree=2).in_phase_space(4)
    params = family.init(jax.random.key(0), 4)
    x = np.random.default_rng(0).normal(size=(50, 4))
    values, rotated = family.principal(params, x)
    assert values.shape == (4,) and np.all(np.diff(values[:2]) <= 0) and np.all(np.diff(values[2:]) <= 0)
    before, after = (np.asarray(family.value(p, jnp.asarray(x))) for p in (params, rotated))
    for part in (slice(0, 2), slice(2, 4)):
        turned = np.linalg.lstsq(before[:, part], after[:, part], rcond=None)[0]
        np.testing.assert_allclose(before[:, part] @ turned, after[:, part], atol=1e-9)
        np.testing.assert_allclose(turned.T @ turned, np.eye(2), atol=1e-6)
    swapped = family.mixed(params, np.eye(4)[[1, 0, 3, 2]])
    np.testing.assert_allclose(family.value(swapped, jnp.asarray(x)), before[:, [1, 0, 3, 2]], rtol=1e-6)


def test_flows_are_limited_where_functions_are_steep():
    far = jnp.asarray([[1e3, -1e3], [1e6, 1e6], [0.0, 0.0]])

    def path(rows):
        return combination_path(lambda x: monomials(x, 4), rows, far, substeps=1, limit=2.0)

    rows = jnp.asarray([[-1.0], [1.0]]) * jnp.ones((1, 14))
    moved = path(rows)
    assert np.isfinite(moved).all()
    # The tolerance covers rounding errors of states of size 1e6.
    assert np.linalg.norm(moved - far, axis=-1).max() <= 2.0 + 0.1
    assert np.isfinite(jax.grad(lambda r: jnp.sum(path(r)))(rows)).all()


def test_settings_survive_json():
    data, frame, _, held = prepared(Kepler())
    family = Polynomial(degree=2, terms=("1/sqrt(qx^2+qy^2)",)).fitted_to(frame, data.coordinates)
    params = family.init(jax.random.key(0), 4)
    again = Polynomial.restored(json.loads(json.dumps(family.settings())), params)
    assert again == family
    x = jnp.asarray(frame.into(held), jnp.float32)
    np.testing.assert_array_equal(again.value(params, x), family.value(params, x))


def test_families_of_version_0_1_keep_their_flow_times(x64):
    family = Polynomial(2, degree=2).in_phase_space(4)
    params = family.init(jax.random.key(0), 4)
    settings = {**family.settings(), "reach": 0.5, "forms": True, "functions": 2}
    for name in ("quadratic", "non_quadratic", "averaged"):
        del settings[name]
    old = Polynomial.restored(settings, {**params, "shared/length": np.float32(0.25)})
    assert (old.reach, old.count, old.non_quadratic, old.averaged) == (0.125, 4, 2, True)


@pytest.mark.parametrize(
    ("given", "forms", "functions"),
    [
        ({}, 15, 4),
        ({"count": 3}, 3, 3),
        ({"count": 3, "non_quadratic": 2}, 3, 2),
        ({"non_quadratic": 9}, 15, 4),
    ],
)
def test_numbers_of_forms_and_of_functions(given, forms, functions):
    family = Polynomial(degree=2, **given).in_phase_space(6)
    assert (family.count - family.non_quadratic, family.non_quadratic) == (forms, functions)
    assert family.exact_part().count == forms


def test_counts_are_those_that_can_be_independent():
    _, frame, *_ = prepared(Kepler())
    # There are 2 n - 2 independent quantities in addition to the energy.
    pure = Neural(15, quadratic=False)
    assert Polynomial(15, quadratic=False).fitted_to(frame).count == pure.fitted_to(frame).count == 2
    assert Neural(1, quadratic=False).fitted_to(frame).count == 1
    assert Neural(15).fitted_to(frame).count == 14 + 2
    pendulum = Neural(15).in_phase_space(2)
    assert (pendulum.count, pendulum.non_quadratic) == (5, 0)
    with pytest.raises(UsageError, match="where H is the only integral"):
        pure.in_phase_space(2)


@pytest.mark.parametrize("family", [Polynomial(), Neural()])
def test_a_family_in_no_phase_space_has_no_parameters(family):
    with pytest.raises(ValueError, match="in_phase_space"):
        family.init(jax.random.key(0), 4)


def test_random_start_is_small_and_makes_no_claim():
    _, _, trajectories, _ = prepared(Kepler())
    family = Neural(start="random").in_phase_space(4)
    proposal = family.propose(trajectories, jax.random.key(0))
    assert 0 < np.abs(proposal.params["weights"]).max() < 0.2
    assert np.isnan(proposal.length).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Polynomial(0), "0 conserved quantities of family polynomial; expected at least 1"),
        (lambda: Polynomial(degree=0), "degree = 0"),
        (lambda: Neural(width=0), "width = 0"),
        (lambda: Neural(start="zero"), "unknown start 'zero'"),
        (lambda: Polynomial(degree=20).fitted_to(prepared(Kepler())[1]), "10625 monomials"),
        (
            lambda: Polynomial(terms=("exp(x)",)).fitted_to(prepared(Kepler())[1], ["q1"] * 4),
            "unknown name 'x'",
        ),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises((ValueError, UsageError), match=message):
        make()
