"""Where a training step spends its time: busy seconds of the compiled program by kind of operation.

Run as `python -m benchmarks.profile`. JAX's profiler times every operation of the default step for three
oscillators; both processors are added up, so that the sum exceeds the time that passes.
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
"""Of an estimate, which is two chunks."""
_RANDOM = ("threefry", "_uniform", "_randint", "_normal")


def kind_of(name: str, source: str) -> str:
    """The kind of an operation, from its name and from the line of the program that it was made of."""
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
    """Operation -> where it comes from, read from the text of a compiled program."""
    pattern = re.compile(r'%([\w.\-]+) = .*op_name="([^"]*)"')
    return dict(match.groups() for match in map(pattern.search, program.splitlines()) if match)


def busy(folder: str) -> Iterator[tuple[str, float]]:
    """Operations and the seconds that a thread spent in them, without those that run inside them."""
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
    """Busy milliseconds of a step by kind of operation, and those that pass."""
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
    """Print the table and write it down."""
    parser = argparse.ArgumentParser(description="where a training step spends its time")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    out: Path = parser.parse_args().out
    case = Case("3 oscillators", Oscillators(n=3), Quadratic(15), FitConfig(), STEPS // 2)
    found, passed = shares(case)
    total = sum(found.values())
    rows = [[kind, f"{ms:.2f}", f"{100 * ms / total:.0f} %"] for kind, ms in found.items()]
    write(
        out,
        "profile",
        title="Where a training step spends its time",
        command="python -m benchmarks.profile",
        table=markdown(["operations", "busy ms a step", "share"], rows),
        remarks=f"3 oscillators, defaults, {STEPS} steps under the profiler, {passed:.1f} ms each.\n",
        runs={"busy": found, "passed": passed},
        spread_of="One run.",
    )


if __name__ == "__main__":
    main()
