"""Non-quadratic quantities: oscillators, V = r^4/4, Kepler, Toda, and two negative controls.

Run as `python -m experiments.functions`; `--case` selects systems. Data come from seed + 10. Bracket defects,
angles and drifts are measured on noise-free trajectories that no fit has seen.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import noethers_razor as nr
from experiments.pipeline import data_seed
from experiments.tables import markdown, parser, spread, write
from noethers_razor.cli import host
from noethers_razor.conserved.polynomial import monomials
from noethers_razor.mechanics.phase_space import bracket_defect
from noethers_razor.symmetry.non_quadratic_report import gradients_of_integrals, non_quadratic_report
from noethers_razor.systems import CentralForce, HenonHeiles, Kepler, Oscillators, Pendulum, System, Toda

INVERSE_RADIUS = "1/sqrt(qx^2+qy^2)"
"""Term of the potential of Kepler's problem in two dimensions."""
INVERSE_RADIUS_3D = "1/sqrt(qx^2+qy^2+qz^2)"
"""Term of the potential of Kepler's problem in three dimensions."""
EXPONENTIALS = ("exp(q1-q2)", "exp(q2-q3)", "exp(q3-q1)")
"""Terms of the potential of Toda's lattice."""
STEPS = 3000
"""Training steps of a fit."""
ALONE = "neural, no forms"
"""Label of the neural family without quadratic quantities."""


class Case(NamedTuple):
    """A system, the families to fit, the terms for formulas, and the settings of its data."""

    system: System
    families: dict[str, Any]
    terms: tuple[str, ...] = ()
    settings: dict[str, Any] = {"noise": 0.01, "n_trajectories": 50}


CASES = {
    "oscillators": Case(
        Oscillators(n=2),
        {"neural": nr.Neural(), ALONE: nr.Neural(quadratic=False), "quadratic": nr.Quadratic()},
        settings={"noise": 0.03},
    ),
    "central_force": Case(
        CentralForce(),
        {"neural": nr.Neural(), ALONE: nr.Neural(quadratic=False), "quadratic": nr.Quadratic()},
    ),
    "kepler": Case(
        Kepler(),
        {
            "neural": nr.Neural(),
            "polynomial": nr.Polynomial(terms=(INVERSE_RADIUS,)),
            "quadratic": nr.Quadratic(),
        },
        (INVERSE_RADIUS,),
        settings={"noise": 0.01, "n_trajectories": 100},
    ),
    "kepler_3d": Case(
        Kepler(dim=3),
        {"polynomial": nr.Polynomial(terms=(INVERSE_RADIUS_3D,))},
        (INVERSE_RADIUS_3D,),
        settings={"noise": 0.01, "n_trajectories": 200},
    ),
    "toda": Case(Toda(), {"polynomial": nr.Polynomial(terms=EXPONENTIALS)}, EXPONENTIALS),
}
CONTROLS = {
    "henon_heiles": Case(HenonHeiles(), {"neural": nr.Neural(), "polynomial": nr.Polynomial(degree=4)}),
    "pendulum": Case(Pendulum(), {"neural": nr.Neural(), "polynomial": nr.Polynomial(degree=5)}),
}


def drift(values: np.ndarray) -> float:
    """Return the standard deviation of values (B, T) along trajectories, relative to that of all values."""
    return float(np.sqrt(np.mean(np.var(values, axis=1)) / np.var(values)))


def random_drift(test: nr.Trajectories, frame: Any) -> float:
    """Return the median drift of 32 functions of random networks, which no law keeps constant."""
    family = dataclasses.replace(nr.Neural(quadratic=False), count=32, non_quadratic=32)
    params = family.init(jax.random.key(0), frame.dim)
    values = np.asarray(family.value(params, jnp.asarray(frame.into(test.states), jnp.float32)))
    return float(np.median([drift(values[..., k]) for k in range(32)]))


def recovered(
    result: nr.FitResult, known: np.ndarray, test: np.ndarray, used: np.ndarray, system: System
) -> dict[str, float]:
    """Return correlations of true integrals with cubics in learned quantities and H, without the part of H.

    The function fits the cubics at `known` and correlates them at `test`. Integrals are constant along
    trajectories, so that cubics could fit anything on few trajectories. Therefore `known` has one state from
    each of many trajectories. The best cubic in H is subtracted from both sides, so that H does not count.

    Args:
        result: a fit.
        known: (B, M) states at which cubics are fitted.
        test: (N, M) states at which correlations are measured.
        used: (K,) mask of the learned quantities in use.
        system: system with the true integrals.
    Returns:
        Name of the integral -> correlation.
    """
    truth = [_values(system.integrals(), states) for states in (known, test)]
    energies = [values.pop("H")[:, None] for values in truth]
    learned = [result.conserved(states)[:, used] for states in (known, test)]
    alone = _cubics(*energies)
    both = _cubics(*(np.column_stack(pair) for pair in zip(energies, learned, strict=True)))
    found = {}
    for name in truth[0]:
        mine, others = truth[0][name], truth[1][name]
        by_energy = alone[1] @ np.linalg.lstsq(alone[0], mine, rcond=None)[0]
        left = others - by_energy
        explained = both[1] @ np.linalg.lstsq(both[0], mine, rcond=None)[0] - by_energy
        norms = np.linalg.norm(left) * np.linalg.norm(explained)
        found[name] = float(left @ explained / norms) if used.any() else 0.0
    return found


def _values(functions: dict[str, Any], states: np.ndarray) -> dict[str, np.ndarray]:
    with jax.enable_x64(True):
        points = jnp.asarray(states, jnp.float64)
        return {name: np.asarray(jax.vmap(function)(points)) for name, function in functions.items()}


def _cubics(known: np.ndarray, test: np.ndarray) -> list[np.ndarray]:
    """Return a constant and monomials up to degree 3 of columns (N, k), scaled by the known columns."""
    centre, size = known.mean(axis=0), known.std(axis=0)
    with jax.enable_x64(True):
        powers = [np.asarray(monomials(jnp.asarray((v - centre) / size), 3)) for v in (known, test)]
    return [np.column_stack([np.ones(len(p)), p]) for p in powers]


def one_fit(case: Case, family: Any, seed: int) -> dict[str, Any]:
    """Fit one data set. Return bounds, angles, formulas, errors and seconds."""
    data = case.system.simulate(data_seed(seed), **case.settings)
    test = case.system.simulate(data_seed(seed), n_trajectories=40, n_steps=50, stream="test")
    known = case.system.simulate(data_seed(seed), n_trajectories=500, n_steps=1, stream="known").states[:, 0]
    result = nr.fit(data, seed=seed, conserved=family, config=nr.FitConfig.of(steps=STEPS))
    report = non_quadratic_report(result, case.system, terms=case.terms)
    bounds = report.bounds
    rollout = result.predict(test.states[:, 0], test.t, samples=0)
    return {
        "negative_elbo": bounds[family.name]["negative_elbo"],
        "none": bounds["none"]["negative_elbo"],
        "error": bounds[family.name]["error"],
        "rank": report.rank,
        "angles": report.truth_angles,
        "formulas": report.formulas,
        "judgements": report.judgements,
        "mse": float(np.mean((rollout.mean - test.states)[:, 1:] ** 2)),
        "seconds": result.metrics["seconds_total"],
        "functions": int(result.model.family.integrated.sum()),
        "largest_angle": report.largest_angle,
        **_of_functions(result, case.system, test, known),
    }


def _of_functions(
    result: nr.FitResult, system: System, test: nr.Trajectories, known: np.ndarray
) -> dict[str, Any]:
    """Return bracket defects with the true H, the ratio of drifts, and the correlations of `recovered`."""
    states, back = test.observed(), result.frame.inverse
    energy = gradients_of_integrals(system, states, back)["H"]
    gradients = result.conserved_gradients(states)
    used = np.sqrt(np.mean(np.sum(gradients**2, axis=-1), axis=1) / result.frame.dim) > 0.05
    with jax.enable_x64(True):
        defects = np.median(
            np.asarray(bracket_defect(jnp.asarray(gradients), jnp.asarray(energy)[None])), axis=1
        )
    values = result.conserved(test.states)
    drifts = [drift(values[..., k]) for k in np.flatnonzero(used)]
    return {
        "defects": defects[used].tolist(),
        "recovered": recovered(result, known, states, used, system),
        "steadier": random_drift(test, result.frame) / max(drifts) if drifts else None,
    }


def _row(name: str, family: str, runs: list[dict[str, Any]]) -> list[str]:
    gains = [run["none"] - run["negative_elbo"] for run in runs]
    return [
        name,
        family,
        ", ".join(str(run["rank"]) for run in runs),
        spread([max(run["defects"], default=None) for run in runs]),
        spread([run["largest_angle"] for run in runs]),
        spread([run["steadier"] for run in runs]),
        spread([min(run["recovered"].values(), default=None) for run in runs], 4),
        spread([run["negative_elbo"] for run in runs], 5),
        spread([run["none"] for run in runs], 5),
        spread(gains),
        spread([run["mse"] for run in runs]),
        spread([run["seconds"] for run in runs]),
    ]


def main() -> None:
    arguments = parser("non-quadratic conserved quantities")
    arguments.add_argument("--case", nargs="+", choices=[*CASES, *CONTROLS], default=[*CASES, *CONTROLS])
    arguments.add_argument("--family", nargs="+", help="labels of families; all by default")
    arguments.add_argument("--trajectories", type=int, help="replaces the number of the case")
    chosen = arguments.parse_args()
    host.prepare()
    given = "" if chosen.trajectories is None else f" --trajectories {chosen.trajectories}"
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    rows, texts = [], []
    for name in chosen.case:
        case = (CASES | CONTROLS)[name]
        if chosen.trajectories is not None:
            case = case._replace(settings={**case.settings, "n_trajectories": chosen.trajectories})
        runs[name] = {}
        for label, family in case.families.items():
            if chosen.family and label not in chosen.family:
                continue
            done: list[dict[str, Any]] = []
            runs[name][label] = done
            for seed in range(1, chosen.seeds + 1):
                done.append(one_fit(case, family, seed))
                print(name, label, seed, {k: v for k, v in done[-1].items() if k != "judgements"}, flush=True)
            rows.append(_row(name, label, done))
            found = "; ".join(f"`{text}`" for text in done[0]["formulas"]) or "none"
            texts.append(f"* {name}, {label}, seed 1: {found}")
    write(
        chosen.out,
        "_".join(["functions", *chosen.case, *(chosen.family or []), *given.split()[1:]]),
        title="Non-quadratic quantities: number found, conservation, and gain of the bound",
        command=f"python -m experiments.functions --seeds {chosen.seeds} --case {' '.join(chosen.case)}"
        + (f" --family {' '.join(chosen.family)}" if chosen.family else "")
        + given,
        table=markdown(
            [
                "system",
                "family",
                "independent quantities besides H, each seed",
                "largest bracket defect (true H)",
                "largest angle to the true span, both ways (degrees)",
                "drift of random functions / largest drift",
                "smallest correlation of a true integral with a cubic in the quantities, H removed",
                "-ELBO",
                "-ELBO none",
                "gain",
                "rollout MSE",
                "seconds",
            ],
            rows,
        ),
        remarks="The gain is -ELBO none minus -ELBO. "
        "The family *neural, no forms* has no quadratic quantities.\n\n"
        "Formulas read from the fit:\n\n" + "\n".join(texts) + "\n",
        runs=runs,
    )


if __name__ == "__main__":
    main()
