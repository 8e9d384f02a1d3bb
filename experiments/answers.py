"""Answers from trajectories alone: exact sets, algebras and diagnoses of systems, and of controls.

Run as `python -m experiments.answers`. Each data set has 100 trajectories of 50 steps of .2, unless its name
says otherwise. Noise is a share of the spread of each coordinate. Seeds start at 1001; no constant of the
package was chosen on these data.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np

import noethers_razor as nr
from experiments.controls import followed
from experiments.tables import markdown, parser, spread, write
from noethers_razor.systems import CentralForce, HenonHeiles, Kepler, NBody, Oscillators, Pendulum, Toda

NOISES = (0.0, 0.01, 0.03, 0.1)
"""Standard deviations of the noise, relative to that of each coordinate."""
_CONTROL_NOISE = 0.02
_COUNT, _STEPS, _DT = 100, 50, 0.2
_FIRST_SEED = 1000

_FIRST = np.array([1.0, 0.0])

Path = Callable[[int], np.ndarray]
"""Seed -> states (B, T, M) without noise."""


class Case(NamedTuple):
    """Clean paths, number of exact quadratic quantities, and departure from a Hamiltonian.

    Args:
        path: function of the seed.
        exact: number of exact quantities; None if the data cannot tell.
        departure: names of departures that are right; (None,) is a Hamiltonian.
        noise: noise of a control; None for all of `NOISES`.
        algebra: name of the algebra, if it has one.
    """

    path: Path
    exact: int | None
    departure: tuple[str | None, ...] = (None,)
    noise: float | None = None
    algebra: str | None = None


def _of(system: Any, **shape: int) -> Path:
    shape = {"n_trajectories": _COUNT, "n_steps": _STEPS, **shape}
    return lambda seed: np.concatenate(_parts(system.simulate(seed, **shape)), axis=-1)


def _parts(data: nr.Trajectories) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(data.q), np.asarray(data.p)


def _moved(force: Callable[..., np.ndarray], size: float = 1.0, count: int = _COUNT, dim: int = 2) -> Path:
    """Return paths of q' = p, p' = force(q, p, t), from normal starts."""

    def path(seed: int) -> np.ndarray:
        start = size * np.random.default_rng(seed).normal(size=(count, 2 * dim))

        def field(t: float, x: np.ndarray) -> np.ndarray:
            q, p = x[:, :dim], x[:, dim:]
            return np.concatenate([p, force(q, p, t)], axis=1)

        return followed(field, start, _DT * np.arange(_STEPS + 1))

    return path


def _wells(q: np.ndarray) -> np.ndarray:
    """Force of (q1^2 + 1.69 q2^2) / 2 + .1 q1^2 q2^2."""
    bend = 0.2 * q * q[:, ::-1] ** 2
    return np.asarray(-q * [1.0, 1.69] - bend)


def _turned(p: np.ndarray) -> np.ndarray:
    return np.stack([p[:, 1], -p[:, 0]], axis=1)


def _double_pendulum(seed: int) -> np.ndarray:
    """Return paths of a double pendulum of equal masses and lengths, at moderate angles."""
    import jax
    import jax.numpy as jnp

    def energy(x: jax.Array) -> jax.Array:
        a, b, p, r = x
        kinetic = (p**2 + 2 * r**2 - 2 * p * r * jnp.cos(a - b)) / (2 * (1 + jnp.sin(a - b) ** 2))
        return kinetic - 2 * jnp.cos(a) - jnp.cos(b)

    slope = jax.jit(jax.vmap(jax.grad(energy)))
    start = 0.4 * np.random.default_rng(seed).normal(size=(_COUNT, 4))

    def field(t: float, x: np.ndarray) -> np.ndarray:
        gradient = np.asarray(slope(x))
        return np.concatenate([gradient[:, 2:], -gradient[:, :2]], axis=1)

    return followed(field, start, _DT * np.arange(_STEPS + 1))


def _in_a_plane(seed: int) -> np.ndarray:
    """Return planar Kepler orbits written as orbits in space: the third coordinates are 0."""
    path = _of(Kepler())(seed)
    none = np.zeros_like(path[..., :1])
    return np.concatenate([path[..., :2], none, path[..., 2:], none], axis=-1)


_ANISOTROPIC = Oscillators(n=3, frequencies=(1.0, 2.0**0.5, float(np.pi / 2)))
SYSTEMS = {
    "2 oscillators": Case(_of(Oscillators(n=2)), 4, algebra="u(2)"),
    "3 oscillators": Case(_of(Oscillators(n=3)), 9, algebra="u(3)"),
    "4 oscillators": Case(_of(Oscillators(n=4)), 16, algebra="u(4)"),
    "oscillators 1 : 1.005": Case(_of(Oscillators(n=2, frequencies=(1.0, 1.005))), 2),
    "3 anisotropic oscillators": Case(_of(_ANISOTROPIC), 3),
    "oscillators 1 : 2": Case(_of(Oscillators(n=2, frequencies=(1.0, 2.0))), 2),
    "free particle in the plane": Case(_moved(lambda q, p, t: 0 * q), 6),
    "central force": Case(_of(CentralForce()), 1),
    "Kepler, 2-D": Case(_of(Kepler()), 1),
    "Kepler, 3-D": Case(_of(Kepler(dim=3)), 3, algebra="so(3)"),
    "3 bodies, 2-D": Case(_of(NBody(n_bodies=3, dim=2)), 7, algebra="nbody(2)"),
    "2 bodies, 3-D": Case(_of(NBody(n_bodies=2, dim=3)), 15, algebra="nbody(3)"),
    "Toda lattice": Case(_of(Toda()), 2),
    "pendulum": Case(_of(Pendulum()), 0),
    "Henon-Heiles": Case(_of(HenonHeiles()), 0),
}
CONTROLS = {
    "friction .1": Case(_moved(lambda q, p, t: _wells(q) - 0.1 * p), 0, ("friction",)),
    "friction .01": Case(_moved(lambda q, p, t: _wells(q) - 0.01 * p), 0, ("friction",)),
    "quadratic friction": Case(
        _moved(lambda q, p, t: _wells(q) - 0.1 * p * np.linalg.norm(p, axis=1, keepdims=True)),
        0,
        ("friction", "other"),
    ),
    "driven": Case(_moved(lambda q, p, t: _wells(q) + 0.2 * np.cos(1.7 * t) * _FIRST), 0, ("driven",)),
    "well that breathes": Case(
        _moved(lambda q, p, t: _wells(q) * (1 + 0.2 * np.cos(1.7 * t))), 0, ("driven", "other")
    ),
    "velocities in a magnetic field": Case(
        _moved(lambda q, p, t: _wells(q) + 0.5 * _turned(p)), 0, ("linear",)
    ),
    "rotating frame": Case(_moved(lambda q, p, t: _wells(q) + 0.2 * _turned(p) + 0.01 * q), 0, ("linear",)),
    "velocities of unequal masses": Case(
        _moved(lambda q, p, t: _wells(q) / [1.0, 3.0]), 0, ("other", "linear")
    ),
    "near-integrable": Case(_moved(lambda q, p, t: -q * [1.0, 2.0] - 0.02 * q * q[:, ::-1] ** 2), 0),
    "double pendulum": Case(_double_pendulum, 0),
    "planar orbits in space": Case(_in_a_plane, None),
    "1 trajectory of 200 steps": Case(_of(Kepler(), n_trajectories=1, n_steps=200), None),
    "2 trajectories of 100 steps": Case(_of(Kepler(), n_trajectories=2, n_steps=100), None),
    "noise .7": Case(_of(Kepler()), None, noise=0.7),
}


def one(name: str, noise: float, seed: int) -> dict[str, Any]:
    """Answer one data set."""
    case = {**SYSTEMS, **CONTROLS}[name]
    path = case.path(_FIRST_SEED + seed)
    draw = np.random.default_rng([seed, round(1e6 * noise)])
    states = path + noise * path.std(axis=(0, 1)) * draw.normal(size=path.shape)
    half, times = states.shape[-1] // 2, _DT * np.arange(states.shape[1])
    began = time.perf_counter()
    found = nr.answer(nr.Trajectories(q=states[..., :half], p=states[..., half:], t=times)).as_json()
    diagnosis = found["diagnosis"]
    return {
        "case": name,
        "noise": noise,
        "seed": seed,
        "exact": found["exact"],
        "algebra": found["algebra"],
        "resolution": found["resolution"],
        "approximate": len(found["approximate"]),
        "cannot_tell": found["cannot_tell"] + found["remarks"],
        "hamiltonian": None if diagnosis is None else diagnosis["hamiltonian"],
        "departure": None if diagnosis is None else diagnosis["departure"],
        "nats": None if diagnosis is None else diagnosis["nats"],
        "seconds": time.perf_counter() - began,
    }


def _job(job: tuple[str, float, int]) -> dict[str, Any]:
    return one(*job)


def _exact(case: Case, row: dict[str, Any]) -> bool:
    """Return whether the count is right. Where data cannot tell, to say so is right."""
    return bool(row["cannot_tell"]) if case.exact is None else row["exact"] == case.exact


def _diagnosed(case: Case, row: dict[str, Any]) -> bool:
    return bool(row["hamiltonian"] is not None and row["departure"] in case.departure)


def rows_of(cases: dict[str, Case], runs: list[dict[str, Any]]) -> list[list[str]]:
    """Return a table row for each case and noise."""
    table = []
    for name, case in cases.items():
        for noise in sorted({run["noise"] for run in runs if run["case"] == name}):
            own = [run for run in runs if run["case"] == name and run["noise"] == noise]
            counts = Counter(run["exact"] for run in own)
            said = Counter(
                str(run["departure"] or {True: "Hamiltonian", None: "cannot tell"}.get(run["hamiltonian"]))
                for run in own
            )
            table.append(
                [
                    name,
                    f"{noise:g}",
                    "cannot tell" if case.exact is None else str(case.exact),
                    f"{sum(_exact(case, run) for run in own)} of {len(own)}",
                    ", ".join(f"{k}: {n}" for k, n in sorted(counts.items())),
                    f"{sum(run['algebra'] == case.algebra for run in own)}" if case.algebra else "-",
                    f"{sum(_diagnosed(case, run) for run in own)} of {len(own)}",
                    ", ".join(f"{k}: {n}" for k, n in said.most_common()),
                    spread([run["seconds"] for run in own], 2),
                ]
            )
    return table


COLUMNS = [
    "data",
    "noise",
    "true count",
    "count right",
    "counts found",
    "named",
    "diagnosis right",
    "diagnoses",
    "seconds",
]


def main() -> None:
    """Answer all data sets and write both tables."""
    options = parser(str(__doc__))
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--only", nargs="+", help="names of cases")
    chosen = options.parse_args()
    for title, name, cases in (
        ("Answers on systems", "answers", SYSTEMS),
        ("Answers on controls", "answers_controls", CONTROLS),
    ):
        own = {key: case for key, case in cases.items() if not chosen.only or key in chosen.only}
        jobs = [
            (key, noise, seed)
            for key, case in own.items()
            for noise, seed in itertools.product(_noises(cases, case), range(1, chosen.seeds + 1))
        ]
        with ProcessPoolExecutor(chosen.processes) as pool:
            runs = list(pool.map(_job, jobs))
        write(
            chosen.out,
            name,
            title=title,
            command=f"python -m experiments.answers --seeds {chosen.seeds}",
            table=markdown(COLUMNS, rows_of(own, runs)),
            remarks=(
                f"The count is right in {sum(_exact(own[run['case']], run) for run in runs)} of {len(runs)}, "
                f"and the diagnosis in {sum(_diagnosed(own[run['case']], run) for run in runs)}. "
                "Where data cannot tell, to say so is right. Seconds are those of the answer, two at a time."
            ),
            runs={"answers": runs},
            spread_of="Cells count seeds; seconds are median and range.",
        )


def _noises(cases: dict[str, Case], case: Case) -> tuple[float, ...]:
    if case.noise is not None:
        return (case.noise,)
    return NOISES if cases is SYSTEMS else (_CONTROL_NOISE,)


if __name__ == "__main__":
    main()
