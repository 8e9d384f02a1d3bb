"""A generator in a training: its account, its learning rate, where norms go, what is not as it should be."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from noethers_razor._types import ArrayLike
from noethers_razor.errors import UsageError
from noethers_razor.learning_dynamics.charges import ANOMALY, Charge, Motion
from noethers_razor.learning_dynamics.generators import Generator
from noethers_razor.learning_dynamics.norms import Kind, angle_per_step, equivalent_rmsprop, predict_norm

BROKEN = 1e-3
"""Share of |g| |xi| from which on a symmetry counts as broken; in half precision ten units of its place."""
_ALTERED = 1e-3
"""Share of |g|, or of the step, from which on something is not as the heavy ball has it."""
_TOO_SMALL = 1e2
"""Units of the last place of the whole gradient below which the gradient of a neuron tells nothing."""
_FEW = 8
"""Neurons that a finding names, at most."""


def _share(values: ArrayLike, size: ArrayLike) -> np.ndarray:
    whole = np.asarray(size)
    return np.abs(np.asarray(values)) / np.where(whole > 0, whole, 1.0)


def anomaly_share(
    anomaly: ArrayLike, gradient: ArrayLike, field: ArrayLike, total: ArrayLike, precision: float
) -> np.ndarray:
    """|<g, xi>| / (|g| |xi|), not a number where |g| is too small beside the whole gradient to tell.

    A symmetry that moves a neuron's parameters alone leaves no gradient there but rounding.
    """
    own = np.asarray(gradient)
    least = min(_TOO_SMALL * precision, BROKEN) ** 2 * np.asarray(total)
    return np.where(own > least, _share(anomaly, np.sqrt(own * np.asarray(field))), np.nan)


def broken_from(precision: float) -> float:
    """The share from which on a symmetry counts as broken."""
    return max(BROKEN, 10 * precision)


class Equilibrium(NamedTuple):
    """Where norms go with decay.

    Args:
        square: (neurons,) |q|^2 at which growth and decay meet, with the gradients of the last quarter.
        angle: radians that directions then turn in a step.
        memory: steps in which norms forget where they started.
    """

    square: np.ndarray
    angle: float
    memory: float


@dataclasses.dataclass(frozen=True)
class Reading:
    """A generator in a training.

    Args:
        generator: it.
        motion: what the optimiser is for it; None where it is no heavy ball.
        steps: (T,) steps taken before those that were measured.
        total: (T,) |g|^2 of all parameters then.
        charge: of them, (T, neurons) each.
        precision: unit of the last place of the parameters.
    """

    generator: Generator
    motion: Motion | None
    steps: np.ndarray
    total: np.ndarray
    charge: Charge
    precision: float

    def terms(self) -> dict[str, np.ndarray]:
        """Name -> term of the account (T, neurons); of an optimiser that is no heavy ball the anomaly."""
        if self.motion is None:
            return {ANOMALY: np.asarray(self.charge.anomaly)}
        return {name: np.asarray(term) for name, term in self.charge.budget(self.motion.beta).terms.items()}

    def anomaly(self) -> np.ndarray:
        """|<g, xi>| / (|g| |xi|), (T, neurons); not a number where the gradient is too small to tell."""
        total = np.reshape(self.total, (-1,) + (1,) * (np.ndim(self.charge.anomaly) - 1))
        own = self.charge
        return anomaly_share(own.anomaly, own.gradient, own.field, total, self.precision)

    def broken(self) -> np.ndarray:
        """Which charges (neurons,) the loss drives: the anomaly, in the median over steps, is not small."""
        shares = np.nan_to_num(self.anomaly(), nan=0.0)
        return np.asarray(np.median(shares, axis=0) > broken_from(self.precision))

    def residual(self) -> np.ndarray:
        """What the account leaves, relative to its largest term or |g| |xi|, (T, neurons)."""
        if self.motion is None:
            return np.full(np.shape(self.charge.anomaly), np.nan)
        budget = self.charge.budget(self.motion.beta)
        return np.asarray(budget.share(budget.residual))

    def unexplained(self) -> np.ndarray:
        """What reaches the momentum beside gradient and decay, relative to the gradient, (T, neurons)."""
        own, k = self.charge, max(self.motion.k.values(), default=0.0) if self.motion else 0.0
        # Rounding of what a small gradient is added to is none of its own.
        least = 1e5 * self.precision * (np.sqrt(own.momentum) + k * np.sqrt(own.square))
        return _share(np.sqrt(own.unexplained), np.maximum(np.sqrt(own.gradient), least))

    def askew(self) -> np.ndarray:
        """Sine of the angle between step and momentum, (T, neurons)."""
        cosine = _share(self.charge.along, np.sqrt(self.charge.step * self.charge.momentum))
        still = np.asarray(self.charge.step) <= 0
        return np.where(still, 0.0, np.sqrt(np.maximum(0.0, 1.0 - np.minimum(cosine, 1.0) ** 2)))

    def rate(self) -> np.ndarray:
        """Learning rate (T,): the step along the momentum over it; not a number without a heavy ball."""
        axes = tuple(range(1, np.ndim(self.charge.along)))
        along, size = (np.sum(part, axis=axes) for part in (self.charge.along, self.charge.momentum))
        return np.asarray(along / np.where(size > 0, size, np.nan))

    def eta(self) -> float | None:
        """The learning rate, where it is one and a step is it times the momentum; else None."""
        if self.motion is None or not self.motion.moves:
            return None
        rates, known = self.rate(), np.isfinite(self.rate())
        close = max(_ALTERED, 10 * self.precision)
        if not known.any() or np.ptp(rates[known]) > close * abs(np.median(rates[known])):
            return None
        if np.median(self.askew()) > np.sqrt(1e3 * self.precision) or self.motion.eta == {}:
            return None
        told = set(self.motion.eta.values())
        return told.pop() if len(told) == 1 else None

    def k(self) -> float | None:
        """The decay, where it is known and one."""
        found = set(self.motion.k.values()) if self.motion else set()
        return found.pop() if len(found) == 1 else None

    def effective_rate(self) -> np.ndarray:
        """Learning rate of directions, eta / |q|^2, (T, neurons)."""
        square = np.asarray(self.charge.square)
        rate = np.reshape(self.rate(), (-1,) + (1,) * (square.ndim - 1))
        return rate / np.where(square > 0, square, np.nan)

    def angle(self, steps: slice = slice(None)) -> float:
        """Root of <|q' - q|^2> / <|q|^2> over steps and neurons: radians that directions turn in a step."""
        return float(np.sqrt(np.mean(self.charge.step[steps]) / np.mean(self.charge.square[steps])))

    def equilibrium(self) -> Equilibrium:
        """Where norms go, and how long that takes.

        Raises:
            UsageError: where there is no theory, as `predict_norm` does, and without decay.
        """
        eta, beta, k = self._theory()
        last, own = slice(-max(2, len(self.steps) // 4), None), self.charge
        # R |ghat|^2 = (|v'|^2 - beta^2 |v|^2) |q|^2, in the mean.
        source = np.mean(own.momentum[last] * own.square[last], axis=0) * (1.0 - beta**2)
        square = np.sqrt(eta * source / (2.0 * k * (1.0 - beta))) if k else np.full_like(source, np.inf)
        return Equilibrium(square, angle_per_step(eta, beta, k), equivalent_rmsprop(eta, beta, k).memory)

    def predict_norm(self, kind: Kind = "autocorrelated") -> np.ndarray:
        """Squared norms (T, neurons) that theory makes of the first, see `norms.predict_norm`.

        Raises:
            UsageError: where there is no theory: another generator than `scale`, a loss without this
                symmetry, another optimiser than heavy-ball momentum of one learning rate and one decay, or
                steps that were not all measured, from the first on.
        """
        eta, beta, k = self._theory()
        if self.steps[0] != 0 or np.any(np.diff(self.steps) != 1):
            raise UsageError(
                f"{self.generator.name}: a prediction needs every step from the first on: every=1, all "
                "records"
            )
        own = self.charge
        return predict_norm(own.square, own.gradient, own.step, eta=eta, beta=beta, decay=k, kind=kind)

    def _theory(self) -> tuple[float, float, float]:
        """Learning rate, beta and decay of the theory of norms, where there is one."""
        name, eta, k = self.generator.name, self.eta(), self.k()
        if not self.generator.is_scale:
            raise UsageError(f"{name}: theory predicts norms; give a scale generator")
        if self.motion is None:
            raise UsageError(
                f"{name}: nothing is predicted for this optimiser: it is not heavy-ball momentum with its "
                "momentum in an optax trace, as that of optax.sgd(rate, momentum) is"
            )
        if eta is None or k is None or self._altered().any():
            raise UsageError(
                f"{name}: nothing is predicted where a step is not one learning rate times the momentum, "
                "with one decay (schedules, Nesterov, decoupled decay, clipping)"
            )
        if self.broken().any():
            raise UsageError(f"{name}: nothing is predicted where the loss does not have this symmetry")
        return eta, self.motion.beta, k

    def _altered(self) -> np.ndarray:
        """Steps (T,) in which the momentum is not what gradient and decay make it."""
        axes = tuple(range(1, np.ndim(self.charge.anomaly)))
        return np.asarray(np.max(self.unexplained(), axis=axes) > max(_ALTERED, 10 * self.precision))

    def lines(self, why: str) -> list[str]:
        """For people.

        Args:
            why: an optimiser is no heavy ball.
        """
        charges, motion = self.charge.anomaly[0].size, self.motion
        lines = [f"{self.generator.name}: {charges} charge{'s' * (charges > 1)}, {len(self.steps)} steps"]
        if motion is None:
            lines.append(f"  optimiser     no heavy ball ({why}): charge, norms and anomaly are told")
        else:
            told = " and ".join(f"{k:g}" for k in sorted(set(motion.k.values())))
            lines.append(
                f"  momentum      beta {motion.beta:g}, decay {told} through it, {self._rate_told()}"
            )
        anomaly = self.anomaly()
        known = anomaly[np.isfinite(anomaly)]
        lines.append(
            f"  anomaly       {np.median(known):.2g} of |g| |xi|, median; {known.max():.2g} largest"
            if known.size
            else "  anomaly       none: there is no gradient but the rounding of others'"
        )
        if motion is not None:
            sizes = {name: float(np.sqrt(np.mean(term**2))) for name, term in self.terms().items()}
            lines.append("  terms         " + ", ".join(f"{name} {size:.2g}" for name, size in sizes.items()))
            lines.append(f"  residual      {self.residual().max():.2g} of the largest term, at most")
        return [*lines, *(self._norm_lines() if self.generator.is_scale else [])]

    def _rate_told(self) -> str:
        if self.motion is None or not self.motion.moves:
            return "steps are not a rate times it"
        eta, rates = self.eta(), self.rate()
        known = rates[np.isfinite(rates)]
        if eta is not None or not known.size:
            return "learning rate not told" if eta is None else f"learning rate {eta:g}"
        return f"learning rate {known[0]:.3g} to {known[-1]:.3g}"

    def _norm_lines(self) -> list[str]:
        square = np.asarray(self.charge.square)
        lines = [f"  norm          r^2 {np.median(square[0]):.3g} to {np.median(square[-1]):.3g}"]
        if self.broken().any():
            return lines
        rates = self.effective_rate()
        if np.isfinite(rates).any():
            first, end = (np.nanmedian(rates[n]) for n in (0, -1))
            lines.append(f"  learning rate of directions, eta / r^2: {first:.3g} to {end:.3g}")
        try:
            theory = self.equilibrium()
        except UsageError:
            return lines
        last = slice(-max(1, len(self.steps) // 4), None)
        return [
            *lines,
            f"  equilibrium   r^2 {np.median(theory.square):.3g}; norms forget their start in "
            f"{theory.memory:.3g} steps, {self.steps[-1] + 1} were taken",
            f"                {self.angle(last):.3g} radians a step in the last quarter, {theory.angle:.3g} "
            "in theory",
        ]

    def findings(self, decayed: bool) -> list[str]:
        """What is not as symmetry and theory have it.

        Args:
            decayed: whether the optimiser decays any parameter.
        """
        name, found, broken = self.generator.name, [], np.flatnonzero(self.broken())
        if len(broken):
            share = np.nanmax(np.nanmedian(self.anomaly()[:, self.broken()], axis=0)) if broken.size else 0.0
            which = _told(broken, self.charge.anomaly[0].size)
            found.append(
                f"{name}: the loss does not have this symmetry{which}, |<g, xi>| is {share:.2g} of |g| |xi|: "
                "an eps of normalisation that is not small beside the variance, a penalty in the loss, "
                "another use of these weights, or gradients that were changed before they came here"
            )
        if self.motion is None:
            return found
        if (strange := self._altered()).any():
            found.append(
                f"{name}: in {strange.sum()} of {len(strange)} steps something else than gradient and decay "
                "reached the momentum: clipping, noise, or numbers that changed since the first step"
            )
        skew = np.max(self.askew(), axis=tuple(range(1, self.charge.anomaly.ndim)))
        limit = max(_ALTERED, float(np.sqrt(1e3 * self.precision)))
        if self.motion.moves and (turned := skew > limit).any():
            found.append(
                f"{name}: in {turned.sum()} of {len(turned)} steps the step was not along the momentum: "
                "updates are changed after it, as by clipping"
            )
        decays = self.motion.k
        if len(set(decays.values())) > 1:
            told = ", ".join(f"{k:g} on {path}" for path, k in decays.items())
            found.append(f"{name}: decay {told}: a mask that leaves out a part drives this charge")
        elif self.generator.is_scale and decayed and not any(decays.values()):
            found.append(
                f"{name}: no decay reaches it, while other parameters are decayed: its norm only grows, its "
                "learning rate eta / r^2 only falls; does the mask of add_decayed_weights leave it out?"
            )
        return found


def _told(which: np.ndarray, count: int) -> str:
    """Which charges of so many are meant, where not all are."""
    if len(which) == count:
        return ""
    named = ", ".join(map(str, which[:_FEW])) + (", ..." if len(which) > _FEW else "")
    return f" in {len(which)} of {count} neurons ({named})"
