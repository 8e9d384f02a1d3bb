"""What the analysis needs of a fitted model. `FitResult` is one; a result of another program may be."""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import ArrayLike
from noethers_razor.data.frame import Frame
from noethers_razor.data.frame_trajectories import FrameTrajectories

AS_LEARNED = "as learned"
"""Name, among the compared sets in ``evidence``, of the one that training has left."""


class Fitted(Protocol):
    """A fitted model, as far as the analysis needs it."""

    @property
    def frame(self) -> Frame:
        """Map from data units to the frame of the quantities."""
        ...

    @property
    def moment(self) -> np.ndarray:
        """Second moment of the data in the frame, see `quadratic_form.second_moment`."""
        ...

    @property
    def states(self) -> np.ndarray:
        """Held-out states, data units."""
        ...

    @property
    def trajectories(self) -> FrameTrajectories | None:
        """Trajectories of the data in the frame with their noise; None if unknown."""
        ...

    @property
    def held_out(self) -> bool:
        """Whether training has not seen the held-out states."""
        ...

    @property
    def evidence(self) -> dict[str, Any]:
        """Bounds and compared sets; may be empty."""
        ...

    @property
    def coordinates(self) -> list[str]:
        """Names of the coordinates."""
        ...

    @property
    def is_quadratic(self) -> bool:
        """Whether all quantities are quadratic."""
        ...

    @property
    def terms(self) -> list[str]:
        """Formulas of further variables that formulas may have."""
        ...

    def conserved(self, x: ArrayLike) -> np.ndarray:
        """Return values (..., K) of the learned quantities at states (..., M), data units."""
        ...

    def conserved_gradients(self, states: np.ndarray) -> np.ndarray:
        """Return gradients (K, B, M), in the frame, of learned quantities at states (B, M) of data units."""
        ...

    def quadratic_forms(self) -> tuple[np.ndarray, np.ndarray]:
        """Return A (K, M, M) and b (K, M) of the learned quantities in the frame."""
        ...

    @property
    def state_gradients(self) -> np.ndarray:
        """Gradient of H at the held-out states, data units."""
        ...


def gradient_of_true_energy(truth: Any, states: np.ndarray) -> np.ndarray | None:
    """Return the gradient of the true Hamiltonian at states (B, M), or None when the truth has none."""
    hamiltonian = getattr(getattr(truth, "__self__", truth), "hamiltonian", None)
    if hamiltonian is None:
        return None
    with jax.enable_x64(True):
        return np.asarray(jax.vmap(jax.grad(hamiltonian))(jnp.asarray(states)))
