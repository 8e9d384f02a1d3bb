"""Uncertainty of conserved quantities, estimated from the trajectories.

The method is the Bayesian bootstrap (Rubin 1981): each draw gives every trajectory a random weight. The
variation of a quantity along the weighted trajectories decides whether it is constant in the draw. The
observables that vary least in a draw span its conserved quantities. The angles between this span and the one
without weights estimate the angles between the learned span and the true one.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from noethers_razor.conserved.proposal.constancy import (
    DOUBT,
    Observables,
    scatter,
    stretches,
)
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.evidence.variation import centred
from noethers_razor.mechanics.quadratic_form import as_forms
from noethers_razor.numerics.subspaces import angles_of, largest_sine, orthonormal
from noethers_razor.symmetry.algebra.structure import analyse
from noethers_razor.symmetry.span import IN_USE

LEVEL = 0.9
"""Share of the draws inside an interval."""
FALSE_DISCOVERY_RATE = 0.05
"""Largest expected share of false quantities among the trusted ones."""
_DRAWS = 200
"""Number of draws of the trajectories."""
_NAMED = 20
"""Number of draws whose algebra is named."""
_COSTLY = 3e8
"""Number of multiplications for the scatter of a draw above which only a quarter of the draws is made."""
_FEWEST_BLOCKS = 20
"""Smallest number of independent weights. Fewer trajectories are split into stretches."""
_RANDOM = 400
"""Number of random quadratic observables that a quantity is compared with."""
_ALIKE = 0.05
"""Share of random observables as constant as a quantity at which its constancy is no evidence."""
_BEYOND = 1.15
"""Deviation, relative to the most constant quantity, above which the data show that a quantity varies."""
_HARDLY = 0.01
"""Deviation, relative to random observables, below which a variation does not matter."""
_WHITE = 1.15
"""Largest ratio between the deviation of white noise and the one that its changes imply, either way."""
# One lag is not enough: an oscillation that is sampled four times a period changes like white noise.
# Command: pytest tests/evidence/test_answer.py -k admixture
_LAGS = 6
"""Largest number of time steps of the changes that are compared with the deviation."""
_FEWEST_STATES = 8
"""Smallest median number of states of a trajectory for a test of white noise."""
_CREDITED = 0.5
"""Largest share of the variance of the draws that is subtracted because training improves the span."""
Values = Callable[[np.ndarray], np.ndarray]
"""A function from states (N, M) of the frame to values (N, r) of quantities."""


@dataclasses.dataclass(frozen=True)
class Uncertainty:
    """Uncertainty of conserved quantities, over draws of the trajectories.

    An interval has a lower end, a median and an upper end. It contains 90 % of the draws.

    Args:
        draws: number of draws; with an angle, of those of the angle, which are 50 of 200 for large data.
        trusted: whether each quantity (rank,) is trusted. A quadratic one is if the trajectories show that it
            is exactly conserved, see `evidence.answer`. Another one is if it is a discovery at a
            false-discovery rate of 5 % (Benjamini, Hochberg 1995) and does not clearly vary more than the
            most constant one. Its p-value is (k + 1) / (draws + 1) if it is not constant in k draws.
        deviation: intervals (rank, 3) of the deviation of each non-quadratic quantity along the trajectories,
            relative to the deviation that the noise causes. The most constant quantity comes first. None if
            all are quadratic.
        constant: share (rank,) of the draws in which each non-quadratic quantity is constant. It is constant
            if it varies by at most 1.5 times the noise, and by less than 19 of 20 random quadratic
            observables of the same displacement. None if all are quadratic.
        angle: interval (3,) of the largest principal angle between the learned span and the true one,
            degrees. None for non-quadratic quantities, and if more observables are constant than were
            selected.
        names: name of an algebra -> number of draws with this algebra, of the first 20; empty without an
            angle.
        structure: intervals (rank, rank, rank, 3) of the structure constants in the basis of the selected
            quantities; None without an angle.
    """

    draws: int
    trusted: np.ndarray
    deviation: np.ndarray | None = None
    constant: np.ndarray | None = None
    angle: np.ndarray | None = None
    names: dict[str, int] = dataclasses.field(default_factory=dict)
    structure: np.ndarray | None = None

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "draws": self.draws,
            "level": LEVEL,
            "deviation_over_noise": None if self.deviation is None else self.deviation.tolist(),
            "constant": None if self.constant is None else self.constant.tolist(),
            "trusted": self.trusted.tolist(),
            "false_discovery_rate": None if self.deviation is None else FALSE_DISCOVERY_RATE,
            "largest_angle": None if self.angle is None else self.angle.tolist(),
            "algebras": self.names,
            "structure_constants": None if self.structure is None else self.structure.tolist(),
        }

    def lines(self) -> list[str]:
        """Return the lines of the report."""
        found, rule = [], "the trajectories show no breaking"
        if self.deviation is not None:
            ends = f"{self.deviation[:, 0].min():.2g} to {self.deviation[:, 2].max():.2g}"
            found.append(f"along the data   quantities vary by {ends} times the noise")
            rule = f"at a false-discovery rate of {100 * FALSE_DISCOVERY_RATE:.0f} %"
        found.append(f"trusted          {self.trusted.sum()} of {len(self.trusted)}: {rule}")
        if self.angle is not None:
            low, _, high = self.angle
            found.append(f"span             within {low:.2g} to {high:.2g} degrees ({self.share})")
        return found

    @property
    def share(self) -> str:
        """Share of the draws inside an interval, as text."""
        return f"{100 * LEVEL:.0f} % of {self.draws} draws"

    def warnings(self) -> list[str]:
        """Return a warning if some quantities are not trusted, else an empty list."""
        if self.trusted.all():
            return []
        reason = "the trajectories do not show that the others are exactly conserved"
        if self.deviation is not None:
            reason = (
                "the others vary along the trajectories by more than the noise, or no less than random ones"
            )
        return [f"only {self.trusted.sum()} of {len(self.trusted)} quantities are trusted: {reason}"]


class _Draws:
    """Random weights of the trajectories. Few trajectories are split into stretches.

    Args:
        trajectories: trajectories in the frame.
        number: number of draws.
    """

    def __init__(self, trajectories: FrameTrajectories, number: int) -> None:
        self.trajectories = trajectories
        _, place, count = np.unique(trajectories.trajectory, return_inverse=True, return_counts=True)
        parts = -(-_FEWEST_BLOCKS // len(count))
        _, self.block = np.unique(
            place * parts + stretches(trajectories.trajectory, parts), return_inverse=True
        )
        # A trajectory has one degree of freedom fewer than states, because its mean is subtracted.
        self.free = 1.0 - 1.0 / count[place]
        blocks = int(self.block[-1]) + 1
        self.weights = np.random.default_rng(0).exponential(size=(number, blocks))

    def mean(self, values: np.ndarray, free: bool = False) -> np.ndarray:
        """Return weighted means (draws, k) of values (N, k), or with `free` sums per degree of freedom."""
        starts = np.flatnonzero(np.diff(self.block, prepend=-1))
        unit = self.free if free else np.ones(len(self.block))
        total = self.weights @ np.add.reduceat(unit, starts)
        return np.asarray(self.weights @ np.add.reduceat(values, starts, axis=0) / total[:, None])

    def over_noise(self, values: np.ndarray, shaken: np.ndarray) -> np.ndarray:
        """Return deviations (draws, k) along trajectories, relative to the deviations that the noise causes.

        Args:
            values: values (N, k) at the states.
            shaken: values (N, k) at the states with more noise added.
        """
        varies = self.mean(centred(values, self.trajectories.trajectory) ** 2, free=True)
        return np.sqrt(varies / np.maximum(self.mean((shaken - values) ** 2), 1e-300))

    def scatters(self, values: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the scatter (k, k) of values (N, k) along trajectories in each draw, up to a factor."""
        off = centred(values, self.trajectories.trajectory)
        for weights in self.weights:
            yield (off * weights[self.block, None]).T @ off


def _interval(values: np.ndarray) -> np.ndarray:
    """Return lower end, median and upper end (..., 3) of values (draws, ...)."""
    tail = (1.0 - LEVEL) / 2
    return np.moveaxis(np.quantile(values, [tail, 0.5, 1.0 - tail], axis=0), 0, -1)


def discoveries(p: np.ndarray, rate: float = FALSE_DISCOVERY_RATE) -> np.ndarray:
    """Return whether p-values (r,) are discoveries at a false-discovery rate (Benjamini, Hochberg 1995)."""
    # This import is slow, and only reports need it.
    import scipy.stats

    return np.asarray(scipy.stats.false_discovery_control(p, method="bh") <= rate)


def is_white(values: np.ndarray, trajectory: np.ndarray) -> np.ndarray:
    """Return whether values vary along trajectories like white noise of any size (von Neumann 1941).

    For white noise, half the mean squared change over any number of steps is the variance. A slow variation
    changes less over few steps. An oscillation changes less or more over some number of steps.

    Args:
        values: values (N, k).
        trajectory: number of the trajectory of each row (N,).
    Returns:
        Truth values (k,). All are False if the trajectories are too short for this test.
    """
    _, count = np.unique(trajectory, return_counts=True)
    if np.median(count) < _FEWEST_STATES:
        return np.zeros(values.shape[1], bool)
    total, free = scatter(values, trajectory)
    variance = np.maximum(np.diag(total) / free, 1e-300)
    white = np.ones(values.shape[1], bool)
    for lag in range(1, _LAGS + 1):
        near = np.flatnonzero(trajectory[lag:] == trajectory[:-lag])
        change = np.mean((values[near + lag] - values[near]) ** 2, axis=0) / 2
        ratio = np.sqrt(variance / np.maximum(change, 1e-300))
        white &= (ratio <= _WHITE) & (ratio >= 1.0 / _WHITE)
    return white


def _from_deviations(own: np.ndarray, white: np.ndarray, other: np.ndarray) -> Uncertainty:
    """Return the uncertainty of quantities from their deviations relative to the noise.

    Args:
        own: deviations (draws, r) of the quantities.
        white: whether each quantity (r,) varies like white noise, see `is_white`.
        other: deviations (draws, R) of random observables.
    """
    order = np.argsort(np.median(own, axis=0), kind="stable")
    own, white = own[:, order], white[order]
    alike = np.mean(other[:, None, :] <= own[:, :, None], axis=2)
    missed = np.sum((own > DOUBT) | (alike >= _ALIKE), axis=0)
    deviation = _interval(own)
    # An overestimated noise hides variation, so compare with the most constant quantity. The noise may be
    # overestimated in some coordinates only, so accept a variation that is white noise.
    least = min(1.0, deviation[0, 1])
    varies = (deviation[:, 0] > _BEYOND * least) & (deviation[:, 1] > _HARDLY * np.median(other))
    varies &= ~white
    trusted = discoveries((missed + 1.0) / (len(own) + 1.0)) & ~varies
    return Uncertainty(len(own), trusted, deviation, 1.0 - missed / len(own))


def uncertainty_of(values: Values, moment: np.ndarray, trajectories: FrameTrajectories) -> Uncertainty:
    """Return the uncertainty of quantities.

    Args:
        values: function from states (N, M) of the frame to values (N, r). Combine the quantities so that the
            first combination is the most constant one.
        moment: second moment (M+1, M+1) of the data, see `mechanics.quadratic_form.second_moment`.
        trajectories: trajectories in the frame, with their noise.
    """
    observables = Observables.of(trajectories, moment)
    draws, shaken = _Draws(trajectories, _DRAWS), trajectories.shaken_states(2)
    inside = observables.values(trajectories.states)
    # Random observables of the same displacement: their distribution is isotropic in embedded vectors.
    drawn = np.random.default_rng(1).normal(size=(len(observables.rows), _RANDOM))
    metric = np.linalg.cholesky(observables.rows @ observables.rows.T)
    random = np.linalg.solve(metric.T, drawn)
    along = values(trajectories.states)
    own = draws.over_noise(along, values(shaken))
    other = draws.over_noise(inside @ random, observables.values(shaken) @ random)
    return _from_deviations(own, is_white(along, trajectories.trajectory), other)


def uncertainty_of_span(
    vectors: np.ndarray,
    moment: np.ndarray,
    trajectories: FrameTrajectories,
    exact: np.ndarray | None,
) -> Uncertainty:
    """Return the uncertainty of quadratic quantities, of the angle of their span and of its algebra.

    Args:
        vectors: embedded vectors (rank, E) of the selected quantities, orthonormal, see `Span`.
        moment: second moment (M+1, M+1) with which they are embedded.
        trajectories: trajectories in the frame.
        exact: embedded vectors (K, E) of the quantities that the trajectories show to be exactly conserved;
            None if they cannot tell.
    """
    rank = len(vectors)
    trusted = np.zeros(rank, bool)
    if exact is not None and len(exact):
        trusted = np.sin(np.radians(angles_of(vectors, exact))) <= IN_USE
    if exact is None or len(exact) > rank:
        return Uncertainty(0, trusted)
    observables = Observables.of(trajectories, moment)
    inside = observables.values(trajectories.states)
    whole, _ = scatter(inside, trajectories.trajectory)
    draws = _Draws(trajectories, _DRAWS if inside.shape[1] * inside.size < _COSTLY else _DRAWS // 4)
    least = [np.linalg.eigh(products)[1][:, :rank].T for products in draws.scatters(inside)]
    spans = [orthonormal(span @ observables.rows) for span in least]
    here = orthonormal(np.linalg.eigh(whole)[1][:, :rank].T @ observables.rows)
    centre, spans = _errors(vectors, here, spans)
    angles = np.degrees(np.arcsin([largest_sine(span, centre) for span in spans]))
    names, structure = _algebras(vectors, spans[:_NAMED], observables, moment)
    return Uncertainty(len(spans), trusted, angle=_interval(angles), names=names, structure=structure)


def _errors(
    learned: np.ndarray, least: np.ndarray, spans: list[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return a centre and draws around it, distributed like the learned span around the true one.

    Training moves the span away from the one that varies least, because transitions contain more information
    than constancy. The difference between a better and a worse estimate is independent of the error of the
    better one (Hausman 1978). Therefore the squared move is subtracted from the variance of the draws, up to
    half of it. A move larger than the spread of the draws has no reason in the data. Then nothing is
    subtracted, and the part of the move beyond the spread counts as error.

    Args:
        learned: orthonormal basis (r, E) of the learned span.
        least: orthonormal basis (r, E) of the span that varies least on the data without weights.
        spans: orthonormal bases (r, E) of the spans that vary least in the draws.
    Returns:
        Orthonormal bases of the centre and of the draws.
    """
    spread, moved = _apart(spans, least), _apart([learned], least)
    beyond = np.sqrt(max(0.0, 1.0 - spread / max(moved, 1e-300)))
    left = 1.0 if moved > spread else np.sqrt(1.0 - min(moved / max(spread, 1e-300), _CREDITED))
    return _between(least, learned, beyond), [_between(least, span, left) for span in spans]


def _apart(spans: list[np.ndarray], other: np.ndarray) -> float:
    """Return the mean sum of squared sines between spans and another span of the same dimension."""
    return float(np.mean([len(other) - np.sum((span @ other.T) ** 2) for span in spans]))


def _between(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    """Return the span at a share of the way from one span to another."""
    return orthonormal((1.0 - share) * start + share * (start @ end.T) @ end)


def _algebras(
    vectors: np.ndarray, spans: list[np.ndarray], observables: Observables, moment: np.ndarray
) -> tuple[dict[str, int], np.ndarray]:
    """Return the numbers of draws by name of the algebra, and the intervals of the structure constants."""
    names: Counter[str] = Counter()
    structures = []
    back = np.linalg.pinv(observables.rows) @ observables.weights
    for rows in spans:
        # Rotate the basis of the learned span into the span of the draw, along the shortest way.
        left, _, right = np.linalg.svd((vectors @ rows.T) @ rows, full_matrices=False)
        algebra = analyse(*as_forms(left @ right @ back, len(moment) - 1), moment)
        names[algebra.name or "not identified"] += 1
        structures.append(algebra.structure)
    return dict(names.most_common()), _interval(np.stack(structures))
