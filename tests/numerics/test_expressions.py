"""Formulas as text: their values and derivatives, and errors for other texts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noethers_razor.errors import UsageError
from noethers_razor.numerics.expressions import expression, symbolic, symbols

pytestmark = pytest.mark.usefixtures("strict")
NAMES = ("q1", "q2", "p1", "p2")
STATES = np.random.default_rng(0).normal(size=(5, 4))
Q1, Q2, P1, P2 = STATES.T


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("q1", Q1),
        (" exp(q1 - q2) ", np.exp(Q1 - Q2)),
        ("1/sqrt(q1^2 + q2^2)", (Q1**2 + Q2**2) ** -0.5),
        ("-p1**2*2.5", -2.5 * P1**2),
        ("arctan2(q2, q1) + pi", np.arctan2(Q2, Q1) + np.pi),
        ("cos(q1)/2 - p2*3", np.cos(Q1) / 2 - 3 * P2),
    ],
)
def test_formulas_say_what_they_read(text, expected, x64):
    np.testing.assert_allclose(expression(text, NAMES)(jnp.asarray(STATES)), expected, rtol=1e-12)
    exact = symbolic(text, NAMES)
    values = [float(exact.subs(dict(zip(symbols(NAMES), state, strict=True)))) for state in STATES.tolist()]
    np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_whole_numbers_stay_exact_in_expressions():
    assert str(symbolic("1/2*q1 + abs(p1)", NAMES)) == "q1/2 + Abs(p1)"


def test_precision_is_that_of_the_states():
    value = expression("exp(q1) + 1", NAMES)(jnp.asarray(STATES, jnp.float32))
    assert value.dtype == jnp.float32


def test_formulas_have_derivatives(x64):
    slope = jax.grad(lambda x: expression("exp(q1 - q2)", NAMES)(x))(jnp.asarray(STATES[0]))
    value = np.exp(Q1[0] - Q2[0])
    np.testing.assert_allclose(slope, [value, -value, 0, 0], rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exp(q1", "is not a formula"),
        ("", "is not a formula"),
        ("q3", "unknown name 'q3'; expected one of q1, q2, p1, p2"),
        ("2 + pi", "the formula has no coordinate"),
        ("__import__('os')", "expected numbers, coordinates"),
        ("q1.real", "expected numbers, coordinates"),
        ("q1 if p1 else 2", "expected numbers, coordinates"),
        ("exp(q1, q2)", "exp has 2 arguments; expected 1"),
        ("arctan2(q1)", "arctan2 has 1 arguments; expected 1, or 2 for arctan2"),
        ("q1 + True", "expected numbers, coordinates"),
        ("q1 +" * 200 + "q1", "characters; expected at most 500"),
        ("-" * 100 + "q1", "more than 50 levels"),
        ("q1*9^9^9", "is not a finite number"),
        ("q1^1000", "power 1000; expected at most 100"),
        ("1e400*q1", "is not a finite number"),
        ("q1/(1 - 1)*2 + 1/0", "is not a finite number"),
        ("q1*(0-8)^0.5", "is not a finite number"),
    ],
)
def test_what_is_no_formula_is_refused(text, message):
    with pytest.raises(UsageError, match=r"^term ") as caught:
        expression(text, NAMES)
    assert message in str(caught.value)
