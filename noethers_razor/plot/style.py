"""What all figures share: a figure without a window, colours, the look of axes."""

from __future__ import annotations

import functools
import importlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart with any colour vision.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"
PINK, SKY, YELLOW = "#CC79A7", "#56B4E9", "#F0E442"
CYCLE = (BLUE, ORANGE, GREEN, PINK, SKY, YELLOW)


def load() -> None:
    """Import what drawing a PNG needs, ahead of the first picture."""
    importlib.import_module("matplotlib.backends.backend_agg")


@functools.cache
def _shown() -> type[Figure]:
    """The figure that notebooks show, whether pyplot was imported or not."""
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        def _repr_png_(self) -> bytes:
            stream = io.BytesIO()
            self.savefig(stream, format="png", dpi=100)
            return stream.getvalue()

    return ShownFigure


def blank(width: float, height: float) -> Figure:
    """An empty figure, inches."""
    # One of its own belongs to no window system: safe in scripts, notebooks and threads alike.
    return _shown()(figsize=(width, height), layout="constrained")


def panels(
    count: int,
    columns: int,
    width: float,
    height: float,
    spare: tuple[float, float] = (0.5, 0.4),
    **shared: Any,
) -> tuple[Figure, Any]:
    """A figure of so many axes of a size, row by row, and the array of axes; those beyond are hidden.

    Args:
        spare: added to the width and the height of all, inches.
        shared: whether axes are, see `matplotlib.figure.Figure.subplots`.
    """
    columns = max(1, min(columns, count))
    rows = max(1, -(-count // columns))
    figure = blank(width * columns + spare[0], height * rows + spare[1])
    axes = figure.subplots(rows, columns, squeeze=False, **shared)
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    # What shares its axis with a hidden one below would go without numbers.
    for ax in lowest(axes, count):
        ax.tick_params(labelbottom=True)
    return figure, axes


def lowest(axes: Any, count: int) -> list[Any]:
    """Of an array of axes, filled row by row up to a count, the lowest filled one of each column."""
    return list(axes.flat[:count][-axes.shape[1] :])


def open_frame(ax: Any) -> None:
    """Without the lines above and at the right."""
    ax.spines[["top", "right"]].set_visible(False)


def headed(ax: Any, title: str, most: int = 34) -> None:
    """With a title that stays within a panel."""
    ax.set_title(title if len(title) <= most else title[: most - 1] + "…", fontsize=7.5)


def limited(ax: Any, points: np.ndarray, share: float, *, equal: bool) -> np.ndarray:
    """With limits around points (N, 2) and a share of their extent more on each side; the extent (2,).

    Args:
        equal: one unit for both axes, in a square.
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
