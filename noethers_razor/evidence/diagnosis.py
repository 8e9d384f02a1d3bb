"""Diagnosis: is the motion Hamiltonian in these coordinates, and is its energy conserved?

A Hamiltonian field is compared, by log evidence, with the same field and more: friction in each degree of
freedom, any linear field, forces that depend on time. If the Hamiltonian leaves more than noise and none of
these explains it, any field of the same features is tried.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.evidence.field import LINEAR, Fields, FittedField, least_variance
from noethers_razor.evidence.regression import Products, Regression, fitted
from noethers_razor.evidence.variation import natural_rate, slope_weights

_NATS = 15.0
"""Log evidence by which a departure from a Hamiltonian must win."""
_FEATURES = 5e-4
"""Share of the motion that errors of the features may resemble."""
_MISFIT = 1e-3
"""Motion that the features may leave unexplained, relative to all motion."""
_CLEARLY = 10.0
"""Ratio of what a departure explains of the residual to what it leaves beyond noise."""
_CLEAR = 0.05
"""Squared noise, relative to the data, above which the data cannot tell."""
_ERRORS = 3.0
"""Number of standard errors of the noise by which the residual may exceed it."""
_INTERVAL = 0.9
"""Probability of intervals."""
_LEAST_ERROR = 0.05
"""Smallest standard error of the variance of the noise."""
_FASTEST = 4.0
"""Largest angular frequency of a force, in the frame. Motion has a frequency of about 1."""
_MOST_FORCES = 240
"""Largest number of forces."""
_MOST_FREE = 600
"""Largest number of fields of which any field consists."""


class Diagnosis(NamedTuple):
    """What the field is that the trajectories follow.

    Args:
        hamiltonian: whether the field is Hamiltonian in these coordinates; None if the data cannot tell.
        nats: log evidence of the Hamiltonian less that of the departure; None without one.
        departure: what the field has besides: ``friction``, ``linear``, ``driven``, ``other``, or None.
        friction: rates of friction in each degree of freedom and their standard errors (2, n), frame units.
        residual: variance of the residuals of the fit, in units of noise.
        misfit: motion that is neither explained nor noise, relative to all motion over a segment.
        energy_drift: mean of dE/dt, relative to the rate of a quantity that nothing keeps constant, and an
            interval with 90 % (3,).
    """

    hamiltonian: bool | None
    nats: float | None
    departure: str | None
    friction: np.ndarray
    residual: float
    misfit: float
    energy_drift: np.ndarray


def diagnosis(fit: FittedField, trajectories: FrameTrajectories) -> Diagnosis:
    """Compare a Hamiltonian field with departures from it.

    Args:
        fit: the fitted field.
        trajectories: the trajectories to which it was fitted.
    """
    groups, hamiltonian = fit.model.groups, fit.model.hamiltonian
    with_friction = hamiltonian | fit.model.friction
    alone = _regression(fit.products, groups, hamiltonian)
    tries = {
        "friction": _regression(fit.products, groups, with_friction),
        "linear": fit.regression,
        "driven": _with(fit, lambda nodes, time: _forces(fit, trajectories, nodes, time)),
    }
    # The estimate of the noise has an error, and a residual within it is no misfit.
    noise = 1.0 + _ERRORS * max(trajectories.noise_error, _LEAST_ERROR)
    nats = {name: found.log_evidence - alone.log_evidence for name, found in tries.items()}
    motion, second_order = fit.products.square / fit.products.number, trajectories.deviation**2

    def seen_in(found: Regression, neglected: float) -> bool:
        """Return whether a departure is beyond the errors of features, and a share that is neglected."""
        explained = alone.variance - found.variance
        return bool(
            found.log_evidence - alone.log_evidence > _NATS
            and explained > _CLEARLY * (found.variance - noise)
            and explained > neglected**2 * motion
        )

    # The flow is linearised about noisy starts. What that neglects resembles a field, not a force in time.
    noisy = second_order > _CLEAR
    seen = {
        name: nats[name]
        for name, found in tries.items()
        if not noisy and seen_in(found, _FEATURES if name == "driven" else max(second_order, _FEATURES))
    }
    misfit = np.sqrt(max(alone.variance - noise, 0.0) / motion)
    departure = max(seen, key=lambda name: seen[name]) if seen else None
    if departure == "linear" and seen.get("friction", -np.inf) > nats["linear"] - _NATS:
        departure = "friction"
    unclear = departure is None and misfit > _MISFIT
    if unclear and not noisy:
        free = _with(fit, lambda nodes, time: _any_field(fit, nodes))
        if seen_in(free, max(second_order, _FEATURES)):
            departure, nats["other"] = "other", free.log_evidence - alone.log_evidence
    return Diagnosis(
        hamiltonian=False if departure else None if unclear or noisy else True,
        nats=-nats[departure] if departure else None,
        departure=departure,
        friction=_friction_rates(fit, tries["friction"], with_friction),
        residual=alone.variance,
        misfit=float(misfit),
        energy_drift=_energy_drift(fit, trajectories),
    )


def _regression(products: Products, groups: np.ndarray, chosen: np.ndarray) -> Regression:
    return fitted(products.part(chosen), groups[chosen], least_variance(products))


def _with(fit: FittedField, more: Fields) -> Regression:
    """Return the regression on the Hamiltonian fields and more."""
    products, groups = fit.with_fields(more), fit.model.groups
    extra = len(products.cross) - len(groups)
    # They take the place of the linear fields.
    chosen = np.append(fit.model.hamiltonian, np.ones(extra, bool))
    return _regression(products, np.append(groups, np.full(extra, LINEAR)), chosen)


def _forces(
    fit: FittedField, trajectories: FrameTrajectories, nodes: np.ndarray, time: np.ndarray
) -> np.ndarray:
    """Return forces (B, K, F, M) on each momentum that oscillate in time: pushes and springs."""
    frame, scale, half = fit.model.features.frame, fit.model.features.scale, nodes.shape[2] // 2
    first, last = trajectories.times.min(), trajectories.times.max()
    most = max(_MOST_FORCES // (4 * half), 1)
    count = int(np.clip(np.ceil(_FASTEST * (last - first) / np.pi), 1, most))
    angle = np.pi * (time - first)[..., None] * np.arange(1, count + 1) / (last - first)
    waves = np.concatenate([np.cos(angle), np.sin(angle)], axis=2)
    # A push is the same everywhere. A spring whose strength oscillates pulls in proportion to the position.
    position = ((frame.out_of(nodes) - fit.model.features.mean) / scale)[..., :half]
    strength = np.stack([np.ones_like(position), position], axis=2)
    direction = (frame.matrix * scale)[:, half:].T
    fields = np.einsum("bkf,bksi,im->bkfsim", waves, strength, direction)
    return np.asarray(fields.reshape(*nodes.shape[:2], -1, nodes.shape[2]))


def _any_field(fit: FittedField, nodes: np.ndarray) -> np.ndarray:
    """Return the components (B, K, F, M) of the fields with the largest weights, each a field of its own."""
    dim, hamiltonian = nodes.shape[2], fit.model.hamiltonian
    weights = np.where(hamiltonian, np.abs(fit.regression.mean), 0.0)
    chosen = np.argsort(-weights)[: min(_MOST_FREE // dim, int(np.sum(hamiltonian)))]
    fields = fit.model.fields(nodes.reshape(-1, dim))[:, chosen] @ fit.model.features.frame.inverse.T
    apart = (fields[..., None] * fit.model.features.frame.matrix.T).reshape(*nodes.shape[:2], -1, dim)
    return np.asarray(apart)


def _friction_rates(fit: FittedField, found: Regression, chosen: np.ndarray) -> np.ndarray:
    """Return the rates of friction of each degree of freedom, and their standard errors (2, n).

    Friction has no prior here, so that rates are not shrunk and errors are those of the data.
    """
    own = fit.model.friction
    prior = np.where(own, 0.0, found.precisions[np.minimum(fit.model.groups, len(found.precisions) - 1)])
    products = fit.products.part(chosen)
    precision = np.diag(prior[chosen]) + products.gram / found.variance
    place = own[chosen]
    unit = np.linalg.solve(precision, np.eye(len(place))[:, place])
    rates = unit.T @ products.cross / found.variance
    return np.asarray(np.stack([rates, np.sqrt(np.diag(unit[place]))]) / fit.size[own])


def _energy_drift(fit: FittedField, trajectories: FrameTrajectories) -> np.ndarray:
    """Return the mean of dE/dt and an interval, see `Diagnosis`. One trajectory gives no interval."""
    # This import is slow.
    from scipy.stats import t as student

    states, labels = trajectories.states, trajectories.trajectory
    _, place = np.unique(labels, return_inverse=True)
    weights = slope_weights(labels, trajectories.times)
    squares = np.bincount(place, weights**2)
    whole = squares > 0
    slope = np.bincount(place, weights * fit.model.energy(states, fit.weights))[whole]
    # dE/dt of all trajectories together, long ones with more weight.
    weight = 1.0 / squares[whole]
    weight /= weight.sum()
    mean, count = float(weight @ slope), len(slope)
    if count > 1:
        error = np.sqrt(np.sum(weight**2 * (slope - mean) ** 2) * count / (count - 1))
        error *= student.isf((1 - _INTERVAL) / 2, count - 1)
    else:
        error = np.inf
    gradient = fit.model.features.gradient(states, fit.weights[: -len(fit.model.linear)])
    velocity = fit.model.field(states, fit.weights)
    return np.array([mean, mean - error, mean + error]) / max(natural_rate(gradient, velocity), 1e-300)
