"""One oscillator from 7 x 4 transitions (paper, table 1 and figure 2): no symmetry, learned, true symmetry.

Run as `python -m experiments.oscillator`. As in the paper, only the targets have noise. Its variance is .001,
and the likelihood uses this value. Test trajectories are noise-free and come from another random stream.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import noethers_razor as nr
from experiments.tables import comparison_rows, markdown, parser, spread, write
from noethers_razor import plot
from noethers_razor.inference.rollouts import compare_rollouts
from noethers_razor.systems import Oscillators
from noethers_razor.systems.base import named_stream

VARIANCE = 0.001
"""Variance of the noise on the targets, as in the paper."""
COLUMNS = {
    "nll": "nll",
    "kl": "KL",
    "negative_elbo": "-ELBO per transition",
    "test_mse_step": "test MSE, one step",
    "test_mse_rollout": "test MSE, 20 steps",
    "seconds": "seconds",
}
CONFIG = nr.FitConfig.of(
    width=50,
    depth=1,
    steps=12000,
    first_stage=0.3,
    orbit_samples=8,
    weight_samples=4,
    joint_learning_rate=0.01,
    noise_variance=VARIANCE,
    held_out=0.0,
    chunk=500,
)


def training_data(system: Oscillators, seed: int, variance: float) -> nr.Trajectories:
    """Simulate 28 transitions from noise-free states to noisy targets, each as a trajectory of two states."""
    import jax

    pairs = system.simulate(seed, n_trajectories=7, n_steps=4, dt=0.2).transitions()
    key = named_stream(seed, "target noise")
    noise = np.asarray(jax.random.normal(key, pairs.end.shape), np.float64) * variance**0.5
    states = np.stack([pairs.start, pairs.end + noise], axis=1)
    return nr.Trajectories(q=states[..., :1], p=states[..., 1:], t=np.array([0.0, 0.2]))


def one_seed(
    system: Oscillators, seed: int, variance: float
) -> tuple[dict[str, Any], dict[str, nr.FitResult]]:
    """Fit without symmetry, with learned and with true quantities. Return the numbers, and the fits."""
    data = training_data(system, seed, variance)
    test = system.simulate(seed, n_trajectories=100, n_steps=20, dt=0.2, stream="test")
    families = {
        "none": nr.NoSymmetry(),
        "learned": nr.Quadratic(1),
        "oracle": nr.KnownQuadratic.of(system.conserved()),
    }
    numbers: dict[str, Any] = {}
    fits = {}
    for name, family in families.items():
        result = nr.fit(data, seed=seed, conserved=family, config=CONFIG)
        errors = compare_rollouts(result, test, samples=0).summary
        numbers[name] = {
            "negative_elbo": -result.elbo,
            "error": result.metrics["elbo_standard_error"],
            "nll": result.metrics["nll"],
            "kl": result.metrics["kl"],
            "test_mse_step": errors["mse_first_step"],
            "test_mse_rollout": errors["mse_rollout"],
            "seconds": result.metrics["seconds_total"],
        }
        fits[name] = result
    numbers["angle"] = nr.find_symmetries(fits["learned"], system).largest_angle
    print(seed, {name: round(numbers[name]["negative_elbo"], 3) for name in families}, flush=True)
    return numbers, fits


def draw(system: Oscillators, fits: dict[str, nr.FitResult], data: nr.Trajectories) -> Any:
    """Draw level sets of the three learned Hamiltonians and of the true one."""
    import jax

    plane = plot.section(np.array([[-2.1, -2.1], [2.1, 2.1]]), 0, 1)
    panels = {name: result.hamiltonian(plane.states) for name, result in fits.items()}
    panels["truth"] = np.asarray(jax.vmap(jax.vmap(system.hamiltonian))(plane.states))
    return plot.level_sets(panels, plane, data=data.observed())


def main() -> None:
    options = parser("one oscillator: no symmetry, learned, true symmetry (oracle)")
    options.add_argument("--clean", action="store_true", help="no noise on the targets")
    arguments = options.parse_args()
    variance, suffix = (0.0, "_clean") if arguments.clean else (VARIANCE, "")
    system = Oscillators(n=1)
    runs = {}
    for seed in range(1, arguments.seeds + 1):
        runs[str(seed)], fits = one_seed(system, seed, variance)
        if seed == 1:
            arguments.out.mkdir(parents=True, exist_ok=True)
            figure = draw(system, fits, training_data(system, seed, variance))
            figure.savefig(arguments.out / f"oscillator{suffix}.png", dpi=130)
    angles = spread([run["angle"] for run in runs.values()])
    write(
        arguments.out,
        f"oscillator{suffix}",
        title=f"One oscillator, 7 x 4 transitions, target noise of variance {variance:g}",
        command=f"python -m experiments.oscillator --seeds {arguments.seeds}{' --clean' * arguments.clean}",
        table=markdown(
            ["", *COLUMNS.values()],
            comparison_rows(list(runs.values()), COLUMNS),
        ),
        remarks=f"The angle between the learned and the true quantity is {angles} degrees.\n",
        runs=runs,
    )


if __name__ == "__main__":
    main()
