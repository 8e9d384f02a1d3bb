"""Cost of charges in a training step: the duration of the same steps with and without charges.

Run as `python -m benchmarks.tracking`. The networks have rectifiers and batch normalisation. The optimiser
has momentum and decay. The four generators are two scales, a translation and a rescaling. The steps run in
one compiled loop, where the relative cost is largest.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax

from benchmarks.steps import RESULTS
from experiments.tables import markdown, write
from noethers_razor.learning_dynamics import Generator, rescale, scale, track_noether, translation

EVERY = (1, 10)
"""Numbers of steps between two records of the charges."""


class Dense(nn.Module):
    """A network with two hidden layers, each with batch normalisation."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(2):
            x = nn.Dense(self.width)(x)
            x = nn.relu(nn.BatchNorm(False, epsilon=0.0)(x))
        return nn.Dense(10)(x)


class Images(nn.Module):
    """A network of three 3 x 3 convolutions with batch normalisation, and a mean over the image."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for channels in (16, 32, 32):
            x = nn.Conv(channels, (3, 3))(x)
            x = nn.relu(nn.BatchNorm(False, epsilon=0.0)(x))
        return nn.Dense(10)(x.mean((1, 2)))


def generators(first: str, second: str, last: str) -> list[Generator]:
    """Return two scales, a translation of logits and a rescaling.

    Args:
        first: name of the first layer, with a normalisation after it.
        second: name of the second layer, with a normalisation after it.
        last: name of the layer that returns the logits.
    """
    return [
        scale(f"{first}/kernel"),
        scale(f"{second}/kernel"),
        translation(f"{last}/kernel", per=0),
        rescale(f"{first}/kernel", f"{second}/kernel"),
    ]


class Case(NamedTuple):
    """One row of the table.

    Args:
        net: network.
        shape: shape of one input.
        generators: generators whose charges are tracked.
        batch: number of samples in a step.
        steps: number of steps in one measurement.
    """

    net: nn.Module
    shape: tuple[int, ...]
    generators: list[Generator]
    batch: int
    steps: int


_LAYERS = generators("Dense_0", "Dense_1", "Dense_2")
CASES = {
    "40-64-64-10, batch 64": Case(Dense(64), (40,), _LAYERS, 64, 2000),
    "784-512-512-10, batch 128": Case(Dense(512), (784,), _LAYERS, 128, 40),
    "784-512-512-10, batch 1024": Case(Dense(512), (784,), _LAYERS, 1024, 10),
    "convolutions 16-32-32 on 12 x 12, batch 64": Case(
        Images(), (12, 12, 3), generators("Conv_0", "Conv_1", "Dense_0"), 64, 10
    ),
}


def loop(case: Case, optimizer: Any) -> Callable[[], None]:
    """Return a function that trains a case with an optimiser, as one compiled loop."""
    x = jax.random.normal(jax.random.key(0), (8 * case.batch, *case.shape))
    y = jax.random.randint(jax.random.key(1), (8 * case.batch,), 0, 10)
    params = case.net.init(jax.random.key(2), x[:2])["params"]

    def loss(params: Any, some: jax.Array) -> jax.Array:
        logits, _ = case.net.apply({"params": params}, x[some], mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, y[some]).mean()

    def step(carry: Any, key: jax.Array) -> tuple[Any, Any]:
        params, state = carry
        some = jax.random.randint(key, (case.batch,), 0, len(y))
        update, state = optimizer.update(jax.grad(loss)(params, some), state, params)
        return (optax.apply_updates(params, update), state), None

    start = params, optimizer.init(params)
    keys = jax.random.split(jax.random.key(3), case.steps)
    run = jax.jit(partial(jax.lax.scan, step)).lower(start, keys).compile()
    return lambda: jax.block_until_ready(run(start, keys)[0])


def measured(case: Case, repeats: int) -> dict[str, list[float]]:
    """Measure the steps of a case without charges and with charges at each interval of `EVERY`.

    The variants take turns, so that a change of the machine's speed affects all of them.

    Args:
        case: case to measure.
        repeats: number of measurements for each variant. One more, the first, is discarded.
    Returns:
        Name of the variant -> microseconds of a step, one number for each measurement.
    """
    plain = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(0.1, 0.9))
    loops = {"plain": loop(case, plain)}
    for every in EVERY:
        loops[f"every {every}"] = loop(case, track_noether(plain, case.generators, every))
    times: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(repeats + 1):
        for name, run in loops.items():
            start = time.perf_counter()
            run()
            if turn:
                times[name].append((time.perf_counter() - start) / case.steps * 1e6)
    return times


def main() -> None:
    """Print the table, and write it to the folder of the results."""
    parser = argparse.ArgumentParser(description="measure the cost of charges in a training step")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    parser.add_argument(
        "--repeats", type=int, default=15, help="number of measurements; the table has their median"
    )
    arguments = parser.parse_args()
    runs, rows = {}, []
    for title, case in CASES.items():
        times = runs[title] = measured(case, arguments.repeats)
        plain = np.array(times["plain"])
        ratios = [np.median(np.array(times[f"every {every}"]) / plain) for every in EVERY]
        rows.append([title, f"{np.median(plain) / 1e3:.3g}", *(f"{ratio:.2f}" for ratio in ratios)])
        print(rows[-1], flush=True)
    write(
        arguments.out,
        "tracking",
        title="Cost of the charges of four generators in a training step",
        command="python -m benchmarks.tracking",
        table=markdown(["network", "step (ms)", *(f"ratio, charges every {n}" for n in EVERY)], rows),
        remarks="The charges cost about twenty passes over their weights, for every batch size.\n",
        runs=runs,
        spread_of=f"Medians of {arguments.repeats} measurements. All variants take turns in one process.",
    )


if __name__ == "__main__":
    main()
