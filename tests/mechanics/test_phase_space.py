"""Brackets, fields and invariants, compared with the laws of mechanics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from noethers_razor.mechanics import phase_space as mechanics

pytestmark = pytest.mark.usefixtures("strict")

DIM = 4
ROUNDING = 1e-12
"""Rounding error of a few hundred float64 operations on numbers of size one."""


def observable(seed):
    """Return a smooth function on phase space without any special property."""
    rng = np.random.default_rng(seed)
    slopes, phases = jnp.asarray(rng.normal(size=(3, DIM))), jnp.asarray(rng.normal(size=3))
    form = jnp.asarray(rng.normal(size=(DIM, DIM)))
    return lambda x: jnp.sum(jnp.sin(slopes @ x + phases)) + 0.3 * x @ form @ x


def random_symplectic(rng, dim, size):
    """Return expm(J A) with a symmetric A: a linear canonical map."""
    form = rng.normal(size=(dim, dim)) * size
    return scipy.linalg.expm(mechanics.symplectic_form(dim) @ (form + form.T) / 2)


def random_covariance(rng, dim):
    factor = rng.normal(size=(dim, dim)) + 2 * np.eye(dim)
    return factor @ factor.T


@pytest.fixture
def state(x64):
    return jnp.asarray(np.random.default_rng(7).normal(size=DIM))


def test_the_form_sends_the_gradient_of_the_energy_to_hamiltons_equations():
    form = mechanics.symplectic_form(4)
    # grad H = (dH/dq, dH/dp) must become (q', p') = (dH/dp, -dH/dq).
    np.testing.assert_array_equal(form @ [1.0, 2.0, 30.0, 40.0], [30.0, 40.0, -1.0, -2.0])
    np.testing.assert_array_equal(form @ form, -np.eye(4))


@pytest.mark.parametrize("dim", [3, 0, -2])
def test_phase_space_has_an_even_positive_dimension(dim):
    with pytest.raises(ValueError, match=f"dimension {dim}; expected an even, positive number"):
        mechanics.symplectic_form(dim)


def test_apply_j_is_the_product_with_the_form(x64):
    gradient = np.random.default_rng(0).normal(size=(2, 3, DIM))
    product = gradient @ mechanics.symplectic_form(DIM).T
    np.testing.assert_array_equal(mechanics.apply_j(jnp.asarray(gradient)), product)


def test_coordinates_have_canonical_brackets(state):
    n = DIM // 2
    for i in range(DIM):
        for j in range(DIM):
            bracket = mechanics.poisson_bracket(lambda x, i=i: x[i], lambda x, j=j: x[j])(state)
            expected = 1.0 if j == i + n else -1.0 if i == j + n else 0.0
            assert bracket == expected


def test_bracket_is_antisymmetric(state):
    a, b = observable(0), observable(1)
    forth, back = mechanics.poisson_bracket(a, b)(state), mechanics.poisson_bracket(b, a)(state)
    assert abs(forth) > 0.1
    np.testing.assert_allclose(forth, -back, rtol=ROUNDING)


def test_bracket_obeys_the_product_rule(state):
    a, b, c = observable(0), observable(1), observable(2)
    bracket = mechanics.poisson_bracket
    left = bracket(lambda x: a(x) * b(x), c)(state)
    right = a(state) * bracket(b, c)(state) + b(state) * bracket(a, c)(state)
    np.testing.assert_allclose(left, right, rtol=ROUNDING)


def test_bracket_obeys_the_jacobi_identity(state):
    a, b, c = observable(0), observable(1), observable(2)
    bracket = mechanics.poisson_bracket
    terms = [
        bracket(a, bracket(b, c))(state),
        bracket(b, bracket(c, a))(state),
        bracket(c, bracket(a, b))(state),
    ]
    size = max(abs(float(term)) for term in terms)
    assert size > 1.0
    assert abs(float(sum(terms))) < ROUNDING * size


def test_bracket_with_the_energy_is_the_rate_of_change_in_time(state):
    quantity, energy = observable(0), observable(1)
    velocity = mechanics.hamiltonian_field(energy)(state)
    _, rate = jax.jvp(quantity, (state,), (velocity,))
    np.testing.assert_allclose(mechanics.poisson_bracket(quantity, energy)(state), rate, rtol=ROUNDING)


def test_field_of_states_in_any_arrangement_is_that_of_each_alone(x64):
    energy = observable(3)
    states = jnp.asarray(np.random.default_rng(1).normal(size=(2, 3, DIM)))
    together = mechanics.hamiltonian_field(energy)(states)
    assert together.shape == states.shape
    form = mechanics.symplectic_form(DIM)
    alone = [form @ jax.grad(energy)(x) for x in states.reshape(-1, DIM)]
    np.testing.assert_allclose(together.reshape(-1, DIM), alone, rtol=ROUNDING, atol=ROUNDING)


def test_symplectic_defect_is_zero_for_canonical_maps_only(x64):
    canonical = random_symplectic(np.random.default_rng(2), DIM, 0.5)
    # D = 2 gives D' J D - J = 3 J, whose largest entry is 3.
    defect = mechanics.symplectic_defect(jnp.asarray(np.stack([canonical, 2 * np.eye(DIM)])))
    assert defect.shape == (2,)
    assert defect[0] < ROUNDING
    assert defect[1] == 3.0


def test_bracket_defect_is_a_share_between_zero_and_one(x64):
    gradients = jnp.asarray(np.random.default_rng(3).normal(size=(2, 50, DIM)))
    defect = mechanics.bracket_defect(gradients[0], gradients[1])
    assert defect.shape == (50,)
    assert 0.0 < defect.min() < defect.max() <= 1.0
    # Units do not matter. A quantity commutes with itself. The direction J g gives the largest value.
    scaled = mechanics.bracket_defect(1e6 * gradients[0], 1e-6 * gradients[1])
    np.testing.assert_allclose(scaled, defect, rtol=1e-9)
    assert mechanics.bracket_defect(gradients[0], gradients[0]).max() < ROUNDING
    turned = mechanics.apply_j(gradients[0])
    np.testing.assert_allclose(mechanics.bracket_defect(gradients[0], turned), 1.0, rtol=ROUNDING)


def test_bracket_defect_of_a_constant_is_zero():
    zero = mechanics.bracket_defect(jnp.zeros(DIM), jnp.ones(DIM))
    assert zero == 0.0


def test_energy_drift_is_relative_to_the_largest_energy():
    # Energies 1, 3, 2 and -4, -4, -4: the largest change is 2, the scale 4.
    path = jnp.asarray([[[1.0], [3.0], [2.0]], [[-4.0], [-4.0], [-4.0]]])
    drift = mechanics.energy_drift(lambda x: x[0], path)
    np.testing.assert_allclose(drift, [0.5, 0.0])


def test_energy_drift_of_a_path_without_energy_is_zero():
    assert mechanics.energy_drift(lambda x: 0.0 * x[0], jnp.ones((5, 2))) == 0.0


@pytest.mark.parametrize("dim", [2, 4, 6])
def test_normaliser_is_symplectic_positive_and_equalises(dim):
    covariance = random_covariance(np.random.default_rng(dim), dim)
    normaliser = mechanics.symplectic_normaliser(covariance)
    form = mechanics.symplectic_form(dim)
    np.testing.assert_allclose(normaliser @ form @ normaliser.T, form, atol=1e-10)
    np.testing.assert_allclose(normaliser, normaliser.T, atol=1e-10)
    assert np.linalg.eigvalsh(normaliser).min() > 0
    moved = normaliser @ covariance @ normaliser.T
    # Each mode has equal spreads in q and p exactly if the covariance commutes with J.
    np.testing.assert_allclose(moved @ form, form @ moved, atol=1e-10 * np.abs(moved).max())


def test_normaliser_of_a_nearly_resting_mode_is_symplectic():
    # Mixed modes with spreads 1 and 1e-4: products of covariances would lose the square of their ratio.
    form, mixed = mechanics.symplectic_form(4), random_symplectic(np.random.default_rng(6), 4, 0.3)
    normaliser = mechanics.symplectic_normaliser(mixed @ np.diag([1.0, 1e-4, 1.0, 1e-4]) @ mixed.T)
    np.testing.assert_allclose(normaliser @ form @ normaliser.T, form, atol=1e-10)


def test_normaliser_of_one_squeezed_mode():
    # diag(4, 1) has the symplectic eigenvalue 2: q shrinks by sqrt 2, p grows by sqrt 2.
    normaliser = mechanics.symplectic_normaliser(np.diag([4.0, 1.0]))
    np.testing.assert_allclose(normaliser, np.diag([0.5**0.5, 2.0**0.5]), atol=1e-12)


def test_normaliser_leaves_equal_spreads_alone():
    covariance = np.diag([3.0, 0.2, 3.0, 0.2])
    np.testing.assert_allclose(mechanics.symplectic_normaliser(covariance), np.eye(4), atol=1e-10)


def test_normal_form_does_not_depend_on_canonical_coordinates():
    rng = np.random.default_rng(5)
    covariance, moved = random_covariance(rng, 4), random_symplectic(rng, 4, 0.4)
    spectra = []
    for matrix in (covariance, moved @ covariance @ moved.T):
        normaliser = mechanics.symplectic_normaliser(matrix)
        spectra.append(np.linalg.eigvalsh(normaliser @ matrix @ normaliser.T))
    np.testing.assert_allclose(spectra[0], spectra[1], rtol=1e-9)


def test_normaliser_refuses_a_flat_covariance():
    with pytest.raises(
        ValueError, match=r"eigenvalue -1; expected positive eigenvalues, add a small multiple"
    ):
        mechanics.symplectic_normaliser(np.diag([1.0, -1.0]))
