"""Base class of families with C = W phi(x) next to quadratic quantities."""

from __future__ import annotations

import dataclasses
import functools
from abc import abstractmethod
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array, Key, Params
from noethers_razor.conserved.base import Block, Family, Proposal, flagged
from noethers_razor.conserved.features import REACH_SHARE, WEIGHTS, FeatureBlock, sampled
from noethers_razor.conserved.proposal.constancy import CREDIBLE, credible_length, folds
from noethers_razor.conserved.proposal.independence import (
    balanced,
    constant_space,
    defects,
    independent_rank,
    moments_of,
)
from noethers_razor.conserved.proposal.sparsity import independent_functions
from noethers_razor.conserved.quadratic import (
    AUTOMATIC,
    QuadraticBlock,
    count_field,
    count_to_look_for,
    require_count,
    require_start,
    start_field,
)
from noethers_razor.data.frame_trajectories import FrameTrajectories, thinned
from noethers_razor.errors import UsageError
from noethers_razor.evidence.answer import Answer

_STATES = 2048
"""States at which known gradients are compared with those of candidates."""


@dataclasses.dataclass(frozen=True)
class Expansion(Family):
    """Learnable quadratic quantities, and non-quadratic ones C = W phi with features phi of a subclass.

    Args:
        count: before `fitted_to`, the largest number of quadratic quantities, see `count_to_look_for`, and of
            non-quadratic ones. After it, the number K of all quantities.
        start: ``proposal`` (what is constant along trajectories) or ``random``.
        quadratic: whether the family has quadratic quantities.
        non_quadratic: before `fitted_to`, the largest number of non-quadratic quantities, if it differs; at
            most 2 n - 2. After it, how many of the K quantities, the last ones, are not quadratic.
        reach: flow times of non-quadratic quantities relative to those of quadratic ones; set by a proposal.
    Raises:
        ValueError: for a count below 1 or an unknown start.
    """

    count: int = count_field()
    start: str = start_field()
    quadratic: bool = flagged(True, "quadratic", "Look for quadratic quantities too.")
    non_quadratic: int = flagged(
        AUTOMATIC,
        "non-quadratic",
        "Largest number of non-quadratic quantities; that of --conserved if unset, at most 2 n - 2.",
    )
    reach: float = 1.0
    name = "expansion"
    sparse = False
    splits_features = True
    """Whether a training step with features gains when it is split over the processors."""

    def __post_init__(self) -> None:
        require_count(self.name, self.count)
        require_start(self.start)

    @abstractmethod
    def features(self, params: Params, x: Array) -> Array:
        """Return phi(x): states (..., M) -> (..., D)."""

    @abstractmethod
    def feature_count(self, dim: int) -> int:
        """Return D on phase space of dimension M."""

    def shared(self, key: Key, dim: int) -> Params:
        """Return parameters of the features at the start, named ``shared/...``."""
        return {}

    def shared_of(self, data: FrameTrajectories, known: np.ndarray, key: Key) -> Params:
        """Return parameters of the features, made for trajectories.

        Args:
            data: trajectories.
            known: (N, J, M) gradients of integrals that are known already.
            key: of everything random.
        """
        return self.shared(key, data.states.shape[1])

    def settings(self) -> dict[str, Any]:
        """Return the fields of the family, as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def restored(cls, settings: dict[str, Any], params: Params) -> Self:
        """Return the family of `settings`."""
        # Run folders of version 0.1 have the old names.
        renamed = {"forms": "quadratic", "functions": "non_quadratic"}
        return cls(**{renamed.get(name, name): value for name, value in settings.items()})

    def in_phase_space(self, dim: int) -> Self:
        """Return the family with at most as many quantities as can be independent of each other and of H.

        Raises:
            UsageError: when there can be no non-quadratic quantity and quadratic ones are not wanted.
        """
        quadratic = count_to_look_for(self.count, dim) if self.quadratic else 0
        most = self.count if self.non_quadratic < 0 else self.non_quadratic
        others = dim - 2 if most == AUTOMATIC else min(most, dim - 2)
        if not quadratic and not others:
            raise UsageError(
                f"family {self.name} without quadratic quantities in one degree of freedom, where H is the "
                "only integral; allow quadratic quantities, or choose family none"
            )
        return dataclasses.replace(self, count=quadratic + others, non_quadratic=others)

    @functools.cached_property
    def blocks(self) -> tuple[Block, ...]:
        """A quadratic block, and a block of features where there are non-quadratic quantities."""
        return (self._quadratics, *([self._features] if self.non_quadratic else []))

    @property
    def _quadratics(self) -> QuadraticBlock:
        if self.non_quadratic < 0:
            raise ValueError(f"family {self.name} has no phase space yet; call in_phase_space first")
        return QuadraticBlock(self.count - self.non_quadratic)

    @functools.cached_property
    def _features(self) -> FeatureBlock:
        return FeatureBlock(
            self.non_quadratic, self.features, self.sparse, self.reach, splits=self.splits_features
        )

    @property
    def signature(self) -> str:
        """Text that differs between families with different programs."""
        return f"{super().signature} {self.reach}"

    def exact_part(self) -> Self:
        """Return the family of the quadratic quantities alone."""
        return dataclasses.replace(self, count=self._quadratics.count, non_quadratic=0)

    def with_reach(self, reach: float) -> Self:
        """Return the family whose integrated flows have ``reach`` times the flow times of exact ones.

        It replaces an earlier reach.
        """
        return dataclasses.replace(self, reach=reach)

    def with_length(self, params: Params, share: float) -> Params:
        """Return parameters with orbits of non-quadratic quantities of this share of the reach."""
        return {**params, REACH_SHARE: jnp.asarray(share, jnp.asarray(params[REACH_SHARE]).dtype)}

    def init(self, key: Key, dim: int) -> Params:
        """Return small random forms and weights (non_quadratic, D), and the parameters of the features.

        Raises:
            ValueError: before `in_phase_space` has set the counts.
        """
        quadratics = self._quadratics
        form_key, weight_key, shared_key = jax.random.split(key, 3)
        params = quadratics.init(form_key, dim)
        if self.non_quadratic:
            params |= self._features.init(weight_key, self.feature_count(dim))
            params |= self.shared(shared_key, dim)
        return params

    def propose(self, data: FrameTrajectories, key: Key, answer: Answer | None = None) -> Proposal:
        """Return quadratic quantities, then others independent of them that vary no more than the noise.

        Non-quadratic quantities that depend on H alone are left out where H is known. Their flow moves states
        along their trajectories, where the average of a Hamiltonian learns nothing.
        """
        dim, quadratics = data.states.shape[1], self._quadratics
        if self.start == "random":
            nothing = np.full(self.count, np.nan)
            return Proposal(self.init(key, dim), nothing, data.deviation, nothing)
        params = QuadraticBlock(0).init(key, dim)
        defect, length = np.zeros(0), np.zeros(0)
        if quadratics.count:
            found = quadratics.propose(data, answer)
            params, defect, length = dict(found.params), found.defect, found.length
        if not self.non_quadratic:
            return Proposal(params, defect, data.deviation, length)
        known = self._known(data, params, length)
        rows, own, shared = self._proposed(data, known, key)
        size = credible_length(own, data.deviation)
        empty = self.non_quadratic - len(rows)
        weights = np.pad(rows * size[:, None], [(0, empty), (0, 0)])
        params |= {WEIGHTS: jnp.asarray(weights), REACH_SHARE: jnp.ones(()), **shared}
        return Proposal(
            params,
            np.concatenate([defect, own, np.full(empty, np.nan)]),
            data.deviation,
            np.concatenate([length, size, np.zeros(empty)]),
        )

    def _known(self, data: FrameTrajectories, params: Params, length: np.ndarray) -> np.ndarray:
        """Gradients (N, J, M), of unit size, of H if it is known and of the selected quadratic quantities."""
        symmetric = self._quadratics.symmetric(params)
        form, linear = (np.asarray(part, np.float64)[length >= CREDIBLE] for part in symmetric)
        gradients = np.einsum("kij,nj->nki", form, data.states) + linear
        if data.gradients is not None:
            gradients = np.concatenate([data.gradients[:, None], gradients], axis=1)
        return gradients / np.sqrt(np.mean(np.sum(gradients**2, axis=-1), axis=0))[:, None]

    def _proposed(
        self, data: FrameTrajectories, known: np.ndarray, key: Key
    ) -> tuple[np.ndarray, np.ndarray, Params]:
        """Weights (k, D) of quantities independent of known ones, their defects, and shared parameters."""
        unit_key, noise_key = jax.random.split(key)
        dim = data.states.shape[1]
        if independent_rank(thinned(known, _STATES)) >= dim - 1:
            # There are no more integrals than that.
            return np.zeros((0, self.feature_count(dim))), np.zeros(0), self.shared(unit_key, dim)
        parts = np.unique(fold := folds(data.trajectory)).tolist()
        seen = fold != parts[0]
        shared = self.shared_of(data.where(seen), known[seen], unit_key)
        if shared:
            # Features can be made constant along any few trajectories: those that made them are no test.
            parts = parts[:1]
        features = balanced(sampled(self.features, self.name, shared, data, noise_key), data.trajectory)
        moments = moments_of(features, data, parts)
        space = constant_space(moments)
        rows = independent_functions(
            features, moments, space, thinned(known, _STATES), self.non_quadratic, sparse=self.sparse
        )
        own = defects(features.values @ rows.T, features.shaken @ rows.T, data)
        return rows, space.excess * own, shared
