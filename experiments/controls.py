"""False discoveries and detections: negative controls, and systems with a known algebra.

Run as `python -m experiments.controls`. Data come from seed + 10. A learned direction is false when its angle
to the true span exceeds 20 degrees. A true quantity is detected when its angle to the learned span is at most
20 degrees. It is detected and trusted when this holds for the trusted part of the span, at a false-discovery
rate of 5 %.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.integrate

import noethers_razor as nr
from experiments.pipeline import data_seed
from experiments.tables import markdown, named, parser, spread, write
from noethers_razor.cli import host
from noethers_razor.mechanics.quadratic_form import QuadraticForm, embed, stack_forms
from noethers_razor.numerics.subspaces import orthonormal
from noethers_razor.systems import HenonHeiles, NBody, Oscillators, System

_FALSE = np.sin(np.radians(20.0))
"""Sine of 20 degrees: a direction at a larger angle to the true span is false."""
_COUNT = 100
"""Trajectories of a data set."""
_STEPS = 50
"""Transitions of a trajectory."""
_DT = 0.2
"""Time between two states."""
_NOISE = 0.03
"""Standard deviation of the noise on the states, unless a case has its own."""
Field = Callable[[np.ndarray], np.ndarray]
"""States (B, 4) -> velocities (B, 4)."""


class Case(NamedTuple):
    """Data as a function of the seed, and the true quadratic quantities."""

    data: Callable[[int], nr.Trajectories]
    truth: Mapping[str, QuadraticForm] = {}


def followed(
    field: Callable[[float, np.ndarray], np.ndarray], start: np.ndarray, times: np.ndarray
) -> np.ndarray:
    """Return the paths (B, T, M) of x' = f(t, x) from starts (B, M) at times (T,)."""
    path = scipy.integrate.solve_ivp(
        lambda t, x: field(t, x.reshape(start.shape)).ravel(),
        (0.0, times[-1]),
        start.ravel(),
        method="DOP853",
        t_eval=times,
        rtol=1e-10,
        atol=1e-10,
    ).y
    return np.moveaxis(path.reshape(*start.shape, len(times)), 2, 1)


def from_field(field: Field, generator: np.random.Generator) -> nr.Trajectories:
    """Simulate a system x' = f(x) that the package does not contain.

    Args:
        field: f, from states (B, 4) to velocities (B, 4).
        generator: random numbers of the initial states, which are normal, and of the noise.
    Returns:
        Trajectories with noise, of two degrees of freedom.
    """
    times = np.arange(_STEPS + 1) * _DT
    states = followed(lambda t, x: field(x), generator.normal(size=(_COUNT, 4)), times)
    states = states + _NOISE * generator.normal(size=states.shape)
    return nr.Trajectories(states[..., :2], states[..., 2:], times)


def damped(seed: int) -> nr.Trajectories:
    """Simulate two oscillators with friction, p' = -q - .1 p. They conserve no quadratic quantity."""
    matrix = np.block([[np.zeros((2, 2)), np.eye(2)], [-np.eye(2), -0.1 * np.eye(2)]])
    return from_field(lambda x: x @ matrix.T, np.random.default_rng(data_seed(seed)))


def random_field(seed: int) -> nr.Trajectories:
    """Simulate a smooth random vector field, A tanh(B x + c) - x / 4 with 16 units. It conserves nothing.

    The term -x / 4 keeps states away from regions where the units saturate and the field is constant.
    """
    generator = np.random.default_rng(data_seed(seed))
    inner, shift = generator.normal(size=(16, 4)) / 2, generator.normal(size=16)
    outer = generator.normal(size=(4, 16)) / 2
    return from_field(lambda x: np.tanh(x @ inner.T + shift) @ outer.T - x / 4, generator)


def simulated(system: System, noise: float) -> Callable[[int], nr.Trajectories]:
    """Return a function of the seed that simulates a system of the package."""
    return lambda seed: system.simulate(
        data_seed(seed), n_trajectories=_COUNT, n_steps=_STEPS, dt=_DT, noise=noise
    )


def _known(system: System, noise: float = _NOISE) -> Case:
    return Case(simulated(system, noise), system.conserved())


NEGATIVE = {
    "anisotropic oscillators (1, sqrt 2, pi/2)": _known(
        Oscillators(n=3, frequencies=(1.0, 2.0**0.5, float(np.pi / 2)))
    ),
    "Henon-Heiles": _known(HenonHeiles(), 0.01),
    "damped oscillators": Case(damped),
    "random field": Case(random_field),
}
POSITIVE = {
    "1 oscillator": _known(Oscillators(n=1)),
    "2 oscillators": _known(Oscillators(n=2)),
    "3 oscillators": _known(Oscillators(n=3)),
    "3 bodies in 2 dimensions": _known(NBody(n_bodies=3, dim=2), 0.01),
}


def one_fit(case: Case, seed: int) -> dict[str, Any]:
    """Fit one data set with the default settings. Return counts, bounds and seconds."""
    result = nr.fit(case.data(seed), seed=seed)
    report = nr.find_symmetries(result)
    rows, unsure = report.span.vectors[: report.rank], report.uncertainty
    trusted = rows[:0] if unsure is None else rows[unsure.trusted]
    truth = np.zeros((0, rows.shape[1]))
    if case.truth:
        forms = result.frame.quadratic_into(*stack_forms(case.truth))
        truth = orthonormal(embed(*forms, result.moment))
    return {
        "rank": report.rank,
        "true": len(truth),
        "found": _near(rows, truth),
        "trusted": len(trusted),
        "trusted_found": _near(trusted, truth),
        "algebra": report.algebra,
        "warnings": report.warnings,
        "bounds": report.bounds,
        "seconds": result.metrics["seconds_total"],
    }


def _near(rows: np.ndarray, truth: np.ndarray) -> int:
    """Count the principal angles of two spans (r, E), (T, E) that are at most 20 degrees."""
    if not len(rows) or not len(truth):
        return 0
    cosines = np.linalg.svd(rows @ truth.T, compute_uv=False)
    return int(np.sum(np.sqrt(np.maximum(1.0 - cosines**2, 0.0)) <= _FALSE))


def main() -> None:
    arguments = parser("false discoveries and detections")
    arguments.add_argument(
        "--case", nargs="+", choices=[*NEGATIVE, *POSITIVE], help="names of systems; all by default"
    )
    chosen = arguments.parse_args()
    host.prepare()
    runs: dict[str, Any] = {}
    rows = []
    for name, case in (NEGATIVE | POSITIVE).items():
        if chosen.case and name not in chosen.case:
            continue
        done = runs[name] = []
        for seed in range(1, chosen.seeds + 1):
            done.append(one_fit(case, seed))
            print(
                name,
                seed,
                {k: v for k, v in done[-1].items() if k != "bounds"},
                flush=True,
            )
        true, found = (sum(run[key] for run in done) for key in ("true", "found"))
        rows.append(
            [
                name,
                str(done[0]["true"]),
                ", ".join(str(run["rank"]) for run in done),
                str(sum(run["rank"] - run["found"] for run in done)),
                str(sum(run["trusted"] - run["trusted_found"] for run in done)),
                f"{found} of {true}" if true else "-",
                f"{sum(run['trusted_found'] for run in done)} of {true}" if true else "-",
                named([run["algebra"] for run in done]),
                spread([run["seconds"] for run in done]),
            ]
        )
    write(
        chosen.out,
        "controls",
        title=f"False discoveries and detections, {_COUNT} x {_STEPS} transitions, noise {_NOISE} or .01",
        command=f"python -m experiments.controls --seeds {chosen.seeds}"
        + (" --case " + " ".join(f"'{name}'" for name in chosen.case) if chosen.case else ""),
        table=markdown(
            [
                "system",
                "true quantities",
                "quantities found, each seed",
                "false quantities found, all seeds",
                "false quantities trusted, all seeds",
                "true quantities detected",
                "true quantities detected and trusted",
                "algebra",
                "seconds",
            ],
            rows,
        ),
        remarks="The noise is .01 for Henon-Heiles and three bodies. "
        "Trusted quantities have a false-discovery rate of 5 %.\n",
        runs=runs,
    )


if __name__ == "__main__":
    main()
