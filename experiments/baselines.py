"""Conserved quantities without the razor: from the brackets of a fitted Hamiltonian, and from data alone."""

from __future__ import annotations

from typing import Any

import numpy as np

import noethers_razor as nr
from noethers_razor.conserved import thinned
from noethers_razor.conserved.proposal.constancy import candidates
from noethers_razor.inference.fit import to_tracks
from noethers_razor.mechanics.quadratic_form import (
    basis,
    embed,
    moving_combinations,
    second_moment,
    stack_forms,
)
from noethers_razor.numerics.subspaces import largest_angle
from noethers_razor.systems import System

_MOST_STATES = 2000


def least_brackets(states: np.ndarray, velocity: np.ndarray, count: int) -> tuple[np.ndarray, ...]:
    """Quadratics of least {C, H} per |grad C| |grad H| along a velocity field (method, section 4).

    Args:
        states, velocity: (B, M), in the frame.
        count: how many to return.
    Returns:
        forms (k, M, M), linear parts (k, M) and their relative brackets (k,), smallest first.
    """
    form, linear = basis(states.shape[-1])
    whiten = moving_combinations(embed(form, linear, second_moment(states)))
    brackets = np.einsum("kij,bj,bi->bk", form, states, velocity, optimize=True) + velocity @ linear.T
    speed, size = (np.sqrt(np.mean(np.sum(v**2, axis=-1))) for v in (velocity, states))
    # Singular values, not eigenvalues of a product: squares would turn rounding of 1e-16 into 1e-8.
    triangle = np.linalg.qr(brackets @ whiten / (speed * size * len(states) ** 0.5), mode="r")
    _, defects, turned = np.linalg.svd(triangle)
    weights = turned[::-1][:count] @ whiten.T
    return np.einsum("kd,dij->kij", weights, form), weights @ linear, defects[::-1][:count]


def _against(truth: np.ndarray, vectors: np.ndarray, defect: np.ndarray) -> dict[str, Any]:
    """The number at the largest ratio of neighbouring defects, and angles there and at the true number."""
    # Rounding is no defect: ratios of numbers of 1e-9 say nothing.
    ratios = defect[1:] / np.maximum(defect[:-1], 1e-6)
    rank = int(np.argmax(ratios)) + 1
    return {
        "rank": rank,
        "gap": float(ratios.max()),
        "defect": defect.tolist(),
        "largest_angle": largest_angle(vectors[:rank], truth),
        "largest_angle_true_rank": largest_angle(vectors[: len(truth)], truth),
    }


def baselines(bare: nr.FitResult, system: System, data: nr.Trajectories) -> dict[str, dict[str, Any]]:
    """Both baselines, cut where successive defects differ most, of a fit without symmetry and its data.

    The null space of the brackets is also what a penalty {C, H}^2 with a constraint on the norm of C leads to
    after H is fitted: the penalty's minimisers are these eigenvectors. Constancy along trajectories is our
    proposal alone, without network and bound, in the metric of noise that is isotropic in data units.
    """
    frame, named = bare.frame, system.conserved()
    truth = embed(*frame.quadratic_into(*stack_forms(named)), bare.moment)
    observed, count = thinned(data.observed(), _MOST_STATES), 2 * len(named) + 3
    velocity = bare.field(observed) @ frame.matrix.T * frame.time
    tracks = to_tracks(frame, data)._replace(noise=frame.matrix @ frame.matrix.T)
    found = {
        "null space": least_brackets(frame.into(observed), velocity, count),
        "constancy": candidates(tracks, count),
    }
    return {
        name: _against(truth, embed(form, linear, bare.moment), defect)
        for name, (form, linear, defect) in found.items()
    }
