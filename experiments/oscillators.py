"""n oscillators through the command line (simulate, fit, inspect): rank, angles and seconds.

Run as `python -m experiments.oscillators`. For each n, the compilation cache is empty at the start. The
seconds of the first seed include compilation. Later seeds find the compiled programs on disk, like later runs
of a user.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from experiments.pipeline import command, data_seed, fitted
from experiments.tables import markdown, parser, spread, write

NUMBERS = (1, 2, 3, 4, 5)


def one_run(n: int, seed: int, noise: float, cache: Path, pictures: Path | None) -> dict[str, Any]:
    """Run `simulate`, `fit` and `inspect` for one seed. Return the numbers of the report, and the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        data, run = (Path(folder) / name for name in ("data.npz", "run"))
        words = ["--n", str(n), "--out", str(data), "--seed", str(data_seed(seed)), "--noise", str(noise)]
        command("simulate", "oscillators", *words, cache=cache)
        report, took = fitted(data, run, "oscillators", seed, [], cache, pictures)
        bounds = report["bounds"]
        return {
            "rank": report["rank"],
            "algebra": report["algebra"],
            "draws": (report["uncertainty"] or {}).get("algebras", {}),
            "parallelness": min(report["parallelness"], default=0.0),
            "gap": report["gap"],
            "largest_angle": report["largest_angle"],
            "conservation_defect": report["conservation_defect"],
            "closure_defect": report["closure_defect"],
            "learned": bounds["quadratic"]["negative_elbo"],
            "none": bounds["none"]["negative_elbo"],
            "seconds": took.seconds,
        }


def main() -> None:
    arguments = parser("n oscillators, end to end")
    arguments.add_argument("--noise", type=float, default=0.0, help="standard deviation of the noise")
    arguments.add_argument("--n", type=int, nargs="*", default=list(NUMBERS), help="numbers of oscillators")
    options = arguments.parse_args()
    runs: dict[str, Any] = {}
    rows = []
    suffix = "" if options.noise == 0 else f"_noise_{options.noise:g}"
    for n in options.n:
        done = []
        with tempfile.TemporaryDirectory() as cache:
            for seed in range(1, options.seeds + 1):
                pictures = options.out / f"oscillators{suffix}_{n}" if seed == 1 else None
                done.append(one_run(n, seed, options.noise, Path(cache), pictures))
                print(n, seed, done[-1], flush=True)
        runs[str(n)] = done
        right = sum(run["rank"] == n * n for run in done)
        named = sum(run["algebra"] == f"u({n})" for run in done)
        columns = ("parallelness", "gap", "largest_angle", "learned", "none")
        rows.append(
            [
                str(n),
                f"{right} of {len(done)} with {n * n}",
                f"{named} of {len(done)}",
                ", ".join(str(run["draws"].get(f"u({n})", 0)) for run in done),
                *(spread([run[c] for run in done], 6 if c == "parallelness" else 3) for c in columns),
                f"{done[0]['seconds']:.1f}",
                spread([run["seconds"] for run in done[1:]]),
            ]
        )
    extra = "" if options.noise == 0 else f" --noise {options.noise:g}"
    if options.n != list(NUMBERS):
        extra += f" --n {' '.join(map(str, options.n))}"
    write(
        options.out,
        f"oscillators{suffix}",
        title=f"n oscillators, noise {options.noise:g}, 200 x 50 transitions",
        command=f"python -m experiments.oscillators --seeds {options.seeds}{extra}",
        table=markdown(
            [
                "n",
                "seeds with the true rank",
                "seeds with the name u(n)",
                "draws of 20 with the name u(n), each seed",
                "smallest parallelness",
                "gap",
                "largest angle (degrees)",
                "-ELBO learned",
                "-ELBO none",
                "fit + inspect, first run (s)",
                "later runs (s)",
            ],
            rows,
        ),
        remarks="Seconds are wall-clock times of whole processes.\n",
        runs=runs,
    )


if __name__ == "__main__":
    main()
