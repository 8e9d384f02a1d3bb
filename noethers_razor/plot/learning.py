"""The bound along training, errors over what is varied."""

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
    """Place of a stage in time; the stages of one round, such as ``selection 2 ...``, have the same place."""
    word, _, rest = stage.partition(" ")
    return 1 + int(rest.split()[0]) if word in ROUNDS else int(stage != "without symmetry")


def _lines(rows: Sequence[Any]) -> dict[str, tuple[list[int], list[float]]]:
    """Return optimiser steps since the start of the fit, and -ELBO, of each stage.

    The control starts with the joint stage, and all sets of a round of model selection start together.
    """
    stages = dict.fromkeys(row.stage for row in rows)
    ends = [max((row.step for row in rows if _phase(row.stage) == k), default=0) for k in range(9)]
    found = {}
    for stage in stages:
        part = [row for row in rows if row.stage == stage]
        before = sum(ends[: _phase(stage)])
        found[stage] = [before + row.step for row in part], [row.negative_elbo for row in part]
    return found


def _of_the_bound(figure: Figure, ax: Any, columns: int) -> Figure:
    """With the axes of a bound along training, and a legend of so many columns."""
    ax.set(xlabel="optimiser step", ylabel="-ELBO per transition (nats)")
    figure.legend(loc="outside upper center", ncols=columns, fontsize=8, frameon=False)
    open_frame(ax)
    return figure


def training(rows: Sequence[Any]) -> Figure:
    """-ELBO per transition over the optimiser steps of each stage."""
    figure = blank(7.0, 3.2)
    ax: Any = figure.subplots()
    stages = _lines(rows)
    # All that trains without symmetry is one curve with gaps to the eye: one colour, one name.
    bare = [s for s in stages if s in ("without symmetry", "control") or s.endswith(" none")]
    palette = itertools.cycle(CYCLE)
    for stage, (steps, values) in stages.items():
        colour = GREY if stage in bare else next(palette)
        label = "_" * (stage in bare[1:]) + ("without symmetry, and control" if stage in bare else stage)
        ax.plot(steps, values, "o-", ms=3, color=colour, label=label)
    return _of_the_bound(figure, ax, 3)


def convergence(histories: Mapping[str, Sequence[Any]]) -> Figure:
    """-ELBO per transition of several fits along their training: name -> rows of history.

    Controls of a fit with symmetry, and sets of quantities that were only asked about, are left out.
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
        # The first steps fall by far more than the fits differ.
        spare = 0.05 * (max(late) - min(late))
        ax.set_ylim(min(late) - spare, max(late) + spare)
    return _of_the_bound(figure, ax, 4)


def curves(panels: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray]]], ylabel: str) -> Figure:
    """Medians with ranges on log axes: x label -> x values (P,) and, by name, values (P, runs)."""
    figure = blank(3.6 * len(panels), 3.0)
    axes: Any = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, (label, (x, lines)) in zip(axes, panels.items(), strict=True):
        for (name, values), colour in zip(lines.items(), (GREY, BLUE, ORANGE, GREEN), strict=False):
            ax.fill_between(x, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.2, lw=0)
            ax.plot(x, np.median(values, axis=1), "o-", color=colour, label=name, ms=4)
        ax.set(xscale="log", yscale="log", xlabel=label)
        open_frame(ax)
    axes[0].set_ylabel(ylabel)
    axes[0].legend(frameon=False)
    return figure
