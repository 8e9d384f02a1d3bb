"""What a family of conserved quantities must offer, and what a proposal for it looks like."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array, Key, Params
from noethers_razor.data.frame import Frame
from noethers_razor.mechanics.orbits import Orbit

STARTS = ("proposal", "random")
"""What is constant along trajectories, or the paper's small random start."""


class Tracks(NamedTuple):
    """The data as trajectories: what is conserved is constant along each, but for noise.

    Args:
        states: (N, M), in the frame, float64.
        track: (N,) the trajectory of each, those of one trajectory beside each other and in order.
        noise: (M, M) covariance of measurement noise, or what stands for it.
        slopes: (N, M) gradient of a first Hamiltonian at the states, for families that ask for it.
        time: (N,) of each state, in the frame.
    """

    states: np.ndarray
    track: np.ndarray
    noise: np.ndarray
    slopes: np.ndarray | None = None
    time: np.ndarray | None = None

    @property
    def deviation(self) -> float:
        """Root-mean-square noise of a coordinate, relative to the spread of the data."""
        return float(np.sqrt(np.trace(self.noise) / len(self.noise)))

    def where(self, chosen: np.ndarray) -> Tracks:
        """Some of the states: chosen (N,) bool."""
        slopes, time = (None if part is None else part[chosen] for part in (self.slopes, self.time))
        return self._replace(states=self.states[chosen], track=self.track[chosen], slopes=slopes, time=time)

    def shaken(self, seed: int) -> np.ndarray:
        """The states (N, M) with noise of this law added."""
        draw = np.random.default_rng(seed).normal(size=self.states.shape)
        return self.states + draw @ np.linalg.cholesky(self.noise).T

    @property
    def noise_root(self) -> np.ndarray:
        """(M, M) L with L L' the noise of deviation 1: L' grad C is a gradient where noise is isotropic."""
        return np.linalg.cholesky(self.noise) / self.deviation


@dataclasses.dataclass(frozen=True)
class Proposal:
    """Parameters to start from, with the evidence for each candidate.

    Args:
        params: as from ``init``.
        defect: (K,) the noise of a coordinate, relative to its spread, that would make each candidate vary
            along trajectories as much as it does; on data that did not choose it.
        expected: the noise that there is.
        length: (K,) initial root-mean-square displacement per unit tau, relative to the data.
    """

    params: Params
    defect: np.ndarray
    expected: float
    length: np.ndarray


@runtime_checkable
class ConservedFamily(Protocol):
    """K observables with parameters, whose flows make the orbits that H is averaged over."""

    name: str
    trainable: bool

    @property
    def count(self) -> int:
        """Largest number K of conserved quantities."""
        ...

    @property
    def functions(self) -> int:
        """How many of them, the last, have flows that are integrated, see `orbit.sample_tau` on lines.

        They are to be independent of H, and their proposal asks for the slopes of `Tracks`.
        """
        ...

    def fitted_to(self, frame: Frame, coordinates: Sequence[str] = ()) -> ConservedFamily:
        """The family in a frame, with at most as many observables as its phase space can hold.

        Args:
            coordinates: names of the M coordinates of the data, for families that are told formulas.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """What `restored` needs besides parameters, as plain JSON values."""
        ...

    @classmethod
    def restored(cls, settings: dict[str, Any], params: Params) -> ConservedFamily:
        """The family of a saved fit, in its frame."""
        ...

    def init(self, key: Key, dim: int) -> Params:
        """Small random parameters for phase space of dimension M.

        Each leaf has a leading axis K, but for those named ``shared/...``.
        """
        ...

    def value(self, params: Params, x: Array) -> Array:
        """C(x): states (..., M) -> (..., K)."""
        ...

    def orbit(self, params: Params, tau: Array) -> Orbit:
        """The flows at tau (..., S, K): all that does not depend on x is computed here, once."""
        ...

    def propose(self, tracks: Tracks, key: Key) -> Proposal:
        """A start from what is constant along the trajectories, or a random one."""
        ...

    def principal(self, params: Params, states: np.ndarray) -> tuple[np.ndarray, Params]:
        """Singular values (K,), and the parameters in principal directions, forms and functions apart.

        A singular value is the root-mean-square displacement per unit tau over states (B, M), relative
        to their size; principal directions span the same quantities and are orthogonal in it.
        """
        ...

    def mixed(self, params: Params, weights: np.ndarray) -> Params:
        """Parameters of the combinations sum_j weights[i, j] C_j: weights (K, K).

        Forms stay forms, of functions besides them the weights of others are left out.
        """
        ...


@runtime_checkable
class FunctionFamily(ConservedFamily, Protocol):
    """A family some of whose observables have flows that are integrated."""

    @property
    def splits(self) -> bool:
        """Whether a training step gains by being done in parts, one for each processor."""
        ...

    def without_functions(self) -> ConservedFamily:
        """Those alone whose flows are exact, for a fit in which no function is found."""
        ...

    def with_reach(self, reach: float) -> ConservedFamily:
        """The family with flow times of its functions that much shorter than of its forms."""
        ...


@functools.partial(jax.jit, static_argnums=0)
def _jacobians(
    value: Callable[[Params, jax.Array], jax.Array], params: Params, states: jax.Array
) -> jax.Array:
    return jax.vmap(jax.jacobian(lambda x: value(params, x)))(states)


def gradients(family: ConservedFamily, params: Params, states: np.ndarray) -> np.ndarray:
    """grad C at states (B, M): (K, B, M), float64."""
    slopes = _jacobians(family.value, params, jnp.asarray(states))
    return np.swapaxes(np.asarray(slopes, np.float64), 0, 1)


def thinned(states: Any, most: int) -> Any:
    """At most so many of the rows (N, ...) of an array, evenly spaced."""
    return states[np.linspace(0, len(states) - 1, min(len(states), most)).astype(int)]
