"""Duration of a training step and of its compilation, compared with the measured rate of matrix products.

Run as `python -m benchmarks.steps`. Each duration is the median of 5 measurements of 2 chunks, float32. The
table has our defaults and the paper's protocol: 20 Euler steps, its widths, orbit samples and weight samples.
The protocol runs with a part of its batch to limit the memory.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.tables import markdown, write
from noethers_razor._types import Array, Key
from noethers_razor.config import FitConfig
from noethers_razor.conserved.base import Family
from noethers_razor.conserved.neural import Neural
from noethers_razor.conserved.none import NoSymmetry
from noethers_razor.conserved.polynomial import Polynomial
from noethers_razor.conserved.quadratic import Quadratic
from noethers_razor.data.frame import fit_frame
from noethers_razor.inference.history import Clock
from noethers_razor.inference.problem import to_batch
from noethers_razor.inference.training import Trainer
from noethers_razor.model.elbo import Batch, build_model, initial_params
from noethers_razor.model.parameters import FlatParams, prefixed
from noethers_razor.systems import NBody, Oscillators, System

COUNTS = (1, 2, 4)
"""Numbers of seeds under one `vmap`."""
RESULTS = Path(__file__).parent / "results"
_EVALUATIONS = {"euler": 1, "rk4": 4}
"""Integrator -> evaluations of the vector field for each substep."""
_EULER = {"activation": "elu", "integrator": "euler", "substeps": 20}
"""Settings of the paper's protocol that all its cases share."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the table.

    Args:
        label: text of the row.
        system: system that generates the data.
        family: family of conserved quantities.
        config: settings of the fit.
        chunk: number of steps in one call of the compiled program.
    """

    label: str
    system: System
    family: Family
    config: FitConfig
    chunk: int = 100


def cases() -> list[Case]:
    """Return our defaults, with variations of n, bodies, S, batch and width, then the paper's protocol."""
    base = FitConfig()
    three, learned = Oscillators(n=3), Quadratic(15)

    def varied(name: str, values: tuple[int, ...]) -> list[Case]:
        label = {"orbit_samples": "S", "batch": "batch", "width": "width"}[name]
        configs = {value: base.replace(**{name: value}) for value in values}
        return [Case(f"3 oscillators, {label} {v}", three, learned, c) for v, c in configs.items()]

    growth = [
        Case(f"{n} oscillators", Oscillators(n=n), Quadratic(n * n + 6), base) for n in (1, 2, 3, 5, 7, 10)
    ]
    growth += [Case(f"{n} bodies", NBody(n_bodies=n), Quadratic(10), base) for n in (2, 3, 4, 5, 8)]
    two = Oscillators(n=2)
    functions = [
        Case("2 oscillators, K = 14", two, Quadratic(), base),
        *(
            Case(f"2 oscillators, {family.name}, reach {reach}", two, replace(family, reach=reach), base)
            for family in (Polynomial(), Neural())
            for reach in (1.0, 0.0625)
        ),
    ]
    paper = [
        Case(
            f"{name}, paper's protocol, {part} of its batch",
            system,
            Quadratic(count),
            FitConfig.of(batch=batch, width=width, depth=depth, orbit_samples=s, weight_samples=m, **_EULER),
            chunk=1,
        )
        for name, part, system, count, batch, width, depth, s, m in (
            ("oscillator", "1/7", Oscillators(n=1), 1, 4, 200, 2, 200, 20),
            ("3 oscillators", "1/49", three, 30, 20, 200, 3, 100, 2),
            ("3 bodies", "1/49", NBody(), 10, 20, 250, 4, 100, 2),
        )
    ]
    return [
        Case("3 oscillators, no symmetry", three, NoSymmetry(), base),
        *growth,
        *functions,
        *varied("orbit_samples", (2, 4, 16, 32)),
        *varied("batch", (32, 128, 512)),
        *varied("width", (32, 128, 256)),
        *paper,
    ]


def median_seconds(call: Callable[[], jax.Array], repeats: int) -> float:
    """Return the median duration of a call, without the first call.

    Args:
        call: function that returns an array; its first call compiles it.
        repeats: number of measured calls.
    """
    call().block_until_ready()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call().block_until_ready()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))


def product_rate(rows: int, width: int) -> float:
    """Return the rate of (rows, width) by (width, width) products, operations per second, median of 20."""
    a, b = jnp.ones((rows, width)), jnp.ones((width, width))
    # With many products in a call, the cost of the call is negligible.
    repeats = max(1, round(2e8 / (2 * rows * width**2)))
    product = jax.jit(lambda a, b: jax.lax.fori_loop(0, repeats, lambda _, x: 1e-3 * (x @ b), a))
    return repeats * 2 * rows * width**2 / median_seconds(lambda: product(a, b), 20)


def operations(config: FitConfig, dim: int, samples: int) -> float:
    """Return the number of floating-point operations in the matrix products of one step.

    Args:
        config: settings of the fit.
        dim: dimension of the phase space.
        samples: number of orbit samples.
    """
    network, likelihood, optimiser = config.network, config.likelihood, config.optimiser
    weights = dim * network.width + network.width**2 * (network.depth - 1) + network.width
    evaluations = _EVALUATIONS[likelihood.integrator] * (likelihood.substeps or 1)
    # A weight takes 2 operations. Forward pass and gradient count once each. The reverse pass costs about
    # twice as much as both together.
    return 2.0 * weights * optimiser.batch * samples * optimiser.weight_samples * evaluations * 6


def prepared(case: Case, split: bool = True) -> tuple[Trainer, FlatParams]:
    """Return the trainer of a case and its parameters at the start.

    Args:
        case: case to measure.
        split: True splits the batch over the processors.
    """
    # A program from the cache is not compiled, and its operations have the names of an earlier commit.
    jax.config.update("jax_enable_compilation_cache", False)
    config = case.config
    data = case.system.simulate(0)
    transitions = data.transitions()
    frame = fit_frame(data.observed(), transitions)
    family = case.family.fitted_to(frame)
    start = family.init(jax.random.key(1), frame.dim)
    substeps = config.likelihood.substeps or 1
    model = build_model(config, family, tuple(start), frame, substeps=substeps, total=transitions.total)
    batch = to_batch(frame, transitions, config.dtype)
    params = initial_params(model.network, jax.random.key(0), config.network.initial_deviation, -3.0)
    params |= prefixed(start, batch.start.dtype)
    optimiser = config.optimiser
    trainer = Trainer(model, batch, optimiser.batch, optimiser.weight_samples, case.chunk, split=split)
    return trainer, params


def measure(case: Case, split: bool = True) -> tuple[float, float, int]:
    """Measure the training step of a case.

    Args:
        case: case to measure.
        split: True splits the batch over the processors.
    Returns:
        Milliseconds for each step, seconds of compilation, and the number of rows in a matrix product.
    """
    config, (trainer, params) = case.config, prepared(case, split)
    clock, seconds = Clock(), []
    trainer.losses(params, jax.random.key(2), clock, draws=1)
    for i in range(5):
        before = clock.training
        trainer.losses(params, jax.random.key(i), clock, draws=1)
        seconds.append((clock.training - before) / (2 * case.chunk))
    points = config.optimiser.batch * (config.orbits.samples if case.family.count else 1)
    return 1e3 * float(np.median(seconds)), clock.compiling, points


def together(case: Case, count: int) -> float:
    """Measure the bound and its gradient for several seeds under one `vmap`.

    Args:
        case: case to measure.
        count: number of seeds.
    Returns:
        Milliseconds for each gradient and seed.
    """
    trainer, params = prepared(case)
    stacked = jax.tree.map(lambda value: jnp.stack([value] * count), params)
    batch = Batch(*(part[: case.config.optimiser.batch] for part in trainer.data))

    def one(params: FlatParams, key: Key) -> tuple[FlatParams, Array]:
        loss, slope = jax.value_and_grad(trainer.model.negative_elbo)(params, key, batch)
        # The next gradient depends on this one, as in training.
        return jax.tree.map(lambda value, change: value - 1e-9 * change, params, slope), loss

    def chunk(params: FlatParams, key: Key) -> Array:
        return jax.lax.scan(one, params, jax.random.split(key, case.chunk))[1]

    run = jax.jit(jax.vmap(chunk))
    keys = jax.random.split(jax.random.key(0), count)
    return 1e3 * median_seconds(lambda: run(stacked, keys), 5) / case.chunk / count


def main() -> None:
    """Print the table, and write it to the folder of the results."""
    arguments = argparse.ArgumentParser(description="measure the duration of a training step")
    arguments.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    arguments.add_argument(
        "--only", metavar="TEXT", help="measure only cases whose names contain TEXT, in a separate table"
    )
    chosen = arguments.parse_args()
    peak, rows = product_rate(1024, 1024), []
    for case in cases():
        if chosen.only and chosen.only not in case.label:
            continue
        ms, compiling, points = measure(case)
        whole = measure(case, split=False)[0]
        config, samples = case.config, case.config.orbits.samples if case.family.count else 1
        rate = operations(config, 2 * case.system.dof, samples) / (ms * 1e-3)
        own = product_rate(points, config.network.width)
        setting = f"{samples}, {config.optimiser.weight_samples}, {config.optimiser.batch}, "
        setting += f"{config.network.depth} x {config.network.width}"
        shares = (f"{100 * rate / peak:.0f} %", f"{100 * rate / own:.0f} %")
        rows.append([case.label, setting, f"{ms:.3g}", f"{whole:.3g}", *shares, f"{compiling:.1f}"])
        print(" | ".join(rows[-1]), flush=True)
    header = ["case", "S, M, batch, network", "ms a step", "in one part", "share of rate of large products"]
    header += ["share of rate of products of its size", "compilation (s)"]
    command, name, table = "python -m benchmarks.steps", "steps", markdown(header, rows)
    runs: dict[str, Any] = {
        "product rate": peak,
        "rows": [dict(zip(header, row, strict=True)) for row in rows],
    }
    if chosen.only:
        command += f" --only '{chosen.only}'"
        name = "_".join([name, *chosen.only.split()])
    else:
        runs["seeds"] = _of_seeds()
        table += "\nSeveral seeds under one `vmap`, in ms for each gradient and seed:\n\n" + markdown(
            ["case", *(f"{count} seeds" for count in COUNTS)], runs["seeds"]
        )
    write(
        chosen.out,
        name,
        title="One training step",
        command=command,
        table=table,
        remarks=f"Rate of large products, 1024 x 1024 in float32: {peak / 1e9:.0f} GFLOP/s.\n",
        runs=runs,
        spread_of="Medians of 5 measurements of 2 chunks.",
    )


def _of_seeds() -> list[list[str]]:
    """Return table rows of milliseconds for each gradient and seed, one column for each of `COUNTS`."""
    joint = Case("3 oscillators", Oscillators(n=3), Quadratic(15), FitConfig())
    tiny = replace(joint, label="oscillator", system=Oscillators(n=1), family=Quadratic(1))
    return [[case.label, *(f"{together(case, count):.3g}" for count in COUNTS)] for case in (tiny, joint)]


if __name__ == "__main__":
    main()
