"""Noise in x, in x' or in both: what it costs.

Run as `python -m experiments.noise`. Pairs of states of two oscillators, .2 apart, each from a start of its
own; the field of the fit is compared with the true one at states that no fit has seen.
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
_PAIRS, _DT = 5000, 0.2
KINDS = {"in x'": (0.0, 1.0), "in x": (1.0, 0.0), "in both": (1.0, 1.0)}
NOISES = (0.01, 0.05, 0.1)


def pairs(seed: int, before: float, after: float) -> nr.Trajectories:
    """Pairs with noise of these deviations on the first and on the second state."""
    generator = np.random.default_rng(data_seed(seed))
    start = generator.normal(size=(_PAIRS, 4))
    path = np.stack([start, turned(start, _DT)], axis=1)
    path += np.array([before, after])[:, None] * generator.normal(size=path.shape)
    return nr.Trajectories(path[..., :2], path[..., 2:], np.array([0.0, _DT]))


def one_fit(seed: int, noise: float, kind: str) -> dict[str, Any]:
    """Errors of the field, relative, and of the noise that is learned, over that of a state."""
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
    options = parser("noise in x and in x'").parse_args()
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
                "where",
                "learned deviation over it",
                "error of the field",
                "slope on the true one",
                "s",
            ],
            rows,
        ),
        remarks="Learned: of a transition. A slope below 1 is what noise in x takes off the field.\n",
        runs=runs,
    )


if __name__ == "__main__":
    main()
