"""Noise in x, in x' or in both: errors of the learned field.

Run as `python -m experiments.noise`. The data are pairs of states x, x' of two oscillators at times .2 apart,
each pair from its own initial state. The learned field is compared with the true field at states that no fit
has seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import noethers_razor as nr
from experiments.irregular import turned
from experiments.pipeline import data_seed
from experiments.tables import markdown, parser, spread, write
from noethers_razor.cli import host
from noethers_razor.systems import Oscillators

SYSTEM = Oscillators(n=2)
_PAIRS = 5000
"""Pairs of states in a data set."""
_DT = 0.2
"""Time between the states of a pair."""
KINDS = {"in x'": (0.0, 1.0), "in x": (1.0, 0.0), "in both": (1.0, 1.0)}
"""Label -> noise of the first and of the second state, in units of the noise."""
NOISES = (0.01, 0.05, 0.1)
"""Standard deviations of the noise on a state."""


def pairs(seed: int, before: float, after: float) -> nr.Trajectories:
    """Simulate pairs of states with noise.

    Args:
        seed: seed of the fit, see `data_seed`.
        before: standard deviation of the noise on the first state.
        after: standard deviation of the noise on the second state.
    """
    generator = np.random.default_rng(data_seed(seed))
    start = generator.normal(size=(_PAIRS, 4))
    path = np.stack([start, turned(start, _DT)], axis=1)
    path += np.array([before, after])[:, None] * generator.normal(size=path.shape)
    return nr.Trajectories(path[..., :2], path[..., 2:], np.array([0.0, _DT]))


def one_fit(seed: int, noise: float, kind: str) -> dict[str, Any]:
    """Fit one data set without symmetry.

    Args:
        seed: seed of the fit.
        noise: standard deviation of the noise on a state.
        kind: key of `KINDS`.
    Returns:
        Relative error of the field, regression coefficient of the field on the true field, learned standard
        deviation over `noise`, and seconds.
    """
    before, after = (noise * share for share in KINDS[kind])
    result = nr.fit(pairs(seed, before, after), seed=seed, conserved=nr.NoSymmetry())
    states = np.random.default_rng(seed).normal(size=(2000, 4))
    true = np.concatenate([states[:, 2:], -states[:, :2]], axis=1)
    field = result.field(states)
    slope = float(np.sum(field * true) / np.sum(true**2))
    return {
        "field_error": float(np.sqrt(np.mean((field - true) ** 2) / np.mean(true**2))),
        "slope": slope,
        "learned_noise": result.metrics["noise_variance"] ** 0.5 / noise,
        "seconds": result.metrics["seconds_total"],
    }


def main() -> None:
    options = parser("noise in x, in x' or in both").parse_args()
    host.prepare()
    runs: dict[str, Any] = {}
    rows = []
    for noise in NOISES:
        for kind in KINDS:
            done = runs[f"{noise:g} {kind}"] = []
            for seed in range(1, options.seeds + 1):
                done.append(one_fit(seed, noise, kind))
                print(noise, kind, seed, done[-1], flush=True)
            columns = ("learned_noise", "field_error", "slope", "seconds")
            rows.append(
                [
                    f"{noise:g}",
                    kind,
                    *(spread([run[c] for run in done], 4 if c == "slope" else 3) for c in columns),
                ]
            )
    write(
        options.out,
        "noise",
        title=f"Two oscillators, {_PAIRS} pairs of states {_DT} apart, no symmetry",
        command=f"python -m experiments.noise --seeds {options.seeds}",
        table=markdown(
            [
                "noise",
                "noisy state",
                "learned standard deviation / noise",
                "relative error of the field",
                "regression coefficient on the true field",
                "seconds",
            ],
            rows,
        ),
        remarks="The learned standard deviation is that of a transition. "
        "A regression coefficient below 1 means that noise in x weakens the learned field.\n",
        runs=runs,
    )


if __name__ == "__main__":
    main()
