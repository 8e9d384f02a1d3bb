"""What charges cost a step of training: the same steps with and without them, in turns.

Run as `python -m benchmarks.tracking`. Rectifiers and batch normalisation, momentum and decay, four
generators: two scales, a translation, a rescaling. Steps run in one compiled loop, where overhead shows most.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

from benchmarks.steps import RESULTS
from experiments.tables import markdown, write
from noethers_razor.learning_dynamics import rescale, scale, track_noether, translation

NETWORKS = {"40-64-64-10, batch 64": (40, 64, 64, 2000), "784-512-512-10, batch 128": (784, 512, 128, 40)}
"""Title -> inputs, width, batch, steps timed at once."""
GENERATORS = [
    scale("Dense_0/kernel"),
    scale("Dense_1/kernel"),
    translation("Dense_2/kernel", per=0),
    rescale("Dense_1/kernel", "Dense_2/kernel"),
]
EVERY = (1, 10)


class Network(nn.Module):
    """Two hidden layers, normalised."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(2):
            x = nn.Dense(self.width)(x)
            x = nn.relu(nn.BatchNorm(False, epsilon=0.0)(x))
        return nn.Dense(10)(x)


def loop(inputs: int, width: int, batch: int, steps: int, optimizer: Any) -> Callable[[], None]:
    """Runs a training of so many steps, compiled."""
    net = Network(width)
    x = jax.random.normal(jax.random.key(0), (8 * batch, inputs))
    y = jax.random.randint(jax.random.key(1), (8 * batch,), 0, 10)
    params = net.init(jax.random.key(2), x[:2])["params"]

    def loss(params: Any, some: jax.Array) -> jax.Array:
        logits, _ = net.apply({"params": params}, x[some], mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, y[some]).mean()

    def step(carry: Any, key: jax.Array) -> tuple[Any, Any]:
        params, state = carry
        some = jax.random.randint(key, (batch,), 0, len(y))
        update, state = optimizer.update(jax.grad(loss)(params, some), state, params)
        return (optax.apply_updates(params, update), state), None

    start = params, optimizer.init(params)
    keys = jax.random.split(jax.random.key(3), steps)
    run = jax.jit(partial(jax.lax.scan, step)).lower(start, keys).compile()
    return lambda: jax.block_until_ready(run(start, keys)[0])


def measured(inputs: int, width: int, batch: int, steps: int, repeats: int) -> dict[str, list[float]]:
    """Name -> microseconds a step, of each of several turns."""
    plain = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(0.1, 0.9))
    loops = {"plain": loop(inputs, width, batch, steps, plain)}
    for every in EVERY:
        tracked = track_noether(plain, GENERATORS, every)
        loops[f"every {every}"] = loop(inputs, width, batch, steps, tracked)
    times: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(repeats + 1):
        for name, run in loops.items():
            start = time.perf_counter()
            run()
            if turn:
                times[name].append((time.perf_counter() - start) / steps * 1e6)
    return times


def main() -> None:
    """Print the table and write it down."""
    parser = argparse.ArgumentParser(description="what charges cost a step")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--repeats", type=int, default=30, help="turns, of which the median stands")
    arguments = parser.parse_args()
    runs, rows = {}, []
    for title, (inputs, width, batch, steps) in NETWORKS.items():
        times = runs[title] = measured(inputs, width, batch, steps, arguments.repeats)
        plain = np.array(times["plain"])
        ratios = [np.median(np.array(times[f"every {every}"]) / plain) for every in EVERY]
        rows.append([title, f"{np.median(plain):.0f}", *(f"{ratio:.3f}" for ratio in ratios)])
        print(rows[-1], flush=True)
    write(
        arguments.out,
        "tracking",
        title="What the charges of four generators cost a step of training",
        command="python -m benchmarks.tracking",
        table=markdown(
            ["network", "step (microseconds)", *(f"with charges every {n}: ratio" for n in EVERY)], rows
        ),
        remarks="",
        runs=runs,
        spread_of=f"Medians of {arguments.repeats} turns, all in one process, one after the other.",
    )


if __name__ == "__main__":
    main()
