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
from noethers_razor.budget import Budget
from noethers_razor.learning_dynamics.generators import Generator, Leaves
from noethers_razor.learning_dynamics.heavy_ball import HeavyBall

DISSIPATION, KINETIC, DECAY, ANOMALY = "dissipation", "ksb", "decay", "anomaly"


class Charge(NamedTuple):
    """A generator's charges in a step, or in all steps (time first); each (..., neurons).

    Args:
        charge: B after the step; of an optimiser that is no heavy ball <step, xi(q)>.
        before: B before it; not a number where that optimiser is no heavy ball.
        kinetic, decay, anomaly: the terms; the first two not numbers where that optimiser is no heavy ball.
        square: |q|^2 before the step.
        step: |q' - q|^2.
        gradient: |g|^2.
        field: |xi(q)|^2.
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
        beta, eta: of the momentum; eta is None where it changes, or is not the same for all.
        decay: path -> k.
        moves: whether a step is the learning rate times the momentum.
    """

    beta: float
    eta: float | None
    decay: Mapping[str, float]
    moves: bool


def motion_of(generator: Generator, leaves: Mapping[str, HeavyBall | None]) -> Motion | None:
    """What an optimiser is for a generator: heavy-ball momentum with one beta, or None."""
    balls = {path: ball for path, ball in leaves.items() if ball is not None}
    if len(balls) < len(generator.per) or len({ball.beta for ball in balls.values()}) > 1:
        return None
    first = next(iter(balls.values()))
    same = len({ball.eta for ball in balls.values()}) == 1
    return Motion(
        first.beta,
        first.eta if same else None,
        {path: ball.decay for path, ball in balls.items()},
        all(ball.moves for ball in balls.values()),
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
    square, field = pair(q, q), None if generator.is_scale else pair(xi, xi)
    anomaly = -pair(g, xi)
    if motion is None or v is None:
        unknown = jnp.full_like(anomaly, jnp.nan)
        charge, before, kinetic, decay, odd = pair(d, xi), unknown, unknown, unknown, unknown
    else:
        old, new = v
        charge = pair(new, xi)
        kinetic = motion.beta * (pair(old, xi) - before) if motion.beta else jnp.zeros_like(anomaly)
        decay = -pair(q, xi, motion.decay) if any(motion.decay.values()) else jnp.zeros_like(anomaly)
        rest = {p: new[p] - motion.beta * old[p] + g[p] + motion.decay[p] * q[p] for p in q}
        odd = pair(rest, rest)
    return Charge(
        charge,
        before,
        kinetic,
        decay,
        anomaly,
        square,
        pair(d, d),
        pair(g, g),
        square if field is None else field,
        odd,
    )
