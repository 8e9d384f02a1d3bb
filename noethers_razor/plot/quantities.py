"""Conserved quantities: their number, their coefficients and their level sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from noethers_razor.plot.style import BLUE, GREY, ORANGE, blank, headed, lowest, open_frame, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def spectrum(singular_values: np.ndarray, rank: int, parallelness: np.ndarray | None = None) -> Figure:
    """Draw singular values on a logarithmic axis and, if given, parallelness below (paper, figure 3).

    Args:
        singular_values: singular values (K).
        rank: number of conserved quantities; the first ones are blue.
        parallelness: parallelness (K) to the true span, from 0 to 1.
    """
    count = len(singular_values)
    figure = blank(6.0, 3.0 if parallelness is None else 4.6)
    axes: Any = figure.subplots(1 if parallelness is None else 2, 1, sharex=True, squeeze=False)[:, 0]
    index = np.arange(1, count + 1)
    colours = [BLUE if i < rank else GREY for i in range(count)]
    floor = max(1e-8, 0.3 * min((v for v in singular_values if v > 1e-8), default=1e-3))
    axes[0].vlines(index, floor, np.maximum(singular_values, floor), colors=colours, lw=2)
    axes[0].scatter(index, np.maximum(singular_values, floor), c=colours, s=28, zorder=3)
    axes[0].set(yscale="log", ylabel="singular value\n(displacement per unit $\\tau$)")
    axes[0].set_title(f"{rank} conserved quantities (blue) of {count} offered", fontsize=10)
    if parallelness is not None:
        axes[1].bar(index, parallelness, color=colours, width=0.7)
        axes[1].set(ylabel="parallelness\nto the true span", ylim=(0, 1.05))
    axes[-1].set(xlabel="direction")
    axes[-1].set_xticks(index if count <= 20 else index[:: max(1, count // 10)])
    for ax in axes:
        open_frame(ax)
    return figure


def generators(
    quantities: Sequence[tuple[np.ndarray, np.ndarray]],
    titles: Sequence[str],
    names: Sequence[str],
    columns: int = 5,
) -> Figure:
    """Draw heat maps of quadratic quantities C = x^T A x / 2 + b^T x, with one scale (paper, figure 5).

    Args:
        quantities: matrix A (M, M) and vector b (M) of each quantity. If any b is not zero, the vectors are
            columns to the right of the matrices.
        titles: title of each panel.
        names: names of the M coordinates.
        columns: largest number of panels in a row.
    """
    ticks, forms = list(names), [a for a, _ in quantities]
    # Terms that a formula does not contain are exactly zero, so no tolerance is needed.
    if any(np.any(b) for _, b in quantities):
        gap = np.full((len(names), 1), np.nan)
        forms = [np.hstack([a, gap, b[:, None]]) for a, b in quantities]
        ticks += ["", "b"]
    figure, axes = panels(len(forms), columns, 2.1, 2.25, (0.7, 0.2))
    largest = max((float(np.nanmax(np.abs(a))) for a in forms), default=1.0) or 1.0
    image = None
    for ax, form, title in zip(axes.flat, forms, titles, strict=False):
        image = ax.imshow(form, cmap="RdBu_r", vmin=-largest, vmax=largest)
        headed(ax, title, 26)
        if len(names) <= 12:
            ax.set_xticks(range(len(ticks)), ticks, fontsize=6, rotation=90 if len(names) > 6 else 0)
            ax.set_yticks(range(len(names)), names, fontsize=6)
        else:
            ax.set_xticks([])
            ax.set_yticks([])
    if image is not None:
        figure.colorbar(image, ax=axes, shrink=0.8, label="entry of A and b, $C = x^T A x / 2 + b^T x$")
    return figure


class Section(NamedTuple):
    """A plane through phase space.

    Args:
        across: values (A) of the horizontal coordinate.
        up: values (U) of the vertical coordinate.
        states: states (U, A, M) on the grid.
    """

    across: np.ndarray
    up: np.ndarray
    states: np.ndarray


def section(states: np.ndarray, i: int, j: int, points: int = 81, at: np.ndarray | None = None) -> Section:
    """Return the plane of two coordinates through data, with a margin of a tenth of their range.

    Args:
        states: states (N, M).
        i: index of the horizontal coordinate.
        j: index of the vertical coordinate.
        points: number of grid points in each direction.
        at: state (M) for the other coordinates; the mean of the states by default.
    """
    low, high = states.min(axis=0), states.max(axis=0)
    more = 0.1 * (high - low)
    across, up = (np.linspace(low[k] - more[k], high[k] + more[k], points) for k in (i, j))
    grid = np.broadcast_to(
        states.mean(axis=0) if at is None else at, (points, points, states.shape[1])
    ).copy()
    grid[..., i], grid[..., j] = np.meshgrid(across, up)
    return Section(across, up, grid)


def level_sets(
    values: Mapping[str, np.ndarray],
    plane: Section,
    labels: tuple[str, str] = ("q", "p"),
    data: np.ndarray | None = None,
    columns: int = 4,
) -> Figure:
    """Draw level sets of functions on a plane, one panel each (paper, figure 2, for Hamiltonians).

    Args:
        values: title of a panel -> values (U, A) at the states of the plane.
        plane: plane from `section`.
        labels: names of the two coordinates.
        data: points (N, 2) of the plane, drawn as dots.
        columns: largest number of panels in a row.
    """
    figure, axes = panels(len(values), columns, 2.7, 2.9, sharex=True, sharey=True)
    for ax, (title, value) in zip(axes.flat, values.items(), strict=False):
        # Equal steps between quantiles. With the full range, a pole of a potential would take all levels.
        low, high = np.nanquantile(value, [0.02, 0.95])
        if low < high:
            ax.contour(
                plane.across,
                plane.up,
                value,
                levels=np.linspace(low, high, 13),
                cmap="viridis",
                linewidths=1.2,
            )
        if data is not None:
            ax.plot(data[:, 0], data[:, 1], ".", color=ORANGE, ms=3)
        headed(ax, title)
    for ax in lowest(axes, len(values)):
        ax.set_xlabel(labels[0])
    for ax in axes[:, 0]:
        ax.set_ylabel(labels[1])
    return figure
