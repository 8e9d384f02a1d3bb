"""What training says of itself: estimates of the bound, averages over steps, clock, where it stands."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from noethers_razor._types import Array

FlatParams = dict[str, Array]


class Estimate(NamedTuple):
    """A bound per transition in nats: -ELBO, its standard error, its two terms, and all its draws."""

    negative_elbo: float
    error: float
    nll: float
    kl: float
    losses: np.ndarray

    @classmethod
    def of(cls, losses: np.ndarray, kl: float) -> Estimate:
        """From draws of -ELBO and its KL."""
        mean = float(losses.mean())
        return cls(mean, float(losses.std() / np.sqrt(len(losses))), mean - kl, kl, losses)


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
    """Seconds of compilation that training waited for, seconds of training, steps; over all stages.

    What was interrupted and gone on with counts what it had taken before.
    """

    compiling: float = 0.0
    training: float = 0.0
    steps: int = 0
    _began: float = dataclasses.field(default_factory=time.perf_counter)

    @property
    def total(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self._began

    def reading(self) -> dict[str, float]:
        """As a JSON value."""
        return {name: getattr(self, name) for name in ("compiling", "training", "steps", "total")}

    def at_least(self, earlier: Mapping[str, float]) -> None:
        """Go on from an earlier reading."""
        self.compiling = max(self.compiling, earlier["compiling"])
        self.training = max(self.training, earlier["training"])
        self.steps = max(self.steps, int(earlier["steps"]))
        self._began -= max(earlier["total"] - self.total, 0.0)


class Standing(NamedTuple):
    """Where a training stands: chunks that are done, parameters, the optimiser's state, rows so far."""

    done: int
    params: FlatParams
    optimiser: optax.OptState
    rows: list[Row]

    def as_record(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """As named arrays and a JSON value."""
        arrays = {f"params/{name}": np.asarray(value) for name, value in self.params.items()}
        leaves = jax.tree.leaves(self.optimiser)
        arrays |= {f"optimiser/{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        return arrays, {"done": self.done, "rows": [dataclasses.asdict(row) for row in self.rows]}

    @classmethod
    def of_record(
        cls, arrays: Mapping[str, np.ndarray], own: Mapping[str, Any], optimiser: optax.OptState
    ) -> Standing:
        """The inverse, for an optimiser's state of this structure."""
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
"""Called after each chunk with the newest row and the number of steps of the stage."""
