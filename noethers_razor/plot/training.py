"""The bound during training, and errors over a varied quantity."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from noethers_razor.plot.style import BLUE, CYCLE, GREEN, GREY, ORANGE, blank, open_frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure


ROUNDS = ("selection", "judgement")
"""First words of the stages of a round of model selection, now and in runs of version 0.1."""


def _phase(stage: str) -> int:
    """Return the place of a stage in time. The stages of a round, such as ``selection 2 ...``, share it."""
    word, _, rest = stage.partition(" ")
    return 1 + int(rest.split()[0]) if word in ROUNDS else int(stage != "without symmetry")


def _lines(rows: Sequence[Any]) -> dict[str, tuple[list[int], list[float]]]:
    """Return optimiser steps since the start of the fit, and -ELBO, of each stage.

    The control starts with the joint stage, and all sets of a round of model selection start together.
    """
    phases = {row.stage: _phase(row.stage) for row in rows}
    count = max(phases.values(), default=0)
    ends = [max((row.step for row in rows if phases[row.stage] == k), default=0) for k in range(count)]
    found = {}
    for stage, phase in phases.items():
        part = [row for row in rows if row.stage == stage]
        before = sum(ends[:phase])
        found[stage] = [before + row.step for row in part], [row.negative_elbo for row in part]
    return found


def _of_the_bound(figure: Figure, ax: Any, columns: int) -> Figure:
    """Label the axes of a bound over training, and add a legend with a number of columns."""
    ax.set(xlabel="optimiser step", ylabel="-ELBO per transition (nats)")
    figure.legend(loc="outside upper center", ncols=columns, fontsize=8, frameon=False)
    open_frame(ax)
    return figure


def training(rows: Sequence[Any]) -> Figure:
    """Draw -ELBO per transition over the optimiser steps of each stage.

    Args:
        rows: rows of the history of a fit.
    """
    figure = blank(7.0, 3.2)
    ax: Any = figure.subplots()
    stages = _lines(rows)
    # All stages without symmetry share one colour and one entry of the legend.
    bare = [s for s in stages if s in ("without symmetry", "control") or s.endswith(" none")]
    palette = itertools.cycle(CYCLE)
    for stage, (steps, values) in stages.items():
        colour = GREY if stage in bare else next(palette)
        label = "_" * (stage in bare[1:]) + ("without symmetry, and control" if stage in bare else stage)
        ax.plot(steps, values, "o-", ms=3, color=colour, label=label)
    return _of_the_bound(figure, ax, 3)


def convergence(histories: Mapping[str, Sequence[Any]]) -> Figure:
    """Draw -ELBO per transition of several fits over their training.

    The figure omits the control of a fit with symmetry, and the sets of model selection.

    Args:
        histories: name of a fit -> rows of its history.
    """
    figure = blank(6.0, 3.4)
    ax: Any = figure.subplots()
    late: list[float] = []
    for (name, rows), colour in zip(histories.items(), itertools.cycle((GREY, *CYCLE))):
        stages = _lines(rows)
        last = next((s for s in ("joint", "control") if s in stages), None)
        steps, values = [], []
        for stage in ("without symmetry", last):
            if stage in stages:
                steps += stages[stage][0]
                values += stages[stage][1]
        ax.plot(steps, values, "o-", ms=3, color=colour, label=name)
        late += values[len(values) // 5 :]
    if late and max(late) > min(late):
        # In the first steps the bound changes far more than it differs between fits.
        spare = 0.05 * (max(late) - min(late))
        ax.set_ylim(min(late) - spare, max(late) + spare)
    return _of_the_bound(figure, ax, 4)


def curves(panels: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray]]], ylabel: str) -> Figure:
    """Draw medians and ranges over runs on logarithmic axes, one panel for each varied quantity.

    Args:
        panels: label of the x axis -> x values (P), and values (P, runs) by name of a curve.
        ylabel: label of the common y axis.
    """
    figure = blank(3.6 * len(panels), 3.0)
    axes: Any = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, (label, (x, lines)) in zip(axes, panels.items(), strict=True):
        for (name, values), colour in zip(lines.items(), itertools.cycle((GREY, BLUE, ORANGE, GREEN))):
            ax.fill_between(x, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.2, lw=0)
            ax.plot(x, np.median(values, axis=1), "o-", color=colour, label=name, ms=4)
        ax.set(xscale="log", yscale="log", xlabel=label)
        open_frame(ax)
    axes[0].set_ylabel(ylabel)
    axes[0].legend(frameon=False)
    return figure
