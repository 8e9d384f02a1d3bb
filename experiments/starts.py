"""Starts of the conserved quantities: the proposal, random quantities, and degraded proposals.

Run as `python -m experiments.starts`. It separates the effect of the start from the effect of the bound. The
start *missed* replaces the best candidate of the proposal by a small random one. The start *wrong* replaces
the last three candidates by full-length random quadratics. The bound should find the missing quantity and
reject the wrong ones.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

import noethers_razor as nr
from experiments.anisotropic import FREQUENCIES
from experiments.pipeline import in_process
from experiments.tables import markdown, parser, spread, write
from noethers_razor.conserved.quadratic import QuadraticBlock
from noethers_razor.inference.fit import plan
from noethers_razor.inference.problem import Problem
from noethers_razor.inference.runtime import Runtime
from noethers_razor.inference.selection import Select
from noethers_razor.inference.stages import Joint, Propose, Stage
from noethers_razor.inference.state import State
from noethers_razor.mechanics.quadratic_form import embed, second_moment
from noethers_razor.systems import NBody, Oscillators, System

SYSTEMS: dict[str, tuple[System, int, float]] = {
    "3 oscillators": (Oscillators(n=3), 15, 0.2),
    "anisotropic oscillators": (Oscillators(n=3, frequencies=FREQUENCIES), 15, 0.2),
    "3 bodies in 2 dimensions": (NBody(n_bodies=3, dim=2), 10, 0.3),
}
"""Title -> system, quantities offered, time step."""
_WRONG = 3
"""Number of wrong quantities in the start *wrong*."""
SPOILT = ("missed", "wrong")
"""Degraded proposals."""
STARTS = ("proposal", "random", *SPOILT)


@dataclasses.dataclass(frozen=True)
class Spoil:
    """Stage that degrades the proposal: one candidate is missing (*missed*), or three are wrong (*wrong*)."""

    how: str

    def run(self, problem: Problem, state: State, runtime: Runtime) -> State:
        """Return the state with quantities of the proposal replaced."""
        del runtime
        family, params = state.family, dict(state.params)
        assert isinstance(family, nr.Quadratic)
        states = np.asarray(problem.transitions.start, np.float64)
        small = family.init(problem.key_for("spoil"), states.shape[-1])
        if self.how == "missed":
            places, scale = np.arange(1), np.ones(1)
        else:
            places = np.arange(family.count - _WRONG, family.count)
            symmetric = QuadraticBlock(family.count).symmetric(small)
            form, linear = (np.asarray(part, np.float64)[places] for part in symmetric)
            scale = 1.0 / np.linalg.norm(embed(form, linear, second_moment(states)), axis=1)
        for name, value in small.items():
            factor = scale.reshape((-1,) + (1,) * (value.ndim - 1))
            full = params[f"conserved/{name}"]
            params[f"conserved/{name}"] = full.at[places].set(value[places] * factor)
        return dataclasses.replace(state, params=params)


def stages(config: nr.FitConfig, family: nr.Quadratic, start: str) -> list[Stage]:
    """Return the stages of a fit.

    For a degraded start, a stage `Spoil` follows the proposal, and the bound selects at the end.
    """
    usual = plan(config, family)
    if start not in SPOILT:
        return usual
    place = 1 + next(i for i, stage in enumerate(usual) if isinstance(stage, Propose))
    joint = next(stage for stage in usual if isinstance(stage, Joint))
    return [*usual[:place], Spoil(start), *usual[place:], Select(joint.steps, joint.rates)]


def one_run(system: System, offered: int, start: str, seed: int, dt: float) -> dict[str, Any]:
    """Fit one data set from one start. Return the directions found, bounds and seconds."""
    family = nr.Quadratic(offered, "random" if start == "random" else "proposal")
    report, numbers = in_process(system, family, seed, stages=stages(nr.FitConfig(), family, start), dt=dt)
    assert report.parallelness is not None
    # Directions, not named quantities: a span without one direction is far from every named quantity.
    true = int(np.sum(report.parallelness >= np.cos(np.radians(15.0))))
    return numbers | {
        "found": true,
        "false": report.rank - true,
        "singular_values": report.singular_values.tolist(),
    }


def main() -> None:
    arguments = parser("proposal, random and degraded starts").parse_args()
    runs: dict[str, Any] = {}
    rows = []
    for title, (system, offered, dt) in SYSTEMS.items():
        number = len(system.conserved())
        for start in STARTS:
            done = []
            for seed in range(1, arguments.seeds + 1):
                done.append(one_run(system, offered, start, seed, dt))
                shown = ("rank", "found", "false", "worst_angle", "learned", "none", "seconds")
                print(title, start, seed, {k: done[-1][k] for k in shown}, flush=True)
            runs[f"{title}, {start}"] = done
            rows.append(
                [
                    f"{title} ({number})",
                    start,
                    ", ".join(str(run["found"]) for run in done),
                    ", ".join(str(run["false"]) for run in done),
                    spread([run["worst_angle"] for run in done]),
                    spread([run["learned"] for run in done], 4),
                    spread([run["none"] for run in done], 4),
                    spread([run["seconds"] for run in done]),
                ]
            )
        # Write after each system, so that an interrupted run keeps its results.
        write(
            arguments.out,
            "starts",
            title="Starts of the conserved quantities, noise-free data, 200 x 50 transitions",
            command=f"python -m experiments.starts --seeds {arguments.seeds}",
            table=markdown(
                [
                    "system (true number)",
                    "start",
                    "true directions kept, each seed",
                    "false directions kept, each seed",
                    "worst angle of a true quantity (degrees)",
                    "-ELBO learned",
                    "-ELBO none",
                    "seconds",
                ],
                rows,
            ),
            remarks="A direction is false when its angle to the true span exceeds 15 degrees. "
            "The start *missed* replaces the best candidate of the proposal by a small random one. "
            "The start *wrong* replaces the last three candidates by full-length random quadratics.\n",
            runs=runs,
        )


if __name__ == "__main__":
    main()
