"""What the stages of a fit hand on to each other, and how they train: recorded, where a journal is kept."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Key
from noethers_razor.config import FitConfig
from noethers_razor.conserved import ConservedFamily, FunctionFamily, NoSymmetry, Proposal, Tracks, thinned
from noethers_razor.inference.history import Clock, Estimate, FlatParams, Row, Standing, Watcher
from noethers_razor.inference.training import Rates, Trainer
from noethers_razor.model.elbo import Batch, Model, conserved_of, prefixed
from noethers_razor.storage.journal import Call, Journal
from noethers_razor.symmetry.span import active_count

_Averaged = Callable[[FlatParams, Key, Any], jax.Array]
"""(params, keys of weight samples, something else) -> a mean over the samples."""
_TRANSITIONS = 2048
_DRAWS = 32
_MEDIAN_OF_NORMAL = 0.6745
"""Median of |x| for x ~ N(0, 1)."""
_LEAST_NOISE = 1e-6
"""So that data without any noise, fitted exactly, still have a measure."""


@dataclasses.dataclass(frozen=True)
class Judgement:
    """A set of conserved quantities that the bound was asked about.

    Args:
        name: what was done to the learned set.
        kept: number of directions in use after refitting.
        singular_values: of all directions before.
        removed: displacements of the directions that were taken out.
        estimate: the bound after refitting.
        accepted: whether the fit went on with it.
    """

    name: str
    kept: int
    singular_values: tuple[float, ...]
    removed: tuple[float, ...]
    estimate: Estimate
    accepted: bool = False


@dataclasses.dataclass
class FitState:
    """What the stages hand on to each other.

    Args:
        model: of the current family; data: transitions in the frame; params: the best so far.
        tracks: the same data as trajectories, their noise known from the proposal on.
        key: base key of the fit; each stage folds its name in.
        config: settings, of which the trainers take theirs.
        bare: parameters of the network alone, trained for as long as ``params``.
        bounds: estimates by name (``none``, and the family's) after equal numbers of steps.
        judgements: sets that were compared, the accepted one of each round last.
        pool: thread that compiles while another stage trains.
        journal: of what training has done, to go on from.
    """

    model: Model
    data: Batch
    tracks: Tracks
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
    pool: Executor | None = None
    journal: Journal | None = None

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
        return values, {**params, **prefixed(rotated, self.data.start.dtype)}

    def _averaged(self, function: Callable[[list[jax.Array], Any], jax.Array]) -> _Averaged:
        """The mean over weight samples of a function of weights and of something else."""

        def average(params: FlatParams, keys: Key, other: Any) -> jax.Array:
            def one(key: Key) -> jax.Array:
                return function(self.model.sample_weights(params, key), other)

            return jax.lax.map(one, keys).mean(0)

        return average

    @functools.cached_property
    def _predictions(self) -> _Averaged:
        def one(weights: list[jax.Array], pairs: Batch) -> jax.Array:
            return self.model.step(weights, lambda x: x[None], pairs.start, pairs.duration)

        return jax.jit(self._averaged(one))

    def measured(self, params: FlatParams) -> Tracks:
        """The trajectories with the noise that the network alone, at params, leaves unexplained."""
        likelihood = self.model.likelihood
        pairs = Batch(*(thinned(part, _TRANSITIONS) for part in self.data))
        keys = jax.random.split(self.stream("residuals"), _DRAWS)
        back = np.asarray(likelihood.residual, np.float64)
        missed = np.asarray(pairs.end - self._predictions(params, keys, pairs), np.float64) @ back.T
        # The middle half tells noise from the few transitions that the network does not follow. Noise of a
        # transition is that of two states.
        deviation = np.median(np.abs(missed), axis=0) / _MEDIAN_OF_NORMAL / 2**0.5
        floor = likelihood.floor if likelihood.noise is None else _LEAST_NOISE
        root = np.linalg.solve(back, np.diag(np.hypot(deviation, max(floor, _LEAST_NOISE))))
        return self.tracks._replace(noise=root @ root.T)

    def energies(self, params: FlatParams) -> Callable[[jax.Array], jax.Array]:
        """The network's mean energy, without symmetry, at params: states (..., M) -> (...)."""
        keys = jax.random.split(self.stream("slopes"), _DRAWS)
        average = self._averaged(self.model.network.apply)
        return lambda x: average(params, keys, x)

    @functools.cached_property
    def _slopes(self) -> _Averaged:
        def one(weights: list[jax.Array], states: jax.Array) -> jax.Array:
            return jax.grad(lambda x: jnp.sum(self.model.network.apply(weights, x)))(states)

        return jax.jit(self._averaged(one))

    def with_slopes(self, params: FlatParams) -> Tracks:
        """The trajectories with the gradient of the network's mean energy, without symmetry, at params."""
        keys = jax.random.split(self.stream("slopes"), _DRAWS)
        states = jnp.asarray(self.tracks.states, self.data.start.dtype)
        return self.tracks._replace(slopes=np.asarray(self._slopes(params, keys, states), np.float64))

    def forms_alone(self, params: FlatParams) -> tuple[ConservedFamily, FlatParams]:
        """The forms of the family, whose flows are exact and cost less, and parameters without the others."""
        assert isinstance(self.family, FunctionFamily), "it has functions"
        family = self.family.without_functions()
        kept = {f"conserved/{name}" for name in self.names_of(family)}
        return family, {k: v for k, v in params.items() if not k.startswith("conserved/") or k in kept}

    def names_of(self, family: ConservedFamily) -> tuple[str, ...]:
        """Names of the parameters of a family."""
        return tuple(family.init(self.key, self.data.start.shape[-1]))

    def leave_functions(self) -> None:
        """Go on with the forms of the family alone, and with what was proposed for them."""
        family, self.params = self.forms_alone(self.params)
        self.model = dataclasses.replace(self.model, family=family, conserved_names=self.names_of(family))
        if (found := self.proposal) is not None:
            params = {name: found.params[name] for name in self.model.conserved_names}
            forms = slice(family.count)
            self.proposal = Proposal(params, found.defect[forms], found.expected, found.length[forms])

    def share_programs(self, other: FitState) -> None:
        """Take the compiled programs of a fit of the same data, family and settings."""
        self.trainers = {
            name: dataclasses.replace(trainer, clock=self.clock, pool=self.pool)
            for name, trainer in other.trainers.items()
        }
        self._predictions, self._slopes = other._predictions, other._slopes

    def prepare(self) -> None:
        """Have the programs of both families compiled, the one without symmetry first.

        Whether there are functions is known after the proposal only.
        """
        self.trainer(NoSymmetry()).prepare(self.params)
        if self.family.count and not self.family.functions:
            own = self.family.init(self.key, self.data.start.shape[-1])
            self.trainer(self.family).prepare({**self.params, **prefixed(own, self.data.start.dtype)})

    def trainer(self, family: ConservedFamily) -> Trainer:
        """The trainer of a family, compiled once per fit."""
        # After its proposal the same family may have another program.
        key = f"{family.name} {family.functions} {getattr(family, 'reach', 1.0)}"
        if key not in self.trainers:
            own = family is self.family
            model = dataclasses.replace(self.model, family=family, conserved_names=self.names_of(family))
            self.trainers[key] = Trainer(
                model,
                self.data,
                self.config.batch,
                self.config.weight_samples,
                self.config.chunk,
                self.clock,
                lambda params: active_count(self.spectrum(params)[0]) if own else 0,
                self.pool,
            )
        return self.trainers[key]

    def train(
        self,
        family: ConservedFamily,
        params: FlatParams,
        *,
        stage: str,
        steps: int,
        rates: Rates,
        stream: str | None = None,
        active: np.ndarray | None = None,
        stop_when_slow: bool = False,
    ) -> FlatParams:
        """Parameters after a stage of training, see `Trainer.train`; draws are those of the stage's name."""
        trainer, key = self.trainer(family), self.stream(stream or stage)
        moving = np.ones(family.count) if active is None else active
        call, standing = None, None
        if self.journal is not None:
            settings = {"rates": np.array([*rates, steps, stop_when_slow]), "active": moving}
            call = self._call(stage, params, key, settings)
            if (found := call.found()) is not None:
                start = trainer.start_of_optimiser(params)
                standing = Standing.of_record(found.arrays, found.document, start)
                self.clock.at_least(found.document["clock"])
                if found.ended:
                    self.history += standing.rows
                    return standing.params

        def keep(standing: Standing, at_once: bool = False, ended: bool = False) -> None:
            if call is not None and (at_once or ended or call.due):
                arrays, own = standing.as_record()
                call.keep(arrays, {**own, "clock": self.clock.reading()}, ended=ended)

        last = trainer.train(
            params,
            key,
            stage=stage,
            steps=steps,
            rates=rates,
            active=moving,
            stop_when_slow=stop_when_slow,
            watch=self.watch,
            standing=standing,
            keep=keep,
        )
        keep(last, ended=True)
        self.history += last.rows
        return last.params

    def _call(self, name: str, params: FlatParams, key: Key, settings: dict[str, np.ndarray]) -> Call:
        """The entry of the journal for a call with these inputs."""
        assert self.journal is not None, "asked before"
        inputs = {name: np.asarray(value) for name, value in params.items()}
        return self.journal.call(name, {**inputs, **settings, "key": np.asarray(jax.random.key_data(key))})

    def estimate(self, family: ConservedFamily, params: FlatParams) -> Estimate:
        """The bound at parameters, on the same batches and draws each time."""
        trainer, key = self.trainer(family), self.stream("estimate")
        if self.journal is None:
            return Estimate.of(*trainer.losses(params, key))
        call = self._call(f"estimate of {family.name}", params, key, {})
        if (found := call.found()) is not None:
            return Estimate.of(found.arrays["losses"], float(found.arrays["kl"]))
        losses, kl = trainer.losses(params, key)
        call.keep({"losses": losses, "kl": np.array(kl)}, {}, ended=True)
        return Estimate.of(losses, kl)
