"""Rollouts compared with trajectories."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from noethers_razor.data.frame_trajectories import thinned
from noethers_razor.data.trajectories import Trajectories
from noethers_razor.errors import UsageError
from noethers_razor.inference.prediction import Prediction
from noethers_razor.inference.result import FitResult


class RolloutComparison(NamedTuple):
    """Rollouts, the trajectories that they follow, the indices of these, and errors by name."""

    prediction: Prediction
    followed: Trajectories
    indices: np.ndarray
    summary: dict[str, float | None]


def compare_rollouts(result: FitResult, data: Trajectories, samples: int) -> RolloutComparison:
    """Roll out from the first states of trajectories, and compare with them.

    Args:
        result: of the fit.
        data: trajectories of the same system.
        samples: posterior samples for the spread; 0 for none.

    Raises:
        UsageError: when the data are of another phase space, or no trajectory has its first state.
    """
    if data.dof * 2 != result.frame.dim:
        raise UsageError(
            f"the data have {data.dof} degrees of freedom, the run {result.frame.dim // 2}; "
            "choose data of the same system"
        )
    chosen, index = _with_first_state(data)
    times = _filled_times(chosen) if chosen.t.ndim == 2 else chosen.t
    outcome = result.predict(chosen.states[:, 0], times, samples=samples)
    missing = ~chosen.present[..., None]
    error = np.where(missing, np.nan, (outcome.mean - chosen.states) ** 2)[:, 1:]
    first = error[:, 0][np.isfinite(error[:, 0])]
    return RolloutComparison(
        outcome,
        chosen,
        index,
        {
            "trajectories": float(len(index)),
            "left_out": float(data.count - len(index)),
            "mse_rollout": float(np.nanmean(error)),
            "mse_first_step": float(first.mean()) if first.size else None,
            "mean_deviation": float(outcome.deviation.mean()) if samples else None,
            "largest_energy_drift": float(outcome.energy_drift.max()),
        },
    )


def kept_trajectories(result: FitResult, most: int) -> Trajectories | None:
    """Return at most so many of the training trajectories, evenly spaced; None when the run has none."""
    trajectories = result.trajectories
    if trajectories is None or trajectories.time is None:
        return None
    labels = thinned(np.unique(trajectories.trajectory), most)
    pieces = []
    for label in labels:
        own = trajectories.trajectory == label
        states = result.frame.out_of(trajectories.states[own])
        pieces.append((trajectories.time[own] * result.frame.time, *np.split(states, 2, axis=-1)))
    return Trajectories.of_pieces(pieces, result.metadata, "trajectories of the run")


def _with_first_state(data: Trajectories) -> tuple[Trajectories, np.ndarray]:
    """Trajectories that can be followed from their first time: they have its state and another one."""
    index = np.flatnonzero(data.present[:, 0] & (data.present.sum(axis=1) > 1))
    if not len(index):
        raise UsageError("no trajectory has its first state and another one; cut the data so that one has")
    return data.select(index), index


def _filled_times(data: Trajectories) -> np.ndarray:
    """Times (B, T) with those of missing states replaced by increasing ones."""
    times = data.times.copy()
    for row, present in zip(times, data.present, strict=True):
        step = (row[present][-1] - row[present][0]) / max(present.sum() - 1, 1)
        for k in range(1, len(row)):
            if not present[k]:
                later = row[k:][present[k:]]
                row[k] = (row[k - 1] + later[0]) / 2 if later.size else row[k - 1] + step
    return times
