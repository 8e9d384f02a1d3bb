"""Records of training: estimates of the bound, averages over steps, a clock, and checkpoints."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from noethers_razor.model.parameters import FlatParams


class Estimate(NamedTuple):
    """An estimate of the bound per transition, nats: -ELBO, its standard error, its two terms, all draws."""

    negative_elbo: float
    error: float
    nll: float
    kl: float
    losses: np.ndarray

    @classmethod
    def of(cls, losses: np.ndarray, kl: float) -> Estimate:
        """Return the estimate of draws of -ELBO and the KL term."""
        mean = float(losses.mean())
        return cls(mean, float(losses.std() / np.sqrt(len(losses))), mean - kl, kl, losses)

    @classmethod
    def none(cls) -> Estimate:
        """Return the estimate of a set that cannot be trained."""
        return cls(np.inf, np.nan, np.inf, np.nan, np.full(1, np.inf))

    def as_json(self) -> dict[str, float | None]:
        """Return numbers by name; a number that is not finite is None."""
        names = ("negative_elbo", "error", "nll", "kl")
        values = {name: float(getattr(self, name)) for name in names}
        return {name: value if np.isfinite(value) else None for name, value in values.items()}


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the history: averages over a chunk of steps, nats per transition."""

    stage: str
    step: int
    negative_elbo: float
    nll: float
    kl: float
    noise_deviation: float
    rank: int
    seconds: float


@dataclasses.dataclass
class Clock:
    """Seconds of compilation that training waited for, seconds of training, and steps, over all stages.

    A resumed fit counts the time that it had taken before.
    """

    compiling: float = 0.0
    training: float = 0.0
    steps: int = 0
    _began: float = dataclasses.field(default_factory=time.perf_counter)

    @property
    def total(self) -> float:
        """Seconds since the start of the fit."""
        return time.perf_counter() - self._began

    def reading(self) -> dict[str, float]:
        """Return the numbers as a JSON value."""
        return {name: getattr(self, name) for name in ("compiling", "training", "steps", "total")}

    def at_least(self, earlier: Mapping[str, float]) -> None:
        """Continue from an earlier reading."""
        self.compiling = max(self.compiling, earlier["compiling"])
        self.training = max(self.training, earlier["training"])
        self.steps = max(self.steps, int(earlier["steps"]))
        self._began -= max(earlier["total"] - self.total, 0.0)


class Checkpoint(NamedTuple):
    """A point of training: finished chunks, parameters, state of the optimiser, rows so far."""

    done: int
    params: FlatParams
    optimiser: optax.OptState
    rows: list[Row]

    def as_record(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return named arrays and a JSON value."""
        arrays = {f"params/{name}": np.asarray(value) for name, value in self.params.items()}
        leaves = jax.tree.leaves(self.optimiser)
        arrays |= {f"optimiser/{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        return arrays, {"done": self.done, "rows": [dataclasses.asdict(row) for row in self.rows]}

    @classmethod
    def of_record(
        cls, arrays: Mapping[str, np.ndarray], own: Mapping[str, Any], optimiser: optax.OptState
    ) -> Checkpoint:
        """Return the point of a record, the inverse of `as_record`, for an optimiser of this structure."""
        params = {
            name.removeprefix("params/"): jnp.asarray(value)
            for name, value in arrays.items()
            if name.startswith("params/")
        }
        count = len(jax.tree.leaves(optimiser))
        leaves = [jnp.asarray(arrays[f"optimiser/{i}"]) for i in range(count)]
        state = jax.tree.unflatten(jax.tree.structure(optimiser), leaves)
        return cls(own["done"], params, state, [Row(**row) for row in own["rows"]])


Watcher = Callable[[Row, int], None]
"""A function that is called after each chunk, with the newest row and the number of steps of the stage."""
