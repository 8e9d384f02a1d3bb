"""Medians with ranges, and result files in JSON and Markdown that name the command of their numbers."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from noethers_razor.storage.run_folder import versions

RESULTS = Path(__file__).parent / "results"
ROWS = ("none", "learned", "oracle")
"""The families of every comparison."""


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments that every experiment takes."""
    out = argparse.ArgumentParser(description=description)
    out.add_argument("--seeds", type=int, default=5, help="number of seeds; the first seed is 1")
    out.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    return out


def spread(values: Sequence[float | None], digits: int = 3) -> str:
    """Return median and range, such as ``1.2 (1.1 to 1.4)``, of the values that are not None.

    Args:
        values: one number for each run; None for a run without one.
        digits: number of significant digits.
    Returns:
        The text; "-" without any number.
    """
    known = [v for v in values if v is not None]
    if not known:
        return "-"
    values = known
    numbers = [f"{v:.{digits}g}" for v in (np.median(values), np.min(values), np.max(values))]
    return f"{numbers[0]} ({numbers[1]} to {numbers[2]})"


def named(names: Sequence[str | None]) -> str:
    """Return each name with its number of occurrences, the most frequent first; None is not identified."""
    counts = Counter(name or "not identified" for name in names)
    return ", ".join(f"{name} in {count} of {len(names)}" for name, count in counts.most_common())


def comparison_rows(runs: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> list[list[str]]:
    """Return one row for each family of `ROWS`: medians and ranges over the runs.

    Args:
        runs: for each seed, family name -> column key -> number.
        columns: column key -> title, in the order of the cells.
    """
    return [[name, *(spread([run[name][column] for run in runs]) for column in columns)] for name in ROWS]


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def machine() -> dict[str, Any]:
    """Return the commit, the processor and the package versions of a measurement."""
    git = ("git", "-C", str(RESULTS.parent), "describe", "--always", "--dirty", "--exclude", "*")
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip() or "unknown"
    return {
        "commit": commit,
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "versions": versions(),
    }


def write(
    folder: Path,
    name: str,
    *,
    title: str,
    command: str,
    table: str,
    remarks: str,
    runs: Mapping[str, Any],
    spread_of: str = "Medians over seeds, ranges in brackets.",
) -> None:
    """Write NAME.md and NAME.json, and print the table.

    Args:
        folder: folder for both files; created if it does not exist.
        name: file name without its ending.
        title, command, table, remarks: parts of the Markdown file.
        runs: numbers of all runs, for the JSON file.
        spread_of: sentence that says what a cell of the table contains.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = machine()
    note = f"Command: `{command}`, {about['cores']} cores, commit {about['commit']}. {spread_of}"
    (folder / f"{name}.md").write_text(f"# {title}\n\n{note}\n\n{table}\n{remarks}".rstrip() + "\n")
    record = {"command": command, "machine": about, "runs": runs}
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"{title}\n\n{table}\n{remarks}")
