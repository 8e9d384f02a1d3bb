"""The problem of a fit: data in the frame, network, settings and seed. It does not change during the fit."""

from __future__ import annotations

import dataclasses
import functools
import math
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array, Key
from noethers_razor.config import FitConfig
from noethers_razor.conserved.base import Family
from noethers_razor.conserved.none import NoSymmetry
from noethers_razor.data.frame import Frame, fit_frame, suggested_substeps
from noethers_razor.data.frame_trajectories import FrameTrajectories, thinned
from noethers_razor.data.trajectories import Trajectories, Transitions
from noethers_razor.errors import UsageError
from noethers_razor.mechanics.quadratic_form import second_moment
from noethers_razor.model.elbo import Batch, Model, build_model, initial_params
from noethers_razor.model.parameters import FlatParams, conserved_of, prefixed
from noethers_razor.numerics.expressions import expression

_FEWEST_TO_HOLD_OUT = 20
"""Number of trajectories from which on some are held out."""
_STATES_KEPT = 1024
"""Held-out states that a result keeps."""
_NOISE_START = 0.25
"""Noise deviation at the start, relative to the mean displacement of a transition: well above any fit."""


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """States on which bracket defects are measured.

    Args:
        states: (count, M), data units.
        unseen: whether training has not seen them.
    """

    states: np.ndarray
    unseen: bool


@dataclasses.dataclass(frozen=True)
class Problem:
    """Inputs of a fit, which stay the same during the fit.

    Args:
        config: settings.
        seed: of everything random.
        frame: coordinates of training.
        family: family of conserved quantities to learn, in the frame.
        transitions: all transitions of training, in the frame.
        trajectories: the same data as trajectories, of unknown noise.
        moment: second moment of the states of training in the frame, see `quadratic_form.second_moment`.
        held_out: states on which bracket defects are measured.
        substeps: integrator steps per transition.
        step: median data time of one integrator step.
        metadata: of the data.
    """

    config: FitConfig
    seed: int
    frame: Frame
    family: Family
    transitions: Batch
    trajectories: FrameTrajectories
    moment: np.ndarray
    held_out: HeldOut
    substeps: int
    step: float
    metadata: dict[str, Any]

    @classmethod
    def of(cls, data: Trajectories, family: Family, config: FitConfig, seed: int) -> Problem:
        """Return the problem of data in data units and a family without a phase space.

        Raises:
            UsageError: when the family does not fit the data or the settings.
        """
        train, held_out = _split(data, config.held_out)
        transitions = train.transitions()
        isotropic = None if config.likelihood.noise_variance is None else np.ones(2 * data.dof)
        frame = fit_frame(train.observed(), transitions, noise_scale=isotropic)
        family = family.fitted_to(frame, data.coordinates)
        _require_defined(family.terms, train)
        if config.first_stage == 0 and family.start == "proposal":
            raise UsageError(
                "first_stage = 0 with start 'proposal'; the proposal follows the first stage: "
                "use start 'random' or a positive first_stage"
            )
        substeps = config.likelihood.substeps or suggested_substeps(frame, transitions)
        return cls(
            config=config,
            seed=seed,
            frame=frame,
            family=family,
            transitions=to_batch(frame, transitions, config.dtype),
            trajectories=FrameTrajectories.of(frame, train),
            moment=second_moment(frame.into(transitions.start)),
            held_out=held_out,
            substeps=substeps,
            step=float(np.median(transitions.duration)) / substeps,
            metadata={**data.metadata, "sha256": data.digest},
        )

    @property
    def total(self) -> int:
        """Number of transitions."""
        return self.transitions.start.shape[0]

    @property
    def dtype(self) -> jnp.dtype:
        """Precision of training."""
        return self.transitions.start.dtype

    def _keys(self) -> tuple[Key, Key]:
        start, fit = jax.random.split(jax.random.key(self.seed))
        return start, fit

    def key_for(self, name: str) -> Key:
        """Return the random key of a named purpose."""
        return jax.random.fold_in(self._keys()[1], zlib.crc32(name.encode()))

    def model(self, family: Family) -> Model:
        """Return the model of a family on these data; all share one network and one likelihood."""
        names = tuple(family.init(self._keys()[0], self.frame.dim))
        return dataclasses.replace(self.model_without_symmetry, family=family, conserved_names=names)

    @functools.cached_property
    def model_without_symmetry(self) -> Model:
        """The model without symmetry, whose network the first stage trains."""
        return build_model(
            self.config, NoSymmetry(), (), self.frame, substeps=self.substeps, total=self.total
        )

    def first_params(self) -> FlatParams:
        """Return the parameters of the network at the start."""
        deviation = self.config.network.initial_deviation
        return initial_params(
            self.model_without_symmetry.network, self._keys()[0], deviation, self._log_noise()
        )

    def _log_noise(self) -> float | None:
        if self.config.likelihood.noise_variance is not None:
            return None
        pairs = self.transitions
        moved = np.asarray(pairs.end - pairs.start, np.float64) @ self.frame.residual_matrix.T
        return math.log(_NOISE_START * math.sqrt(float(np.mean(moved**2))) + 1e-12)

    def small_params(self, family: Family) -> FlatParams:
        """Return small parameters of a family, of the shapes that training needs."""
        return prefixed(family.init(self._keys()[1], self.frame.dim), self.dtype)

    def in_principal_directions(self, family: Family, params: FlatParams) -> tuple[np.ndarray, FlatParams]:
        """Return singular values (K,) of a family's quantities, and params in principal directions."""
        states = np.asarray(self.transitions.start, np.float64)
        values, rotated = family.principal(conserved_of(params), states)
        return values, {**params, **prefixed(rotated, self.dtype)}


def to_batch(frame: Frame, transitions: Transitions, dtype: str) -> Batch:
    """Return transitions in the frame, in the precision of a fit."""
    return Batch(
        jnp.asarray(frame.into(transitions.start), dtype),
        jnp.asarray(transitions.duration / frame.time, dtype),
        jnp.asarray(frame.into(transitions.end), dtype),
    )


def masked(family: Family, params: FlatParams, mask: Array | np.ndarray) -> FlatParams:
    """Return flat parameters or updates with those of conserved quantities multiplied by a mask (K,)."""
    own = family.masked(conserved_of(params), jnp.asarray(mask))
    return {**params, **{f"conserved/{name}": value for name, value in own.items()}}


def _split(data: Trajectories, share: float) -> tuple[Trajectories, HeldOut]:
    """Training trajectories, and states for defects."""
    # Held-out trajectories without a state would leave nothing to measure defects on.
    held = int(share * data.count) if data.count >= _FEWEST_TO_HOLD_OUT else 0
    if not data.present[data.count - held :].any():
        held = 0
    train = data.select(slice(0, data.count - held))
    states = data.states[data.count - held :][data.present[data.count - held :]] if held else data.observed()
    return train, HeldOut(thinned(states, _STATES_KEPT), held > 0)


def _require_defined(terms: tuple[str, ...], data: Trajectories) -> None:
    """Check, before any training, that terms are finite at all states of the data."""
    states = jnp.asarray(data.observed())
    for term in terms:
        undefined = int(np.sum(~np.isfinite(np.asarray(expression(term, data.coordinates)(states)))))
        if undefined:
            raise UsageError(
                f"term {term!r} is not finite at {undefined} of {len(states)} states of the data; "
                "name a term that is defined at all of them"
            )
