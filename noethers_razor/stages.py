"""The stages of a fit as explicit objects: without symmetry, proposal, joint training, judgement.

A family of conserved quantities takes part through ``propose`` and ``principal`` only, so that a new
one proposes in the same place.
"""

from __future__ import annotations

import dataclasses
import zlib
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Key
from noethers_razor.config import FitConfig
from noethers_razor.conserved import ConservedFamily, FieldSamples, NoSymmetry, Proposal
from noethers_razor.model import Batch, Model, conserved_of
from noethers_razor.symmetry.span import active_count
from noethers_razor.training import Clock, Estimate, FlatParams, Rates, Row, Trainer, Watcher, masked

_STATES = 512
_DRAWS = 32
_STEP_IN_SPECTRUM = 1.5
"""Ratio of neighbouring singular values at which the evidence is asked whether to cut between them."""
_MOST_CUTS = 2


def thinned(states: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the states (N, M), evenly spaced."""
    return states[np.linspace(0, len(states) - 1, min(len(states), most)).astype(int)]


@dataclasses.dataclass(frozen=True)
class Judgement:
    """The bound with and without the smaller directions of a spectrum.

    Args:
        kept: number of principal directions kept; the others were set to zero and the rest refitted.
        singular_values: of all directions before the cut.
        estimate: the bound after refitting.
    """

    kept: int
    singular_values: tuple[float, ...]
    estimate: Estimate


@dataclasses.dataclass
class FitState:
    """What the stages hand on to each other.

    Args:
        model: of the current family; data: transitions in the frame; params: the best so far.
        key: base key of the fit; each stage folds its name in.
        config: settings, of which the trainers take theirs.
        bare: parameters of the network alone, trained for as long as ``params``.
        bounds: estimates by name (``none``, ``learned``, ``oracle``) after equal numbers of steps.
        judgements: cuts that were tried, the accepted one last.
    """

    model: Model
    data: Batch
    params: FlatParams
    key: Key
    config: FitConfig
    bare: FlatParams
    watch: Watcher | None = None
    clock: Clock = dataclasses.field(default_factory=Clock)
    history: list[Row] = dataclasses.field(default_factory=list)
    bounds: dict[str, Estimate] = dataclasses.field(default_factory=dict)
    judgements: list[Judgement] = dataclasses.field(default_factory=list)
    proposal: Proposal | None = None
    trainers: dict[str, Trainer] = dataclasses.field(default_factory=dict)

    @property
    def family(self) -> ConservedFamily:
        """The family that the fit is for."""
        return self.model.family

    def stream(self, name: str) -> Key:
        """The random key of a named purpose."""
        return jax.random.fold_in(self.key, zlib.crc32(name.encode()))

    def spectrum(self, params: FlatParams) -> tuple[np.ndarray, FlatParams]:
        """Singular values of the family's quantities, and params in principal directions."""
        states = np.asarray(self.data.start, np.float64)
        values, rotated = self.family.principal(conserved_of(params), states)
        return values, {**params, **{f"conserved/{k}": v for k, v in rotated.items()}}

    def trainer(self, family: ConservedFamily) -> Trainer:
        """The trainer of a family, compiled once per fit."""
        if family.name not in self.trainers:
            own = family is self.family
            model = self.model
            if not own:
                model = dataclasses.replace(model, family=family, conserved_names=())
            self.trainers[family.name] = Trainer(
                model,
                self.data,
                self.config.batch,
                self.config.weight_samples,
                self.config.chunk,
                self.clock,
                lambda params: active_count(self.spectrum(params)[0]) if own else 0,
            )
        return self.trainers[family.name]


class Stage(Protocol):
    """One step of a fit: reads and replaces what `FitState` holds."""

    def run(self, state: FitState) -> None:
        """Do it."""
        ...


@dataclasses.dataclass(frozen=True)
class WithoutSymmetry:
    """Train the network alone, no orbit average, until the bound improves slowly."""

    steps: int
    rates: Rates
    stop_when_slow: bool
    name: str = "without symmetry"

    def run(self, state: FitState) -> None:
        """Leaves the fitted posterior in ``params`` and in ``bare``."""
        state.params, rows = state.trainer(NoSymmetry()).train(
            state.params,
            state.stream(self.name),
            stage=self.name,
            steps=self.steps,
            rates=self.rates,
            stop_when_slow=self.stop_when_slow,
            watch=state.watch,
        )
        state.history += rows
        state.bare = dict(state.params)


@dataclasses.dataclass(frozen=True)
class Propose:
    """Ask the family for a start, given the posterior's velocities at data states."""

    name: str = "proposal"

    def run(self, state: FitState) -> None:
        """Adds the family's parameters to ``params``."""
        model = state.model
        states = jnp.asarray(thinned(np.asarray(state.data.start), _STATES))
        keys = jax.random.split(state.stream(self.name), _DRAWS)

        def velocity(key: Key) -> jax.Array:
            weights = model.sample_weights(state.params, key)
            return model.field(weights, lambda x: x[None])(states)

        velocities = jax.jit(lambda keys: jax.lax.map(velocity, keys))(keys)
        samples = FieldSamples(np.asarray(states, np.float64), np.asarray(velocities, np.float64))
        state.proposal = state.family.propose(samples, state.stream("start"))
        own = state.proposal.params
        state.params |= {f"conserved/{k}": jnp.asarray(v, states.dtype) for k, v in own.items()}
        state.model = dataclasses.replace(model, conserved_names=tuple(own))


@dataclasses.dataclass(frozen=True)
class Joint:
    """Train posterior, noise and conserved quantities together under the bound (paper, eq. 9)."""

    steps: int
    rates: Rates
    name: str = "joint"

    def run(self, state: FitState) -> None:
        """Leaves parameters in principal directions, and the bound under the family's name."""
        rates = self.rates if state.family.trainable else self.rates._replace(conserved=0.0)
        trainer = state.trainer(state.family)
        params, rows = trainer.train(
            state.params,
            state.stream(self.name),
            stage=self.name,
            steps=self.steps,
            rates=rates,
            watch=state.watch,
        )
        state.history += rows
        # Ball and normal laws do not see a rotation of the quantities; the cube does.
        state.params = params if state.model.orbits.measure == "uniform" else state.spectrum(params)[1]
        state.bounds[state.family.name] = trainer.estimate(state.params, state.stream("estimate"))


@dataclasses.dataclass(frozen=True)
class Control:
    """Train on without symmetry for as long as the joint stage: what the symmetry is compared with."""

    steps: int
    rates: Rates
    name: str = "control"

    def run(self, state: FitState) -> None:
        """Leaves the bound ``none``; with the empty family its parameters are the result."""
        trainer = state.trainer(NoSymmetry())
        params, rows = trainer.train(
            state.bare,
            state.stream(self.name),
            stage=self.name,
            steps=self.steps,
            rates=self.rates,
            watch=state.watch,
        )
        state.history += rows
        state.bounds["none"] = trainer.estimate(params, state.stream("estimate"))
        state.bare = params
        if state.family.count == 0:
            state.params = params


@dataclasses.dataclass(frozen=True)
class Judge:
    """Cut the spectrum where it steps down, refit each cut for as long, and keep what the bound prefers.

    A false direction costs bound, a redundant true one costs nothing: the largest set that the
    evidence does not reject stays.
    """

    steps: int
    rates: Rates
    name: str = "judgement"

    def cuts(self, values: np.ndarray) -> list[int]:
        """Numbers of directions to try, the largest steps of the active spectrum first."""
        count = active_count(values)
        ratios = values[: count - 1] / values[1:count] if count > 1 else np.zeros(0)
        order = [i for i in np.argsort(-ratios) if ratios[i] >= _STEP_IN_SPECTRUM]
        return [int(i) + 1 for i in order[:_MOST_CUTS]]

    def run(self, state: FitState) -> None:
        """Replaces ``params`` by those of the accepted cut."""
        values, params = state.spectrum(state.params)
        cuts = self.cuts(values)
        if not cuts or not state.family.trainable:
            return
        trainer, results = state.trainer(state.family), []
        for kept in [len(values), *cuts]:
            mask = (np.arange(len(values)) < kept).astype(float)
            fitted, rows = trainer.train(
                masked(params, jnp.asarray(mask, state.data.start.dtype)),
                state.stream(self.name),
                stage=f"{self.name} {kept}",
                steps=self.steps,
                rates=self.rates,
                active=mask,
                watch=state.watch,
            )
            state.history += rows
            estimate = trainer.estimate(fitted, state.stream("estimate"))
            results.append((Judgement(kept, tuple(map(float, values)), estimate), fitted))
        # The comparison with no symmetry stays one of equal training.
        Control(self.steps, self.rates._replace(conserved=0.0), name=f"{self.name} none").run(state)
        best = self._preferred(results)
        state.judgements = [judgement for judgement, _ in results if judgement is not best[0]]
        state.judgements.append(best[0])
        state.params = best[1]
        state.bounds[state.family.name] = best[0].estimate

    @staticmethod
    def _preferred(
        results: list[tuple[Judgement, FlatParams]],
    ) -> tuple[Judgement, FlatParams]:
        """The largest set whose bound is within two standard errors of the best.

        All were estimated on the same batches and draws, so the error is that of paired differences.
        """
        best = min(results, key=lambda result: result[0].estimate.negative_elbo)[0].estimate

        def tied(judgement: Judgement) -> bool:
            excess = np.asarray(judgement.estimate.losses) - np.asarray(best.losses)
            return bool(excess.mean() <= 2 * excess.std() / np.sqrt(len(excess)))

        return max((r for r in results if tied(r[0])), key=lambda result: result[0].kept)
