"""What the start of the conserved quantities decides, and what the bound does: proposal, random, tampered.

Run as `python -m experiments.starts`. *missed* hides the best candidate of the proposal behind a small random
one; *wrong* puts full-length random quadratics in the last three places. The bound should find the one and
cut the others.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

import noethers_razor as nr
from experiments.anisotropic import FREQUENCIES
from experiments.pipeline import in_process
from experiments.tables import markdown, parser, spread, write
from noethers_razor.conserved.quadratic import symmetric
from noethers_razor.inference.fit import plan
from noethers_razor.inference.stages import Propose, Stage
from noethers_razor.inference.state import FitState
from noethers_razor.mechanics.quadratic_form import embed, second_moment
from noethers_razor.systems import NBody, Oscillators, System

SYSTEMS: dict[str, tuple[System, int, float]] = {
    "3 oscillators": (Oscillators(n=3), 15, 0.2),
    "anisotropic oscillators": (Oscillators(n=3, frequencies=FREQUENCIES), 15, 0.2),
    "3 bodies in 2 dimensions": (NBody(n_bodies=3, dim=2), 10, 0.3),
}
"""Title -> system, quantities offered, time step."""
_WRONG = 3
SPOILT = ("missed", "wrong")
STARTS = ("proposal", "random", *SPOILT)


@dataclasses.dataclass(frozen=True)
class Spoil:
    """A stage after the proposal: one direction of it lost, or three false ones in it."""

    how: str

    def run(self, state: FitState) -> None:
        """Replaces quantities of the proposal."""
        family = state.family
        assert isinstance(family, nr.Quadratic)
        states = np.asarray(state.data.start, np.float64)
        small = family.init(state.stream("spoil"), states.shape[-1])
        if self.how == "missed":
            places, scale = np.arange(1), np.ones(1)
        else:
            places = np.arange(family.count - _WRONG, family.count)
            form, linear = (np.asarray(part, np.float64)[places] for part in symmetric(small))
            scale = 1.0 / np.linalg.norm(embed(form, linear, second_moment(states)), axis=1)
        for name, value in small.items():
            factor = scale.reshape((-1,) + (1,) * (value.ndim - 1))
            full = state.params[f"conserved/{name}"]
            state.params[f"conserved/{name}"] = full.at[places].set(value[places] * factor)


def stages(config: nr.FitConfig, family: nr.Quadratic, start: str) -> list[Stage]:
    """The stages of a fit, spoilt where the start says so."""
    usual = plan(config, family)
    place = 1 + next(i for i, stage in enumerate(usual) if isinstance(stage, Propose))
    return [*usual[:place], Spoil(start), *usual[place:]] if start in SPOILT else usual


def one_run(system: System, offered: int, start: str, seed: int, dt: float) -> dict[str, Any]:
    """What was kept and what it costs."""
    family = nr.Quadratic(offered, "random" if start == "random" else "proposal")
    report, numbers = in_process(system, family, seed, stages=stages(nr.FitConfig(), family, start), dt=dt)
    assert report.parallelness is not None
    # Directions, not named quantities: a span that lacks one direction is far from every name.
    true = int(np.sum(report.parallelness >= np.cos(np.radians(15.0))))
    return numbers | {
        "found": true,
        "false": report.rank - true,
        "singular_values": report.singular_values.tolist(),
    }


def main() -> None:
    arguments = parser("proposal, random and spoilt starts").parse_args()
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
        # After each system, so that an interrupted run leaves what it has.
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
                    "worst angle of a true one (degrees)",
                    "-ELBO learned",
                    "-ELBO none",
                    "seconds",
                ],
                rows,
            ),
            remarks="A direction is false when it is more than 15 degrees from the true span.\n",
            runs=runs,
        )


if __name__ == "__main__":
    main()
