"""Canonical coordinates in which training takes place: centred, scaled, squeezed to equal spread.

z = W (x - centre), s = t / time with W J W' = action^-1 J: a conformal symplectic map, so Hamiltonian
dynamics stay Hamiltonian and quadratic observables stay quadratic. Users see data units everywhere.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from noethers_razor.data.trajectories import Transitions
from noethers_razor.mechanics import symplectic_form, symplectic_normaliser

_COVARIANCE_FLOOR = 1e-4
"""Share of the mean variance added to each direction, so that one that never moves is not blown up."""

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


def fit_frame(observed: np.ndarray, transitions: Transitions, noise_scale: np.ndarray | None = None) -> Frame:
    """The frame in which data have zero mean, spread about 1, equal in q and p, and speed about 1.

    Args:
        observed: states (count, M), data units.
        transitions: the pairs that set the unit of time.
        noise_scale: (M,) data units; by default the spread of positions and of momenta.
    """
    dim = observed.shape[1]
    n = dim // 2
    centre = observed.mean(axis=0)
    variance = observed.var(axis=0)
    # A coordinate that never moves has the rounding of its mean for a spread.
    variance[np.sqrt(variance) <= 1e-12 * np.abs(centre)] = 0.0
    spread_q, spread_p = np.sqrt(variance[:n].mean()), np.sqrt(variance[n:].mean())
    # A resting half of phase space takes the other's number: any positive unit will do there.
    spread_q, spread_p = spread_q or spread_p, spread_p or spread_q
    units = np.concatenate([np.full(n, spread_q), np.full(n, spread_p)])
    scaled = (observed - centre) / units
    covariance = scaled.T @ scaled / len(scaled) + _COVARIANCE_FLOOR * np.eye(dim)
    squeeze = symplectic_normaliser(covariance)
    squeeze /= np.sqrt(np.trace(squeeze @ covariance @ squeeze.T) / dim)
    matrix = squeeze / units
    moved = (transitions.end - transitions.start) @ matrix.T
    speed = np.sqrt(np.mean(moved**2)) / np.median(transitions.duration)
    time = 1.0 / speed if speed > 0 else float(np.median(transitions.duration))
    return Frame(centre, matrix, float(time), units if noise_scale is None else noise_scale)


def suggested_substeps(frame: Frame, transitions: Transitions) -> int:
    """Integrator steps per transition so that none takes more than about half a radian of motion."""
    z = frame.into(transitions.start)
    moved = (transitions.end - transitions.start) @ frame.matrix.T
    size = np.sqrt(np.mean(z**2)) or 1.0
    rate = np.sqrt(np.mean(moved**2)) / size
    return int(np.clip(np.ceil(rate / _RATE_PER_STEP), 1, 16))
