"""The charge of a generator, and the terms that change it in a step of training.

The charge is B = <v, xi(q before the step)>. With heavy-ball momentum, v' = beta v - (g + k q), it obeys

    B' - B = - (1 - beta) B + beta <v, xi(q) - xi(q before)> - k <q, xi(q)> - <g, xi(q)>
             dissipation      kinetic symmetry breaking       decay          anomaly

exactly, for any loss, mini-batch, learning rate and generator xi. This is the discrete form of the charge
equation of Tanaka and Kunin (2021, section 4). The anomaly is zero if and only if the loss has the symmetry.
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

DISSIPATION = "dissipation"
"""Name of the term - (1 - beta) B, the friction of momentum."""
KINETIC = "ksb"
"""Name of the term of kinetic symmetry breaking."""
DECAY = "decay"
"""Name of the term of weight decay."""
ANOMALY = "anomaly"
"""Name of the term of the loss."""


class Charge(NamedTuple):
    """The charges of a generator in one step, or in all steps (time first). Every array is (..., neurons).

    If the optimiser is not heavy-ball momentum, the charge is <q' - q, xi(q)>, and all fields that contain v
    or k are NaN.

    Args:
        charge: B = <v', xi(q)> after the step.
        before: B before the step.
        kinetic: term of kinetic symmetry breaking.
        decay: term of weight decay.
        anomaly: term of the loss.
        square: |q|^2 before the step.
        step: |q' - q|^2.
        gradient: |g|^2.
        field: |xi(q)|^2.
        momentum: |v'|^2.
        along: <q' - q, v'>.
        unexplained: |v' - (beta v - g - k q)|^2, the part of the momentum that neither gradient nor decay
            explains.
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
        """Return the balance of the charge.

        Args:
            beta: momentum of the optimiser.
        """
        terms = {
            DISSIPATION: -(1.0 - beta) * self.before,
            KINETIC: self.kinetic,
            DECAY: self.decay,
            ANOMALY: self.anomaly,
        }
        return Budget(self.charge - self.before, terms, jnp.sqrt(self.gradient * self.field))


class Motion(NamedTuple):
    """Heavy-ball momentum that moves the parameters of a generator.

    Args:
        beta: momentum.
        k: path -> decay.
        eta: path -> first learning rate.
        moves: whether a step is a learning rate times the momentum.
        traced: whether the state of the optimiser contains the momentum.
    """

    beta: float
    k: Mapping[str, float]
    eta: Mapping[str, float]
    moves: bool
    traced: bool


def motion_of(balls: Mapping[str, HeavyBall | None]) -> Motion | None:
    """Return the common heavy-ball momentum of some parameters.

    Args:
        balls: path -> heavy-ball momentum of a parameter, or None for another optimiser.
    Returns:
        The momentum, or None if a parameter has another optimiser or if the values of beta differ.
    """
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
    """Return the charge of parameters at rest, all zeros."""
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
    """Return the charge after a step, and the terms that changed it.

    Args:
        generator: generator of the charge.
        motion: heavy-ball momentum; None for another optimiser.
        before: charge (neurons,) after the previous step.
        q: parameters before the step.
        g: gradient at q.
        d: step q' - q.
        v: momentum before and after the step; None for another optimiser.
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
