"""Charges and norms of a network in training."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from noethers_razor.plot.style import BLUE, CYCLE, GREY, headed, lowest, open_frame, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINEAR = 1e-2
"""Share of the largest value below which a symmetric logarithmic axis is linear."""
_WINDOWS = 150
"""Largest number of groups of steps. Figures show means over groups, since single mini-batches are noisy."""


def _coarse(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means of steps (T) and values (T) over groups of consecutive steps."""
    parts = np.array_split(np.arange(len(steps)), min(_WINDOWS, len(steps)))
    return np.array([steps[p].mean() for p in parts]), np.array([values[p].mean() for p in parts])


def charges(steps: np.ndarray, terms: Mapping[str, Mapping[str, np.ndarray]], columns: int = 2) -> Figure:
    """Draw terms of charges over training, one panel for each generator.

    Args:
        steps: numbers (T) of the measured steps.
        terms: title of a panel -> name of a term -> values (T). The curves are means over groups of steps.
        columns: largest number of panels in a row.
    """
    figure, axes = panels(len(terms), columns, 4.0, 2.9, (0.4, 0.6), sharex=True)
    for ax, (title, own) in zip(axes.flat, terms.items(), strict=False):
        largest = 0.0
        for (name, values), colour in zip(own.items(), itertools.cycle(("black", *CYCLE)), strict=False):
            at, mean = _coarse(steps, np.asarray(values))
            largest = max(largest, float(np.nanmax(np.abs(mean), initial=0.0)))
            ax.plot(at, mean, color=colour, lw=1.4, label=name)
        ax.axhline(0.0, color=GREY, lw=0.6)
        ax.set_yscale("symlog", linthresh=max(_LINEAR * largest, 1e-300))
        ax.set_ylabel("mean over neurons")
        headed(ax, title)
        open_frame(ax)
    return _with_steps(figure, axes, len(terms))


def norms(
    steps: np.ndarray,
    squares: Mapping[str, np.ndarray],
    predicted: Mapping[str, Mapping[str, np.ndarray]],
    columns: int = 2,
) -> Figure:
    """Draw squared norms over training: measured values as dots, predictions as lines.

    Args:
        steps: numbers (T) of the steps.
        squares: title of a panel -> measured squared norms (T).
        predicted: title of a panel -> name of a theory -> predicted squared norms (T).
        columns: largest number of panels in a row.
    """
    figure, axes = panels(len(squares), columns, 4.0, 2.9, (0.4, 0.6), sharex=True)
    for ax, (title, square) in zip(axes.flat, squares.items(), strict=False):
        for (name, values), colour in zip(predicted[title].items(), itertools.cycle((BLUE, *CYCLE[1:]))):
            ax.plot(steps, values, color=colour, lw=1.4, label=name)
        every = max(1, len(steps) // 25)
        ax.plot(steps[::every], np.asarray(square)[::every], "o", color="black", ms=3, label="measured")
        ax.set_yscale("log")
        ax.set_ylabel("$|q|^2$")
        headed(ax, title)
        open_frame(ax)
    return _with_steps(figure, axes, len(squares))


def _with_steps(figure: Figure, axes: Any, count: int) -> Figure:
    """Label the common axis and add one legend."""
    for ax in lowest(axes, count):
        ax.set_xlabel("optimiser step")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, fontsize=8, frameon=False)
    return figure
