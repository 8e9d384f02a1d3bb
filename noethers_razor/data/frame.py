"""Canonical coordinates in which training takes place: centred, scaled, squeezed to equal spread.

z = W (x - centre), s = t / time with W J W' = action^-1 J: a conformal symplectic map, so Hamiltonian
dynamics stay Hamiltonian and quadratic observables stay quadratic. Users see data units everywhere.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from noethers_razor.data.trajectories import Transitions
from noethers_razor.mechanics.phase_space import symplectic_form, symplectic_normaliser

_COVARIANCE_FLOOR = 1e-4
"""Share of its own variance added to each coordinate: bounds the squeeze of nearly flat data."""
_RESTING_FLOOR = 1e-6
"""Share of the mean variance added to each coordinate, so that one that never moves is not blown up."""

_RATE_PER_STEP = 0.45
"""Largest |dz/ds| ds, relative to |z|, that one step of a fourth-order integrator takes well."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """A conformal symplectic change of coordinates and of the unit of time.

    Args:
        centre: (M,), data units.
        matrix: W, (M, M), frame units per data unit.
        time: data time per unit of frame time.
        noise_scale: (M,), data units in which measurement noise is isotropic.
    """

    centre: np.ndarray
    matrix: np.ndarray
    time: float
    noise_scale: np.ndarray

    @property
    def dim(self) -> int:
        """Dimension M of phase space."""
        return self.centre.shape[0]

    @property
    def inverse(self) -> np.ndarray:
        """W^-1, (M, M)."""
        return np.linalg.inv(self.matrix)

    @property
    def action(self) -> float:
        """Data action per unit of frame action: W J W' = J / action."""
        form = symplectic_form(self.dim)
        return float(self.dim / np.sum((self.matrix @ form @ self.matrix.T) * form))

    @property
    def energy(self) -> float:
        """Data energy per unit of frame energy."""
        return self.action / self.time

    @property
    def residual_matrix(self) -> np.ndarray:
        """(M, M): residuals in the frame -> residuals in units of the noise scale."""
        return self.inverse / self.noise_scale[:, None]

    @property
    def log_density(self) -> float:
        """Change of log density from noise units to data units, nats per state."""
        return -float(np.sum(np.log(self.noise_scale)))

    def into(self, x: np.ndarray) -> np.ndarray:
        """States (..., M) from data units into the frame."""
        return (x - self.centre) @ self.matrix.T

    def out_of(self, z: np.ndarray) -> np.ndarray:
        """States (..., M) from the frame back to data units."""
        return z @ self.inverse.T + self.centre

    def quadratic_into(self, form: np.ndarray, linear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A quadratic observable x'Ax/2 + b'x (..., M, M), (..., M), up to a constant, in the frame."""
        back = self.inverse
        shifted = linear + form @ self.centre
        return back.T @ form @ back, shifted @ back

    def quadratic_out_of(self, form: np.ndarray, linear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A quadratic observable of the frame, up to a constant, in data units."""
        moved = self.matrix.T @ form @ self.matrix
        return moved, linear @ self.matrix - moved @ self.centre


def _canonical_units(spread: np.ndarray) -> np.ndarray:
    """Units (M,) that give q and p of each mode the same spread, q_i p_i in one unit of action.

    A coordinate that rests takes the mean spread of its half; any positive unit will do there.
    """
    halves = []
    for half in np.split(spread, 2):
        moving = half[half > 0]
        halves.append(np.where(half > 0, half, moving.mean() if moving.size else 0.0))
    q, p = halves
    q, p = (q if q.any() else p), (p if p.any() else q)
    action = np.mean(q * p)
    ratio = np.sqrt(q / p)
    return np.concatenate([ratio, 1.0 / ratio]) * np.sqrt(action)


def fit_frame(observed: np.ndarray, transitions: Transitions, noise_scale: np.ndarray | None = None) -> Frame:
    """The frame in which data have zero mean, spread about 1, equal in q and p, and speed about 1.

    Args:
        observed: states (count, M), data units.
        transitions: the pairs that set the unit of time.
        noise_scale: (M,) data units; by default the spread of each coordinate.
    """
    dim = observed.shape[1]
    centre = observed.mean(axis=0)
    spread = observed.std(axis=0)
    # A coordinate that never moves has the rounding of its mean for a spread.
    spread[spread <= 1e-12 * np.abs(centre)] = 0.0
    units = _canonical_units(spread)
    scaled = (observed - centre) / units
    covariance = scaled.T @ scaled / len(scaled)
    floor = _COVARIANCE_FLOOR * np.diag(covariance) + _RESTING_FLOOR * np.mean(np.diag(covariance))
    covariance += np.diag(floor)
    squeeze = symplectic_normaliser(covariance)
    squeeze /= np.sqrt(np.trace(squeeze @ covariance @ squeeze.T) / dim)
    matrix = squeeze / units
    velocity = (transitions.end - transitions.start) / transitions.duration @ matrix.T
    speed = np.sqrt(np.mean(velocity**2))
    time = 1.0 / speed if speed > 0 else float(np.median(transitions.duration))
    if noise_scale is None:
        noise_scale = np.where(spread > 0, spread, units)
    return Frame(centre, matrix, float(time), noise_scale)


def suggested_substeps(frame: Frame, transitions: Transitions) -> int:
    """Integrator steps per transition so that the longest takes about half a radian of motion a step."""
    z = frame.into(transitions.start)
    size = np.sqrt(np.mean(z**2)) or 1.0
    velocity = (transitions.end - transitions.start) / transitions.duration @ frame.matrix.T
    rate = float(np.sqrt(np.mean(velocity**2)) * transitions.duration.max()) / size
    return int(np.clip(np.ceil(rate / _RATE_PER_STEP), 1, 16))
