"""The evidence of a Hamiltonian that is linear in its weights, H(x) = w . phi(x), and of its symmetries.

A symmetry is a prior. C is conserved by H if {C, H} = 0. For B = mean over the states of {C, phi}{C, phi}',
the prior w ~ N(0, (alpha I + beta B)^-1) has no symmetry at beta = 0, an exact one for beta to infinity, and
in between one that is broken by a size that the evidence measures. Only gradients at the states of the data
enter: no flow, no orbit, nothing where there are no data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.evidence.regression import Evidence, Products, maximised, with_plain_prior
from noethers_razor.evidence.windows import Windows, changes, integrated, whitened
from noethers_razor.mechanics.phase_space import apply_j_in_numpy

_STARTS = (2.0, 8.0, 14.0)
"""Logarithms of beta / alpha from which the maximisation starts: the evidence may have several maxima."""


class LinearHamiltonian(NamedTuple):
    """A Hamiltonian with D features at the N states of the data.

    Args:
        fields: Hamiltonian fields J grad phi (N, D, M) of the features, of unit size over the windows.
        products: products of the regression of the changes over windows, in units of the noise.
    """

    fields: np.ndarray
    products: Products

    @classmethod
    def of(
        cls,
        features: Callable[[Array], Array],
        trajectories: FrameTrajectories,
        windows: Windows,
        deviation: np.ndarray,
    ) -> LinearHamiltonian:
        """Return the regression of the windows on features.

        Args:
            features: function of one state (M,) that returns D features (D,).
            trajectories: trajectories in the frame.
            windows: windows of the trajectories.
            deviation: standard deviation (M,) of the noise of each coordinate, up to a common factor.
        """
        with jax.enable_x64(True):
            states = jnp.asarray(trajectories.states, jnp.float64)
            gradients = np.asarray(jax.jit(jax.vmap(jax.jacfwd(features)))(states))
        fields = apply_j_in_numpy(gradients)
        design = whitened(windows, integrated(windows, fields)) / deviation
        size = np.sqrt(np.mean(np.sum(design**2, axis=-1), axis=0))
        size = np.where(size > 0, size, 1.0)
        values = whitened(windows, changes(windows, trajectories.states)) / deviation
        rows = np.moveaxis(design / size[:, None], 1, 2).reshape(-1, len(size))
        return cls(fields / size[:, None], Products.of(rows, values.ravel()))

    def brackets(self, gradients: np.ndarray) -> np.ndarray:
        """Return the matrices B (K, D, D) of quantities.

        Args:
            gradients: gradients (N, K, M) of K quantities at the states. Each is scaled to unit size.
        """
        unit = gradients / np.sqrt(np.mean(np.sum(gradients**2, axis=-1), axis=0))[:, None]
        out = np.empty((unit.shape[1], self.fields.shape[1], self.fields.shape[1]))
        for k in range(unit.shape[1]):
            rows = np.einsum("nm,ndm->nd", unit[:, k], self.fields)
            out[k] = rows.T @ rows / len(rows)
        return out


def nested_evidence(model: LinearHamiltonian, gradients: np.ndarray) -> list[Evidence]:
    """Return the evidence of the first 0, 1, 2, ... K quantities, each set with one common precision beta.

    Args:
        model: Hamiltonian of the data.
        gradients: gradients (N, K, M) of the quantities at the states, in the order in which they are added.
    """
    plain = np.eye(len(model.products.cross))
    found, total = [with_plain_prior(model.products)], np.zeros_like(plain)
    for matrix in model.brackets(gradients):
        total = total + matrix
        parts = np.stack([plain, total])
        before = found[-1]
        alpha = before.log_precisions[0]
        starts = [np.array([alpha, alpha + more, before.log_variance]) for more in _STARTS]
        if len(before.log_precisions) > 1:
            starts.append(np.append(before.log_precisions, before.log_variance))
        tries = [maximised(model.products, parts, start) for start in starts]
        found.append(max(tries, key=lambda one: one.log_evidence))
    return found
