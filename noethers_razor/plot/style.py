"""Common parts of all figures: figures without a window, colours and axes."""

from __future__ import annotations

import functools
import importlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The palette of Okabe and Ito, which is distinguishable with any colour vision.
BLUE = "#0072B2"
ORANGE = "#D55E00"
GREEN = "#009E73"
GREY = "#999999"
PINK = "#CC79A7"
SKY = "#56B4E9"
YELLOW = "#F0E442"
CYCLE = (BLUE, ORANGE, GREEN, PINK, SKY, YELLOW)
"""Colours of curves, in order. Grey is for comparisons without symmetry."""


def load() -> None:
    """Import the backend for PNG files before the first picture, for example in a thread."""
    importlib.import_module("matplotlib.backends.backend_agg")


@functools.cache
def _shown() -> type[Figure]:
    """Return the class of figures, which notebooks show even without pyplot."""
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        def _repr_png_(self) -> bytes:
            stream = io.BytesIO()
            self.savefig(stream, format="png", dpi=100)
            return stream.getvalue()

    return ShownFigure


def blank(width: float, height: float) -> Figure:
    """Return an empty figure with a width and a height in inches."""
    # A figure without pyplot belongs to no window system. It is safe in scripts, notebooks and threads.
    return _shown()(figsize=(width, height), layout="constrained")


def panels(
    count: int,
    columns: int,
    width: float,
    height: float,
    spare: tuple[float, float] = (0.5, 0.4),
    **shared: Any,
) -> tuple[Figure, Any]:
    """Return a figure with panels row by row, and the array of their axes.

    Args:
        count: number of panels. Other axes of the array are hidden.
        columns: largest number of panels in a row.
        width: width of a panel, inches.
        height: height of a panel, inches.
        spare: additional width and height of the figure, inches.
        shared: ``sharex`` and ``sharey`` of `matplotlib.figure.Figure.subplots`.
    """
    columns = max(1, min(columns, count))
    rows = max(1, -(-count // columns))
    figure = blank(width * columns + spare[0], height * rows + spare[1])
    axes = figure.subplots(rows, columns, squeeze=False, **shared)
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    # A panel that shares its axis with hidden axes below would have no tick labels.
    for ax in lowest(axes, count):
        ax.tick_params(labelbottom=True)
    return figure, axes


def lowest(axes: Any, count: int) -> list[Any]:
    """Return the lowest panel of each column, for an array of axes with `count` panels row by row."""
    return list(axes.flat[:count][-axes.shape[1] :])


def open_frame(ax: Any) -> None:
    """Remove the top and right lines of the frame."""
    ax.spines[["top", "right"]].set_visible(False)


def headed(ax: Any, title: str, most: int = 34) -> None:
    """Set a title, shortened to at most `most` characters so that it fits the panel."""
    ax.set_title(title if len(title) <= most else title[: most - 1] + "…", fontsize=7.5)


def limited(ax: Any, points: np.ndarray, share: float, *, equal: bool) -> np.ndarray:
    """Set the limits of axes around points.

    Args:
        ax: axes.
        points: points (N, 2); points that are not finite are ignored.
        share: margin on each side, as a share of the extent of the points.
        equal: whether both axes have the same unit, in a square.
    Returns:
        Extent (2) of the points.
    """
    known = points[np.isfinite(points).all(axis=1)]
    if not len(known):
        return np.ones(2)
    low, high = known.min(axis=0), known.max(axis=0)
    extent = high - low
    extent = np.full(2, extent.max()) if equal else extent
    extent = np.where(extent > 0, extent, 1.0)
    half = extent * (0.5 + share)
    low, high = 0.5 * (low + high) - half, 0.5 * (low + high) + half
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal" if equal else "auto")
    return extent
