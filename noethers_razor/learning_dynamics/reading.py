"""Results for one generator in a training: terms of the charge, learning rate, norms and findings."""

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
"""Share of |g| |xi| above which a symmetry counts as broken; at least ten units of the last place."""
_ALTERED = 1e-3
"""Share of |g|, or of the step, above which a step deviates from heavy-ball momentum."""
_TOO_SMALL = 1e2
"""Units of the last place of the whole gradient below which the gradient of a neuron is only rounding."""
_FEW = 8
"""Largest number of neurons that a finding names."""


def _share(values: ArrayLike, size: ArrayLike) -> np.ndarray:
    whole = np.asarray(size)
    return np.abs(np.asarray(values)) / np.where(whole > 0, whole, 1.0)


def anomaly_share(
    anomaly: ArrayLike, gradient: ArrayLike, field: ArrayLike, total: ArrayLike, precision: float
) -> np.ndarray:
    """Return |<g, xi>| / (|g| |xi|).

    A symmetry can make the whole gradient of a neuron vanish. Only rounding errors are then left of g.

    Args:
        anomaly: <g, xi> (..., neurons).
        gradient: |g|^2 (..., neurons).
        field: |xi|^2 (..., neurons).
        total: |g|^2 of all parameters, of a shape that broadcasts.
        precision: unit of the last place of the parameters.
    Returns:
        Shares (..., neurons); NaN where |g| is too small compared with the whole gradient.
    """
    own = np.asarray(gradient)
    least = min(_TOO_SMALL * precision, BROKEN) ** 2 * np.asarray(total)
    return np.where(own > least, _share(anomaly, np.sqrt(own * np.asarray(field))), np.nan)


def broken_from(precision: float) -> float:
    """Return the share above which a symmetry counts as broken.

    Args:
        precision: unit of the last place of the parameters.
    """
    return max(BROKEN, 10 * precision)


class Equilibrium(NamedTuple):
    """Equilibrium of norms under decay.

    Args:
        square: |q|^2 (neurons) at which growth and decay balance, from the gradients of the last quarter.
        angle: angle of directions per step at equilibrium, radians.
        memory: number of steps in which the effect of the initial norm on |q|^4 falls by a factor e.
    """

    square: np.ndarray
    angle: float
    memory: float


@dataclasses.dataclass(frozen=True)
class Reading:
    """Results for one generator in a training with T measured steps.

    Args:
        generator: generator of the charges.
        motion: heavy-ball momentum; None for another optimiser.
        steps: numbers (T) of the measured steps, from 0.
        total: |g|^2 (T) of all parameters.
        charge: charges and terms, each (T, neurons).
        precision: unit of the last place of the parameters.
    """

    generator: Generator
    motion: Motion | None
    steps: np.ndarray
    total: np.ndarray
    charge: Charge
    precision: float

    def terms(self) -> dict[str, np.ndarray]:
        """Return the terms (T, neurons) by name; without heavy-ball momentum only the anomaly."""
        if self.motion is None:
            return {ANOMALY: np.asarray(self.charge.anomaly)}
        return {name: np.asarray(term) for name, term in self.charge.budget(self.motion.beta).terms.items()}

    def anomaly(self) -> np.ndarray:
        """Return |<g, xi>| / (|g| |xi|) (T, neurons); NaN where the gradient is only rounding."""
        total = np.reshape(self.total, (-1,) + (1,) * (np.ndim(self.charge.anomaly) - 1))
        own = self.charge
        return anomaly_share(own.anomaly, own.gradient, own.field, total, self.precision)

    def broken(self) -> np.ndarray:
        """Return whether the loss breaks the symmetry (neurons), by the median anomaly over steps."""
        shares = np.nan_to_num(self.anomaly(), nan=0.0)
        return np.asarray(np.median(shares, axis=0) > broken_from(self.precision))

    def residual(self) -> np.ndarray:
        """Return the change of the charge minus the sum of its terms (T, neurons).

        It is relative to the largest of the change, the terms and |g| |xi|. Without heavy-ball momentum it
        is NaN.
        """
        if self.motion is None:
            return np.full(np.shape(self.charge.anomaly), np.nan)
        budget = self.charge.budget(self.motion.beta)
        return np.asarray(budget.share(budget.residual))

    def unexplained(self) -> np.ndarray:
        """Return |v' - (beta v - g - k q)| relative to |g| (T, neurons).

        It is zero if gradient and decay explain the momentum.
        """
        own, k = self.charge, max(self.motion.k.values(), default=0.0) if self.motion else 0.0
        # A small gradient is added to larger numbers. Their rounding errors do not count.
        least = 1e5 * self.precision * (np.sqrt(own.momentum) + k * np.sqrt(own.square))
        return _share(np.sqrt(own.unexplained), np.maximum(np.sqrt(own.gradient), least))

    def askew(self) -> np.ndarray:
        """Return the sine of the angle between step and momentum (T, neurons)."""
        cosine = _share(self.charge.along, np.sqrt(self.charge.step * self.charge.momentum))
        still = np.asarray(self.charge.step) <= 0
        return np.where(still, 0.0, np.sqrt(np.maximum(0.0, 1.0 - np.minimum(cosine, 1.0) ** 2)))

    def rate(self) -> np.ndarray:
        """Return the learning rate (T), <q' - q, v'> / |v'|^2; NaN without heavy-ball momentum."""
        axes = tuple(range(1, np.ndim(self.charge.along)))
        along, size = (np.sum(part, axis=axes) for part in (self.charge.along, self.charge.momentum))
        return np.asarray(along / np.where(size > 0, size, np.nan))

    def eta(self) -> float | None:
        """Return the learning rate if each step is this constant times the momentum; else None."""
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
        """Return the decay if it is known and the same for all parameters; else None."""
        found = set(self.motion.k.values()) if self.motion else set()
        return found.pop() if len(found) == 1 else None

    def effective_rate(self) -> np.ndarray:
        """Return the learning rate of directions, eta / |q|^2 (T, neurons)."""
        square = np.asarray(self.charge.square)
        rate = np.reshape(self.rate(), (-1,) + (1,) * (square.ndim - 1))
        return rate / np.where(square > 0, square, np.nan)

    def angle(self, steps: slice = slice(None)) -> float:
        """Return the angle of directions per step in radians: root of <|q' - q|^2> / <|q|^2>.

        Args:
            steps: measured steps of the average.
        """
        return float(np.sqrt(np.mean(self.charge.step[steps]) / np.mean(self.charge.square[steps])))

    def equilibrium(self) -> Equilibrium:
        """Return the equilibrium of norms, and their memory.

        Raises:
            UsageError: if the theory does not apply, see `predict_norm`, or without decay.
        """
        eta, beta, k = self._theory()
        last, own = slice(-max(2, len(self.steps) // 4), None), self.charge
        # On average R |ghat|^2 = (|v'|^2 - beta^2 |v|^2) |q|^2.
        source = np.mean(own.momentum[last] * own.square[last], axis=0) * (1.0 - beta**2)
        square = np.sqrt(eta * source / (2.0 * k * (1.0 - beta))) if k else np.full_like(source, np.inf)
        return Equilibrium(square, angle_per_step(eta, beta, k), equivalent_rmsprop(eta, beta, k).memory)

    def predict_norm(self, kind: Kind = "autocorrelated") -> np.ndarray:
        """Predict squared norms (T, neurons) from the first norm, see `norms.predict_norm`.

        Args:
            kind: theory of norms.
        Raises:
            UsageError: if the theory does not apply. It needs a `scale` generator, a loss with this
                symmetry, heavy-ball momentum with one learning rate and one decay, and a measurement of
                every step from the first one.
        """
        eta, beta, k = self._theory()
        if self.steps[0] != 0 or np.any(np.diff(self.steps) != 1):
            raise UsageError(
                f"{self.generator.name}: a prediction needs every step from the first one; use every=1 and "
                "give all records"
            )
        own = self.charge
        return predict_norm(own.square, own.gradient, own.step, eta=eta, beta=beta, decay=k, kind=kind)

    def _theory(self) -> tuple[float, float, float]:
        """Return learning rate, beta and decay for the theory of norms, if it applies."""
        name, eta, k = self.generator.name, self.eta(), self.k()
        if not self.generator.is_scale:
            raise UsageError(f"{name}: the theory predicts norms only; use a scale generator")
        if self.motion is None:
            raise UsageError(
                f"{name}: no prediction for this optimiser, because it is not heavy-ball momentum with its "
                "momentum in an optax trace; use optax.sgd(learning_rate, momentum)"
            )
        if eta is None or k is None or self._altered().any():
            raise UsageError(
                f"{name}: no prediction, because a step is not a constant learning rate times the momentum, "
                "or there is not one decay; use no schedule, Nesterov momentum, decoupled decay or clipping"
            )
        if self.broken().any():
            raise UsageError(
                f"{name}: no prediction, because the loss does not have this symmetry; see findings"
            )
        return eta, self.motion.beta, k

    def _altered(self) -> np.ndarray:
        """Return the steps (T) in which gradient and decay do not explain the momentum."""
        axes = tuple(range(1, np.ndim(self.charge.anomaly)))
        return np.asarray(np.max(self.unexplained(), axis=axes) > max(_ALTERED, 10 * self.precision))

    def lines(self, why: str) -> list[str]:
        """Return the lines of the report for this generator.

        Args:
            why: reason why the optimiser is not heavy-ball momentum.
        """
        charges, motion = self.charge.anomaly[0].size, self.motion
        lines = [f"{self.generator.name}: {charges} charge{'s' * (charges > 1)}, {len(self.steps)} steps"]
        if motion is None:
            lines.append(f"  optimiser     not heavy-ball momentum ({why}): only charge, norms, anomaly")
        else:
            told = " and ".join(f"{k:g}" for k in sorted(set(motion.k.values())))
            lines.append(f"  momentum      beta {motion.beta:g}, coupled decay {told}, {self._rate_told()}")
        anomaly = self.anomaly()
        known = anomaly[np.isfinite(anomaly)]
        lines.append(
            f"  anomaly       {np.median(known):.2g} of |g| |xi| (median), {known.max():.2g} (largest)"
            if known.size
            else "  anomaly       none: the gradient is smaller than rounding of the whole gradient"
        )
        if motion is not None:
            sizes = {name: float(np.sqrt(np.mean(term**2))) for name, term in self.terms().items()}
            lines.append("  terms         " + ", ".join(f"{name} {size:.2g}" for name, size in sizes.items()))
            lines.append(f"  residual      at most {self.residual().max():.2g} of the largest term")
        return [*lines, *(self._norm_lines() if self.generator.is_scale else [])]

    def _rate_told(self) -> str:
        if self.motion is None or not self.motion.moves:
            return "steps are not a learning rate times the momentum"
        eta, rates = self.eta(), self.rate()
        known = rates[np.isfinite(rates)]
        if eta is not None or not known.size:
            return "learning rate unknown" if eta is None else f"learning rate {eta:g}"
        return f"learning rate {known[0]:.3g} to {known[-1]:.3g}"

    def _norm_lines(self) -> list[str]:
        square = np.asarray(self.charge.square)
        lines = [f"  norm          r^2 from {np.median(square[0]):.3g} to {np.median(square[-1]):.3g}"]
        if self.broken().any():
            return lines
        rates = self.effective_rate()
        if np.isfinite(rates).any():
            first, end = (np.nanmedian(rates[n]) for n in (0, -1))
            lines.append(f"  learning rate of directions, eta / r^2: from {first:.3g} to {end:.3g}")
        try:
            theory = self.equilibrium()
        except UsageError:
            return lines
        last = slice(-max(1, len(self.steps) // 4), None)
        return [
            *lines,
            f"  equilibrium   r^2 {np.median(theory.square):.3g}; memory of norms {theory.memory:.3g} steps, "
            f"{self.steps[-1] + 1} steps taken",
            f"                directions turn {self.angle(last):.3g} radians per step in the last quarter, "
            f"{theory.angle:.3g} in theory",
        ]

    def findings(self, decayed: bool) -> list[str]:
        """Return deviations from symmetry and theory, one line each.

        Args:
            decayed: whether the optimiser decays any parameter.
        """
        name, found, broken = self.generator.name, [], np.flatnonzero(self.broken())
        if len(broken):
            share = np.nanmax(np.nanmedian(self.anomaly()[:, self.broken()], axis=0)) if broken.size else 0.0
            which = _told(broken, self.charge.anomaly[0].size)
            found.append(
                f"{name}: the loss does not have this symmetry{which}: |<g, xi>| is {share:.2g} of |g| |xi|. "
                "Check for an eps of the normalisation that is not small compared with the variance, a "
                "penalty in the loss, another use of these weights, or gradients changed before the tracker"
            )
        if self.motion is None:
            return found
        if (strange := self._altered()).any():
            found.append(
                f"{name}: in {strange.sum()} of {len(strange)} steps something other than gradient and decay "
                "changed the momentum. Check for clipping, noise, or hyperparameters that changed since the "
                "first step"
            )
        skew = np.max(self.askew(), axis=tuple(range(1, self.charge.anomaly.ndim)))
        limit = max(_ALTERED, float(np.sqrt(1e3 * self.precision)))
        if self.motion.moves and (turned := skew > limit).any():
            found.append(
                f"{name}: in {turned.sum()} of {len(turned)} steps the step was not parallel to the "
                "momentum. Check for a change of the updates after the momentum, such as clipping"
            )
        decays = self.motion.k
        if len(set(decays.values())) > 1:
            told = ", ".join(f"{k:g} on {path}" for path, k in decays.items())
            found.append(f"{name}: decay {told}. Unequal decay changes this charge; check its mask")
        elif self.generator.is_scale and decayed and not any(decays.values()):
            found.append(
                f"{name}: it has no decay, but other parameters have. Its norm only grows, and its learning "
                "rate eta / r^2 only falls; check the mask of add_decayed_weights"
            )
        return found


def _told(which: np.ndarray, count: int) -> str:
    """Return the text that names some of so many charges; empty if they are all."""
    if len(which) == count:
        return ""
    named = ", ".join(map(str, which[:_FEW])) + (", ..." if len(which) > _FEW else "")
    return f" in {len(which)} of {count} neurons ({named})"
