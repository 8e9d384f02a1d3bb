"""Generators as arrows in phase space or on bodies, and animations of their flows."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from noethers_razor.plot.style import BLUE, CYCLE, GREY, ORANGE, headed, limited, open_frame, panels

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.figure import Figure

_LONGEST = 0.22
"""Length of the longest arrow, as a share of the panel."""
_NOTHING = 1e-6
"""Share of the largest rate below which motion is only rounding."""
MOMENTUM = "momentum"
"""Label of arrows that are drawn with their own lengths."""
_SCREEN = 72
"""Dots per inch of animations. It is low, because every frame is a picture."""


class Arrows(NamedTuple):
    """Arrows in a plane.

    Args:
        points: points (P, 2) at which the arrows start.
        vectors: vectors (P, 2).
        label: text for the legend.
    """

    points: np.ndarray
    vectors: np.ndarray
    label: str = ""


def phase_planes(states: np.ndarray) -> np.ndarray:
    """Return the points (q_i, p_i) (..., n, 2) of states (..., M = 2 n)."""
    return np.stack(np.split(np.asarray(states), 2, axis=-1), axis=-1)


def bodies(states: np.ndarray, dim: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions and momenta (..., bodies, 2) of states, in the first two dimensions of space.

    Args:
        states: states (..., M): positions of one body after the other, then momenta.
        dim: number of dimensions of space, 2 or more.
    """
    array = np.asarray(states)
    halves = array.reshape(*array.shape[:-1], 2, -1, dim)[..., :2]
    return halves[..., 0, :, :], halves[..., 1, :, :]


def _seen(vectors: np.ndarray, size: float, largest: float) -> np.ndarray:
    """Return vectors, or zeros if they are only rounding compared with the largest rate.

    Args:
        vectors: rates of one kind of coordinate.
        size: unit of these coordinates.
        largest: largest rate of all coordinates in their units.
    """
    own = float(np.max(np.abs(vectors), initial=0.0)) / size
    return vectors if own > _NOTHING * largest else np.zeros_like(vectors)


def plane_arrows(states: np.ndarray, field: np.ndarray, i: int) -> list[Arrows]:
    """Return the arrows of a generator in the plane of q_i and p_i.

    Args:
        states: states (N, M).
        field: vector field (N, M) of the generator at the states.
        i: index of the degree of freedom, from 0.
    """
    size = np.maximum(np.std(states, axis=0), 1e-300)
    largest = float(np.max(np.abs(field) / size, initial=0.0))
    plane, own = phase_planes(field)[:, i], phase_planes(size)[i]
    moved = np.stack([_seen(plane[:, k], own[k], largest) for k in range(2)], axis=-1)
    return [Arrows(phase_planes(states)[:, i], moved)]


def body_arrows(state: np.ndarray, velocity: np.ndarray, dim: int = 2) -> list[Arrows]:
    """Return the arrows of a generator on positions and momenta of bodies.

    Momenta are thin arrows that start at their bodies. The arrows of their rates start at the tips. Positions
    and momenta have different units, so lengths are relative to the longest arrow of the same kind.

    Args:
        state: state (M).
        velocity: vector field (M) of the generator at the state.
        dim: number of dimensions of space, 2 or more.
    """
    (position, momentum), (dq, dp) = bodies(state, dim), bodies(velocity, dim)
    extent = float(np.ptp(position, axis=0).max()) or 1.0
    fastest = float(np.abs(momentum).max()) or 1.0
    largest = max(float(np.abs(dq).max()) / extent, float(np.abs(dp).max()) / fastest)
    drawn = momentum * (0.3 * extent / fastest)
    return [
        Arrows(position, drawn, MOMENTUM),
        Arrows(position, _seen(dq, extent, largest), "moves the body"),
        Arrows(position + drawn, _seen(dp, fastest, largest), "changes its momentum"),
    ]


def _framed(
    ax: Any, title: str, points: np.ndarray, labels: tuple[str, str], spare: float, equal: bool
) -> np.ndarray:
    """Set up a panel of a plane with limits around points (N, 2), and return their extent (2)."""
    headed(ax, title)
    ax.set(xlabel=labels[0], ylabel=labels[1])
    ax.tick_params(labelsize=7)
    open_frame(ax)
    return limited(ax, points, spare, equal=equal)


def _draw(ax: Any, kind: Arrows, colour: str, extent: np.ndarray) -> None:
    """Draw arrows of one kind. The longest has a fixed share of the panel; momenta keep their lengths."""
    still = kind.label == MOMENTUM
    lengths = np.linalg.norm(kind.vectors / extent, axis=1)
    known = np.isfinite(lengths) & np.isfinite(kind.points).all(axis=1)
    longest = np.max(lengths[known], initial=0.0)
    seen = known & (lengths > 0.01 * longest)
    if seen.any():
        scale = 1.0 if still else _LONGEST / longest
        width = 0.006 if still else 0.013
        ax.quiver(
            *kind.points[seen].T,
            *(kind.vectors[seen] * scale).T,
            angles="xy",
            scale_units="xy",
            scale=1,
            color=colour,
            width=width,
            label=kind.label or None,
        )


def arrows(
    fields: Mapping[str, Sequence[Arrows]],
    labels: tuple[str, str] = ("q", "p"),
    columns: int = 4,
    equal: bool = False,
) -> Figure:
    """Draw generators as vector fields, one panel each.

    The longest arrow of each kind has the same length in all panels, because generators have no common unit.

    Args:
        fields: title of a panel -> arrows from `plane_arrows` or `body_arrows`.
        labels: names of the two axes.
        columns: largest number of panels in a row.
        equal: whether both axes have the same unit, for example two axes of space.
    """
    figure, axes = panels(len(fields), columns, 2.4, 2.5)
    for ax, (title, kinds) in zip(axes.flat, fields.items(), strict=False):
        points = np.concatenate([kind.points for kind in kinds])
        extent = _framed(ax, title, points, labels, _LONGEST, equal)
        colours = itertools.cycle((BLUE, ORANGE))
        for kind in kinds:
            _draw(ax, kind, GREY if kind.label == MOMENTUM else next(colours), extent)
        ax.plot(*kinds[0].points.T, "o" if len(kinds[0].points) < 20 else ".", color="black", ms=4)
    found: dict[str, Any] = {}
    for ax in axes.flat:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        figure.legend(
            found.values(), found.keys(), loc="outside lower center", ncols=3, fontsize=8, frameon=False
        )
    return figure


def flow(
    points: Mapping[str, np.ndarray],
    tau: np.ndarray,
    labels: tuple[str, str] = ("q", "p"),
    columns: int = 4,
    equal: bool = False,
    milliseconds: int = 60,
) -> FuncAnimation:
    """Animate flows, one panel each.

    On the result, ``save("flow.gif", writer="pillow")`` writes a GIF, and ``to_jshtml()`` returns HTML that
    needs no other files.

    Args:
        points: title of a panel -> P moving points (T, P, 2) at the flow times.
        tau: flow times (T).
        labels: names of the two axes.
        columns: largest number of panels in a row.
        equal: whether both axes have the same unit, for example two axes of space.
        milliseconds: time between frames, milliseconds.
    """
    from matplotlib.animation import FuncAnimation

    figure, axes = panels(len(points), columns, 2.4, 2.5)
    moving: list[tuple[Any, Any, np.ndarray]] = []
    for ax, (title, path) in zip(axes.flat, points.items(), strict=False):
        _framed(ax, title, path.reshape(-1, 2), labels, 0.08, equal)
        for i in range(path.shape[1]):
            colour = CYCLE[i % len(CYCLE)]
            (line,) = ax.plot([], [], color=colour, lw=1)
            (dot,) = ax.plot([], [], "o", color=colour, ms=5)
            moving.append((line, dot, path[:, i]))
    caption = figure.suptitle("flow time")
    # Compute the layout only once. A new layout for every frame takes most of the time.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    figure.set_dpi(_SCREEN)

    def frame(k: int) -> list[Any]:
        for line, dot, path in moving:
            line.set_data(*path[: k + 1].T)
            dot.set_data(*path[k : k + 1].T)
        caption.set_text(f"flow time $\\tau$ = {tau[k]:.2f}")
        return [artist for line, dot, _ in moving for artist in (line, dot)]

    return FuncAnimation(figure, frame, frames=len(tau), interval=milliseconds)
