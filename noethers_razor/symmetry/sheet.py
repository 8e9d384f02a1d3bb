"""What answer sheets of all families share: their input, bounds, warnings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import ArrayLike
from noethers_razor.data.frame import Frame
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.errors import UsageError
from noethers_razor.plot import markup

AS_LEARNED = "as learned"
"""Name, among the judged sets, of the one that training has left."""


class Fitted(Protocol):
    """What the analysis needs of a fitted model; `FitResult` is one, another program's may be."""

    @property
    def frame(self) -> Frame:
        """From data units to the frame of the quantities."""
        ...

    @property
    def moment(self) -> np.ndarray:
        """Second moment of the data in the frame, see `forms.second_moment`."""
        ...

    @property
    def states(self) -> np.ndarray:
        """Held-out states, data units."""
        ...

    @property
    def trajectories(self) -> FrameTrajectories | None:
        """Trajectories of the data in the frame and their noise, where they are known."""
        ...

    @property
    def held_out(self) -> bool:
        """Whether training has not seen them."""
        ...

    @property
    def evidence(self) -> dict[str, Any]:
        """Bounds and judgements, may be empty."""
        ...

    @property
    def coordinates(self) -> list[str]:
        """Names of the coordinates."""
        ...

    @property
    def is_quadratic(self) -> bool:
        """Whether the quantities are quadratic forms."""
        ...

    @property
    def terms(self) -> list[str]:
        """Terms beside the coordinates that formulas may have."""
        ...

    def conserved(self, x: ArrayLike) -> np.ndarray:
        """Values (..., K) of the learned quantities at states (..., M), data units."""
        ...

    def conserved_gradients(self, states: np.ndarray) -> np.ndarray:
        """Gradients (K, B, M) of the learned quantities at states (B, M) of data units, in the frame."""
        ...

    def quadratic_forms(self) -> tuple[np.ndarray, np.ndarray]:
        """Learned quantities in the frame."""
        ...

    @property
    def state_gradients(self) -> np.ndarray:
        """Gradient of H at the held-out states, data units."""
        ...


def true_gradient(truth: Any, states: np.ndarray) -> np.ndarray | None:
    """Gradient of the true Hamiltonian at states (B, M), or None when the truth has none."""
    hamiltonian = getattr(getattr(truth, "__self__", truth), "hamiltonian", None)
    if hamiltonian is None:
        return None
    with jax.enable_x64(True):
        return np.asarray(jax.vmap(jax.grad(hamiltonian))(jnp.asarray(states)))


def numbers(values: Sequence[float] | np.ndarray) -> str:
    """Three digits of each."""
    return " ".join(f"{v:.3g}" for v in values)


def bound_lines(bounds: dict[str, Any], seeds: list[dict[str, Any]], rank: int) -> list[str]:
    """Bounds of the alternatives, and what several seeds agree on."""
    lines = [
        f"-ELBO {label:<10} {bound['negative_elbo']:.3f} +- {bound['error']:.3f} nats per transition"
        for label, bound in bounds.items()
    ]
    return [*lines, _spread(seeds, rank)] if seeds else lines


def html_of(report: Any) -> str:
    """A report as notebooks show it: headline, formulas, bounds, and the whole sheet when asked for."""
    text = str(report)
    try:
        expressions = report.expressions()
    except UsageError:
        expressions = None
    rows = [
        [name, f"{bound['negative_elbo']:.3f}", f"{bound['error']:.3f}"]
        for name, bound in report.bounds.items()
    ]
    parts = [
        markup.formulas(report.formulas, expressions),
        markup.table(["quantities", "-ELBO per transition (nats)", "error"], rows) if rows else "",
        markup.folded("the whole sheet", text),
    ]
    return markup.block(text.splitlines()[0], parts, report.warnings)


def _spread(seeds: list[dict[str, Any]], rank: int) -> str:
    """What the seeds agree on."""
    done = [seed for seed in seeds if "diverged" not in seed]
    same = [seed for seed in done if seed["rank"] == rank]
    bounds = sorted(seed["negative_elbo"] for seed in done)
    gains = sorted(seed["none"] - seed["negative_elbo"] for seed in done)
    within = f", within {max(seed['angle'] for seed in same):.2g} degrees of this span" if same else ""
    text = (
        f"seeds            {len(same)} of {len(seeds)} find {rank}{within}; -ELBO {bounds[0]:.3f} to "
        f"{bounds[-1]:.3f}, better than none by {gains[0]:.3f} to {gains[-1]:.3f}"
    )
    lost = len(seeds) - len(done)
    return text + (f"; {lost} diverged" if lost else "")


def warnings_of(result: Fitted, rank: int) -> list[str]:
    """What to keep in mind when reading a sheet."""
    found = []
    if not result.held_out:
        found.append("no trajectory was held out: defects are measured on training states")
    bounds = result.evidence.get("bounds", {})
    none = bounds.get("none")
    own = next((value for name, value in bounds.items() if name != "none"), None)
    if none and own and rank:
        error = float(np.hypot(none["error"], own["error"]))
        if own["negative_elbo"] > none["negative_elbo"] + 2 * error:
            found.append(
                f"the bound is better without symmetry (-ELBO {none['negative_elbo']:.3f} against "
                f"{own['negative_elbo']:.3f}): train longer, or do not trust these quantities"
            )
    for judged in result.evidence.get("judgements", []):
        if judged["accepted"] and judged["removed"]:
            removed = numbers(judged["removed"])
            found.append(
                f"the bound rejected directions with singular values {removed} (kept: {judged['name']})"
            )
        elif judged["accepted"] and judged["name"] != AS_LEARNED:
            found.append(f"the bound preferred another set to the one as learned: {judged['name']}")
    return found
