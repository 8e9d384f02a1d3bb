"""What the charges of a training say: which symmetry is broken, by what, and where norms go."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from noethers_razor import markup
from noethers_razor._types import ArrayLike
from noethers_razor.errors import UsageError
from noethers_razor.learning_dynamics.charges import ANOMALY, Charge, Motion
from noethers_razor.learning_dynamics.generators import Generator
from noethers_razor.learning_dynamics.norms import Kind, angle_per_step, equivalent_rmsprop, predict_norm
from noethers_razor.learning_dynamics.tracking import Record, Tracked, motions, named_generators

BROKEN = 1e-3
"""Share of |g| |xi| from which on a symmetry counts as broken."""
_ROUNDING = 1e3
"""Units of the last place of the whole gradient below which one of a neuron is rounding."""
_UNEXPLAINED = 1e-3
"""Share of |g| from which on something else than gradient and decay reaches the momentum."""


@dataclasses.dataclass(frozen=True)
class SymmetryCheck:
    """Whether a loss has a symmetry, to first order, at some parameters.

    Args:
        name: of the generator.
        share: (neurons,) |<grad f, xi>| / (|grad f| |xi|): 0 with the symmetry, 1 along the gradient.
    """

    name: str
    share: np.ndarray

    @property
    def holds(self) -> bool:
        """Whether no charge has a share above `BROKEN`."""
        return bool(np.max(self.share, initial=0.0) <= BROKEN)

    def __str__(self) -> str:
        word = "holds" if self.holds else "is broken"
        return f"{self.name} {word}: |<g, xi>| is up to {np.max(self.share, initial=0.0):.2g} of |g| |xi|"


def check_symmetry(
    loss: Callable[[Any, Any], Any], params: Any, batch: Any, generators: Sequence[Generator] | Generator
) -> dict[str, SymmetryCheck]:
    """Whether a loss has symmetries, before any training.

    Args:
        loss: (params, batch) -> scalar.
    Raises:
        UsageError: for a generator that does not fit the parameters, or a loss that is no scalar.
    """
    shape = jax.eval_shape(loss, params, batch)
    if getattr(shape, "shape", None) != ():
        raise UsageError(f"the loss gives {shape}; expected one number, loss(params, batch)")
    gradient = jax.grad(loss)(params, batch)
    total = optax.tree.norm(gradient, squared=True)
    found = {}
    for name, one in named_generators(generators).items():
        q, g = one.require(params), one.leaves(gradient)
        xi = one.field(q)
        share = _anomaly(one.pairing(g, xi), one.pairing(g, g), one.pairing(xi, xi), total)
        found[name] = SymmetryCheck(name, share)
    return found


def _anomaly(anomaly: ArrayLike, gradient: ArrayLike, field: ArrayLike, total: ArrayLike) -> np.ndarray:
    """|<g, xi>| / (|g| |xi|), zero where |g| is the rounding of the whole gradient.

    A symmetry that moves a neuron's parameters alone leaves no gradient there but rounding.
    """
    own = np.asarray(gradient)
    least = (_ROUNDING * float(jnp.finfo(own.dtype).eps)) ** 2 * np.asarray(total)
    return np.where(own > least, _share(anomaly, np.sqrt(own * np.asarray(field))), 0.0)


def _share(values: ArrayLike, size: ArrayLike) -> np.ndarray:
    whole = np.asarray(size)
    return np.abs(np.asarray(values)) / np.where(whole > 0, whole, 1.0)


@dataclasses.dataclass(frozen=True)
class Reading:
    """A generator in a training.

    Args:
        generator: it.
        motion: what the optimiser is for it; None where it is no heavy ball.
        steps: (T,) steps taken before those that were measured.
        total: (T,) |g|^2 of all parameters then.
        charge: of them, (T, neurons) each.
    """

    generator: Generator
    motion: Motion | None
    steps: np.ndarray
    total: np.ndarray
    charge: Charge

    def terms(self) -> dict[str, np.ndarray]:
        """Name -> term of the account (T, neurons); of an optimiser that is no heavy ball the anomaly."""
        if self.motion is None:
            return {ANOMALY: np.asarray(self.charge.anomaly)}
        return {name: np.asarray(term) for name, term in self.charge.budget(self.motion.beta).terms.items()}

    def anomaly(self) -> np.ndarray:
        """|<g, xi>| / (|g| |xi|), (T, neurons)."""
        total = np.reshape(self.total, (-1,) + (1,) * (np.ndim(self.charge.anomaly) - 1))
        return _anomaly(self.charge.anomaly, self.charge.gradient, self.charge.field, total)

    def residual(self) -> np.ndarray:
        """What the account leaves, relative to its largest term or |g| |xi|, (T, neurons)."""
        if self.motion is None:
            return np.full(np.shape(self.charge.anomaly), np.nan)
        budget = self.charge.budget(self.motion.beta)
        return np.asarray(budget.share(budget.residual))

    def unexplained(self) -> np.ndarray:
        """What reaches the momentum beside gradient and decay, relative to the gradient, (T, neurons)."""
        return np.sqrt(_share(self.charge.unexplained, self.charge.gradient))

    def angle(self, steps: slice = slice(None)) -> float:
        """Root of <|q' - q|^2> / <|q|^2> over steps and neurons: radians that directions turn in a step."""
        return float(np.sqrt(np.mean(self.charge.step[steps]) / np.mean(self.charge.square[steps])))

    def decay(self) -> float | None:
        """k, where it is known and one."""
        found = set(self.motion.decay.values()) if self.motion else set()
        return found.pop() if len(found) == 1 else None

    def predict_norm(self, kind: Kind = "autocorrelated") -> np.ndarray:
        """Squared norms (T, neurons) that theory makes of the first, see `norms.predict_norm`.

        Raises:
            UsageError: where there is no theory: another generator than `scale`, another optimiser than
                heavy-ball momentum of one learning rate, or steps that were not all measured.
        """
        name, motion, decay = self.generator.name, self.motion, self.decay()
        if not self.generator.is_scale:
            raise UsageError(f"{name}: theory predicts norms; give a scale generator")
        if motion is None:
            raise UsageError(
                f"{name}: nothing is predicted for this optimiser: it is not heavy-ball momentum with its "
                "momentum in an optax trace, as that of optax.sgd(rate, momentum) is"
            )
        if not motion.moves or motion.eta is None or decay is None:
            raise UsageError(
                f"{name}: nothing is predicted where a step is not one learning rate times the momentum, "
                "with one decay (schedules, Nesterov, decoupled decay)"
            )
        if len(self.steps) < 2 or np.any(np.diff(self.steps) != 1):
            raise UsageError(
                f"{name}: a prediction needs every step; measure with every=1 and keep all records"
            )
        return predict_norm(
            self.charge.square,
            self.charge.gradient,
            self.charge.step,
            eta=motion.eta,
            beta=motion.beta,
            decay=decay,
            kind=kind,
        )

    def lines(self) -> list[str]:
        """For people."""
        last = slice(-max(1, len(self.steps) // 4), None)
        charges = self.charge.anomaly[0].size
        lines = [f"{self.generator.name}: {charges} charge{'s' * (charges > 1)}, {len(self.steps)} steps"]
        motion, decay = self.motion, self.decay()
        if motion is None:
            lines.append(
                "  optimiser     no heavy ball: charge, norms and anomaly are told, nothing is predicted"
            )
        else:
            rate = "changing" if motion.eta is None else f"{motion.eta:g}"
            told = " and ".join(f"{k:g}" for k in sorted(set(motion.decay.values())))
            lines.append(f"  momentum      beta {motion.beta:g}, decay {told}, learning rate {rate}")
        anomaly = self.anomaly()
        lines.append(
            f"  anomaly       {np.median(anomaly):.2g} of |g| |xi|, median; {anomaly.max():.2g} largest"
        )
        if motion is not None:
            sizes = {name: float(np.sqrt(np.mean(term**2))) for name, term in self.terms().items()}
            lines.append("  terms         " + ", ".join(f"{name} {size:.2g}" for name, size in sizes.items()))
            lines.append(f"  residual      {self.residual().max():.2g} of the largest term, at most")
        if self.generator.is_scale:
            square = np.asarray(self.charge.square)
            lines.append(f"  norm          r^2 {np.median(square[0]):.3g} to {np.median(square[-1]):.3g}")
            if motion is not None and motion.eta is not None:
                first, end = (motion.eta / np.median(square[n]) for n in (0, -1))
                lines.append(f"  learning rate of the direction, eta / r^2: {first:.3g} to {end:.3g}")
            if motion is not None and motion.eta and motion.moves and decay:
                memory = equivalent_rmsprop(motion.eta, motion.beta, decay).memory
                turn = angle_per_step(motion.eta, motion.beta, decay)
                lines.append(
                    f"  equilibrium   {self.angle(last):.3g} radians a step in the last quarter, {turn:.3g} "
                    f"in theory; memory {memory:.3g} steps, {(self.steps[-1] + 1) / memory:.2g} of it "
                    "passed"
                )
        return lines

    def findings(self, decayed: bool) -> list[str]:
        """What is not as symmetry and theory have it.

        Args:
            decayed: whether the optimiser decays any parameter.
        """
        name, found = self.generator.name, []
        if (share := float(np.median(self.anomaly()))) > BROKEN:
            found.append(
                f"{name}: the loss does not have this symmetry, |<g, xi>| is {share:.2g} of |g| |xi|: "
                "an eps of normalisation that is not small beside the variance, a penalty in the loss, or "
                "another use of these weights"
            )
        if self.motion is None:
            return found
        strange = np.max(self.unexplained(), axis=tuple(range(1, self.charge.anomaly.ndim))) > _UNEXPLAINED
        if strange.any():
            found.append(
                f"{name}: in {strange.sum()} of {len(strange)} steps something else than gradient and decay "
                "reached the momentum: clipping, noise, or scaling of gradients"
            )
        decays = self.motion.decay
        if len(set(decays.values())) > 1:
            told = ", ".join(f"{k:g} on {path}" for path, k in decays.items())
            found.append(f"{name}: decay {told}: a mask that leaves out a part drives this charge")
        elif self.generator.is_scale and decayed and not any(decays.values()):
            found.append(
                f"{name}: no decay reaches it, while other parameters are decayed: its norm only grows, "
                "its learning rate eta / r^2 only falls; does the mask of add_decayed_weights leave it out?"
            )
        return found


@dataclasses.dataclass(frozen=True)
class NoetherReport:
    """What was measured in a training, by generator, and what is not as theory has it.

    Args:
        readings: name of a generator -> its reading.
        findings: one line each; none where all is as it should be.
    """

    readings: dict[str, Reading]
    findings: list[str]

    def __str__(self) -> str:
        lines = [line for reading in self.readings.values() for line in reading.lines()]
        return "\n".join([*lines, *(f"warning: {text}" for text in self.findings)])

    def _repr_html_(self) -> str:
        lines = str(self).splitlines()
        head = f"{len(self.readings)} generators, {len(self.findings)} findings"
        return markup.block(head, [markup.folded("what was measured", "\n".join(lines))], self.findings)


def noether_report(tracked: Tracked, records: Record, params: Any) -> NoetherReport:
    """What the records of a training say.

    Args:
        tracked: the optimiser, from `track_noether`.
        records: ``state.record`` of each step, stacked: what `jax.lax.scan` gives, or a list of them.
        params: parameters of the network, of any step.
    Raises:
        UsageError: for records of other generators, or none.
    """
    if isinstance(records, list) and records:
        records = jax.tree.map(lambda *leaves: np.stack(leaves), *records)
    if not isinstance(records, Record) or set(records.charges) != set(tracked.generators):
        raise UsageError(
            "no records of these generators; keep state.record of each step of the tracked optimiser"
        )
    count, first = np.unique(np.atleast_1d(np.asarray(records.steps)), return_index=True)
    first = first[count >= 0]
    if not len(first):
        raise UsageError("no step was measured; keep state.record after each update")
    kept = jax.tree.map(lambda leaf: np.asarray(leaf)[first], records.charges)
    total = np.atleast_1d(np.asarray(records.total))[first]
    moved, decayed = motions(tracked.optimizer, tracked.generators, params)
    readings = {
        name: Reading(one, moved[name], count[count >= 0], total, kept[name])
        for name, one in tracked.generators.items()
    }
    return NoetherReport(readings, [text for one in readings.values() for text in one.findings(decayed)])
