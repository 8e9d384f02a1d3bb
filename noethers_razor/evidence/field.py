"""A Hamiltonian that is linear in its weights, H(x) = w . phi(x), fitted to trajectories.

Each round follows the flow of the last fit and regresses the states on what a change of the weights makes of
them (Gauss-Newton). The weights have Gaussian priors, so the log evidence has a closed form. Linear fields
that no Hamiltonian has, such as friction, take part; their prior lets them vanish.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from noethers_razor.data.frame import Frame
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.evidence.candidates import moving_axes
from noethers_razor.evidence.features import Features
from noethers_razor.evidence.linearised_flow import LinearisedFlow, Segments
from noethers_razor.evidence.regression import Products, Regression, fitted
from noethers_razor.mechanics.phase_space import apply_j_in_numpy

_ROUNDS = 6
"""Largest number of rounds of Gauss-Newton with few segments."""
_FEW = 150
"""Segments of the first rounds."""
_MOST_FIELDS = 800
"""Number of fields above which none is fitted."""
_MOST = 1.2e7
"""Largest number of entries of the regression; more segments are not used."""
_CHUNK = 3e6
"""Number of entries that are computed at a time."""
_LOST = 10.0
"""Squared residual, relative to the median, beyond which a segment is left out: its start was not found."""
_SETTLED = 0.999
"""Ratio of squared residuals of two rounds above which the second is not needed."""
_NO_EFFECT = 1e-9
"""Size of a field, relative to the largest, that is rounding."""
_LEAST = 0.5
"""Smallest variance of the residuals, in units of noise."""
_ACCURATE = 1e-10
"""The same, relative to the squared changes of the states: features are no more accurate."""
LINEAR = 3
"""Group of the linear fields, after those of the features."""


Fields = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Nodes (B, K, M) and times (B, K) -> fields (B, K, F, M)."""


class Model(NamedTuple):
    """A field that is linear in its weights: D Hamiltonian fields, then linear fields.

    Args:
        features: features of the Hamiltonian.
        linear: matrices (E, M, M) of the linear fields in the frame.
        offset: their offsets (E, M).
    """

    features: Features
    linear: np.ndarray
    offset: np.ndarray

    @classmethod
    def of(cls, frame: Frame, states: np.ndarray) -> Model:
        """Return the model for states (N, M) in the frame."""
        features = Features.of(frame, states)
        dim = states.shape[1]
        # The linear Hamiltonian fields are J S with S symmetric. All others have an antisymmetric part of S.
        first, second, friction = _pairs(dim)
        antisymmetric = np.zeros((len(first), dim, dim))
        antisymmetric[np.arange(len(first)), first, second] = 1.0
        antisymmetric[np.arange(len(first)), second, first] = -1.0
        own = np.swapaxes(apply_j_in_numpy(np.swapaxes(antisymmetric, 1, 2)), 1, 2)
        # Of a degree of freedom, that is -(q, p). Friction is -p, which differs by a Hamiltonian field.
        own[friction, first[friction], first[friction]] = 0.0
        scale = features.scale
        linear = frame.matrix @ (scale[:, None] * own / scale) @ frame.inverse
        # Friction stops at p = 0, not at the mean.
        origin = np.where(np.arange(dim) < dim // 2, features.mean, 0.0)
        return cls(features, linear, -linear @ frame.into(origin))

    @property
    def groups(self) -> np.ndarray:
        """Group (D + E,) of each field, see `Features.groups`; the linear fields come last."""
        return np.concatenate([self.features.groups, np.full(len(self.linear), LINEAR)])

    @property
    def hamiltonian(self) -> np.ndarray:
        """Which fields (D + E,) are Hamiltonian."""
        return self.groups != LINEAR

    @property
    def friction(self) -> np.ndarray:
        """Which fields (D + E,) are friction, one for each degree of freedom."""
        return np.append(np.zeros(len(self.features.groups), bool), _pairs(self.linear.shape[1])[2])

    def fields(self, states: np.ndarray) -> np.ndarray:
        """Return the fields (N, D + E, M) at states (N, M)."""
        count = len(self.linear)
        out = self.features.turned_gradients(states, apply_j_in_numpy(self.features.frame.inverse), count)
        np.add(np.tensordot(states, self.linear, axes=(1, 2)), self.offset, out=out[:, -count:])
        return out

    def field(self, states: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return velocities (N, M) at states (N, M), for weights (D + E,)."""
        count = len(self.linear)
        own = apply_j_in_numpy(self.features.gradient(states, weights[:-count]))
        matrix, offset = (np.tensordot(weights[-count:], part, axes=1) for part in (self.linear, self.offset))
        return np.asarray(own + states @ matrix.T + offset)

    def energy(self, states: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return energies (N,) at states (N, M)."""
        return np.asarray(self.features.values(states) @ weights[: -len(self.linear)])


def _pairs(dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all pairs of coordinates i < j, and which of them are a position and its momentum."""
    first, second = np.triu_indices(dim, 1)
    return first, second, second == first + dim // 2


class FittedField(NamedTuple):
    """A field and the regression that found it.

    Args:
        model: fields.
        weights: weights (D + E,).
        flow: flow through segments of the data, of the round before.
        flow_weights: weights of that flow.
        size: size (D + E,) of each field in the regression, whose weights are ``weights`` times this size.
        products: products of the regression.
        regression: its prior, noise and posterior.
    """

    model: Model
    weights: np.ndarray
    flow: LinearisedFlow
    flow_weights: np.ndarray | None
    size: np.ndarray
    products: Products
    regression: Regression

    def with_fields(self, more: Fields) -> Products:
        """Return the products of the regression with more fields, all of unit size, those of the model first.

        Args:
            more: function of nodes (B, K, M) and times (B, K) that returns F fields (B, K, F, M).
        """
        return _scaled(_products(self.model, self.flow, self.flow_weights, more))[0]


def least_variance(products: Products) -> float:
    """Return the smallest variance of residuals that a fit may claim, in units of noise."""
    return float(max(_LEAST, _ACCURATE * products.square / products.number))


def fitted_field(trajectories: FrameTrajectories, frame: Frame | None = None) -> FittedField | None:
    """Fit a field to trajectories; None if nothing moves, fields are too many, or the fit diverges.

    Args:
        trajectories: trajectories in the frame, with noise and times.
        frame: the frame; None if positions are in units of the frame.
    """
    if np.max(np.unique(trajectories.trajectory, return_counts=True)[1]) < 3:
        return None
    model = Model.of(frame or Frame.same(trajectories.states.shape[1]), trajectories.states)
    if len(model.groups) > _MOST_FIELDS:
        return None
    trajectories = trajectories._replace(noise=_with_rest(trajectories))
    few = Segments.of(trajectories, _FEW)
    most = int(_MOST / (few.states[0].size * len(model.groups)))
    if not few.free or np.ptp(few.states, axis=1).max() == 0:
        return None
    found = _regressed(model, LinearisedFlow.of_data(few))
    best, least = None, np.inf
    for _ in range(_ROUNDS):
        flow = _followed(model, found.weights, few)
        if flow is None or not (misfit := float(np.mean(flow.residual() ** 2))) < _SETTLED * least:
            break
        best, least = found.weights, misfit
        found = _regressed(model, flow, best)
    if best is None:
        return None
    if most <= _FEW:
        # More segments would be these.
        return found
    flow = _followed(model, best, Segments.of(trajectories, most))
    return None if flow is None else _regressed(model, flow, best)


def _with_rest(trajectories: FrameTrajectories) -> np.ndarray:
    """Return the noise (M, M), with that of coordinates at rest as large as motion: they decide nothing."""
    moving, _ = np.linalg.qr(moving_axes(trajectories))
    return np.asarray(trajectories.noise + np.eye(len(moving)) - moving @ moving.T)


def _followed(model: Model, weights: np.ndarray, segments: Segments) -> LinearisedFlow | None:
    """Return the flow of a field through segments, from the starts that fit best; None if most are lost."""
    # A path that runs away overflows, and its segment is lost.
    with np.errstate(all="ignore"):
        flow = LinearisedFlow.of_field(segments, segments.states[:, 0], lambda x: model.field(x, weights))
        tried = LinearisedFlow.of_field(segments, flow.next_start(), lambda x: model.field(x, weights))
        before, after = (np.nan_to_num(one.squares(), nan=np.inf) for one in (flow, tried))
    least = np.minimum(before, after)
    kept = least < _LOST * np.median(least)
    return flow.replaced(after < before, tried).where(kept) if 2 * kept.sum() > len(kept) else None


def _regressed(model: Model, flow: LinearisedFlow, weights: np.ndarray | None = None) -> FittedField:
    """Regress the states on a change of the field about a flow, with its weights (None for the data's)."""
    products, size = _scaled(_products(model, flow, weights))
    regression = fitted(products, model.groups, least_variance(products))
    return FittedField(model, regression.mean / size, flow, weights, size, products, regression)


def _scaled(products: Products) -> tuple[Products, np.ndarray]:
    """Return the products of fields of unit size, and their sizes before (D,)."""
    size = np.sqrt(np.diag(products.gram) / products.number)
    # Fields of coordinates at rest have no effect but rounding. They get no weight.
    size = np.where(size > _NO_EFFECT * size.max(), size, size.max())
    return products.scaled(size), size


def _products(
    model: Model, flow: LinearisedFlow, weights: np.ndarray | None, more: Fields | None = None
) -> Products:
    """Return the products of the regression, with more fields after those of the model."""
    nodes, count = flow.nodes, len(model.groups)
    extra = 0 if more is None else more(nodes[:1], flow.node_times[:1]).shape[2]
    parts = -(-nodes.size * (count + extra) // int(_CHUNK))
    total = Products(np.zeros([count + extra] * 2), np.zeros(count + extra), 0.0, 0)
    for chosen in np.array_split(np.arange(len(nodes)), min(parts, len(nodes))):
        near = flow.where(chosen)
        shape = (*near.nodes.shape[:2], count, nodes.shape[2])
        fields = model.fields(near.nodes.reshape(-1, nodes.shape[2])).reshape(shape)
        if more is not None:
            fields = np.concatenate([fields, more(near.nodes, near.node_times)], axis=2)
        rows = near.rows(fields).reshape(-1, count + extra)
        values = near.residual().ravel()
        if weights is not None:
            values = values + rows[:, :count] @ weights
        total = total.joined(Products.of(rows, values)._replace(number=near.segments.free))
    return total
