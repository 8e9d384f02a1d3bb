"""Stochastic optimisation of the bound: one compiled scan over steps, called once per chunk of steps."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from noethers_razor._types import Array, Key
from noethers_razor.errors import TrainingDiverged
from noethers_razor.inference.history import Checkpoint, Clock, Row
from noethers_razor.inference.problem import masked
from noethers_razor.model.elbo import NOISE, Batch, Model
from noethers_razor.model.parameters import FlatParams, conserved_of

Result = TypeVar("Result")


class Rates(NamedTuple):
    """Largest Adam step sizes of the three groups of parameters; they fall to zero by cosine over a stage."""

    posterior: float
    conserved: float
    noise: float


@dataclasses.dataclass(frozen=True)
class Schedule:
    """What one training does.

    Args:
        stage: name for the history.
        steps: number of optimiser steps at most, rounded up to whole chunks.
        rates: largest step sizes.
        mask: (K,) ones where a conserved quantity may move; all by default.
        stop_when_slow: stop when a chunk improves the bound by less than `SLOW` per dimension.
        stream: name of the random stream; that of the stage by default.
    """

    stage: str
    steps: int
    rates: Rates
    mask: np.ndarray | None = None
    stop_when_slow: bool = False
    stream: str | None = None

    def mask_of(self, count: int) -> np.ndarray:
        """Return the mask (K,) of K quantities."""
        return np.ones(count) if self.mask is None else self.mask


_SECOND_MOMENT = 0.99
"""Adam's decay of squared gradients. With .999 the growing gradients of a falling sigma meet a memory of
1000 small ones, and single steps worsen the fit by nats."""
_RAMP = 100
"""Steps over which step sizes grow to their maximum. Adam's first steps move every entry alike, and would
worsen a stage that continues another by nats."""
_ESTIMATE = 400
"""Draws of an estimate of the bound."""
_FEWEST_ROWS = 100
"""Network rows that make a part of a step worth a processor of its own. Below, the parts wait for each other
longer than they save."""
SLOW = 0.02
"""Improvement in nats per transition and dimension of phase space that counts as slow, per chunk."""


def processors(batch: int, rows: int) -> NamedSharding | None:
    """Split a batch evenly over the devices of the host, or return None when it stays on one.

    XLA splits single operations over processors, which gains nothing at this size. Whole parts of a batch do
    gain. An accelerator gets the whole step.

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
    """Return the function for another thread, under the JAX settings of this one: settings are per thread."""
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
    """The program that optimises and evaluates one model on transitions.

    Args:
        model: with its family of conserved quantities.
        data: all transitions, in the frame.
        batch_size: transitions per step, all of them when there are fewer.
        draws: weight samples per step.
        chunk: steps per compiled call.
        split: whether a step may be split over the processors of the host, see `processors`.
    """

    model: Model
    data: Batch
    batch_size: int
    draws: int
    chunk: int
    split: bool = True
    _compiled: Future[jax.stages.Compiled] | None = None

    def __post_init__(self) -> None:
        self._optimiser = optax.scale_by_adam(b2=_SECOND_MOMENT)
        batch = min(self.batch_size, self.data.start.shape[0])
        family = self.model.family
        points = self.model.orbits.samples if family.count else 1
        pays = self.split and family.splits
        self._parts = processors(batch, batch * points * self.draws) if pays else None

    def _minibatch(self, key: Key, data: Batch) -> Batch:
        total = data.start.shape[0]
        if total > self.batch_size:
            index = jax.random.randint(key, (self.batch_size,), 0, total)
            data = Batch(*(array[index] for array in data))
        return data if self._parts is None else jax.lax.with_sharding_constraint(data, self._parts)

    @property
    def _whole(self) -> NamedSharding | None:
        """Sharding of the parameters: every device that has a part of the batch has all of them."""
        return None if self._parts is None else NamedSharding(self._parts.mesh, PartitionSpec())

    def _run_chunk(
        self,
        data: Batch,
        units: tuple[Array, Array],
        params: FlatParams,
        state: optax.OptState,
        key: Key,
        scales: Array,
        mask: Array,
    ) -> tuple[FlatParams, optax.OptState, Array, Array]:
        """Do ``chunk`` steps with step sizes scales (chunk, 3); mask (K,) multiplies steps of quantities.

        Data and units are arguments, not constants, so that data sets of one shape share a program.
        """
        likelihood = dataclasses.replace(self.model.likelihood, residual=units[0], log_density=units[1])
        model = dataclasses.replace(self.model, likelihood=likelihood)
        sizes = {f"conserved/{k}": v for k, v in model.family.step_sizes(conserved_of(params)).items()}

        def group(name: str) -> int:
            return {"posterior": 0, "conserved": 1, "noise": 2}[name.partition("/")[0]]

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
            updates = masked(model.family, updates, mask)
            moved = {k: v - scale[group(k)] * sizes.get(k, 1.0) * updates[k] for k, v in params.items()}
            return (moved, state), loss

        keys = jax.random.split(key, self.chunk)
        (params, state), losses = jax.lax.scan(one, (params, state), (keys, scales))
        return params, state, losses, self.model.divergence(params)

    def _arguments(
        self, params: FlatParams, state: optax.OptState, key: Key, scales: np.ndarray, mask: np.ndarray
    ) -> tuple[Any, ...]:
        dtype = self.data.start.dtype
        likelihood = self.model.likelihood
        units = (likelihood.residual, jnp.asarray(likelihood.log_density, dtype))
        every = self.data, units, params, state, key, jnp.asarray(scales, dtype), jnp.asarray(mask, dtype)
        return every if self._whole is None else jax.device_put(every, self._whole)

    def prepare(self, params: FlatParams, pool: Executor | None = None) -> None:
        """Compile the program for parameters of these shapes, in the pool if there is one."""
        if self._compiled is not None:
            return
        if pool is not None:
            self._compiled = pool.submit(_with_settings_of_this_thread(self._compile), params)
        else:
            self._compiled = Future()
            self._compiled.set_result(self._compile(params))

    def _compile(self, params: FlatParams) -> jax.stages.Compiled:
        still = np.zeros((self.chunk, 3)), np.zeros(self.model.family.count)
        arguments = self._arguments(params, self._optimiser.init(params), jax.random.key(0), *still)
        return jax.jit(self._run_chunk, out_shardings=self._whole).lower(*arguments).compile()

    def program(self, params: FlatParams, clock: Clock) -> jax.stages.Compiled:
        """Return the compiled program of a chunk for parameters of these shapes; wait for it if necessary."""
        began = time.perf_counter()
        self.prepare(params)
        assert self._compiled is not None
        compiled = self._compiled.result()
        clock.compiling += time.perf_counter() - began
        return compiled

    def _call(
        self,
        params: FlatParams,
        state: optax.OptState,
        key: Key,
        scales: np.ndarray,
        mask: np.ndarray,
        clock: Clock,
    ) -> tuple[FlatParams, optax.OptState, np.ndarray, float]:
        compiled = self.program(params, clock)
        began = time.perf_counter()
        params, state, losses, divergence = compiled(*self._arguments(params, state, key, scales, mask))
        values = np.asarray(losses, dtype=np.float64)
        clock.training += time.perf_counter() - began
        return params, state, values, float(divergence) / self.model.likelihood.total

    def start(self, params: FlatParams) -> Checkpoint:
        """Return the point before the first step."""
        return Checkpoint(0, params, self._optimiser.init(params), [])

    def whole_chunks(self, steps: int) -> int:
        """Return the number of steps in whole chunks."""
        return max(1, -(-steps // self.chunk)) * self.chunk

    def chunks(
        self,
        at: Checkpoint,
        key: Key,
        schedule: Schedule,
        clock: Clock,
        rank_of: Callable[[FlatParams], int] = lambda params: 0,
    ) -> Iterator[Checkpoint]:
        """Optimise, and yield a checkpoint after each chunk of steps. Step sizes fall by cosine.

        Args:
            at: where to start or to resume.
            key: of minibatches, weights and orbits.
            schedule: stage, steps and step sizes.
            clock: counts steps and seconds.
            rank_of: number of conserved quantities in use, for the history.
        Raises:
            TrainingDiverged: when the bound or a parameter is not finite, with its name.
        """
        total = self.whole_chunks(schedule.steps)
        chunks = total // self.chunk
        mask = schedule.mask_of(self.model.family.count)
        progress = np.arange(total) / total
        ramp = np.minimum(1.0, (np.arange(total) + 1) / _RAMP)
        scales = (ramp * 0.5 * (1 + np.cos(np.pi * progress)))[:, None] * np.asarray(schedule.rates)
        keys = jax.random.split(key, chunks)
        while at.done < chunks and not (schedule.stop_when_slow and self._is_slow(at.rows)):
            part = scales[at.done * self.chunk : (at.done + 1) * self.chunk]
            step = (at.done + 1) * self.chunk
            params, state, losses, kl = self._call(at.params, at.optimiser, keys[at.done], part, mask, clock)
            clock.steps += self.chunk
            self._require_finite(params, losses, schedule.stage, step)
            mean = float(losses.mean())
            row = Row(
                stage=schedule.stage,
                step=step,
                negative_elbo=mean,
                nll=mean - kl,
                kl=kl,
                noise_deviation=self.noise_deviation(params),
                rank=rank_of(params),
                seconds=clock.compiling + clock.training,
            )
            at = Checkpoint(at.done + 1, params, state, [*at.rows, row])
            yield at

    def gathered(self, params: FlatParams) -> FlatParams:
        """Return parameters on one device, where the small computations after a stage run."""
        return params if self._parts is None else jax.device_put(params, jax.local_devices()[0])

    def _is_slow(self, rows: list[Row]) -> bool:
        """Compare two chunks with the two before; single ones are too noisy to stop at."""
        if len(rows) < 6:
            return False
        recent = [row.negative_elbo for row in rows[-4:]]
        gain = (sum(recent[:2]) - sum(recent[2:])) / 4
        return gain < SLOW * self.data.start.shape[-1]

    def _require_finite(self, params: FlatParams, losses: np.ndarray, stage: str, step: int) -> None:
        broken = [name for name, value in params.items() if not np.isfinite(np.asarray(value)).all()]
        if np.isfinite(losses).all() and not broken:
            return
        first = int(np.argmax(~np.isfinite(losses))) if not np.isfinite(losses).all() else self.chunk
        where = ", ".join(broken[:3]) or "the bound alone"
        raise TrainingDiverged(
            f"training diverged in stage {stage}, step {step - self.chunk + first}: not finite in {where}; "
            "use a smaller learning rate, more integrator substeps, or check the data for outliers"
        )

    def noise_deviation(self, params: FlatParams) -> float:
        """Return sigma in noise units."""
        return float(self.model.likelihood.deviation(params.get(NOISE)))

    def losses(
        self, params: FlatParams, key: Key, clock: Clock, draws: int = _ESTIMATE
    ) -> tuple[np.ndarray, float]:
        """Return -ELBO of so many draws or more at fixed parameters, at least two chunks, and the KL term.

        The program is that of training with step sizes zero, so that nothing is compiled.
        """
        state = self._optimiser.init(params)
        still, frozen = np.zeros((self.chunk, 3)), np.zeros(self.model.family.count)
        losses, kl = [], 0.0
        for chunk_key in jax.random.split(key, max(2, -(-draws // self.chunk))):
            _, _, values, kl = self._call(params, state, chunk_key, still, frozen, clock)
            losses.append(values)
        return np.concatenate(losses), kl
