"""The charge of a generator and what changes it in a step of training, exactly.

With heavy-ball momentum, v' = beta v - (g + k q), for any loss, mini-batch, learning rate and generator xi,
the charge B = <v, xi(q before the step)> obeys

    B' - B = - (1 - beta) B + beta <v, xi(q) - xi(q before)> - k <q, xi(q)> - <g, xi(q)>
             dissipation      kinetic symmetry breaking       decay          anomaly

the discrete form of the charge equation of Tanaka and Kunin (2021, section 4). The anomaly is zero if and
only if the loss has the symmetry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from noethers_razor._types import Array
from noethers_razor.learning_dynamics.generators import Generator, Leaves
from noethers_razor.learning_dynamics.heavy_ball import HeavyBall
from noethers_razor.numerics.budget import Budget

DISSIPATION, KINETIC, DECAY, ANOMALY = "dissipation", "ksb", "decay", "anomaly"


class Charge(NamedTuple):
    """A generator's charges in a step, or in all steps (time first); each (..., neurons).

    Of an optimiser that is no heavy ball all that has v or k in it is not a number, and the charge is that of
    the step.

    Args:
        charge: B = <v', xi(q)> after the step; without a heavy ball <q' - q, xi(q)>.
        before: B before it.
        kinetic, decay, anomaly: the terms.
        square: |q|^2 before the step.
        step: |q' - q|^2.
        gradient: |g|^2.
        field: |xi(q)|^2.
        momentum: |v'|^2.
        along: <q' - q, v'>.
        unexplained: |v' - (beta v - g - k q)|^2, what reaches the momentum beside gradient and decay.
    """

    charge: Array
    before: Array
    kinetic: Array
    decay: Array
    anomaly: Array
    square: Array
    step: Array
    gradient: Array
    field: Array
    momentum: Array
    along: Array
    unexplained: Array

    def budget(self, beta: float) -> Budget:
        """The account of the step, with the momentum's beta."""
        terms = {
            DISSIPATION: -(1.0 - beta) * self.before,
            KINETIC: self.kinetic,
            DECAY: self.decay,
            ANOMALY: self.anomaly,
        }
        return Budget(self.charge - self.before, terms, jnp.sqrt(self.gradient * self.field))


class Motion(NamedTuple):
    """What moves a generator's parameters.

    Args:
        beta: of the momentum.
        k: path -> decay.
        eta: path -> first learning rate.
        moves: whether a step is a learning rate times the momentum.
        traced: whether the momentum is in the optimiser's state.
    """

    beta: float
    k: Mapping[str, float]
    eta: Mapping[str, float]
    moves: bool
    traced: bool


def motion_of(balls: Mapping[str, HeavyBall | None]) -> Motion | None:
    """What an optimiser is for parameters by path: heavy-ball momentum with one beta, or None."""
    known = {path: ball for path, ball in balls.items() if ball is not None}
    if len(known) < len(balls) or len({(ball.beta, ball.traced) for ball in known.values()}) > 1:
        return None
    first = next(iter(known.values()))
    if not first.traced and not all(ball.eta for ball in known.values()):
        return None
    return Motion(
        first.beta,
        {path: ball.k for path, ball in known.items()},
        {path: ball.eta for path, ball in known.items()},
        all(ball.moves for ball in known.values()),
        first.traced,
    )


def zero_charge(generator: Generator, leaves: Leaves) -> Charge:
    """That of parameters at rest."""
    nothing = jax.tree.map(jnp.zeros_like, leaves)
    zero = generator.pairing(nothing, nothing)
    return Charge(*(zero for _ in Charge._fields))


def charge_of(
    generator: Generator,
    motion: Motion | None,
    before: Array,
    q: Leaves,
    g: Leaves,
    d: Leaves,
    v: tuple[Leaves, Leaves] | None,
) -> Charge:
    """The charge after a step from q, and the terms that changed it.

    Args:
        before: the charge after the step before.
        q, g, d: parameters before the step, gradient there, the step.
        v: momentum before and after; None where there is no heavy ball.
    """
    xi, pair = generator.field(q), generator.pairing
    square, anomaly = pair(q, q), -generator.along(g, q, xi)
    common = {
        "anomaly": anomaly,
        "square": square,
        "step": pair(d, d),
        "gradient": pair(g, g),
        "field": pair(q, q, {p: f**2 for p, f in generator.factors.items()})
        if generator.factors
        else pair(xi, xi),
    }
    if motion is None or v is None:
        unknown = jnp.full_like(anomaly, jnp.nan)
        rest = dict.fromkeys(Charge._fields, unknown) | {"charge": generator.along(d, q, xi)}
        return Charge(**(rest | common))
    old, new = v
    none = jnp.zeros_like(anomaly)
    odd = {p: new[p] - motion.beta * old[p] + g[p] + motion.k[p] * q[p] for p in q}
    return Charge(
        charge=generator.along(new, q, xi),
        before=before,
        kinetic=motion.beta * (generator.along(old, q, xi) - before) if motion.beta else none,
        decay=-generator.along(q, q, xi, motion.k) if any(motion.k.values()) else none,
        momentum=pair(new, new),
        along=pair(d, new),
        unexplained=pair(odd, odd),
        **common,
    )
