"""Jobs that the command line and the experiments share: a fit into a run folder, with report and pictures."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from noethers_razor import plot
from noethers_razor.config import FitConfig
from noethers_razor.conserved.base import Family
from noethers_razor.data.trajectories import Trajectories
from noethers_razor.errors import Interrupted, UsageError
from noethers_razor.inference.fit import fit
from noethers_razor.inference.history import Watcher
from noethers_razor.inference.result import FitResult
from noethers_razor.inference.rollouts import RolloutComparison
from noethers_razor.inference.saved import load_result
from noethers_razor.storage.journal import NOTES, SECONDS, Journal
from noethers_razor.storage.run_folder import (
    CHECKPOINTS,
    is_done,
    is_finished,
    is_unfinished,
    require_target,
    versions,
)
from noethers_razor.symmetry.answer_sheet import AnswerSheet
from noethers_razor.symmetry.find import find_symmetries
from noethers_razor.symmetry.report import SymmetryReport

_REPORT = "symmetry.json"
"""File of the report in a run folder."""


def _save(result: FitResult, folder: Path, documents: dict[str, Any]) -> None:
    """Save a result. If this fails, the checkpoints stay."""
    try:
        result.save(folder, overwrite=True, documents=documents)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(
            f"{folder}: the fit is finished but cannot be saved ({reason}): free some space, then pass "
            "--resume"
        ) from None


def figures_of(report: SymmetryReport, result: FitResult) -> dict[str, Any]:
    """Return figures by file name: training, spectrum, generators."""
    titles = [f"C{i + 1} = {text}" for i, text in enumerate(report.formulas)]
    figures = {"training.png": plot.training(result.history)}
    if len(report.singular_values):
        figures["spectrum.png"] = report.plot()
    if report.quadratic is not None and report.readable_forms:
        figures["generators.png"] = plot.generators(report.readable_forms, titles, report.readable_names)
    return figures


def write_figures(folder: Path, figures: dict[str, Any]) -> None:
    """Save figures in a folder, which is created if necessary."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=130)


def _card(result: FitResult, report: SymmetryReport) -> str:
    """Return the README.md of a run folder."""
    metrics = result.metrics
    return (
        f"# Run of noethers_razor {versions()['noethers_razor']}\n\n"
        f"Family {result.model.family.name}, seed {result.seed}, {metrics['transitions']} transitions, "
        f"{metrics['steps']} optimiser steps in {metrics['seconds_total']:.1f} s.\n"
        f"ELBO {metrics['elbo_per_transition']:.3f} nats per transition; noise variance "
        f"{metrics['noise_variance']:.3g} (data units squared).\n\n```\n{report}\n```\n\n"
        "Print this report again with `noethers-razor inspect`. Predictions are averages over posterior "
        "samples. They do not use the network at its mean weights.\n"
    )


@dataclasses.dataclass(frozen=True)
class RunTarget:
    """A run folder to write, and how.

    Args:
        folder: run folder.
        overwrite: whether to replace an existing run or its checkpoints.
        resume: whether to continue from existing checkpoints. A finished run is only reported.
        checkpoint_seconds: seconds between checkpoints of a training.
        command: words of the command line, saved with the run.
        settings: settings to save with the checkpoints, see `options.settings_of_checkpoint`.
    """

    folder: Path
    overwrite: bool = False
    resume: bool = False
    checkpoint_seconds: float = SECONDS
    command: Sequence[str] = ()
    settings: Mapping[str, Any] | None = None

    def documents(self) -> dict[str, Any]:
        """Return the JSON files of the run that say how it was asked for."""
        return {f"{NOTES}.json": dict(self.settings or {}), "command.json": list(self.command)}

    def finished(self, data: Trajectories) -> FitResult | None:
        """Return the result of a run that is to be resumed and is finished; None if there is none.

        Raises:
            UsageError: if the run is a fit of other data.
        """
        if not (self.resume and is_done(self.folder)):
            return None
        result = load_result(self.folder)
        if result.metadata.get("sha256") != data.digest:
            raise UsageError(f"{self.folder} holds a finished fit of other data; choose another folder")
        return result


def fit_into_folder(
    data: Trajectories,
    target: RunTarget,
    family: Family,
    seeds: Sequence[int],
    config: FitConfig,
    watch: Watcher | None = None,
    answered: Callable[[AnswerSheet], None] | None = None,
) -> tuple[FitResult, SymmetryReport]:
    """Fit with each seed, and write one run folder with the result of the best bound and its report.

    The folder holds checkpoints until the fit is finished.

    Args:
        data: trajectories.
        target: run folder to write, and how.
        family: family of conserved quantities.
        seeds: one or several seeds.
        config: settings.
        watch: called after each chunk of steps.
        answered: called with what the trajectories alone show, before any training.
    Returns:
        Result and report of the best bound.
    Raises:
        UsageError: if the folder is not empty or holds another fit, or if the result cannot be saved.
        Interrupted: if a signal stops the fit.
    """
    folder = target.folder
    require_target(folder, overwrite=target.overwrite, resume=target.resume)
    # The import of plotting is slow, so do it during training.
    threading.Thread(target=plot.load, daemon=True).start()
    journal = Journal(folder / CHECKPOINTS, target.checkpoint_seconds, notes=target.settings, claimed=folder)
    try:
        result = target.finished(data)
        if result is not None and (folder / _REPORT).is_file():
            return result, find_symmetries(result)
        with journal:
            if result is None:
                if target.overwrite:
                    journal.clear()
                if is_finished(folder):
                    # If this fit stops before its first record, --resume must not report the old run.
                    journal.make()
                result = fit(
                    data,
                    seed=seeds,
                    conserved=family,
                    config=config,
                    watch=watch,
                    answered=answered,
                    journal=journal,
                )
                # The fit is saved before its report is made, so that no error in the report can lose it.
                _save(result, folder, target.documents())
            report = find_symmetries(result)
            result.save(
                folder,
                overwrite=True,
                documents={_REPORT: report.as_json(), **target.documents()},
                texts={"README.md": _card(result, report)},
            )
            write_figures(folder, figures_of(report, result))
    except KeyboardInterrupt:
        kept = is_finished(folder) or is_unfinished(folder)
        done = f"checkpoints are in {folder}: pass --resume to continue" if kept else "nothing was saved yet"
        raise Interrupted(f"interrupted; {done}") from None
    return result, report


def rollout_figure(comparison: RolloutComparison, names: list[str]) -> Any:
    """Return a figure of the first trajectory of a comparison."""
    outcome, data = comparison.prediction, comparison.followed
    t = outcome.t if outcome.t.ndim == 1 else outcome.t[0]
    spread = outcome.deviation[0] if len(outcome.samples) else 0 * outcome.mean[0]
    seen = np.where(data.present[0][:, None], data.states[0], np.nan)
    return plot.rollouts(t, outcome.mean[0], spread, seen, names)
