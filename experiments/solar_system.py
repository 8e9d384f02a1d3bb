"""Real data: orbits of nine planets from the ephemeris DE421, each orbit in its own units.

Run as `python -m experiments.solar_system`. The truth is a body about a fixed Sun. Forces between planets
cause deviations from it: 1e-5 (Mercury) to 3e-3 (Pluto) of the Laplace-Runge-Lenz vector.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import noethers_razor as nr
from experiments.tables import markdown, named, parser, spread, write
from noethers_razor.cli import host
from noethers_razor.data.ephemeris import planets
from noethers_razor.systems import Kepler

WARNINGS = (
    "The nine orbits have eccentricities from 0.007 to 0.25. Each orbit is in its own units, so that all "
    "orbits have the same energy. These data cannot distinguish a function of the energy from a constant, "
    "and they contain little information on how H depends on the energy. All orbits except Pluto's lie "
    "within 7 degrees of the ecliptic. There is almost no motion out of this plane, so that the fit has two "
    "dimensions. The projection shortens the orbits of Mercury and Pluto by up to 0.8 and 4 percent. "
    "Angular momentum L is .97 to 1 on these orbits. Therefore px + qy/r appears instead of px L + qy/r, "
    "which is a component of the Laplace-Runge-Lenz vector. Likewise, py - qx/r appears instead of the other "
    "component. The simpler formula is constant within the tolerance. Neptune and Pluto have completed 1.8 "
    "and 1.2 revolutions. The deviations of nine planets are not a random sample, so that intervals over "
    "them are nominal.\n"
)


def one_fit(name: str, data: nr.Trajectories, seed: int) -> dict[str, Any]:
    """Fit quadratic quantities, or polynomials in 1/r, with the default settings. Return the numbers."""
    family = nr.Quadratic() if name == "quadratic" else nr.Polynomial(terms=("1/sqrt(qx^2+qy^2)",))
    result = nr.fit(data, seed=seed, conserved=family)
    report = nr.find_symmetries(result, Kepler(dim=2))
    bounds = report.bounds
    return {
        "rank": report.rank,
        "algebra": getattr(report, "algebra", None),
        "formulas": report.formulas,
        "truth_angles": report.truth_angles,
        "largest_angle": report.largest_angle,
        "trusted": 0 if report.uncertainty is None else int(np.sum(report.uncertainty.trusted)),
        "gain": bounds["none"]["negative_elbo"] + result.elbo,
        "warnings": report.warnings,
        "seconds": result.metrics["seconds_total"],
    }


def main() -> None:
    options = parser("orbits of nine planets").parse_args()
    host.prepare()
    data = planets(dim=2)
    runs: dict[str, Any] = {}
    rows = []
    for name in ("quadratic", "polynomial"):
        done = runs[name] = []
        for seed in range(1, options.seeds + 1):
            done.append(one_fit(name, data, seed))
            print(name, seed, done[-1], flush=True)
        texts = [text for run in done for text in run["formulas"]]
        rows.append(
            [
                name,
                ", ".join(str(run["rank"]) for run in done),
                ", ".join(str(run["trusted"]) for run in done),
                named([run["algebra"] for run in done]) if name == "quadratic" else "-",
                "; ".join(f"{text} ({texts.count(text)})" for text in dict.fromkeys(texts)),
                spread([run["largest_angle"] for run in done]),
                spread([run["gain"] for run in done]),
                spread([run["seconds"] for run in done]),
            ]
        )
    write(
        options.out,
        "solar_system",
        title=f"Nine planets of DE421, {data.transitions().total} transitions, projected on the ecliptic",
        command=f"python -m experiments.solar_system --seeds {options.seeds}",
        table=markdown(
            [
                "family",
                "quantities found, each seed",
                "trusted, each seed",
                "algebra",
                "formulas (number of seeds)",
                "largest angle (degrees)",
                "gain in -ELBO",
                "seconds",
            ],
            rows,
        ),
        remarks=WARNINGS,
        runs=runs,
    )


if __name__ == "__main__":
    main()
