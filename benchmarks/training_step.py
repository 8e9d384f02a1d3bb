"""Seconds per training step and per compilation, against the machine's measured matrix-product rate.

Run as `python benchmarks/training_step.py`: medians of 5 chunks of 100 steps, float32.
"""

from __future__ import annotations

import os
import time

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor.config import FitConfig
from noethers_razor.conserved import ConservedFamily, NoSymmetry, Quadratic
from noethers_razor.data.frame import fit_frame
from noethers_razor.fitting import to_batch
from noethers_razor.model import initial_params
from noethers_razor.result import build_model
from noethers_razor.systems import Oscillators
from noethers_razor.training import Clock, Trainer

CHUNK = 100


def matmul_rate() -> float:
    """Floating-point operations per second of a 1024 x 1024 product, median of 20."""
    a = jnp.ones((1024, 1024))
    product = jax.jit(lambda x: x @ x)
    product(a).block_until_ready()
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        product(a).block_until_ready()
        seconds.append(time.perf_counter() - began)
    return 2 * 1024**3 / float(np.median(seconds))


def operations(config: FitConfig, dim: int, samples: int) -> float:
    """Of the network's products in one step: forward and gradient, four stages, and the way back."""
    weights = dim * config.width + config.width**2 * (config.depth - 1) + config.width
    # Two operations a weight; forward, gradient, and about twice both again in the reverse pass.
    return 2.0 * weights * config.batch * samples * 4 * 6


def measure(family: ConservedFamily, n: int, config: FitConfig) -> tuple[float, float]:
    """Milliseconds per step and seconds of compilation."""
    data = Oscillators(n=n).simulate(0)
    transitions = data.transitions()
    frame = fit_frame(data.observed(), transitions)
    family = family.fitted_to(frame)
    start = family.init(jax.random.key(1), frame.dim)
    model = build_model(config, family, tuple(start), frame, substeps=1, total=transitions.total)
    batch = to_batch(frame, transitions, config.dtype)
    params = initial_params(model.network, jax.random.key(0), config.initial_deviation, -3.0)
    params |= {f"conserved/{name}": value for name, value in start.items()}
    trainer = Trainer(model, batch, config.batch, config.weight_samples, CHUNK, Clock())
    trainer.estimate(params, jax.random.key(2), chunks=1)
    seconds = []
    for i in range(5):
        before = trainer.clock.training
        trainer.estimate(params, jax.random.key(i), chunks=1)
        seconds.append((trainer.clock.training - before) / CHUNK)
    return 1e3 * float(np.median(seconds)), trainer.clock.compiling


def main() -> None:
    """Print the table."""
    rate = matmul_rate()
    print(f"{os.cpu_count()} cores, {rate / 1e9:.0f} GFLOP/s in a float32 product\n")
    print("| n | family | S | batch | width | ms a step | share of the product rate | s to compile |")
    print("|---|---|---|---|---|---|---|---|")
    base = FitConfig()
    cases: list[tuple[int, ConservedFamily, FitConfig]] = [(3, NoSymmetry(), base)]
    cases += [(n, Quadratic(n * n + 6), base) for n in (1, 2, 3, 5, 10)]
    cases += [(3, Quadratic(15), FitConfig(orbit_samples=s)) for s in (2, 8, 16)]
    cases += [(3, Quadratic(15), FitConfig(batch=b)) for b in (32, 512)]
    cases += [(3, Quadratic(15), FitConfig(width=w)) for w in (32, 128, 256)]
    for n, family, config in cases:
        ms, compiling = measure(family, n, config)
        samples = config.orbit_samples if family.count else 1
        share = operations(config, 2 * n, samples) / (ms * 1e-3) / rate
        print(
            f"| {n} | {family.name} | {samples} | {config.batch} | {config.width} | {ms:.2f} | "
            f"{100 * share:.0f} % | {compiling:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
