"""Stochastic optimisation of the bound: one compiled scan over steps, fed in chunks."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from noethers_razor._types import Array, Key
from noethers_razor.conserved.base import FunctionFamily
from noethers_razor.conserved.expansion import SHARED, WEIGHTS
from noethers_razor.errors import TrainingDiverged
from noethers_razor.inference.history import Clock, FlatParams, Row, Standing, Watcher
from noethers_razor.model.elbo import NOISE, Batch, Model

Result = TypeVar("Result")


class Rates(NamedTuple):
    """Peak Adam step sizes of the three groups of parameters; cosine to zero over a stage."""

    posterior: float
    conserved: float
    noise: float


_SECOND_MOMENT = 0.99
"""Adam's decay of squared gradients. With .999 the growing gradients of a falling sigma meet a memory of
1000 small ones, and single steps throw the fit back by nats."""

_RAMP = 100
"""Steps over which step sizes grow to their peak: Adam's first steps move every entry alike, and would throw
a stage that continues another back by nats."""

_OF_FUNCTIONS = 0.03
"""Step size of functions relative to that of forms: of many more entries each moves a little, and what was
constant along trajectories came out varying more: Kepler's after a tenth of it by half as much again, for no
more bound than its error."""

_ESTIMATE = 400

_FEWEST_ROWS = 100
"""Network rows that make a part of a step worth a processor of its own: below, waiting for each other costs
more than it saves."""

SLOW = 0.02
"""Nats per transition and dimension of phase space: less than this in a chunk is a slow improvement."""


def masked(values: FlatParams, active: Array) -> FlatParams:
    """Flat parameters or updates with those of conserved quantities multiplied by active (K,).

    What all quantities have in common stays.
    """

    def one(name: str, value: Array) -> Array:
        # Of a family of forms and functions, the functions are the last.
        first = len(active) - len(value) if name == f"conserved/{WEIGHTS}" else 0
        return value * active[first : first + len(value)].reshape((-1,) + (1,) * (value.ndim - 1))

    def own(name: str) -> bool:
        return name.startswith("conserved/") and not name.startswith(f"conserved/{SHARED}")

    return {k: one(k, v) if own(k) else v for k, v in values.items()}


def processors(batch: int, rows: int) -> NamedSharding | None:
    """Even parts of a batch for the devices of the host, or None when it stays on one.

    XLA spreads single operations over processors; those of this size gain nothing by that, and whole parts of
    a batch do. An accelerator gets the whole step.

    Args:
        batch: transitions per step.
        rows: states per step at which the network is evaluated at once.
    """
    devices = jax.local_devices() if jax.default_backend() == "cpu" else []
    counts = [n for n in range(2, len(devices) + 1) if batch % n == 0 and rows // n >= _FEWEST_ROWS]
    return (
        NamedSharding(Mesh(np.array(devices[: counts[-1]]), "part"), PartitionSpec("part"))
        if counts
        else None
    )


def _with_settings_of_this_thread(function: Callable[..., Result]) -> Callable[..., Result]:
    """A function that another thread can call under the JAX settings of this one: they are kept by thread."""
    # JAX declares these attributes where type checkers do not look.
    settings: Any = jax.config
    wide, device = settings.jax_enable_x64, settings.jax_default_device
    matmul = settings.jax_default_matmul_precision

    def run(*arguments: Any) -> Result:
        with jax.enable_x64(wide), jax.default_device(device), jax.default_matmul_precision(matmul):
            return function(*arguments)

    return run


@dataclasses.dataclass
class Trainer:
    """Optimises and evaluates one model on one set of transitions.

    Args:
        model: with its family of conserved quantities.
        data: all transitions, in the frame.
        batch_size: transitions per step, all of them when there are fewer.
        draws: weight samples per step.
        chunk: steps per compiled call; progress, history and guard are once a chunk.
        clock: shared by the stages of a fit.
        rank_of: number of conserved quantities in use, for the progress line.
        pool: thread that compiles, so that one stage trains while the program of the next is made.
        split: over the processors of the host, where that pays, see `processors`.
    """

    model: Model
    data: Batch
    batch_size: int
    draws: int
    chunk: int
    clock: Clock
    rank_of: Callable[[FlatParams], int] = lambda params: 0
    pool: Executor | None = None
    split: bool = True
    _compiled: Future[jax.stages.Compiled] | None = None

    def __post_init__(self) -> None:
        self._optimiser = optax.scale_by_adam(b2=_SECOND_MOMENT)
        batch = min(self.batch_size, self.data.start.shape[0])
        points = self.model.orbits.samples if self.model.family.count else 1
        family = self.model.family
        pays = self.split and (family.splits if isinstance(family, FunctionFamily) else True)
        self._parts = processors(batch, batch * points * self.draws) if pays else None

    def _minibatch(self, key: Key, data: Batch) -> Batch:
        total = data.start.shape[0]
        if total > self.batch_size:
            index = jax.random.randint(key, (self.batch_size,), 0, total)
            data = Batch(*(array[index] for array in data))
        return data if self._parts is None else jax.lax.with_sharding_constraint(data, self._parts)

    @property
    def _whole(self) -> NamedSharding | None:
        """Where parameters lie: on every device that has a part of the batch."""
        return None if self._parts is None else NamedSharding(self._parts.mesh, PartitionSpec())

    def _run_chunk(
        self,
        data: Batch,
        units: tuple[Array, Array],
        params: FlatParams,
        state: optax.OptState,
        key: Key,
        scales: Array,
        active: Array,
    ) -> tuple[FlatParams, optax.OptState, Array, Array]:
        """``chunk`` steps; scales (chunk, 3) are step sizes, active (K,) masks conserved quantities.

        Data and units are arguments, not constants, so that data sets of one shape share a program.
        """
        likelihood = dataclasses.replace(self.model.likelihood, residual=units[0], log_density=units[1])
        model = dataclasses.replace(self.model, likelihood=likelihood)

        def group(name: str) -> int:
            return {"posterior": 0, "conserved": 1, "noise": 2}[name.partition("/")[0]]

        def share(name: str) -> float:
            return _OF_FUNCTIONS if name.startswith((f"conserved/{WEIGHTS}", f"conserved/{SHARED}")) else 1.0

        def one(
            carry: tuple[FlatParams, optax.OptState], inputs: tuple[Key, Array]
        ) -> tuple[tuple[FlatParams, optax.OptState], Array]:
            params, state = carry
            step_key, scale = inputs
            batch_key, draw_key = jax.random.split(step_key)
            loss, gradient = jax.value_and_grad(model.negative_elbo)(
                params, draw_key, self._minibatch(batch_key, data), self.draws
            )
            updates, state = self._optimiser.update(gradient, state, params)
            assert isinstance(updates, dict)
            updates = masked(updates, active)
            moved = {k: v - scale[group(k)] * share(k) * updates[k] for k, v in params.items()}
            return (moved, state), loss

        keys = jax.random.split(key, self.chunk)
        (params, state), losses = jax.lax.scan(one, (params, state), (keys, scales))
        return params, state, losses, self.model.divergence(params)

    def _arguments(
        self, params: FlatParams, state: optax.OptState, key: Key, scales: np.ndarray, active: np.ndarray
    ) -> tuple[Any, ...]:
        dtype = self.data.start.dtype
        likelihood = self.model.likelihood
        units = (likelihood.residual, jnp.asarray(likelihood.log_density, dtype))
        every = self.data, units, params, state, key, jnp.asarray(scales, dtype), jnp.asarray(active, dtype)
        return every if self._whole is None else jax.device_put(every, self._whole)

    def prepare(self, params: FlatParams) -> None:
        """Have the program for parameters of these shapes made, by the pool if there is one."""
        if self._compiled is not None:
            return
        if self.pool is not None:
            self._compiled = self.pool.submit(_with_settings_of_this_thread(self._compile), params)
        else:
            self._compiled = Future()
            self._compiled.set_result(self._compile(params))

    def _compile(self, params: FlatParams) -> jax.stages.Compiled:
        still = np.zeros((self.chunk, 3)), np.zeros(self.model.family.count)
        arguments = self._arguments(params, self._optimiser.init(params), jax.random.key(0), *still)
        return jax.jit(self._run_chunk, out_shardings=self._whole).lower(*arguments).compile()

    def program(self, params: FlatParams) -> jax.stages.Compiled:
        """The compiled program of a chunk for parameters of these shapes, waited for if it must be."""
        began = time.perf_counter()
        self.prepare(params)
        assert self._compiled is not None
        compiled = self._compiled.result()
        self.clock.compiling += time.perf_counter() - began
        return compiled

    def _call(
        self, params: FlatParams, state: optax.OptState, key: Key, scales: np.ndarray, active: np.ndarray
    ) -> tuple[FlatParams, optax.OptState, np.ndarray, float]:
        compiled = self.program(params)
        began = time.perf_counter()
        params, state, losses, divergence = compiled(*self._arguments(params, state, key, scales, active))
        values = np.asarray(losses, dtype=np.float64)
        self.clock.training += time.perf_counter() - began
        return params, state, values, float(divergence) / self.model.likelihood.total

    def train(
        self,
        params: FlatParams,
        key: Key,
        *,
        stage: str,
        steps: int,
        rates: Rates,
        active: np.ndarray | None = None,
        stop_when_slow: bool = False,
        watch: Watcher | None = None,
        standing: Standing | None = None,
        keep: Callable[[Standing, bool], None] = lambda standing, at_once: None,
    ) -> Standing:
        """Optimise for a number of steps (rounded up to whole chunks), step sizes falling by cosine.

        Args:
            params: flat parameters at the start.
            key: of minibatches, weights and orbits.
            stage: name for the history.
            steps: number of optimiser steps, at most.
            rates: peak step sizes.
            active: (K,) ones where a conserved quantity may move; all by default.
            stop_when_slow: end when a chunk improves the bound by less than `SLOW` per dimension.
            watch: called after each chunk.
            standing: to go on from instead.
            keep: called after each chunk with what to go on from, and whether that is not to wait: before an
                interruption leaves.
        Raises:
            TrainingDiverged: when the bound or a parameter is not finite, naming it.
        """
        chunks = max(1, -(-steps // self.chunk))
        active = np.ones(self.model.family.count) if active is None else active
        at = standing or Standing(0, params, self.start_of_optimiser(params), [])
        progress = np.arange(chunks * self.chunk) / (chunks * self.chunk)
        ramp = np.minimum(1.0, (np.arange(len(progress)) + 1) / _RAMP)
        scales = (ramp * 0.5 * (1 + np.cos(np.pi * progress)))[:, None] * np.asarray(rates)
        keys = jax.random.split(key, chunks)
        try:
            while at.done < chunks and not (stop_when_slow and self._is_slow(at.rows)):
                part = scales[at.done * self.chunk : (at.done + 1) * self.chunk]
                step = (at.done + 1) * self.chunk
                after, state, losses, kl = self._call(at.params, at.optimiser, keys[at.done], part, active)
                self.clock.steps += self.chunk
                self._guard(after, losses, stage, step)
                at = Standing(
                    at.done + 1, after, state, [*at.rows, self._row(after, losses, kl, stage, step)]
                )
                keep(at, False)
                if watch is not None:
                    watch(at.rows[-1], chunks * self.chunk)
        except KeyboardInterrupt:
            keep(at, True)
            raise
        # What follows a stage is small, and runs where everything else does.
        if self._parts is not None:
            at = at._replace(params=jax.device_put(at.params, jax.local_devices()[0]))
        return at

    def start_of_optimiser(self, params: FlatParams) -> optax.OptState:
        """Its state before the first step."""
        return self._optimiser.init(params)

    def _is_slow(self, rows: list[Row]) -> bool:
        """Two chunks against the two before: single ones are too noisy to stop at."""
        if len(rows) < 6:
            return False
        recent = [row.negative_elbo for row in rows[-4:]]
        gain = (sum(recent[:2]) - sum(recent[2:])) / 4
        return gain < SLOW * self.data.start.shape[-1]

    def _guard(self, params: FlatParams, losses: np.ndarray, stage: str, step: int) -> None:
        broken = [name for name, value in params.items() if not np.isfinite(np.asarray(value)).all()]
        if np.isfinite(losses).all() and not broken:
            return
        first = int(np.argmax(~np.isfinite(losses))) if not np.isfinite(losses).all() else self.chunk
        where = ", ".join(broken[:3]) or "the bound alone"
        raise TrainingDiverged(
            f"training diverged in stage {stage}, step {step - self.chunk + first}: not finite in {where}; "
            "use a smaller learning rate, more integrator substeps, or check the data for outliers"
        )

    def _row(self, params: FlatParams, losses: np.ndarray, kl: float, stage: str, step: int) -> Row:
        mean = float(losses.mean())
        return Row(
            stage=stage,
            step=step,
            negative_elbo=mean,
            nll=mean - kl,
            kl=kl,
            noise_deviation=self.noise_deviation(params),
            rank=self.rank_of(params),
            seconds=self.clock.compiling + self.clock.training,
        )

    def noise_deviation(self, params: FlatParams) -> float:
        """sigma in noise units."""
        return float(self.model.likelihood.deviation(params.get(NOISE)))

    def losses(self, params: FlatParams, key: Key, draws: int = _ESTIMATE) -> tuple[np.ndarray, float]:
        """-ELBO of so many draws or more at fixed parameters, two chunks at least, and its KL.

        It is the training step with step sizes zero, so that nothing compiles.
        """
        state = self._optimiser.init(params)
        still, frozen = np.zeros((self.chunk, 3)), np.zeros(self.model.family.count)
        losses, kl = [], 0.0
        for chunk_key in jax.random.split(key, max(2, -(-draws // self.chunk))):
            _, _, values, kl = self._call(params, state, chunk_key, still, frozen)
            losses.append(values)
        return np.concatenate(losses), kl
