"""Directions of a learned span: how they vary along the trajectories, and how many are independent."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Params
from noethers_razor.conserved.base import Family, gradients_of
from noethers_razor.conserved.proposal.constancy import least_varying
from noethers_razor.conserved.proposal.independence import independent_rank
from noethers_razor.data.frame_trajectories import FrameTrajectories, thinned
from noethers_razor.evidence.candidates import CLOSE
from noethers_razor.inference.problem import Problem
from noethers_razor.inference.state import State
from noethers_razor.model.parameters import conserved_of
from noethers_razor.numerics.subspaces import largest_sine
from noethers_razor.symmetry.span import in_use, number_in_use

_STEP_IN_SPECTRUM = 1.5
"""Ratio of neighbouring singular values at which the bound is asked whether to cut between them."""
_MOST_CUTS = 2
"""Largest number of such cuts."""
_STATES = 512
"""States at which gradients are compared."""


def gradients_at(family: Family, params: Params, trajectories: FrameTrajectories) -> np.ndarray:
    """Return grad C (K, B, M) at some of the states, the same ones every time."""
    return gradients_of(family, params, thinned(trajectories.states, _STATES))


def spectrum_cuts(values: np.ndarray) -> list[int]:
    """Return numbers of directions to try, the largest steps of the spectrum (K,) in use first."""
    count, values = number_in_use(values), np.sort(values)[::-1]
    ratios = values[: count - 1] / values[1:count] if count > 1 else np.zeros(0)
    order = [i for i in np.argsort(-ratios) if ratios[i] >= _STEP_IN_SPECTRUM]
    return [int(i) + 1 for i in order[:_MOST_CUTS]]


class Directions(NamedTuple):
    """The directions of a learned span by how they vary along the trajectories.

    Args:
        gradients: (r, B, M) of the principal directions in use, each of displacement 1.
        turned: (r, r) their combinations, the most constant first.
        constant: how many of these vary by at most twice the noise.
    """

    gradients: np.ndarray
    turned: np.ndarray
    constant: int

    @property
    def doubtful(self) -> bool:
        """Whether some direction varies more than the noise explains."""
        return self.constant < len(self.turned)


def directions_of(
    family: Family, params: Params, values: np.ndarray, trajectories: FrameTrajectories
) -> Directions:
    """Return the r directions in use of parameters in principal form with singular values (K,)."""
    used, sizes = in_use(values), values[in_use(values)]
    if not len(sizes):
        return Directions(np.zeros((0, *thinned(trajectories.states, _STATES).shape)), np.zeros((0, 0)), 0)
    gradients = gradients_at(family, params, trajectories)[used] / sizes[:, None, None]
    along = np.asarray(family.value(params, jnp.asarray(trajectories.states)), np.float64)[:, used] / sizes
    turned, defect = least_varying(along, gradients, trajectories)
    constant = defect**2 < CLOSE * trajectories.deviation**2
    return Directions(gradients, turned, int(constant.sum()))


def counts_in_use(
    family: Family, params: Params, values: np.ndarray, data: FrameTrajectories
) -> tuple[int, int]:
    """Return the number of quantities with exact flows in use, and of others independent of these and of H.

    Args:
        family: of the parameters.
        params: in principal directions.
        values: (K,) their singular values.
        data: trajectories, with gradients of H where they are known.
    """
    used, exact = in_use(values), ~family.integrated
    count = int(np.sum(used & exact))
    if not np.any(used & ~exact):
        return count, 0
    gradients = gradients_at(family, params, data)
    known = [] if data.gradients is None else [thinned(data.gradients, _STATES)]
    every = np.stack([*known, *gradients[used & exact], *gradients[used & ~exact]], axis=1)
    every /= np.maximum(np.sqrt(np.mean(np.sum(every**2, axis=-1), axis=0)), 1e-300)[:, None]
    before = every[:, : len(known) + count]
    return count, independent_rank(every) - independent_rank(before)


def gradients_in_use(problem: Problem, state: State) -> np.ndarray:
    """Return gradients (rank, B M) of the quantities in use, at the same states in every fit of the data."""
    values, params = problem.in_principal_directions(state.family, state.params)
    gradients = gradients_at(state.family, conserved_of(params), state.trajectories)[in_use(values)]
    return gradients.reshape(len(gradients), state.trajectories.states.shape[1] * gradients.shape[1])


def moved_by_training(problem: Problem, state: State) -> float | None:
    """Return the largest angle in degrees from quantities in use to what was proposed; None without any."""
    assert state.proposal is not None, "families without a proposal have no such quantities"
    offered = gradients_at(state.family, state.proposal.params, state.trajectories)[state.proposal.length > 0]
    learned = gradients_in_use(problem, state)
    if not len(offered) or not len(learned):
        return None
    return float(np.degrees(np.arcsin(largest_sine(learned, offered))))
