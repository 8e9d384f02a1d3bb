"""Uncertainty of conserved quantities, estimated from the trajectories.

Whether a quantity is trusted follows from the tests of drift, see `evidence.answer`. The angle of a span is
estimated by the Bayesian bootstrap (Rubin 1981): each draw gives every trajectory a random weight. The
observables that vary least in a draw span its conserved quantities. The angles between this span and the one
without weights estimate the angles between the learned span and the true one.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from noethers_razor.conserved.proposal.constancy import Observables, scatter, stretches
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.evidence.variation import centred
from noethers_razor.mechanics.quadratic_form import as_forms
from noethers_razor.numerics.subspaces import angles_of, largest_sine, orthonormal
from noethers_razor.symmetry.algebra.structure import analyse
from noethers_razor.symmetry.span import IN_USE

LEVEL = 0.9
"""Share of the draws inside an interval."""
_DRAWS = 200
"""Number of draws of the trajectories."""
_NAMED = 20
"""Number of draws whose algebra is named."""
_COSTLY = 3e8
"""Number of multiplications for the scatter of a draw above which only a quarter of the draws is made."""
_FEWEST_BLOCKS = 20
"""Smallest number of independent weights. Fewer trajectories are split into stretches."""
_CREDITED = 0.5
"""Largest share of the variance of the draws that is subtracted because training improves the span."""


@dataclasses.dataclass(frozen=True)
class Uncertainty:
    """Uncertainty of conserved quantities, over draws of the trajectories.

    An interval has a lower end, a median and an upper end. It contains 90 % of the draws.

    Args:
        draws: number of draws; with an angle, of those of the angle, which are 50 of 200 for large data.
        trusted: whether each quantity (rank,) is trusted. A quadratic one is if the trajectories show that it
            is exactly conserved, see `evidence.answer`. Others are if they have no drift and training has
            hardly moved them.
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
    angle: np.ndarray | None = None
    names: dict[str, int] = dataclasses.field(default_factory=dict)
    structure: np.ndarray | None = None

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "draws": self.draws,
            "level": LEVEL,
            "trusted": self.trusted.tolist(),
            "largest_angle": None if self.angle is None else self.angle.tolist(),
            "algebras": self.names,
            "structure_constants": None if self.structure is None else self.structure.tolist(),
        }

    def lines(self) -> list[str]:
        """Return the lines of the report."""
        count = f"{self.trusted.sum()} of {len(self.trusted)}"
        found = [f"trusted          {count}: the trajectories show no breaking"]
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
        blocks = int(self.block[-1]) + 1
        self.weights = np.random.default_rng(0).exponential(size=(number, blocks))

    def scatters(self, values: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the scatter (k, k) of values (N, k) along trajectories in each draw, up to a factor."""
        off = centred(values, self.trajectories.trajectory)
        for weights in self.weights:
            yield (off * weights[self.block, None]).T @ off


def _interval(values: np.ndarray) -> np.ndarray:
    """Return lower end, median and upper end (..., 3) of values (draws, ...)."""
    tail = (1.0 - LEVEL) / 2
    return np.moveaxis(np.quantile(values, [tail, 0.5, 1.0 - tail], axis=0), 0, -1)


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
