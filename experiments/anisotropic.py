"""Anisotropic oscillators with frequencies 1, sqrt 2, pi/2: three true quantities, no rotations.

Run as `python -m experiments.anisotropic`. This is a negative control. The frequencies are nearly degenerate,
so that the proposal may contain false rotations. The bound has to reject these.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import noethers_razor as nr
from experiments.pipeline import in_process
from experiments.tables import markdown, parser, spread, write
from noethers_razor.symmetry.span import number_in_use
from noethers_razor.systems import Oscillators

FREQUENCIES = (1.0, 2.0**0.5, float(np.pi / 2))
NOISES = (0.0, 0.001**0.5)
"""Standard deviations of the noise on the states."""


def one_run(seed: int, noise: float) -> dict[str, Any]:
    """Fit one data set. Return bounds, angles, and the directions before and after model selection."""
    system = Oscillators(n=3, frequencies=FREQUENCIES)
    report, numbers = in_process(system, nr.Quadratic(15), seed, noise=noise)
    judged = report.judgements[0] if report.judgements else None
    before = judged["singular_values"] if judged else report.singular_values.tolist()
    return numbers | {
        "learned_error": report.bounds["quadratic"]["error"],
        "truth_angles": report.truth_angles,
        "singular_values_joint": before,
        "false_active_joint": number_in_use(np.asarray(before)) - 3,
    }


def main() -> None:
    arguments = parser("anisotropic oscillators, a negative control").parse_args()
    runs: dict[str, Any] = {}
    rows = []
    for noise in NOISES:
        done = []
        for seed in range(1, arguments.seeds + 1):
            done.append(one_run(seed, noise))
            shown = ("rank", "learned", "none", "worst_angle", "false_active_joint")
            print(noise, seed, {k: done[-1][k] for k in shown}, flush=True)
        runs[f"{noise:.4g}"] = done
        rows.append(
            [
                f"{noise:.3g}",
                ", ".join(str(run["false_active_joint"]) for run in done),
                ", ".join(str(run["rank"]) for run in done),
                spread([run["worst_angle"] for run in done]),
                spread([run["learned"] for run in done], 4),
                spread([run["none"] for run in done], 4),
                f"{sum(run['learned'] <= run['none'] for run in done)} of {len(done)}",
                spread([run["seconds"] for run in done]),
            ]
        )
    write(
        arguments.out,
        "anisotropic",
        title="Anisotropic oscillators (1, sqrt 2, pi/2): 3 true quantities of 15 offered",
        command=f"python -m experiments.anisotropic --seeds {arguments.seeds}",
        table=markdown(
            [
                "noise",
                "false directions before model selection, each seed",
                "rank after model selection, each seed",
                "worst angle of a true H_i (degrees)",
                "-ELBO learned",
                "-ELBO none",
                "seeds where learned is not worse",
                "seconds",
            ],
            rows,
        ),
        remarks="Singular values of the false directions before model selection are in anisotropic.json.\n",
        runs=runs,
    )


if __name__ == "__main__":
    main()
