"""Pictures of one fit for the documentation: data, proposal, selection, training, report.

Run as `python -m experiments.how_a_fit_works`. It fits two oscillators with noise, which takes a minute, and
writes docs/assets/how-*.png.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import noethers_razor as nr
from noethers_razor.plot.style import BLUE, GREY, ORANGE, blank, open_frame

ASSETS = Path(__file__).parents[1] / "docs" / "assets"
NOISE = 0.03
OFFERED = 10
SHOWN = 4
"""Trajectories in a picture of the data."""
DETUNING = 0.01
"""Difference of the frequencies of the system whose symmetry is broken."""


def save(figure: Any, name: str) -> None:
    path = ASSETS / f"how-{name}.png"
    figure.savefig(path, dpi=130)
    print(path)


def draw_plane(ax: Any, data: nr.Trajectories) -> None:
    for states in data.states[:SHOWN]:
        ax.plot(states[:, 0], states[:, 1], ".-", ms=3, lw=0.7)
    ax.set(xlabel="$q_1$", ylabel="$q_2$", aspect="equal")
    open_frame(ax)


def draw_candidates(ax: Any, answer: dict[str, Any]) -> None:
    variation = np.sqrt(answer["variances"][:OFFERED])
    index = np.arange(1, len(variation) + 1)
    ax.axhline(1.0, color=ORANGE, lw=1.2, ls="--")
    ax.text(len(variation) + 0.4, 1.15, "noise of the data", color=ORANGE, ha="right", fontsize=8)
    colours = [BLUE if k <= answer["exact"] else GREY for k in index]
    ax.scatter(index, variation, c=colours, s=36, zorder=3)
    ax.set(yscale="log", xlabel="candidate", ylabel="variation along trajectories / noise")
    ax.set_xticks(index)
    open_frame(ax)


def draw_values(ax: Any, data: nr.Trajectories, quantity: Any, title: str) -> None:
    for states in data.states[:SHOWN]:
        ax.plot(data.t, quantity(states), lw=1.2)
    ax.set_xlabel("time")
    ax.set_title(title, fontsize=10)
    open_frame(ax)


def data_figure(data: nr.Trajectories) -> Any:
    figure = blank(7.4, 2.6)
    left, right = figure.subplots(1, 2, width_ratios=(1, 2))
    draw_plane(left, data)
    for values in data.states[:SHOWN, :, 0]:
        right.plot(data.t, values, ".-", ms=3, lw=0.7)
    right.set(xlabel="time", ylabel="$q_1$")
    open_frame(right)
    return figure


def propose_figure(data: nr.Trajectories, answer: dict[str, Any]) -> Any:
    figure = blank(8.6, 2.8)
    first, second, third = figure.subplots(1, 3, width_ratios=(1, 1, 1.5))
    second.sharey(first)
    draw_values(first, data, lambda x: x[:, 0] * x[:, 3] - x[:, 1] * x[:, 2], "conserved: $q_1p_2 - q_2p_1$")
    draw_values(second, data, lambda x: x[:, 0] * x[:, 3] + x[:, 1] * x[:, 2], "not: $q_1p_2 + q_2p_1$")
    first.set_ylabel("value along a trajectory")
    draw_candidates(third, answer)
    return figure


def select_figure(broken: dict[str, Any], answer: dict[str, Any], bounds: dict[str, Any]) -> Any:
    figure = blank(9.8, 2.8)
    ax, middle, right = figure.subplots(1, 3, width_ratios=(1.3, 1.3, 1))
    for label, found, colour in (
        ("equal frequencies", answer, BLUE),
        (f"frequencies 1 and {1 + DETUNING:g}", broken, ORANGE),
    ):
        values = np.maximum(found["p_values"], 1e-12)
        ax.plot(np.arange(1, len(values) + 1), values, "o-", color=colour, lw=1, ms=6, label=label)
        nats = np.append(0.0, found["log_evidence"])
        middle.plot(np.arange(len(nats)), nats, "o-", color=colour, lw=1, ms=4)
    ax.axhline(0.05, color=GREY, lw=1.2, ls="--")
    ax.legend(fontsize=8, frameon=False, loc="lower left")
    ax.set(
        yscale="log",
        title="drift",
        xlabel="number K of quantities",
        ylabel="p-value of all K exact",
    )
    ax.set_xticks(range(1, len(answer["p_values"]) + 1))
    middle.set(title="fitted field", xlabel="number K of quantities", ylabel="log evidence (nats)")
    names = {"without\nsymmetry": "none", "selected\nquantities": "quadratic"}
    for place, name in enumerate(names.values()):
        found = bounds[name]
        colour = GREY if name == "none" else BLUE
        right.errorbar(place, found["negative_elbo"], 2 * found["error"], fmt="o", color=colour, capsize=4)
        right.text(place, found["negative_elbo"], f"   {found['negative_elbo']:.2f}", va="center", fontsize=8)
    right.set(title="after training", ylabel="-ELBO per transition (nats)", xlim=(-0.5, 1.7))
    right.set_xticks(range(len(names)), list(names))
    for own in (ax, middle, right):
        open_frame(own)
    return figure


def train_figure(result: nr.FitResult) -> Any:
    figure = nr.plot.training(result.history)
    late = [row.negative_elbo for row in result.history if row.step > 600]
    spare = 0.1 * (max(late) - min(late))
    figure.axes[0].set_ylim(min(late) - spare, max(late) + spare)
    return figure


def overview_figure(data: nr.Trajectories, report: Any) -> Any:
    figure = blank(9.8, 3.0)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1.35, 0.9))
    draw_plane(left, data)
    left.set_title("trajectories", fontsize=10)
    draw_candidates(middle, report.answer)
    middle.set_title(f"{OFFERED} candidates, {report.rank} conserved", fontsize=10)
    right.set_axis_off()
    right.set_title("report", fontsize=10, loc="left")
    lines = [f"C{i + 1} = {formula}" for i, formula in enumerate(report.formulas)]
    lines += ["", f"algebra {report.algebra}"]
    right.text(0.0, 0.92, "\n".join(lines), va="top", family="monospace", fontsize=10, linespacing=1.7)
    return figure


def main() -> None:
    system = nr.systems.Oscillators(n=2)
    data = system.simulate(seed=1, n_trajectories=100, n_steps=50, dt=0.2, noise=NOISE)
    result = nr.fit(data, conserved=nr.Quadratic(OFFERED), seed=1)
    report = nr.find_symmetries(result, truth=system)
    other = nr.systems.Oscillators(n=2, frequencies=(1.0, 1.0 + DETUNING))
    broken = nr.answer(other.simulate(seed=1, n_trajectories=100, n_steps=50, dt=0.2, noise=NOISE))
    print(f"{report}\n\nfrequencies 1 and {1 + DETUNING:g}\n{broken}")
    names = result.coordinates
    save(data_figure(data), "data")
    save(propose_figure(data, report.answer), "propose")
    save(select_figure(broken.as_json(), report.answer, result.evidence["bounds"]), "select")
    save(train_figure(result), "train")
    save(nr.plot.generators(report.readable_forms, report.formulas, names), "report")
    save(overview_figure(data, report), "overview")


if __name__ == "__main__":
    main()
