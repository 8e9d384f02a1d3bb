"""Tests of rates: polynomials orthonormal on the data, and brackets known in their basis."""

import numpy as np

from noethers_razor.evidence.rates import Rates
from noethers_razor.mechanics.phase_space import symplectic_form
from noethers_razor.numerics.polynomials import monomial_gradients_in_numpy

STATES = np.random.default_rng(0).normal(size=(900, 4)) @ np.diag([1.0, 2.0, 0.5, 1.0])


def test_values_are_orthonormal():
    rates = Rates.of(STATES)
    values = rates.values(STATES)
    assert rates.degree == 4 and values.shape[1] == rates.number == 70
    np.testing.assert_allclose(values.T @ values / len(STATES), np.eye(70), atol=1e-8)


def test_many_coordinates_have_polynomials_of_lower_degree():
    assert Rates.of(np.random.default_rng(0).normal(size=(500, 12))).degree == 2


def test_a_coordinate_at_rest_is_left_out():
    assert Rates.of(STATES * [1.0, 0.0, 1.0, 1.0]).number == Rates.of(STATES[:, [0, 2, 3]]).number == 35


def test_rates_of_a_quantity_are_brackets():
    rates, rng = Rates.of(STATES), np.random.default_rng(1)
    form = rng.normal(size=(1, 4, 4))
    form, linear = form + form.transpose(0, 2, 1), rng.normal(size=(1, 4))
    gradients = STATES @ form[0] + linear[0]
    added = rng.normal(size=rates.number - 1)
    slopes = monomial_gradients_in_numpy(STATES / rates.scale, rates.degree) / rates.scale
    field = np.einsum("nfm,fd,d->nm", slopes, rates.weights, added) @ symplectic_form(4).T
    known = rates.by_hamiltonians(gradients[:, None], STATES)[0] @ added
    np.testing.assert_allclose(rates.values(STATES) @ known, np.sum(gradients * field, axis=1), atol=1e-7)


def test_rates_by_a_linear_field():
    rates = Rates.of(STATES)
    known = rates.by_linear_fields(STATES[:, None], STATES)[0]
    # Fields x_j e_i in the order of j, then i, and e_i last. The energy |x|^2 / 2 changes by x_i x_j, or x_i.
    np.testing.assert_allclose(
        rates.values(STATES) @ known[:, 1], STATES[:, 0] / rates.scale[0] * STATES[:, 1], atol=1e-8
    )
    np.testing.assert_allclose(rates.values(STATES) @ known[:, -1], STATES[:, 3], atol=1e-8)
