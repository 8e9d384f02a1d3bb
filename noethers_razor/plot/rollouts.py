"""Predictions compared with data."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from noethers_razor.plot.style import BLUE, CYCLE, GREY, ORANGE, blank, lowest, open_frame, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def rollouts(
    t: np.ndarray,
    mean: np.ndarray,
    deviation: np.ndarray,
    truth: np.ndarray | None,
    names: Sequence[str],
    columns: int = 3,
) -> Figure:
    """Draw a prediction over time with two standard deviations and the data, one panel for each coordinate.

    Args:
        t: times (T).
        mean: predicted states (T, M).
        deviation: standard deviations (T, M).
        truth: observed states (T, M), or None.
        names: names of the M coordinates.
        columns: largest number of panels in a row.
    """
    figure, axes = panels(len(names), columns, 3.0, 1.7, (0.4, 0.6), sharex=True)
    for i, (ax, name) in enumerate(zip(axes.flat, names, strict=False)):
        low, high = mean[:, i] - 2 * deviation[:, i], mean[:, i] + 2 * deviation[:, i]
        ax.fill_between(t, low, high, color=BLUE, alpha=0.25, lw=0, label="± 2 standard deviations")
        ax.plot(t, mean[:, i], color=BLUE, lw=1.5, label="posterior-mean Hamiltonian")
        if truth is not None:
            ax.plot(t, truth[:, i], ".", color=ORANGE, ms=4, label="data")
        ax.set_ylabel(name)
        open_frame(ax)
    for ax in lowest(axes, len(names)):
        ax.set_xlabel("time")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    return figure


def paths(
    rollout: Mapping[str, np.ndarray],
    truth: np.ndarray | None = None,
    labels: tuple[str, str] = ("x", "y"),
    columns: int = 4,
) -> Figure:
    """Draw paths of P bodies in the plane, one panel each.

    Args:
        rollout: title of a panel -> predicted positions (T, P, 2), see `bodies`.
        truth: observed positions (T, P, 2), drawn as dots.
        labels: names of the two axes.
        columns: largest number of panels in a row.
    """
    figure, axes = panels(len(rollout), columns, 2.8, 2.9, sharex=True, sharey=True)
    for ax, (title, path) in zip(axes.flat, rollout.items(), strict=False):
        for i in range(path.shape[1]):
            colour = CYCLE[i % len(CYCLE)]
            ax.plot(*path[:, i].T, color=colour, lw=1.5)
            if truth is not None:
                ax.plot(*truth[:, i].T, ".", color=colour, ms=4)
        ax.set_title(title, fontsize=9)
        ax.set(aspect="equal", xlabel=labels[0], ylabel=labels[1])
        open_frame(ax)
    return figure


def calibration(levels: np.ndarray, covered: Mapping[str, np.ndarray]) -> Figure:
    """Draw the share of true values within central intervals of the prediction.

    On the diagonal the intervals are calibrated; below it they are too narrow.

    Args:
        levels: levels (L) of the intervals, from 0 to 1.
        covered: name of a curve -> shares (L) of true values inside the intervals.
    """
    figure = blank(3.6, 3.5)
    ax: Any = figure.subplots()
    ax.plot([0, 1], [0, 1], color="black", lw=1, ls="--", label="calibrated")
    for (name, shares), colour in zip(covered.items(), itertools.cycle((GREY, *CYCLE))):
        ax.plot(levels, shares, "o-", color=colour, ms=4, label=name)
    ax.set(xlabel="level of the interval", ylabel="share of true values inside", xlim=(0, 1), ylim=(0, 1.02))
    ax.set_aspect("equal")
    figure.legend(loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    open_frame(ax)
    return figure
