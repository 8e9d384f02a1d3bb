"""Two baselines without Noether's razor: brackets with a fitted Hamiltonian, and data without a model."""

from __future__ import annotations

from typing import Any

import numpy as np

import noethers_razor as nr
from experiments.threshold import candidates
from noethers_razor.data.frame_trajectories import FrameTrajectories, thinned
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
"""Largest number of states at which brackets are evaluated."""


def least_brackets(states: np.ndarray, velocity: np.ndarray, count: int) -> tuple[np.ndarray, ...]:
    """Return the quadratic quantities C with the least {C, H} / (|grad C| |grad H|) on a velocity field.

    Args:
        states, velocity: (B, M), in the frame.
        count: number of quantities to return.
    Returns:
        Quadratic forms (k, M, M), linear parts (k, M) and relative brackets (k,), smallest first.
    """
    form, linear = basis(states.shape[-1])
    whiten = moving_combinations(embed(form, linear, second_moment(states)))
    brackets = np.einsum("kij,bj,bi->bk", form, states, velocity, optimize=True) + velocity @ linear.T
    speed, size = (np.sqrt(np.mean(np.sum(v**2, axis=-1))) for v in (velocity, states))
    # Singular values instead of eigenvalues of a product: squares would turn rounding of 1e-16 into 1e-8.
    triangle = np.linalg.qr(brackets @ whiten / (speed * size * len(states) ** 0.5), mode="r")
    _, defects, turned = np.linalg.svd(triangle)
    weights = turned[::-1][:count] @ whiten.T
    return np.einsum("kd,dij->kij", weights, form), weights @ linear, defects[::-1][:count]


def _against(truth: np.ndarray, vectors: np.ndarray, defect: np.ndarray) -> dict[str, Any]:
    """Return the rank at the largest gap of brackets or drifts, and angles at this and the true rank."""
    # Values near 1e-9 are rounding errors, and their ratios have no meaning.
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
    """Return both baselines for a fit without symmetry, each cut at its largest gap.

    *Null space* takes the quantities whose brackets with the fitted H are least. A penalty {C, H}^2 with a
    constraint on the norm of C has the same minimisers once H is fitted. *Constancy* is the proposal without
    network and bound. It assumes noise that is isotropic in data units.

    Args:
        bare: fit without symmetry.
        system: system that made the data; its conserved quantities are the truth.
        data: data of the fit.
    Returns:
        Name of the baseline -> rank, gap, brackets or drifts (k,) and angles in degrees.
    """
    frame, named = bare.frame, system.conserved()
    truth = embed(*frame.quadratic_into(*stack_forms(named)), bare.moment)
    observed, count = thinned(data.observed(), _MOST_STATES), 2 * len(named) + 3
    velocity = bare.field(observed) @ frame.matrix.T * frame.time
    trajectories = FrameTrajectories.of(frame, data)._replace(noise=frame.matrix @ frame.matrix.T)
    found = {
        "null space": least_brackets(frame.into(observed), velocity, count),
        "constancy": candidates(trajectories, count),
    }
    return {
        name: _against(truth, embed(form, linear, bare.moment), defect)
        for name, (form, linear, defect) in found.items()
    }
