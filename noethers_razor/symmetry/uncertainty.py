"""How sure an answer sheet is: the posterior of what is conserved, from the trajectories.

The Bayesian bootstrap (Rubin 1981): each draw gives every trajectory a random weight; its conserved span is
that of the observables that vary least along the trajectories with these weights. As the learned span is to
those of the draws, so it may be to the true one.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np

from noethers_razor.conserved import Tracks
from noethers_razor.conserved.constancy import (
    DOUBT,
    Observables,
    as_forms,
    centred,
    least_varying,
    scatter,
)
from noethers_razor.symmetry.algebra import analyse
from noethers_razor.symmetry.span import largest_sine

LEVEL = 0.9
"""Of intervals."""
FALSE_DISCOVERY_RATE = 0.05
"""Largest expected share of false quantities among those that are trusted."""
_DRAWS, _NAMED = 200, 20
_COSTLY = 3e8
"""Products of a draw from which on there are a quarter as many."""
_FEWEST_BLOCKS = 20
_RANDOM = 400
_ALIKE = 0.05
"""Share of random observables as constant as a quantity from which on its constancy says nothing."""


@dataclasses.dataclass(frozen=True)
class Uncertainty:
    """Posterior of the conserved quantities of a fit.

    Args:
        draws: number of draws of the trajectories.
        deviation: (rank, 3) lower end, median and upper end of how much each quantity, the most constant
            first, varies along the trajectories in units of the noise.
        confidence: (rank,) share of draws in which each varies by no more than 1.5 times the noise, and by
            less than nineteen of twenty random observables of the same displacement.
        angle: (3,) degrees, the largest principal angle of the learned span to the conserved one of a draw;
            None for functions.
        names: algebra -> number of draws that have it, of the first 20.
        structure: (rank, rank, rank, 3) of the structure constants of the accepted basis; None for functions.
    """

    draws: int
    deviation: np.ndarray
    confidence: np.ndarray
    angle: np.ndarray | None = None
    names: dict[str, int] = dataclasses.field(default_factory=dict)
    structure: np.ndarray | None = None

    @property
    def trusted(self) -> int:
        """How many quantities, the surest first, hold an expected share of false ones of 5 % at most.

        Direct posterior probabilities (Newton, Noueiry, Sarkar, Ahlquist 2004): the expected share is the
        mean of 1 - confidence over those that are trusted.
        """
        error = np.sort(1.0 - self.confidence)
        return int(np.sum(np.cumsum(error) <= FALSE_DISCOVERY_RATE * np.arange(1, len(error) + 1)))

    @property
    def expected_false(self) -> float:
        """Expected number of false quantities among all."""
        return float(np.sum(1.0 - self.confidence))

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "draws": self.draws,
            "level": LEVEL,
            "deviation_over_noise": self.deviation.tolist(),
            "confidence": self.confidence.tolist(),
            "trusted": self.trusted,
            "false_discovery_rate": FALSE_DISCOVERY_RATE,
            "expected_false": self.expected_false,
            "largest_angle": None if self.angle is None else self.angle.tolist(),
            "algebras": self.names,
            "structure_constants": None if self.structure is None else self.structure.tolist(),
        }

    def lines(self) -> list[str]:
        """For the answer sheet."""
        low, high = self.deviation[:, 0].min(), self.deviation[:, 2].max()
        found = [
            f"along the data   quantities vary by {low:.3g} to {high:.3g} times the noise ({self.share})",
            f"confidence       {' '.join(f'{v:.2g}' for v in self.confidence)}; expected false "
            f"{self.expected_false:.2g} of {len(self.confidence)}",
        ]
        if self.angle is not None:
            found.append(
                f"span             within {self.angle[0]:.2g} to {self.angle[2]:.2g} degrees ({self.share})"
            )
        return found

    @property
    def share(self) -> str:
        """What intervals hold."""
        return f"{100 * LEVEL:.0f} % of {self.draws} draws"

    def warnings(self) -> list[str]:
        """That some quantities are not to be trusted."""
        doubtful = len(self.confidence) - self.trusted
        if not doubtful:
            return []
        return [
            f"at a false-discovery rate of {100 * FALSE_DISCOVERY_RATE:.0f} % only {self.trusted} of "
            f"{len(self.confidence)} quantities are trusted: the others vary along the trajectories by more "
            "than the noise, or no less than random ones"
        ]


class _Draws:
    """Quantities along the trajectories, each draw of which has weights of its own.

    Args:
        values: (N, r) of quantities whose mean product of gradients is one in units of the noise.
        observables: all quadratic ones.
        tracks: in the frame, with their noise.
    """

    def __init__(self, values: np.ndarray, observables: Observables, tracks: Tracks) -> None:
        self.rank, self.observables, self.deviation = values.shape[1], observables, tracks.deviation
        every = np.concatenate([values, observables.values(tracks.states)], axis=1)
        self.values = centred(every, tracks.track)
        _, self.place, self.count = np.unique(tracks.track, return_inverse=True, return_counts=True)
        self.number = _DRAWS if len(every) * every.shape[1] ** 2 < _COSTLY else _DRAWS // 4
        self.whole = self._scatter(np.ones(len(every)))
        # Random observables of one displacement: isotropic where displacement is length.
        drawn = np.random.default_rng(1).normal(size=(len(observables.rows), _RANDOM))
        metric = np.linalg.cholesky(observables.rows @ observables.rows.T)
        self.random = np.linalg.solve(metric.T, drawn).T

    def _scatter(self, weights: np.ndarray) -> np.ndarray:
        """Mean squares and products along the trajectories; one has a degree of freedom less than states."""
        free = 1.0 - 1.0 / self.count[self.place]
        return np.asarray((self.values * weights[:, None]).T @ self.values / (weights @ free))

    def _weights(self) -> np.ndarray:
        """(number, N): one for each trajectory, or for stretches of them where there are few."""
        parts = -(-_FEWEST_BLOCKS // len(self.count))
        first = np.concatenate([[0], np.cumsum(self.count)[:-1]])[self.place]
        stretch = (np.arange(len(first)) - first) * parts // self.count[self.place]
        drawn = np.random.default_rng(0).exponential(size=(self.number, len(self.count) * parts))
        return np.asarray(drawn[:, self.place * parts + stretch])

    @property
    def credible(self) -> int:
        """Number of observables that vary by no more than the noise on all data."""
        squares = np.linalg.eigvalsh(self.whole[self.rank :, self.rank :])
        return int(np.sum(squares <= (DOUBT * self.deviation) ** 2))

    def run(self, wide: int) -> Uncertainty:
        """Deviations and confidence, and the ``wide`` least varying observables (wide, k) of each draw."""
        self.spans: list[np.ndarray] = []
        own, other = [], []
        unit = self.random / np.linalg.norm(self.random, axis=1, keepdims=True)
        for weights in self._weights():
            products = self._scatter(weights)
            inner = products[self.rank :, self.rank :]
            own.append(np.diag(products)[: self.rank])
            other.append(np.sum((unit @ inner) * unit, axis=1))
            self.spans.append(np.linalg.eigh(inner)[1][:, :wide].T if wide else inner[:0])
        ratio, others = (np.sqrt(np.maximum(v, 0.0)) / self.deviation for v in map(np.stack, (own, other)))
        alike = np.mean(others[:, None, :] <= ratio[:, :, None], axis=2)
        confidence = np.mean((ratio <= DOUBT) & (alike < _ALIKE), axis=0)
        return Uncertainty(self.number, _interval(ratio), confidence)


def _interval(values: np.ndarray) -> np.ndarray:
    """Lower end, median and upper end over the first axis: (..., 3)."""
    tail = (1.0 - LEVEL) / 2
    return np.moveaxis(np.quantile(values, [tail, 0.5, 1.0 - tail], axis=0), 0, -1)


def of_forms(vectors: np.ndarray, moment: np.ndarray, tracks: Tracks) -> Uncertainty:
    """Posterior of the span of quadratic quantities.

    Args:
        vectors: (rank, E) embedded vectors of the accepted span, orthonormal, see `Span`.
        moment: that they are embedded with.
        tracks: in the frame, with their noise.
    """
    observables = Observables.of(tracks, moment)
    inner = np.linalg.qr((vectors @ np.linalg.pinv(observables.rows)).T)[0].T
    values = observables.values(tracks.states) @ inner.T
    # The most constant combination of the span first: a false one is not to hide in the others.
    turned = np.linalg.eigh(scatter(values, tracks.track)[0])[1]
    draws = _Draws(values @ turned, observables, tracks)
    # What else is conserved belongs to the span that a draw has, or its angle would be to a part of it.
    found = draws.run(max(len(vectors), draws.credible))
    angles = [largest_sine(vectors, span @ observables.rows) for span in draws.spans]
    names, structure = _algebras(vectors, draws.spans[:_NAMED], observables, moment)
    return dataclasses.replace(
        found, angle=_interval(np.degrees(np.arcsin(angles))), names=names, structure=structure
    )


def of_functions(values: np.ndarray, slopes: np.ndarray, moment: np.ndarray, tracks: Tracks) -> Uncertainty:
    """Confidence in conserved functions.

    Args:
        values: (N, r) at the states of the tracks.
        slopes: gradients (r, B, M) at some of these states.
        moment: second moment of the data, see `forms.second_moment`.
        tracks: in the frame, with their noise.
    """
    weights, _ = least_varying(values, slopes, tracks)
    seen = np.einsum("ij,jbm->ibm", weights, slopes) @ tracks.noise_root
    unit = values @ weights.T / np.sqrt(np.mean(np.sum(seen**2, axis=-1), axis=1))
    return _Draws(unit, Observables.of(tracks, moment), tracks).run(0)


def _algebras(
    vectors: np.ndarray, spans: list[np.ndarray], observables: Observables, moment: np.ndarray
) -> tuple[dict[str, int], np.ndarray]:
    """Names of the algebras of the draws, and the interval of the structure constants."""
    names: Counter[str] = Counter()
    structures = []
    for span in spans:
        # The basis of the learned span, moved into that of the draw the shortest way.
        rows = span @ observables.rows
        left, _, right = np.linalg.svd(vectors @ np.linalg.pinv(rows) @ rows, full_matrices=False)
        weights = left @ right @ np.linalg.pinv(observables.rows) @ observables.weights
        algebra = analyse(*as_forms(weights, len(moment) - 1), moment)
        names[algebra.name or "not identified"] += 1
        structures.append(algebra.structure)
    return dict(names.most_common()), _interval(np.stack(structures))
