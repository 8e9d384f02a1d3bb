"""How sure an answer sheet is, from the trajectories.

The Bayesian bootstrap (Rubin 1981): each draw gives every trajectory a random weight. How much a quantity
varies along them in the draws tells whether it is constant; the observables that vary least with these
weights span what is conserved in the draw, and as far as that is from what it is on the data as they are, so
far may the learned span be from the true one.
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
    as_forms,
    centred,
    held_out_defects,
    scatter,
    stretches,
)
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.numerics.subspaces import largest_sine, orthonormal
from noethers_razor.symmetry.algebra.structure import analyse

LEVEL = 0.9
"""Of intervals."""
FALSE_DISCOVERY_RATE = 0.05
_DRAWS, _NAMED = 200, 20
_COSTLY = 3e8
"""Products of a draw from which on there are a quarter as many."""
_FEWEST_BLOCKS = 20
_RANDOM = 400
_ALIKE = 0.05
"""Share of random observables as constant as a quantity from which on its constancy says nothing."""
_BEYOND, _HARDLY = 1.15, 0.01
"""Deviation from which on, in units of that of the most constant quantity, data show that a quantity varies,
and in units of that of random ones up to which that does not matter."""
_WHITE, _LAGS, _FEWEST_STATES = 1.15, 6, 8
"""What varies by no more than this factor more or less than its changes over 1 to so many states say is white
noise, where trajectories have at least so many states."""
_CREDITED = 0.5
"""Largest share of the variance of the draws that training is credited with."""
Values = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Uncertainty:
    """What the trajectories say of conserved quantities.

    Args:
        draws: number of draws of the trajectories.
        deviation: (rank, 3) lower end, median and upper end of how much each quantity, the most constant
            first, varies along the trajectories in units of what the noise makes it vary.
        constant: (rank,) share of draws in which each varies by no more than 1.5 times the noise, and by
            less than nineteen of twenty random quadratic observables of one displacement.
        trusted: (rank,) whether the share makes it a discovery at a false-discovery rate of 5 %, false being
            what is not constant in that sense (Benjamini, Hochberg 1995), and it does not vary by clearly
            more than the most constant one, unless as white noise does.
        credible: number of quadratic observables that vary by no more than the noise.
        rows: (rank, E) embedded vectors of the quantities; None for functions.
        angle: (3,) degrees, the largest principal angle to be expected between the learned span and the true
            one; None for functions, and where more observables are credible than were accepted.
        names: algebra -> number of draws that have it, of the first 20; empty without an angle.
        structure: (rank, rank, rank, 3) of the structure constants of the accepted basis, or None.
    """

    draws: int
    deviation: np.ndarray
    constant: np.ndarray
    trusted: np.ndarray
    credible: int
    rows: np.ndarray | None = None
    angle: np.ndarray | None = None
    names: dict[str, int] = dataclasses.field(default_factory=dict)
    structure: np.ndarray | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "draws": self.draws,
            "level": LEVEL,
            "deviation_over_noise": self.deviation.tolist(),
            "constant": self.constant.tolist(),
            "trusted": self.trusted.tolist(),
            "false_discovery_rate": FALSE_DISCOVERY_RATE,
            "credible_observables": self.credible,
            "largest_angle": None if self.angle is None else self.angle.tolist(),
            "algebras": self.names,
            "structure_constants": None if self.structure is None else self.structure.tolist(),
        }

    def lines(self) -> list[str]:
        """For the answer sheet."""
        ends = f"{self.deviation[:, 0].min():.2g} to {self.deviation[:, 2].max():.2g}"
        found = [
            f"along the data   quantities vary by {ends} times the noise",
            f"trusted          {self.trusted.sum()} of {len(self.trusted)} at a false-discovery rate of "
            f"{100 * FALSE_DISCOVERY_RATE:.0f} %",
        ]
        if self.angle is not None:
            low, _, high = self.angle
            found.append(f"span             within {low:.2g} to {high:.2g} degrees ({self.share})")
        elif self.rows is not None:
            found.append(f"span             open: {self.credible} observables vary by no more than the noise")
        return found

    @property
    def share(self) -> str:
        """What intervals hold."""
        return f"{100 * LEVEL:.0f} % of {self.draws} draws"

    def warnings(self) -> list[str]:
        """That some quantities are not to be trusted."""
        if self.trusted.all():
            return []
        return [
            f"only {self.trusted.sum()} of {len(self.trusted)} quantities are trusted: the others vary along "
            "the trajectories by more than the noise, or no less than random ones"
        ]


class _Draws:
    """Random weights of the trajectories, or of stretches of them where there are few."""

    def __init__(self, trajectories: FrameTrajectories, number: int) -> None:
        self.trajectories = trajectories
        _, place, count = np.unique(trajectories.trajectory, return_inverse=True, return_counts=True)
        parts = -(-_FEWEST_BLOCKS // len(count))
        _, self.block = np.unique(
            place * parts + stretches(trajectories.trajectory, parts), return_inverse=True
        )
        # A trajectory has one degree of freedom less than states.
        self.free = 1.0 - 1.0 / count[place]
        blocks = int(self.block[-1]) + 1
        self.weights = np.random.default_rng(0).exponential(size=(number, blocks))

    def mean(self, values: np.ndarray, free: bool = False) -> np.ndarray:
        """Weighted means (draws, k) of values (N, k), or sums over degrees of freedom."""
        starts = np.flatnonzero(np.diff(self.block, prepend=-1))
        unit = self.free if free else np.ones(len(self.block))
        total = self.weights @ np.add.reduceat(unit, starts)
        return np.asarray(self.weights @ np.add.reduceat(values, starts, axis=0) / total[:, None])

    def over_noise(self, values: np.ndarray, shaken: np.ndarray) -> np.ndarray:
        """Deviations (draws, k) along trajectories in units of what noise makes of them.

        Args:
            values, shaken: (N, k) at the states, and with noise added to these.
        """
        varies = self.mean(centred(values, self.trajectories.trajectory) ** 2, free=True)
        return np.sqrt(varies / np.maximum(self.mean((shaken - values) ** 2), 1e-300))

    def scatters(self, values: np.ndarray) -> Iterator[np.ndarray]:
        """Squares and products (k, k) along trajectories of values (N, k), of each draw, up to a factor."""
        off = centred(values, self.trajectories.trajectory)
        for weights in self.weights:
            yield (off * weights[self.block, None]).T @ off


def _interval(values: np.ndarray) -> np.ndarray:
    """Lower end, median and upper end over the first axis: (..., 3)."""
    tail = (1.0 - LEVEL) / 2
    return np.moveaxis(np.quantile(values, [tail, 0.5, 1.0 - tail], axis=0), 0, -1)


def discoveries(p: np.ndarray, rate: float = FALSE_DISCOVERY_RATE) -> np.ndarray:
    """Return which of p-values (r,) are discoveries at a false-discovery rate (Benjamini, Hochberg 1995)."""
    # Slow to import, and only reports need it.
    import scipy.stats

    return np.asarray(scipy.stats.false_discovery_control(p, method="bh") <= rate)


def is_white(values: np.ndarray, trajectory: np.ndarray) -> np.ndarray:
    """Which of values (N, k) vary along trajectories as white noise does, whatever its size (von Neumann 1941).

    Half the mean squared change over any number of states is then the variance. What is slow changes less
    over few states; what oscillates changes less or more over some number of them.
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


def _judged(own: np.ndarray, white: np.ndarray, other: np.ndarray, credible: int) -> Uncertainty:
    """From deviations over the noise (draws, r) of quantities and (draws, R) of random observables.

    Args:
        white: (r,), see `is_white`.
    """
    order = np.argsort(np.median(own, axis=0), kind="stable")
    own, white = own[:, order], white[order]
    alike = np.mean(other[:, None, :] <= own[:, :, None], axis=2)
    missed = np.sum((own > DOUBT) | (alike >= _ALIKE), axis=0)
    deviation = _interval(own)
    # Noise that was taken for larger than it is hides what varies: the most constant quantity tells. But of
    # some coordinates it may be known better than of others: what is white is noise all the same.
    least = min(1.0, deviation[0, 1])
    varies = (deviation[:, 0] > _BEYOND * least) & (deviation[:, 1] > _HARDLY * np.median(other))
    varies &= ~white
    trusted = discoveries((missed + 1.0) / (len(own) + 1.0)) & ~varies
    return Uncertainty(len(own), deviation, 1.0 - missed / len(own), trusted, credible)


def uncertainty_of(values: Values, moment: np.ndarray, trajectories: FrameTrajectories) -> Uncertainty:
    """Which quantities are constant along the trajectories.

    Args:
        values: states (N, M) of the frame -> (N, r), the most constant combinations.
        moment: second moment of the data, see `forms.second_moment`.
        trajectories: in the frame, with their noise.
    """
    return _uncertainty_of(values, Observables.of(trajectories, moment), trajectories)


def _uncertainty_of(values: Values, observables: Observables, trajectories: FrameTrajectories) -> Uncertainty:
    draws, shaken = _Draws(trajectories, _DRAWS), trajectories.with_noise(2)
    inside = observables.values(trajectories.states)
    # Random observables of one displacement: isotropic where displacement is length.
    drawn = np.random.default_rng(1).normal(size=(len(observables.rows), _RANDOM))
    metric = np.linalg.cholesky(observables.rows @ observables.rows.T)
    random = np.linalg.solve(metric.T, drawn)
    along = values(trajectories.states)
    own = draws.over_noise(along, values(shaken))
    other = draws.over_noise(inside @ random, observables.values(shaken) @ random)
    held = held_out_defects(inside, trajectories.trajectory, inside.shape[1])
    varied = np.append(np.flatnonzero(held > DOUBT * trajectories.deviation), len(held))
    return _judged(own, is_white(along, trajectories.trajectory), other, int(varied[0]))


def uncertainty_of_span(
    vectors: np.ndarray, moment: np.ndarray, trajectories: FrameTrajectories
) -> Uncertainty:
    """The same of quadratic quantities, with the angle and the algebra of their span.

    Args:
        vectors: (rank, E) embedded vectors of the accepted span, orthonormal, see `Span`.
        moment: that they are embedded with.
        trajectories: in the frame, with their noise.
    """
    observables = Observables.of(trajectories, moment)
    inside = observables.values(trajectories.states)
    inner = np.linalg.qr((vectors @ np.linalg.pinv(observables.rows)).T)[0].T
    whole, _ = scatter(inside, trajectories.trajectory)
    # The most constant combination of the span first: a false one is not to hide in the others.
    turned = np.linalg.eigh(inner @ whole @ inner.T)[1].T @ inner
    found = _uncertainty_of(lambda x: observables.values(x) @ turned.T, observables, trajectories)
    found = dataclasses.replace(found, rows=turned @ observables.rows)
    rank = len(vectors)
    if found.credible > rank:
        return found
    draws = _Draws(trajectories, _DRAWS if inside.shape[1] * inside.size < _COSTLY else _DRAWS // 4)
    least = [np.linalg.eigh(products)[1][:, :rank].T for products in draws.scatters(inside)]
    spans = [orthonormal(span @ observables.rows) for span in least]
    here = orthonormal(np.linalg.eigh(whole)[1][:, :rank].T @ observables.rows)
    centre, spans = _errors(vectors, here, spans)
    angles = np.degrees(np.arcsin([largest_sine(span, centre) for span in spans]))
    names, structure = _algebras(vectors, spans[:_NAMED], observables, moment)
    return dataclasses.replace(
        found, draws=len(spans), angle=_interval(angles), names=names, structure=structure
    )


def _errors(
    learned: np.ndarray, least: np.ndarray, spans: list[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """A centre and draws about it, as the learned span may lie about the true one.

    Training moves the span from the one that varies least, by what transitions tell besides constancy. A
    better estimate differs from a worse one by what is independent of its own error (Hausman 1978): the
    squared move comes off the variance of the draws, up to half of that. A move by more than the draws is
    none that the data ask for: so much of it as goes beyond them is error, and nothing comes off.
    """
    spread, moved = _apart(spans, least), _apart([learned], least)
    beyond = np.sqrt(max(0.0, 1.0 - spread / max(moved, 1e-300)))
    left = 1.0 if moved > spread else np.sqrt(1.0 - min(moved / max(spread, 1e-300), _CREDITED))
    return _between(least, learned, beyond), [_between(least, span, left) for span in spans]


def _apart(spans: list[np.ndarray], other: np.ndarray) -> float:
    """Mean sum of squared sines between spans and another of their dimension."""
    return float(np.mean([len(other) - np.sum((span @ other.T) ** 2) for span in spans]))


def _between(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    """The span a share of the way from one to another."""
    return orthonormal((1.0 - share) * start + share * (start @ end.T) @ end)


def _algebras(
    vectors: np.ndarray, spans: list[np.ndarray], observables: Observables, moment: np.ndarray
) -> tuple[dict[str, int], np.ndarray]:
    """Names of the algebras of the draws, and the interval of the structure constants."""
    names: Counter[str] = Counter()
    structures = []
    back = np.linalg.pinv(observables.rows) @ observables.weights
    for rows in spans:
        # The basis of the learned span, moved into that of the draw the shortest way.
        left, _, right = np.linalg.svd((vectors @ rows.T) @ rows, full_matrices=False)
        algebra = analyse(*as_forms(left @ right @ back, len(moment) - 1), moment)
        names[algebra.name or "not identified"] += 1
        structures.append(algebra.structure)
    return dict(names.most_common()), _interval(np.stack(structures))
