"""False discoveries and detections: systems with nothing to find, and systems with a known algebra.

Run as `python -m experiments.controls`. Data come from seed + 10. A direction of the learned span is false
when it is more than 20 degrees off the true span; a true quantity is detected when it is within 20 degrees of
the learned span, or of the part of it that is trusted at a false-discovery rate of 5 %.
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
_COUNT, _STEPS, _DT, _NOISE = 100, 50, 0.2, 0.03
Field = Callable[[np.ndarray], np.ndarray]


class Case(NamedTuple):
    """Data by seed, and the true quadratic quantities."""

    data: Callable[[int], nr.Trajectories]
    truth: Mapping[str, QuadraticForm] = {}


def from_field(field: Field, generator: np.random.Generator) -> nr.Trajectories:
    """Noisy trajectories (B, T, 4) of x' = f(x) from normal starts: a system that the package lacks."""
    times = np.arange(_STEPS + 1) * _DT
    start = generator.normal(size=(_COUNT, 4))
    path = scipy.integrate.solve_ivp(
        lambda t, x: field(x.reshape(_COUNT, 4)).ravel(),
        (0.0, times[-1]),
        start.ravel(),
        method="DOP853",
        t_eval=times,
        rtol=1e-10,
        atol=1e-10,
    ).y
    states = path.T.reshape(len(times), _COUNT, 4).swapaxes(0, 1)
    states = states + _NOISE * generator.normal(size=states.shape)
    return nr.Trajectories(states[..., :2], states[..., 2:], times)


def damped(seed: int) -> nr.Trajectories:
    """Two oscillators with friction: p' = -q - .1 p. Nothing quadratic is conserved."""
    matrix = np.block([[np.zeros((2, 2)), np.eye(2)], [-np.eye(2), -0.1 * np.eye(2)]])
    return from_field(lambda x: x @ matrix.T, np.random.default_rng(data_seed(seed)))


def random_field(seed: int) -> nr.Trajectories:
    """A smooth random vector field, A tanh(B x + c) - x / 4 with 16 units: nothing is conserved.

    The pull keeps states from where the units saturate and the field is constant.
    """
    generator = np.random.default_rng(data_seed(seed))
    inner, shift = generator.normal(size=(16, 4)) / 2, generator.normal(size=16)
    outer = generator.normal(size=(4, 16)) / 2
    return from_field(lambda x: np.tanh(x @ inner.T + shift) @ outer.T - x / 4, generator)


def simulated(system: System, noise: float) -> Callable[[int], nr.Trajectories]:
    """Data of a system of the package."""
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
    """Numbers of one fit with the defaults."""
    result = nr.fit(case.data(seed), seed=seed)
    report = nr.find_symmetries(result)
    rows, unsure = report.span.vectors[: report.rank], report.uncertainty
    trusted = rows[:0] if unsure is None or unsure.rows is None else orthonormal(unsure.rows[unsure.trusted])
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
        "deviation": [] if unsure is None else unsure.deviation.tolist(),
        "algebra": report.algebra,
        "warnings": report.warnings,
        "bounds": report.bounds,
        "seconds": result.metrics["seconds_total"],
    }


def _near(rows: np.ndarray, truth: np.ndarray) -> int:
    """How many principal angles of two spans (r, E), (T, E) are at most 20 degrees."""
    if not len(rows) or not len(truth):
        return 0
    cosines = np.linalg.svd(rows @ truth.T, compute_uv=False)
    return int(np.sum(np.sqrt(np.maximum(1.0 - cosines**2, 0.0)) <= _FALSE))


def main() -> None:
    arguments = parser("false discoveries and detections")
    arguments.add_argument("--case", nargs="+", choices=[*NEGATIVE, *POSITIVE], help="all by default")
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
                {k: v for k, v in done[-1].items() if k not in ("bounds", "deviation")},
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
                "found, each seed",
                "false among them, all seeds",
                "false among the trusted",
                "true ones detected",
                "and trusted",
                "algebra",
                "seconds",
            ],
            rows,
        ),
        remarks="Noise .01 for Henon-Heiles and three bodies. Trusted: at a false-discovery rate of 5 %.\n",
        runs=runs,
    )


if __name__ == "__main__":
    main()
