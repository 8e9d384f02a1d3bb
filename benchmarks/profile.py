"""Time of a training step by kind of operation, from a profile of the compiled program.

Run as `python -m benchmarks.profile`. JAX's profiler measures every operation of the default step for three
oscillators. The busy times of both processors are added, so the sum exceeds the elapsed time.
"""

from __future__ import annotations

import argparse
import collections
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from benchmarks.steps import RESULTS, Case, prepared
from experiments.tables import markdown, write
from noethers_razor.config import FitConfig
from noethers_razor.conserved.quadratic import Quadratic
from noethers_razor.inference.history import Clock
from noethers_razor.systems import Oscillators

STEPS = 50
"""Number of steps in an estimate, which consists of two chunks."""
_RANDOM = ("threefry", "_uniform", "_randint", "_normal")
"""Names in the source of operations that generate random numbers."""


def kind_of(name: str, source: str) -> str:
    """Return the kind of an operation.

    Args:
        name: name of the operation in the profile.
        source: source of the operation in the traced program; see `sources_of`.
    """
    if "exponential" in source:
        return "orbit exponentials"
    if any(word in source for word in _RANDOM):
        return "random numbers"
    if re.match(r"(ynn_fusion|dot)", name):
        return "products of network and gradient"
    if re.match(r"(copy|bitcast|transpose|wrapped_copy)", name):
        return "copies and transposes"
    return "elementwise passes"


def sources_of(program: str) -> dict[str, str]:
    """Return operation -> source in the traced program, from the text of a compiled program."""
    pattern = re.compile(r'%([\w.\-]+) = .*op_name="([^"]*)"')
    return dict(match.groups() for match in map(pattern.search, program.splitlines()) if match)


def busy(folder: str) -> Iterator[tuple[str, float]]:
    """Yield each operation with its own seconds, without the operations inside it.

    Args:
        folder: folder with one trace of JAX's profiler.
    """
    (file,) = Path(folder).rglob("*.xplane.pb")
    for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
        for line in plane.lines:
            if not line.name.startswith("tf_XLAEigen"):
                continue
            around: list[list[Any]] = []
            for event in sorted(line.events, key=lambda e: (e.start_ns, -e.duration_ns)):
                while around and around[-1][1] <= event.start_ns:
                    name, _, own = around.pop()
                    yield name, 1e-9 * own
                if around:
                    around[-1][2] -= event.duration_ns
                around.append([event.name, event.start_ns + event.duration_ns, event.duration_ns])
            yield from ((name, 1e-9 * own) for name, _, own in around)


def shares(case: Case) -> tuple[dict[str, float], float]:
    """Profile the training step of a case.

    Args:
        case: case with chunks of half of `STEPS` steps.
    Returns:
        Busy milliseconds of a step by kind of operation, the largest first, and elapsed milliseconds.
    """
    trainer, params = prepared(case)
    clock = Clock()
    sources = sources_of(str(trainer.program(params, clock).as_text()))
    found: dict[str, float] = collections.defaultdict(float)
    trainer.losses(params, jax.random.key(0), clock, draws=1)
    before = clock.training
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            trainer.losses(params, jax.random.key(1), clock, draws=1)
        for name, seconds in busy(folder):
            if name in sources:
                found[kind_of(name, sources[name])] += 1e3 * seconds / STEPS
    passed = 1e3 * (clock.training - before) / STEPS
    return dict(sorted(found.items(), key=lambda item: -item[1])), passed


def main() -> None:
    """Print the table, and write it to the folder of the results."""
    parser = argparse.ArgumentParser(description="measure the time of a training step by kind of operation")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    out: Path = parser.parse_args().out
    case = Case("3 oscillators", Oscillators(n=3), Quadratic(15), FitConfig(), STEPS // 2)
    found, passed = shares(case)
    total = sum(found.values())
    rows = [[kind, f"{ms:.2f}", f"{100 * ms / total:.0f} %"] for kind, ms in found.items()]
    write(
        out,
        "profile",
        title="Time of a training step by kind of operation",
        command="python -m benchmarks.profile",
        table=markdown(["operations", "busy time of a step (ms)", "share"], rows),
        remarks=f"3 oscillators, default settings; {STEPS} steps with the profiler, {passed:.1f} ms each.\n",
        runs={"busy": found, "passed": passed},
        spread_of="One run.",
    )


if __name__ == "__main__":
    main()
