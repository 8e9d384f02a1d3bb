"""Summary of trajectories: counts, lengths, time steps, statistics of coordinates, and warnings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from noethers_razor.data.gaps import GAP, alone_in
from noethers_razor.plot import markup

UNUSED = "unused_columns"
"""Key in the metadata: columns of a table that hold numbers and are not used."""
_FEW = 200
"""Number of transitions below which a warning is given. Data with many coordinates need more."""
_FLAT = 1e-9
"""Standard deviation, relative to the mean, at which a coordinate counts as constant."""
_ROUNDED = 1e-5
"""Standard deviation, relative to the mean, below which 32-bit numbers (resolution 1e-7) are too coarse."""
_TURN = 1.0
"""Root-mean-square motion in a time step, in standard deviations, above which a warning is given."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """Summary of a data set.

    Args:
        trajectories, states, transitions: their numbers.
        lengths: smallest and largest number of states of a trajectory.
        step: shortest, median and longest time between neighbouring states.
        span: first and last time.
        coordinates: names of the M coordinates, positions first.
        mean, spread: mean and standard deviation of each coordinate over all states (M,).
        warnings: messages about properties of the data that make results worse.
    """

    trajectories: int
    states: int
    transitions: int
    lengths: tuple[int, int]
    step: tuple[float, float, float]
    span: tuple[float, float]
    coordinates: list[str]
    mean: np.ndarray
    spread: np.ndarray
    warnings: list[str]

    def as_json(self) -> dict[str, Any]:
        """Return the summary as plain JSON values."""
        found = dataclasses.asdict(self)
        return {**found, "mean": self.mean.tolist(), "spread": self.spread.tolist()}

    def _headlines(self) -> tuple[str, str]:
        fewest, most = self.lengths
        each = f"{most}" if fewest == most else f"{fewest} to {most}"
        shortest, median, longest = self.step
        even = longest - shortest <= 1e-6 * median
        steps = f"{median:.6g}" if even else f"{shortest:.4g} to {longest:.4g}, median {median:.4g}"
        return (
            f"{self.trajectories} trajectories of {each} states, {len(self.mean) // 2} degrees of freedom",
            f"{self.transitions} transitions, time between states {steps}, from {self.span[0]:.6g} to "
            f"{self.span[1]:.6g}",
        )

    def _repr_html_(self) -> str:
        first, second = self._headlines()
        rows = [
            [name, f"{mean:.4g}", f"{spread:.4g}"]
            for name, mean, spread in zip(self.coordinates, self.mean, self.spread, strict=True)
        ]
        shown = markup.table(["coordinate", "mean", "standard deviation"], rows)
        return markup.block(first, [f"<p>{second}</p>", shown], self.warnings)

    def __str__(self) -> str:
        width = max(map(len, self.coordinates))
        lines = [
            *self._headlines(),
            *(
                f"{name:<{width}}  mean {mean:.4g}, standard deviation {spread:.4g}"
                for name, mean, spread in zip(self.coordinates, self.mean, self.spread, strict=True)
            ),
        ]
        return "\n".join(lines + [f"warning: {text}" for text in self.warnings])


def summary_of(
    times: np.ndarray,
    states: np.ndarray,
    present: np.ndarray,
    coordinates: list[str],
    metadata: Mapping[str, Any],
) -> Summary:
    """Return the summary of trajectories.

    Args:
        times: (trajectory, time).
        states: (trajectory, time, M).
        present: (trajectory, time), True where a state exists.
        coordinates: names of the M coordinates.
        metadata: notes on the data. Readers add notes about removed states and unused columns.
    """
    both = present[:, 1:] & present[:, :-1]
    steps = np.diff(times, axis=1)[both]
    observed, lengths = states[present], present.sum(axis=1)
    mean, spread = observed.mean(axis=0), observed.std(axis=0)
    moved = (states[:, 1:] - states[:, :-1])[both]
    own = times[present]
    return Summary(
        trajectories=len(states),
        states=len(observed),
        transitions=len(steps),
        lengths=(int(lengths.min()), int(lengths.max())),
        step=(float(steps.min()), float(np.median(steps)), float(steps.max())),
        span=(float(own.min()), float(own.max())),
        coordinates=coordinates,
        mean=mean,
        spread=spread,
        warnings=[
            *_about_size(len(steps), states.shape[2]),
            *_about_coordinates(coordinates, mean, spread, moved),
            *_about_steps(steps, moved, spread),
            *_about_copies(states, present),
            *_about_mask(present),
            *_about_alone(alone_in(metadata), len(observed)),
            *_about_unused(metadata),
        ],
    )


def _about_size(transitions: int, dim: int) -> list[str]:
    enough = max(_FEW, 10 * dim)
    if transitions >= enough:
        return []
    return [f"{transitions} transitions; fewer than {enough} give little information: add trajectories"]


def _about_coordinates(
    names: list[str], mean: np.ndarray, spread: np.ndarray, moved: np.ndarray
) -> list[str]:
    found = []
    size = np.maximum(np.abs(mean), np.finfo(float).tiny)
    for name, own, average, deviation in zip(names, size, mean, spread, strict=True):
        if deviation <= _FLAT * own:
            found.append(f"{name} does not move: the data do not show how H depends on it")
        elif deviation < _ROUNDED * own:
            found.append(
                f"{name} has mean {average:.6g} and standard deviation {deviation:.2g}: 32-bit numbers lose "
                "this variation; store 64-bit numbers, or subtract the mean"
            )
    still = np.mean(np.all(moved == 0, axis=1))
    if still > 0:
        found.append(
            f"{100 * still:.2g} % of the transitions are between equal states: check for repeated values"
        )
    return found


def _about_steps(steps: np.ndarray, moved: np.ndarray, spread: np.ndarray) -> list[str]:
    found = []
    median = float(np.median(steps))
    if steps.max() > GAP * median:
        found.append(
            f"the longest time step is {steps.max():.4g}, the median is {median:.4g}: the longest one sets "
            "the number of integrator steps of all; cut trajectories at gaps (--split-at-gaps, in Python "
            "split_at_gaps())"
        )
    turned = np.sqrt(np.mean((moved / np.where(spread > 0, spread, 1.0)) ** 2))
    if turned > _TURN:
        found.append(f"states change by {turned:.2g} standard deviations in a time step: sample more often")
    return found


def _about_mask(present: np.ndarray) -> list[str]:
    # States after the end of a shorter trajectory do not count as missing.
    inside = np.flip(np.maximum.accumulate(np.flip(present, axis=1), axis=1), axis=1)
    share = 1.0 - present.sum() / max(inside.sum(), 1)
    if share <= 0.5:
        return []
    return [f"{100 * share:.0f} % of the states are masked: check that mask is True where a state exists"]


def _about_alone(alone: int, kept: int) -> list[str]:
    if not alone:
        return []
    return [f"{alone} of {alone + kept} states were single states between gaps and were removed"]


def _about_unused(metadata: Mapping[str, Any]) -> list[str]:
    unused = metadata.get(UNUSED)
    if not isinstance(unused, list) or not unused:
        return []
    return [
        f"columns {', '.join(map(str, unused))} of the table hold numbers that are not used; if they are "
        "needed, name them with --map"
    ]


def _about_copies(states: np.ndarray, present: np.ndarray) -> list[str]:
    filled = np.where(present[..., None], states, 0.0).reshape(len(states), -1)
    copies = len(states) - len(np.unique(filled, axis=0))
    if not copies:
        return []
    return [
        f"{copies} trajectories are copies of others: uncertainties treat them as independent; remove the "
        "copies"
    ]
