"""Diagnosis: is the field that the data follow Hamiltonian in these coordinates, and does it keep volume?

The changes over windows are regressed on any autonomous field f(x) = W psi(x), each coordinate with weights,
prior and noise of its own. The log evidence of a Hamiltonian minus that of any field decides. The residual of
the unrestricted field is the noise of the data; it has no floor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.evidence.regression import Products, posterior, with_plain_prior
from noethers_razor.evidence.windows import Windows, changes, integrated, whitened


class FreeField(NamedTuple):
    """Any autonomous field, fitted to the data.

    Args:
        log_evidence: log evidence of all coordinates together, nats. The density is of changes in units of
            ``deviation``, as for a Hamiltonian.
        deviation: standard deviation (M,) of the noise of each coordinate of a state, frame units.
        divergence: mean divergence over the states, and its standard deviation, in units of 1 / time. A
            Hamiltonian field has none; friction has a negative one.
    """

    log_evidence: float
    deviation: np.ndarray
    divergence: tuple[float, float]


def free_field(
    features: Callable[[Array], Array], trajectories: FrameTrajectories, windows: Windows
) -> FreeField:
    """Fit any autonomous field to the changes over the windows.

    Args:
        features: function of one state (M,) that returns D features (D,).
        trajectories: trajectories in the frame.
        windows: windows of the trajectories.
    """
    with jax.enable_x64(True):
        states = jnp.asarray(trajectories.states, jnp.float64)
        values = np.asarray(jax.jit(jax.vmap(features))(states))
        slopes = np.asarray(jnp.mean(jax.jit(jax.vmap(jax.jacfwd(features)))(states), axis=0))
    design = whitened(windows, integrated(windows, values))
    size = np.sqrt(np.mean(design**2, axis=0))
    size = np.where(size > 0, size, 1.0)
    design, slopes = design / size, slopes / size[:, None]
    total, deviation, mean, variance = 0.0, [], 0.0, 0.0
    for coordinate, change in enumerate(whitened(windows, changes(windows, trajectories.states)).T):
        # In units of its size, each coordinate has the same start.
        unit = np.sqrt(np.mean(change**2)) or 1.0
        products = Products.of(design, change / unit)
        found = with_plain_prior(products)
        noise = np.exp(found.log_variance / 2) * unit
        deviation.append(noise)
        # Change to units of the noise, in which the Hamiltonian is compared.
        total += found.log_evidence + products.number * found.log_variance / 2
        prior = np.exp(found.log_precisions[0]) * np.eye(len(size))
        weights, covariance = posterior(products, prior, float(np.exp(found.log_variance)))
        slope = unit * slopes[:, coordinate]
        mean += slope @ weights
        variance += slope @ covariance @ slope
    return FreeField(total, np.array(deviation), (float(mean), float(np.sqrt(variance))))
