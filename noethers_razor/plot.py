"""Figures from arrays: every function takes plain arrays and returns a matplotlib figure."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart with any colour vision.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"


def load() -> None:
    """Import what drawing a PNG needs, ahead of the first picture."""
    importlib.import_module("matplotlib.backends.backend_agg")


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    # A bare Figure belongs to no window system: safe in scripts, notebooks and threads alike.
    return Figure(figsize=(width, height), layout="constrained")


def spectrum(singular_values: np.ndarray, rank: int, parallelness: np.ndarray | None = None) -> Figure:
    """Singular values (K,) on a log axis and, if given, parallelness (K,) below (paper, figure 3)."""
    count = len(singular_values)
    figure = _figure(6.0, 3.0 if parallelness is None else 4.6)
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
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def generators(
    quantities: Sequence[tuple[np.ndarray, np.ndarray]],
    titles: Sequence[str],
    names: Sequence[str],
    columns: int = 5,
) -> Figure:
    """Heat maps of A (M, M) of quantities (A, b) and, where any is not zero, of b (M,) beside them.

    One scale for all (paper, figure 5).
    """
    ticks, forms = list(names), [a for a, _ in quantities]
    # Formulas are exact: what is no term is zero.
    if any(np.any(b) for _, b in quantities):
        gap = np.full((len(names), 1), np.nan)
        forms = [np.hstack([a, gap, b[:, None]]) for a, b in quantities]
        ticks += ["", "b"]
    columns = max(1, min(columns, len(forms)))
    rows = max(1, -(-len(forms) // columns))
    figure = _figure(2.1 * columns + 0.7, 2.25 * rows + 0.2)
    axes: Any = figure.subplots(rows, columns, squeeze=False)
    largest = max((float(np.nanmax(np.abs(a))) for a in forms), default=1.0) or 1.0
    image = None
    for ax, form, title in zip(axes.flat, forms, titles, strict=False):
        image = ax.imshow(form, cmap="RdBu_r", vmin=-largest, vmax=largest)
        ax.set_title(title if len(title) <= 26 else title[:25] + "…", fontsize=7.5)
        if len(names) <= 12:
            ax.set_xticks(range(len(ticks)), ticks, fontsize=6, rotation=90 if len(names) > 6 else 0)
            ax.set_yticks(range(len(names)), names, fontsize=6)
        else:
            ax.set_xticks([])
            ax.set_yticks([])
    for ax in axes.flat[len(forms) :]:
        ax.set_axis_off()
    if image is not None:
        figure.colorbar(image, ax=axes, shrink=0.8, label="entry of A and b, $C = x^T A x / 2 + b^T x$")
    return figure


def contours(panels: Mapping[str, np.ndarray], extent: float, data: np.ndarray | None = None) -> Figure:
    """Level sets of Hamiltonians on a square of phase space (one degree of freedom; paper, figure 2).

    Args:
        panels: title -> energies (p, q) on an even grid over [-extent, extent]^2.
        extent: half the side of the square, data units.
        data: optional training states (N, 2), drawn as dots.
    """
    figure = _figure(2.7 * len(panels) + 0.3, 3.6)
    axes: Any = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, (title, energy) in zip(axes, panels.items(), strict=True):
        axis = np.linspace(-extent, extent, energy.shape[0])
        shifted = energy - energy.min()
        levels = np.linspace(0.0, float(np.quantile(shifted, 0.95)), 13)[1:]
        ax.contour(axis, axis, shifted, levels=levels, cmap="viridis", linewidths=1.2)
        if data is not None:
            ax.plot(data[:, 0], data[:, 1], ".", color=ORANGE, ms=4)
        ax.set(title=title, xlabel="q", aspect="equal")
    axes[0].set(ylabel="p")
    return figure


def rollouts(
    t: np.ndarray,
    mean: np.ndarray,
    deviation: np.ndarray,
    truth: np.ndarray | None,
    names: Sequence[str],
    columns: int = 3,
) -> Figure:
    """One trajectory's coordinates over time: prediction, two deviations, and the data.

    Args:
        t: times (T,).
        mean, deviation: (T, M).
        truth: observed states (T, M), or None.
        names: of the M coordinates.
    """
    columns = min(columns, len(names))
    rows = -(-len(names) // columns)
    figure = _figure(3.0 * columns + 0.4, 1.7 * rows + 0.6)
    axes: Any = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for i, (ax, name) in enumerate(zip(axes.flat, names, strict=False)):
        low, high = mean[:, i] - 2 * deviation[:, i], mean[:, i] + 2 * deviation[:, i]
        ax.fill_between(t, low, high, color=BLUE, alpha=0.25, lw=0, label="± 2 posterior deviations")
        ax.plot(t, mean[:, i], color=BLUE, lw=1.5, label="posterior-mean Hamiltonian")
        if truth is not None:
            ax.plot(t, truth[:, i], ".", color=ORANGE, ms=4, label="data")
        ax.set_ylabel(name)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    for ax in axes[-1]:
        ax.set_xlabel("time")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    return figure


def _phase(stage: str) -> int:
    """Place of a stage in time: those of one number ran beside each other, as ``judgement 2 ...``."""
    word, _, rest = stage.partition(" ")
    return 1 + int(rest.split()[0]) if word == "judgement" else int(stage != "without symmetry")


def training(rows: Sequence[Any]) -> Figure:
    """-ELBO per transition over the optimiser steps of each stage."""
    figure = _figure(7.0, 3.2)
    ax: Any = figure.subplots()
    stages = list(dict.fromkeys(row.stage for row in rows))
    # The control trains beside the joint stage, and the sets of a round of judgement beside each other.
    phases = {stage: _phase(stage) for stage in stages}
    ends = [max((row.step for row in rows if phases[row.stage] == k), default=0) for k in range(9)]
    # All that trains without symmetry is one curve with gaps to the eye: one colour, one name.
    bare = [s for s in stages if s in ("without symmetry", "control") or s.endswith(" none")]
    palette = iter([BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", "#F0E442"] * 3)
    for stage in stages:
        colour = GREY if stage in bare else next(palette)
        label = "_" * (stage in bare[1:]) + ("without symmetry, and control" if stage in bare else stage)
        part = [row for row in rows if row.stage == stage]
        steps = [sum(ends[: phases[stage]]) + row.step for row in part]
        ax.plot(steps, [row.negative_elbo for row in part], "o-", ms=3, color=colour, label=label)
    ax.set(xlabel="optimiser step", ylabel="-ELBO per transition (nats)")
    figure.legend(loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def curves(panels: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray]]], ylabel: str) -> Figure:
    """Medians with ranges on log axes: x label -> x values (P,) and, by name, values (P, runs)."""
    figure = _figure(3.6 * len(panels), 3.0)
    axes: Any = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, (label, (x, lines)) in zip(axes, panels.items(), strict=True):
        for (name, values), colour in zip(lines.items(), (GREY, BLUE, ORANGE, GREEN), strict=False):
            ax.fill_between(x, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.2, lw=0)
            ax.plot(x, np.median(values, axis=1), "o-", color=colour, label=name, ms=4)
        ax.set(xscale="log", yscale="log", xlabel=label)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(ylabel)
    axes[0].legend(frameon=False)
    return figure
