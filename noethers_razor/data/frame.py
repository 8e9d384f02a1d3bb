"""The frame: canonical coordinates in which training takes place.

Data in the frame are centred, and positions and momenta have equal standard deviations. The map is
z = W (x - centre), s = t / time with W J W' = action^-1 J. It is conformal symplectic: Hamiltonian dynamics
stay Hamiltonian, and quadratic observables stay quadratic. Results that users see are always in data units.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from noethers_razor.data.trajectories import Transitions
from noethers_razor.mechanics.phase_space import symplectic_form, symplectic_normaliser

_COVARIANCE_FLOOR = 1e-4
"""Share of its own variance that is added to each coordinate. It bounds the squeeze of nearly flat data."""
_RESTING_FLOOR = 1e-6
"""Share of the mean variance that is added to each coordinate. It bounds the scale of one at rest."""

_RATE_PER_STEP = 0.45
"""Largest |dz/ds| ds, relative to |z|, that one step of a fourth-order integrator resolves well."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """A conformal symplectic change of coordinates and of the unit of time.

    Args:
        centre: origin of the frame (M,), data units.
        matrix: W (M, M), frame units per data unit.
        time: data time per unit of frame time.
        noise_scale: units (M,) in which measurement noise is isotropic, data units.
    """

    centre: np.ndarray
    matrix: np.ndarray
    time: float
    noise_scale: np.ndarray

    @classmethod
    def same(cls, dim: int) -> Frame:
        """Return the frame whose units are those of the data."""
        return cls(np.zeros(dim), np.eye(dim), 1.0, np.ones(dim))

    @property
    def dim(self) -> int:
        """Dimension M of phase space."""
        return self.centre.shape[0]

    @property
    def inverse(self) -> np.ndarray:
        """Inverse W^-1 (M, M), data units per frame unit."""
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
        """Matrix (M, M) from residuals in the frame to residuals in units of the noise scale."""
        return self.inverse / self.noise_scale[:, None]

    @property
    def log_density(self) -> float:
        """Change of the log density from noise units to data units, nats per state."""
        return -float(np.sum(np.log(self.noise_scale)))

    def into(self, x: np.ndarray) -> np.ndarray:
        """Return states (..., M) in the frame, from states in data units."""
        return (x - self.centre) @ self.matrix.T

    def out_of(self, z: np.ndarray) -> np.ndarray:
        """Return states (..., M) in data units, from states in the frame."""
        return z @ self.inverse.T + self.centre

    def quadratic_into(self, form: np.ndarray, linear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return quadratic observables x'Ax/2 + b'x in the frame, up to a constant, from data units.

        Args:
            form: A (..., M, M).
            linear: b (..., M).
        Returns:
            A and b in the frame, of the same shapes.
        """
        back = self.inverse
        shifted = linear + form @ self.centre
        return back.T @ form @ back, shifted @ back

    def quadratic_out_of(self, form: np.ndarray, linear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return quadratic observables z'Az/2 + b'z in data units, up to a constant, from the frame.

        Args:
            form: A (..., M, M).
            linear: b (..., M).
        Returns:
            A and b in data units, of the same shapes.
        """
        moved = self.matrix.T @ form @ self.matrix
        return moved, linear @ self.matrix - moved @ self.centre


def _canonical_units(spread: np.ndarray) -> np.ndarray:
    """Return units (M,): equal standard deviations of q_i and p_i, and one unit of action for all modes.

    A coordinate at rest takes the mean standard deviation of its half. Any positive unit would do there.
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
    """Fit the frame: zero mean, standard deviation about 1 and equal in q and p, and speed about 1.

    Args:
        observed: states (count, M), data units.
        transitions: transitions of the data. Their speed sets the unit of time.
        noise_scale: units of measurement noise (M,), data units; by default the standard deviation of each
            coordinate.
    """
    dim = observed.shape[1]
    centre = observed.mean(axis=0)
    spread = observed.std(axis=0)
    # The standard deviation of a coordinate that never moves is the rounding error of its mean.
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
    """Return the number of integrator steps per transition, 1 to 16.

    One step takes about half a radian of motion in the longest transition.
    """
    z = frame.into(transitions.start)
    size = np.sqrt(np.mean(z**2)) or 1.0
    velocity = (transitions.end - transitions.start) / transitions.duration @ frame.matrix.T
    rate = float(np.sqrt(np.mean(velocity**2)) * transitions.duration.max()) / size
    return int(np.clip(np.ceil(rate / _RATE_PER_STEP), 1, 16))
