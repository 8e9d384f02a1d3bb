"""Base class of families with C = W phi(x) next to quadratic quantities."""

from __future__ import annotations

import dataclasses
import functools
from abc import abstractmethod
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array, Key, Params
from noethers_razor.conserved.base import Block, Family, FunctionTest, Proposal, flagged
from noethers_razor.conserved.features import (
    REACH,
    SHARED,
    WEIGHTS,
    FeatureBlock,
    gradients_of_combinations,
    sampled,
)
from noethers_razor.conserved.proposal.constancy import folds
from noethers_razor.conserved.proposal.independence import (
    balanced,
    independent_rank,
    least_varying_rows,
    moments_of,
    orthonormal_in_displacement,
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
from noethers_razor.evidence.answer import TELLING, Answer, passing, resolution_of
from noethers_razor.evidence.candidates import Observed
from noethers_razor.evidence.drift import drift

_BENT = 0.1
"""Largest share of the squared changes by noise that is not linear in it: the tests neglect it."""
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
        reach: flow times of non-quadratic quantities relative to those of quadratic ones.
        averaged: whether the orbit average uses the flows of non-quadratic quantities; the bound decides.
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
    reach: float = REACH
    averaged: bool = True
    name = "expansion"
    sparse = False
    accuracy: ClassVar[float] = 0.0
    """Deviation, relative to the spread of the states, to which features can represent a quantity."""
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
        # Run folders of version 0.1 have the old names, and flow times in two factors.
        renamed = {"forms": "quadratic", "functions": "non_quadratic"}
        fields = {renamed.get(name, name): value for name, value in settings.items()}
        fields["reach"] = fields.get("reach", 1.0) * float(params.get(f"{SHARED}length", 1.0))
        return cls(**fields)

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
            self.non_quadratic,
            self.features,
            self.sparse,
            self.reach,
            self.averaged,
            splits=self.splits_features,
        )

    @property
    def signature(self) -> str:
        """Text that differs between families with different programs."""
        return f"{super().signature} {self.reach} {self.averaged}"

    def exact_part(self) -> Self:
        """Return the family of the quadratic quantities alone."""
        return dataclasses.replace(self, count=self._quadratics.count, non_quadratic=0)

    def with_integrated_flows(self, used: bool) -> Self:
        """Return the family whose orbits do or do not follow the flows of non-quadratic quantities."""
        return dataclasses.replace(self, averaged=used)

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
            return Proposal(self.init(key, dim), np.full(self.count, np.nan))
        params = QuadraticBlock(0).init(key, dim)
        length = np.zeros(0)
        if quadratics.count:
            found = quadratics.propose(data, answer)
            params, length = dict(found.params), found.length
        if not self.non_quadratic:
            return Proposal(params, length)
        known = self._known(data, params, length)
        rows, shared, tested = self._proposed(data, known, key)
        if answer is not None and (answer.cannot_tell or answer.departs):
            # What the data cannot tell, or where quantities generate no symmetry, nothing is offered.
            rows = rows[:0]
        tested = None if tested is None else tested._replace(offered=len(rows))
        empty = self.non_quadratic - len(rows)
        params |= {WEIGHTS: jnp.asarray(np.pad(rows, [(0, empty), (0, 0)])), **shared}
        length = np.concatenate([length, np.ones(len(rows)), np.zeros(empty)])
        return Proposal(params, length, tested)

    def _known(self, data: FrameTrajectories, params: Params, length: np.ndarray) -> np.ndarray:
        """Gradients (N, J, M), of unit size, of H if it is known and of the selected quadratic quantities."""
        symmetric = self._quadratics.symmetric(params)
        form, linear = (np.asarray(part, np.float64)[length > 0] for part in symmetric)
        gradients = np.einsum("kij,nj->nki", form, data.states) + linear
        if data.gradients is not None:
            gradients = np.concatenate([data.gradients[:, None], gradients], axis=1)
        return gradients / np.sqrt(np.mean(np.sum(gradients**2, axis=-1), axis=0))[:, None]

    def _proposed(
        self, data: FrameTrajectories, known: np.ndarray, key: Key
    ) -> tuple[np.ndarray, Params, FunctionTest | None]:
        """Weights (k, D) of exact quantities independent of known ones, shared parameters, and the test."""
        unit_key, noise_key = jax.random.split(key)
        dim = data.states.shape[1]
        if independent_rank(thinned(known, _STATES)) >= dim - 1:
            # There are no more integrals than that.
            return np.zeros((0, self.feature_count(dim))), self.shared(unit_key, dim), None
        sharp, data = data, data.blurred(self.accuracy)
        parts = np.unique(fold := folds(data.trajectory)).tolist()
        seen = fold != parts[0]
        shared = self.shared_of(data.where(seen), known[seen], unit_key)
        features = sampled(self.features, self.name, shared, data, noise_key)
        features, factor = balanced(features, data.trajectory)
        # Features can be made constant along any few trajectories: those that made them are no test.
        moments = moments_of(features, data, parts[:1] if shared else parts)
        rows, close = least_varying_rows(moments)
        test = ~seen if shared else np.full(len(fold), True)
        gradients = gradients_of_combinations(self.features, shared, rows[:close], data.states[test])
        values = (features.values / factor[:, None])[test] @ rows.T
        tested = drift(Observed(values, gradients, factor[test] ** 2), data.where(test))
        count = passing(tested)[0]
        exact = orthonormal_in_displacement(tested.rows[:count] @ rows[:close], moments)
        resolution = resolution_of(tested, sharp.where(test)) if count else None
        tells = resolution is not None and resolution <= TELLING and features.share_bent(exact) <= _BENT
        p_value = float(tested.p[count - 1]) if count else None
        result = FunctionTest(close, count, p_value, resolution, self.accuracy, tells)
        near, most = thinned(known, _STATES), self.non_quadratic if tells else 0
        found = independent_functions(features, moments, exact, near, most, sparse=self.sparse)
        return found, shared, result
