"""Noether's learning dynamics on MNIST-1D: predicted norms, and test accuracy with constant norms.

Run as `python -m experiments.learning_dynamics`. A batch-normalised network 40-64-64-10 trains with batches
of 64, heavy-ball momentum and decay. The results correspond to figures 1b, 2 and 3 of Tanaka and Kunin (2021)
for a large network. Norms are predicted by their equation 17, and with R measured from the gradients.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.tables import markdown, parser, spread, write
from noethers_razor import plot
from noethers_razor.cli import host
from noethers_razor.learning_dynamics import (
    NoetherReport,
    Reading,
    angle_per_step,
    equivalent_rmsprop,
    freeze_norm,
    noether_report,
    scale,
    track_noether,
)

BATCH = 64
"""Number of samples in a batch."""
STEPS = 2000
"""Number of steps of a training."""
LONG = 10_000
"""Number of steps of a long training, for the tables of decays and norms."""
ETA = 0.1
"""Default learning rate."""
BETA = 0.9
"""Default momentum."""
DECAY = 5e-4
"""Default decay."""
GENERATORS = scale("Dense_0/kernel"), scale("Dense_1/kernel")
"""Scale symmetries of the two layers before a batch normalisation."""
KINDS = "exact", "bernoulli", "white", "autocorrelated"
"""Kinds of `predict_norm`."""
NORMS = (
    *((BATCH, ETA, beta, LONG) for beta in (0.0, 0.5, 0.9, 0.97)),
    # All data in each step: gradients change slowly, until steps overshoot and gradients change their sign.
    (None, 0.005, BETA, STEPS),
    *((None, 0.05, BETA, steps) for steps in (200, 1000, STEPS)),
)
"""Batch (None for all data), learning rate, momentum and number of steps, for the table of norms."""
RATES = (0.001, 0.01, 0.1, 0.3)
"""Learning rates for the table of accuracies."""
MOMENTA = (0.0, 0.5, 0.9, 0.97)
"""Momenta for the table of accuracies."""
DECAYS = (0.0, 1e-4, 5e-4, 2e-3)
"""Decays for the table of accuracies."""


class Network(nn.Module):
    """A network with two hidden layers, each with a batch normalisation before its rectifier."""

    eps: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        for width in (64, 64):
            x = nn.Dense(width)(x)
            x = nn.relu(nn.BatchNorm(not train, momentum=0.9, epsilon=self.eps)(x))
        return nn.Dense(10)(x)


@cache
def digits() -> dict[str, jax.Array]:
    """Return inputs and labels of the standard draw of MNIST-1D: 4000 for training, 1000 for tests."""
    from mnist1d.data import get_dataset_args, make_dataset

    made = make_dataset(get_dataset_args())
    return {name: jnp.asarray(made[name]) for name in ("x", "y", "x_test", "y_test")}


def heavy_ball(eta: float, beta: float, decay: float) -> optax.GradientTransformation:
    """Return the optimiser with learning rate eta, momentum beta and decay."""
    return optax.chain(optax.add_decayed_weights(decay), optax.sgd(eta, beta))


def train(
    optimizer: optax.GradientTransformation, seed: int, steps: int, batch: int | None = BATCH
) -> tuple[float, Any, Any]:
    """Train the network.

    Args:
        optimizer: optimiser of optax.
        seed: seed of the parameters and of the batches.
        steps: number of steps.
        batch: number of samples in a batch; None for all data.
    Returns:
        Accuracy on test data, records of the tracker (None without one), and parameters at the end.
    """
    data, net = digits(), Network()
    start = net.init(jax.random.key(seed), data["x"][:4])

    def loss(params: Any, stats: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Any]:
        every = {"params": params, "batch_stats": stats}
        logits, new = net.apply(every, x, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), new["batch_stats"]

    def step(carry: Any, key: jax.Array) -> tuple[Any, Any]:
        params, stats, state = carry
        some = jax.random.choice(key, len(data["y"]), (batch,)) if batch else jnp.arange(len(data["y"]))
        gradient, stats = jax.grad(loss, has_aux=True)(params, stats, data["x"][some], data["y"][some])
        update, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, update), stats, state), getattr(state, "record", None)

    first = start["params"], start["batch_stats"], optimizer.init(start["params"])
    keys = jax.random.split(jax.random.key(1000 + seed), steps)
    (params, stats, _), records = jax.jit(partial(jax.lax.scan, step))(first, keys)
    logits = net.apply({"params": params, "batch_stats": stats}, data["x_test"], train=False)
    return float(jnp.mean(jnp.argmax(logits, 1) == data["y_test"])), records, params


def tracked(seed: int, steps: int, batch: int | None, eta: float, beta: float, decay: float) -> NoetherReport:
    """Train with tracked charges, and return their report."""
    optimizer = track_noether(heavy_ball(eta, beta, decay), GENERATORS)
    _, records, params = train(optimizer, seed, steps, batch)
    return noether_report(optimizer, records, params)


def accuracies(seeds: int, steps: int, settings: dict[str, tuple[float, float, float]]) -> dict[str, Any]:
    """Train with free and with constant norms.

    Args:
        seeds: number of seeds; the first seed is 1.
        steps: number of steps.
        settings: name -> learning rate, momentum, decay.
    Returns:
        Name -> test accuracies over the seeds, with norms ``free`` and ``held``.
    """
    done: dict[str, Any] = {}
    for name, (eta, beta, decay) in settings.items():
        plain = heavy_ball(eta, beta, decay)
        done[name] = {
            label: [train(own, seed, steps)[0] for seed in range(1, seeds + 1)]
            for label, own in (("free", plain), ("held", freeze_norm(plain, GENERATORS)))
        }
        print(name, done[name], flush=True)
    return done


def of_accuracies(first: str, done: dict[str, Any]) -> str:
    """Return the table of accuracies; `first` is the title of the first column."""
    rows = [[name, spread(run["free"]), spread(run["held"])] for name, run in done.items()]
    return markdown([first, "test accuracy, norms free", "norms held constant"], rows)


def errors(reading: Reading) -> dict[str, float]:
    """Return for each kind the relative error of the predicted r^2 at the end, median over neurons."""
    last = reading.charge.square[-1]
    return {kind: float(np.median(reading.predict_norm(kind)[-1] / last - 1)) for kind in KINDS}


def norm_runs(seeds: int) -> dict[str, Any]:
    """Return for each setting of `NORMS` and each seed the errors of the norms of layer 1, and the angle."""
    done: dict[str, Any] = {}
    for batch, eta, beta, steps in NORMS:
        name = f"{f'batches of {batch}' if batch else 'all 4000'}, eta {eta:g}, beta {beta:g}, {steps} steps"
        done[name] = []
        for seed in range(1, seeds + 1):
            reading = tracked(seed, steps, batch, eta, beta, DECAY).readings[GENERATORS[0].name]
            angle = reading.angle(slice(-len(reading.steps) // 4, None))
            found = {**errors(reading), "angle": angle / angle_per_step(eta, beta, DECAY)}
            found["residual"] = float(reading.residual().max())
            found["anomaly"] = float(np.median(reading.anomaly()))
            found["memories"] = steps / equivalent_rmsprop(eta, beta, DECAY).memory
            done[name].append(found)
            print(name, seed, found, flush=True)
    return done


def of_norms(done: dict[str, Any]) -> str:
    """Return the table of norms."""
    names = {
        "bernoulli": "equation 17",
        "white": "R = 1",
        "autocorrelated": "R measured",
        "exact": "recursion",
    }
    header = ["", "memories of the norms", *names.values(), "angle relative to theory", "largest residual"]
    rows = []
    for name, runs in done.items():
        told = [f"{100 * np.median([run[kind] for run in runs]):+.2g} %" for kind in names]
        memories, residual = f"{runs[0]['memories']:.3g}", max(run["residual"] for run in runs)
        rows.append([name, memories, *told, spread([run["angle"] for run in runs]), f"{residual:.1g}"])
    return markdown(header, rows)


def pictures(folder: Any) -> None:
    """Draw charges and norms of one training into files of a folder."""
    report = tracked(1, STEPS, BATCH, ETA, BETA, DECAY)
    steps = next(iter(report.readings.values())).steps
    terms = {
        name: {
            "charge": one.charge.charge.mean(axis=1),
            **{k: v.mean(axis=1) for k, v in one.terms().items()},
        }
        for name, one in report.readings.items()
    }
    plot.charges(steps, terms).savefig(folder / "learning_dynamics_charges.png", dpi=110)
    named = {"equation 17": "bernoulli", "R = 1": "white", "R measured": "autocorrelated"}
    squares = {name: one.charge.square.mean(axis=1) for name, one in report.readings.items()}
    predicted = {
        name: {label: one.predict_norm(kind).mean(axis=1) for label, kind in named.items()}
        for name, one in report.readings.items()
    }
    plot.norms(steps, squares, predicted).savefig(folder / "learning_dynamics_norms.png", dpi=110)
    print(report, flush=True)


def main() -> None:
    options = parser("learning dynamics on MNIST-1D")
    options.set_defaults(seeds=3)
    arguments = options.parse_args()
    host.prepare()
    by_rate = accuracies(arguments.seeds, STEPS, {f"{eta:g}": (eta, BETA, DECAY) for eta in RATES})
    by_beta = accuracies(arguments.seeds, STEPS, {f"{beta:g}": (ETA, beta, DECAY) for beta in MOMENTA})
    by_decay = accuracies(arguments.seeds, LONG, {f"{k:g}": (ETA, BETA, k) for k in DECAYS})
    by_norm = norm_runs(arguments.seeds)
    tables = [
        f"Learning rate (momentum {BETA:g}, decay {DECAY:g}, {STEPS} steps)\n\n"
        + of_accuracies("eta", by_rate),
        f"Momentum (learning rate {ETA:g}, decay {DECAY:g}, {STEPS} steps)\n\n"
        + of_accuracies("beta", by_beta),
        f"Decay (learning rate {ETA:g}, momentum {BETA:g}, {LONG} steps)\n\n" + of_accuracies("k", by_decay),
        f"Norms of the first layer (decay {DECAY:g}): relative error of the predicted r^2 at the end, "
        "median over neurons and seeds\n\n" + of_norms(by_norm),
    ]
    write(
        arguments.out,
        "learning_dynamics",
        title="Learning dynamics: MNIST-1D, a batch-normalised network 40-64-64-10",
        command=f"python -m experiments.learning_dynamics --seeds {arguments.seeds}",
        table="\n".join(tables),
        remarks="",
        runs={"rate": by_rate, "momentum": by_beta, "decay": by_decay, "norms": by_norm},
    )
    pictures(arguments.out)


if __name__ == "__main__":
    main()
