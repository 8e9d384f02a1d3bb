"""The answer on quadratic quantities: which are exactly conserved, and to what; which only approximately.

The largest set that the tests of drift do not reject is exact, if it is closed under Poisson brackets.
"Exact" always means "to a resolution": the smallest breaking that these data would have shown. Both are rates
dC/dt, relative to the rate at which a quantity with the same gradients changes if nothing keeps it constant.
Where the motion is not Hamiltonian, sets need not be closed, but fitted friction must leave them unchanged.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from noethers_razor.data.frame import Frame
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.evidence.candidates import Candidates, candidates
from noethers_razor.evidence.closure import is_closed
from noethers_razor.evidence.diagnosis import Diagnosis, diagnosis
from noethers_razor.evidence.drift import Drift, drift
from noethers_razor.evidence.field import FittedField, fitted_field
from noethers_razor.evidence.symmetry_evidence import breakings, nested_evidence, unchanged
from noethers_razor.evidence.variation import slope_weights
from noethers_razor.mechanics.quadratic_form import embed, largest_count, second_moment

LEVEL = 0.05
"""Probability with which a set of exact quantities is rejected."""
POWER = 0.9
"""Probability with which a breaking of the size of the resolution is seen."""
TELLING = 0.1
"""Largest relative rate of an approximate quantity, and largest resolution at which a quantity is exact."""
_QUANTILE = 1.6448536269514722
"""Normal quantile of intervals with 90 %."""
_MOST_APPROXIMATE = 12
"""Largest number of approximate quantities."""
_MOST_NEXT = 24
"""Number of observables after the exact ones that may be approximate."""
_MOST_SHOWN = 40
"""Number of variances that an answer keeps."""
_ANGLE_DRAWS = 100
"""Number of draws of the error of the exact quantities."""
_MORE = 4
"""Number of observables after the exact ones of which the fitted field is asked."""
_MOSTLY_NOISE = 0.5
"""Squared noise, relative to the data, above which nothing is exact."""
_FEW = 10
"""Number of trajectories below which each is left out in turn."""


class Approximate(NamedTuple):
    """A quantity that is nearly conserved.

    Args:
        form: matrix A (M, M), in the frame.
        linear: linear part b (M,).
        breaking: root-mean-square rate, relative to the rate of a quantity that nothing keeps constant.
        interval: ends of an interval of ``breaking`` with 90 %.
        lifetime: time in which the quantity drifts by its own spread, frame units; None if no drift is seen.
    """

    form: np.ndarray
    linear: np.ndarray
    breaking: float
    interval: tuple[float, float]
    lifetime: float | None


@dataclasses.dataclass(frozen=True)
class Answer:
    """Exact and approximate quadratic quantities of trajectories, in the frame.

    Args:
        form: matrices A (K, M, M) of the exact quantities, orthonormal in displacement.
        linear: linear parts b (K, M).
        variance: variances along trajectories of the least varying observables, in units of noise.
        p_values: p-values for "the first k are exact", for every k whose observables vary by at most twice
            the noise.
        resolution: smallest relative rate of a quantity that would show with 90 %; None without a quantity,
            or if no rate would show.
        angle: largest angle in degrees between the exact quantities and the true ones, upper end of an
            interval with 90 %; None without a quantity.
        approximate: nearly conserved quantities, the least broken first; none without a fitted field.
        cannot_tell: reasons why the data cannot tell; empty if they can.
        remarks: what the answer does not speak of.
        next: form and linear parts of the observables that come after the exact ones.
        diagnosis: whether the motion is Hamiltonian; None if no field was fitted.
        log_evidence: log evidence of the first 1, 2, ... quantities by the fitted field, less that of none:
            the exact ones and a few of ``next``.
    """

    form: np.ndarray
    linear: np.ndarray
    variance: np.ndarray
    p_values: np.ndarray
    resolution: float | None = None
    angle: float | None = None
    approximate: tuple[Approximate, ...] = ()
    cannot_tell: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    next: tuple[np.ndarray, np.ndarray] = (np.zeros((0, 0, 0)), np.zeros((0, 0)))
    diagnosis: Diagnosis | None = None
    log_evidence: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))

    @property
    def count(self) -> int:
        """Number K of exact quantities."""
        return len(self.form)

    @property
    def departs(self) -> bool:
        """Whether the motion is not Hamiltonian in these coordinates: no quantity generates a symmetry."""
        return self.diagnosis is not None and self.diagnosis.hamiltonian is False

    @property
    def p_value(self) -> float | None:
        """p-value for "all K are exact"; None without one."""
        return float(self.p_values[self.count - 1]) if self.count else None

    @property
    def next_p_value(self) -> float | None:
        """p-value for one more; None if all others vary by more than twice the noise."""
        return float(self.p_values[self.count]) if self.count < len(self.p_values) else None


def answer_with_field(trajectories: FrameTrajectories, frame: Frame | None = None) -> Answer:
    """Return which quadratic quantities trajectories conserve, and what a field says that is fitted to them.

    Args:
        trajectories: trajectories in the frame, with their noise and times.
        frame: the frame; None if positions are in units of the frame.
    """
    fit = fitted_field(trajectories, frame)
    if fit is None:
        return answer_of(trajectories)
    diagnosed = diagnosis(fit, trajectories)
    found = answer_of(trajectories, closed=diagnosed.hamiltonian is True)
    if diagnosed.departure == "friction" and found.count:
        found = _without_changed(found, fit)
    shown = found.count + _MORE
    form = np.concatenate([found.form, found.next[0]])[:shown]
    linear = np.concatenate([found.linear, found.next[1]])[:shown]
    return dataclasses.replace(
        found,
        # Few trajectories determine neither the exact quantities nor those next to them.
        approximate=() if found.cannot_tell else _approximate(*found.next, fit, trajectories),
        diagnosis=diagnosed,
        log_evidence=nested_evidence(fit, form[:_MOST_SHOWN], linear[:_MOST_SHOWN]),
    )


def _without_changed(found: Answer, fit: FittedField) -> Answer:
    """Return the answer with those exact quantities that the fitted friction leaves unchanged."""
    left, changed = unchanged(fit, found.form, found.linear)
    if not len(changed):
        return found
    form, linear = (
        np.concatenate([np.tensordot(changed, own, axes=1), others])
        for own, others in zip((found.form, found.linear), found.next, strict=True)
    )
    return dataclasses.replace(
        found,
        form=np.tensordot(left, found.form, axes=1),
        linear=left @ found.linear,
        resolution=found.resolution if len(left) else None,
        angle=found.angle if len(left) else None,
        next=(form[:_MOST_NEXT], linear[:_MOST_NEXT]),
    )


def answer_of(trajectories: FrameTrajectories, seed: int = 0, *, closed: bool = False) -> Answer:
    """Return which quadratic quantities trajectories conserve, by their drift alone.

    Args:
        trajectories: trajectories in the frame, with their noise and times.
        seed: of the draws of the noise.
        closed: whether exact sets have to be closed under Poisson brackets.
    """
    found = candidates(trajectories)
    tested = drift(found.observed(trajectories.states), trajectories, seed)
    close = found.close
    form = np.concatenate([np.tensordot(tested.rows, found.form[:close], axes=1), found.form[close:]])
    linear = np.concatenate([tested.rows @ found.linear[:close], found.linear[close:]])
    for count in passing(tested):
        exact = _orthonormal(form[:count], linear[:count], trajectories.states)
        if not closed or is_closed(*exact, trajectories.states):
            break
    resolution = resolution_of(tested, trajectories) if count else None
    reasons = tuple(_reasons(trajectories, found, count, resolution))
    return Answer(
        *exact,
        angle=_angle(exact, found, trajectories) if count else None,
        variance=found.variance[:_MOST_SHOWN],
        p_values=tested.p,
        resolution=resolution,
        cannot_tell=reasons,
        remarks=tuple(_remarks(trajectories, found)),
        next=(form[count : count + _MOST_NEXT], linear[count : count + _MOST_NEXT]),
    )


def _orthonormal(form: np.ndarray, linear: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return observables orthonormal in displacement; each stays in the span of itself and those before."""
    if not len(form):
        return form, linear
    triangle = np.asarray(np.linalg.qr(embed(form, linear, second_moment(states)).T, mode="r"))
    inverse = np.linalg.inv(triangle.T)
    return np.tensordot(inverse, form, axes=1), inverse @ linear


def _speed(trajectories: FrameTrajectories) -> float:
    """Return the root-mean-square length of dx/dt, without what noise adds to differences."""
    states, labels, time = trajectories.states, trajectories.trajectory, trajectories.times
    inside = np.flatnonzero(labels[1:] == labels[:-1])
    step = time[inside + 1] - time[inside]
    squares = np.sum((states[inside + 1] - states[inside]) ** 2, axis=1) - 2.0 * np.trace(trajectories.noise)
    return float(np.sqrt(max(np.mean(squares / step**2), 1e-300)))


def passing(tested: Drift) -> list[int]:
    """Return the numbers K whose first K functions no test of drift rejects, the largest first, and 0."""
    return [*reversed((np.flatnonzero(tested.p > LEVEL) + 1).tolist()), 0]


def resolution_of(tested: Drift, trajectories: FrameTrajectories) -> float | None:
    """Return the smallest relative rate of a function that the free test sees with 90 %; None if none is."""
    from scipy.optimize import brentq
    from scipy.stats import chi2, ncx2

    directions = len(tested.information)
    if not directions:
        return None
    threshold = chi2.isf(LEVEL / len(tested.tests), directions)
    needed = brentq(lambda c: ncx2.sf(threshold, directions, c) - POWER, 1e-3, 1e4)
    variance = max(float(tested.variance[-1]), 1e-2)
    rate = np.sqrt(needed * variance * np.mean(1.0 / tested.information))
    relative = float(rate / np.median(tested.size) / _speed(trajectories))
    return relative if relative < 1.0 else None


def _angle(exact: tuple[np.ndarray, np.ndarray], found: Candidates, trajectories: FrameTrajectories) -> float:
    """Return the upper end of an interval with 90 % of the largest angle to the true quantities, degrees.

    An exact quantity has a random part of every observable that varies more. For a variance w in units of
    noise and N degrees of freedom, its standard deviation is sqrt(w / N) / (w - 1) (Anderson 1963).
    """
    count = len(exact[0])
    varies = found.variance[count:]
    if not len(varies):
        return 0.0
    free = trajectories.free
    above = np.maximum(varies - 1.0, 1.0 / np.sqrt(free))
    size = np.sqrt(np.maximum(varies, 1.0) / free) / above
    moment = second_moment(trajectories.states)
    rows, others = embed(*exact, moment), embed(found.form[count:], found.linear[count:], moment)
    outside = np.asarray(np.linalg.qr((others - (others @ rows.T) @ rows).T, mode="r")).T
    # Noise makes of a unit quantity what it makes of the exact ones.
    scale = 1.0 / np.median(np.linalg.norm(embed(found.form[:count], found.linear[:count], moment), axis=1))
    draw = np.random.default_rng(0)
    tangents = [
        np.linalg.norm(scale * (draw.normal(size=(count, len(size))) * size) @ outside, ord=2)
        for _ in range(_ANGLE_DRAWS)
    ]
    return float(np.degrees(np.arctan(np.quantile(tangents, 0.9))))


def _approximate(
    form: np.ndarray, linear: np.ndarray, fit: FittedField, trajectories: FrameTrajectories
) -> tuple[Approximate, ...]:
    """Return those of the observables that are nearly conserved, the least broken first."""
    if not len(form):
        return ()
    states = trajectories.states
    own = Candidates(form, linear, np.zeros(len(form)), np.ones(len(states)))
    noise = np.sum((own.gradients(states, len(form)) @ trajectories.noise_factor) ** 2, axis=-1)
    lifetimes = _lifetimes(own.values(states), noise, trajectories)
    sizes = breakings(fit, form, linear)
    order = [int(k) for k in np.argsort(sizes[:, 0]) if 0 < sizes[k, 2] <= TELLING][:_MOST_APPROXIMATE]
    return tuple(
        Approximate(
            form[k], linear[k], float(sizes[k, 0]), (float(sizes[k, 1]), float(sizes[k, 2])), lifetimes[k]
        )
        for k in order
    )


def _lifetimes(values: np.ndarray, noise: np.ndarray, trajectories: FrameTrajectories) -> list[float | None]:
    """Return the times in which quantities drift by their spread over trajectories; None without a drift."""
    _, place = np.unique(trajectories.trajectory, return_inverse=True)
    weights = slope_weights(trajectories.trajectory, trajectories.times)[:, None]

    def sums(columns: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(place, column) for column in columns.T], axis=1)

    squares = sums(weights * values) ** 2 - sums(weights**2 * noise)
    square, error = squares.mean(axis=0), squares.std(axis=0) / np.sqrt(len(squares))
    spread = (sums(values) / np.bincount(place)[:, None]).std(axis=0)
    seen = square > _QUANTILE * error
    return [float(s / np.sqrt(q)) if yes else None for s, q, yes in zip(spread, square, seen, strict=True)]


def _reasons(
    trajectories: FrameTrajectories, found: Candidates, count: int, resolution: float | None
) -> list[str]:
    """Return why the data cannot tell how many quantities are exact."""
    labels = np.unique(trajectories.trajectory)
    reasons = []
    if len(labels) == 1:
        reasons.append("one trajectory: other trajectories may show that a quantity is not conserved")
    elif len(labels) < _FEW and count:
        fewer = [candidates(trajectories.where(trajectories.trajectory != one)).close for one in labels]
        if max(fewer) > found.close:
            reasons.append(
                f"{len(labels)} trajectories: without one of them, {max(fewer)} quantities seem conserved, "
                "and more trajectories may leave fewer"
            )
    if trajectories.deviation**2 > _MOSTLY_NOISE:
        reasons.append("the data are mostly noise: less noise is needed")
    if count and resolution is None:
        reasons.append("no rate of change would show: longer trajectories are needed, or less noise")
    elif resolution is not None and resolution > TELLING:
        reasons.append(
            f"a breaking of {100 * resolution:.0f} % would not show: more or longer trajectories are needed, "
            "or less noise"
        )
    return reasons


def _remarks(trajectories: FrameTrajectories, found: Candidates) -> list[str]:
    """Return what the answer does not speak of."""
    if len(found.form) == largest_count(trajectories.states.shape[1]):
        return []
    return ["some coordinates do not move beyond their noise: their quantities are left out"]
