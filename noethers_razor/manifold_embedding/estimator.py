"""Scikit-learn estimator of a manifold embedding: fit, transform to the nearest point, decode."""

from __future__ import annotations

import numbers
import warnings
from typing import Any

import jax
import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from noethers_razor.manifold_embedding import latent as latents
from noethers_razor.manifold_embedding.basis import hashable
from noethers_razor.manifold_embedding.density import Mixture, density_of
from noethers_razor.manifold_embedding.folds import least_of
from noethers_razor.manifold_embedding.report import EmbeddingReport, report_of
from noethers_razor.manifold_embedding.training import DecoderFamily, climb, decoded, nearest

_NUMBERS = (
    ("bending", 0, numbers.Real),
    ("tol", 0, numbers.Real),
    ("max_iter", 1, numbers.Integral),
    ("degree", 1, numbers.Integral),
    ("mixture_components", 1, numbers.Integral),
)
"""Name, smallest value and type of each numerical setting."""


class VariationalManifoldEmbedding(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A smooth manifold through data: the decoder phi that maximises a functional of the density.

    The functional has no maximum among all functions. `basis`, `bending` and `anneal` restrict the fit, and
    `noether_report` shows whether they are sufficient. Source: Vastola, Gershman, Rajan (2025), arXiv
    2511.22128.

    Args:
        n_components: number d of latent dimensions, from 1 to D - 1 for D features.
        density: density of the data. ``gaussian``; ``mixture`` of normal densities with one common
            covariance; ``kde``; a fitted ``GaussianMixture`` of scikit-learn; or a JAX function from a point
            (D,) to its log density, which is not annealed. Wrap a ``GaussianMixture`` in a
            ``FrozenEstimator`` if the estimator is cloned.
        latent: latent density: ``normal``, ``uniform`` on (-1, 1)^d, or ``circle``.
        basis: ``affine``, ``chebyshev``, ``fourier`` (with latent ``circle``), or a flax module (d,) -> (D,).
        degree: total degree of the polynomials, or highest frequency; 1 or more.
        bending: weight of the mean squared second derivative of phi, 0 or more. Data are in units of
            `scale_`, latent coordinates in units of their standard deviation. Affine maps do not bend. A
            weight b prevents wiggles in noise of standard deviation sqrt(2 b). While the density is blurred,
            the weight is at least half the squared blur. With 0 it is always 0, and a fit can fold.
        anneal: standard deviations of the noise that blurs the density, in units of `scale_`. The fit uses
            them in this order, then the density without blur.
        init: ``pca``, or first derivatives (D, d) of phi at the start, data units. For ``circle`` they are
            the derivatives (D, 2) with respect to the cosine and the sine of the angle.
        mixture_components: largest number of components of ``mixture``, 1 or more.
        max_iter: largest number of iterations for each blur, 1 or more.
        tol: limit of the gradient at which an optimisation ends, nats, 0 or more.
        random_state: seed or generator for ``mixture``, ``kde`` and the first parameters of a module.

    Attributes:
        mean_: mean of the data (D,), data units.
        scale_: root mean square of the d + 1 largest principal standard deviations, data units. Noise in
            further features hardly changes it.
        density_: density of the data in standard units: points minus `mean_`, divided by `scale_`.
        params_: parameters of the decoder, standard units.
        n_iter_: number of iterations for all blurs together.
        converged_: True if the optimisation without blur has converged.
        distance_: root mean square distance of the data from the manifold, data units.
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        density: Any = "mixture",
        latent: str = "uniform",
        basis: Any = "chebyshev",
        degree: int = 6,
        bending: float = 0.03,
        anneal: Any = (0.35, 0.25, 0.18, 0.12, 0.06),
        init: Any = "pca",
        mixture_components: int = 16,
        max_iter: int = 300,
        tol: float = 1e-6,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.density = density
        self.latent = latent
        self.basis = basis
        self.degree = degree
        self.bending = bending
        self.anneal = anneal
        self.init = init
        self.mixture_components = mixture_components
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> VariationalManifoldEmbedding:
        """Fit the density, then the decoder.

        Args:
            X: data (N, D), N at least 2.
            y: ignored.
        Returns:
            The estimator itself.
        Raises:
            ValueError: if the data or the settings cannot be used.
        """
        x = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._check(x)
        self.mean_, centred = x.mean(axis=0), x - x.mean(axis=0)
        largest = np.linalg.svd(centred, compute_uv=False)[: self.n_components + 1]
        self.scale_ = float(np.sqrt(np.mean(largest**2) / len(x)))
        standard = centred / self.scale_
        self._family = DecoderFamily(hashable(self.basis), self.latent, self.degree)
        self._nodes = latents.nodes(self.latent, self.n_components)
        self._remarks = []
        with jax.enable_x64(True):
            self.density_ = density_of(
                self.density, standard, self.mixture_components, seed, self.mean_, self.scale_
            )
            self._least = least_of(self.density_, standard)
            blurs = [*(float(b) for b in np.atleast_1d(self.anneal) if self.density_.blurs and b > 0), 0.0]
            start = self._family.decoder().start(np.zeros(x.shape[1]), self._first(standard), seed)
            done = climb(
                self._family, start, self.density_, self._nodes, blurs, self.bending, self.max_iter, self.tol
            )
        self.params_, self.n_iter_, self.converged_ = done.params, done.iterations, done.converged
        if not done.converged:
            told = f"the fit has not converged ({done.message}): raise max_iter or tol"
            warnings.warn(told, ConvergenceWarning, stacklevel=2)
            self._remarks.append("the optimisation has not converged: raise max_iter or tol")
        named = isinstance(self.density, str) and self.density == "mixture" and self.mixture_components > 1
        if named and isinstance(self.density_, Mixture) and len(self.density_.weights) == 1:
            self._remarks.append(
                f"{x.shape[0]} samples of {x.shape[1]} features give a mixture of 1 component, a normal "
                "density: the embedding shows no more than PCA; give more samples or fewer features"
            )
        self.distance_ = float(np.sqrt(np.mean(np.sum((x - self._decoded(self._nearest(x))) ** 2, axis=1))))
        self._n_features_out = self.n_components
        return self

    def _check(self, x: np.ndarray) -> None:
        """Check data (N, D) and settings.

        Raises:
            ValueError: for the first problem found.
        """
        count, features = x.shape
        whole = isinstance(self.n_components, (int, np.integer)) and not isinstance(self.n_components, bool)
        if not whole or not 1 <= self.n_components < features:
            raise ValueError(
                f"n_components = {self.n_components!r} with {features} feature(s), {count} sample(s); "
                f"expected 1 to {features - 1}: an embedding has fewer dimensions than the data"
            )
        spread = x.std(axis=0)
        if not np.any(spread > 0):
            raise ValueError(f"all {count} samples are the same point; give samples that differ")
        flat = np.flatnonzero(spread <= 1e-12 * np.max(np.abs(x), axis=0))
        if len(flat):
            raise ValueError(
                f"feature {flat[0]} is constant ({x[0, flat[0]]:g}), so the data have no density; remove it"
            )
        rank = int(np.linalg.matrix_rank(x - x.mean(axis=0)))
        if rank < features:
            raise ValueError(
                f"{features} features of rank {rank} in {count} samples, so the data have no density; give "
                "more samples, or reduce the features, for example with PCA"
            )
        for name, least, kind in _NUMBERS:
            value = getattr(self, name)
            right = isinstance(value, kind) and not isinstance(value, bool)
            if not right or not least <= float(value) < np.inf:
                sort = "a whole number" if kind is numbers.Integral else "a number"
                raise ValueError(f"{name} = {value!r}; expected {sort} of {least} or more")
        try:
            blurs = np.asarray(self.anneal, np.float64)
        except (TypeError, ValueError):
            blurs = np.full(1, np.nan)
        if blurs.ndim > 1 or not np.all((blurs >= 0) & (blurs < np.inf)):
            raise ValueError(f"anneal = {self.anneal!r}; expected standard deviations of 0 or more")

    def _first(self, standard: np.ndarray) -> np.ndarray:
        """Return first derivatives of phi at the start, (D, d) or, on a circle, (D, 2)."""
        columns = 2 if self.latent == "circle" else self.n_components
        if not isinstance(self.init, str):
            axes, shape = np.asarray(self.init, np.float64), (standard.shape[1], columns)
            if axes.shape != shape or not np.all(np.isfinite(axes)):
                raise ValueError(f"init of shape {axes.shape}; expected finite numbers of shape {shape}")
            if np.linalg.matrix_rank(axes) < columns:
                raise ValueError(f"init of rank {np.linalg.matrix_rank(axes)}; expected rank {columns}")
            return axes / self.scale_
        if self.init != "pca":
            raise ValueError(f"init = {self.init!r}; expected 'pca' or an array")
        variances, axes = np.linalg.eigh(np.cov(standard.T, bias=True))
        # Scale the axes so that the image has the variances of the data.
        unit = np.sqrt(np.maximum(variances, 0.0) / latents.VARIANCE[self.latent])
        return (axes * unit)[:, ::-1][:, :columns]

    def transform(self, X: Any) -> np.ndarray:
        """Return the latent points of the nearest points of the manifold.

        Args:
            X: data (N, D).
        Returns:
            Latent points (N, d).
        """
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, reset=False)
        return self._nearest(x)

    def _nearest(self, x: np.ndarray) -> np.ndarray:
        standard = (x - self.mean_) / self.scale_
        with jax.enable_x64(True):
            return nearest(
                self._family, self.params_, standard, self._nodes.z, latents.bounds(self._family.latent)
            )

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Return the points of the manifold at latent points.

        Args:
            X: latent points (N, d).
        Returns:
            Points phi(z) (N, D), data units.
        Raises:
            ValueError: if the number of latent coordinates differs from d.
        """
        check_is_fitted(self)
        z = check_array(X, dtype=np.float64)
        if z.shape[1] != self._n_features_out:
            raise ValueError(f"latent points with {z.shape[1]} coordinates; expected {self._n_features_out}")
        return self._decoded(z)

    def _decoded(self, z: np.ndarray) -> np.ndarray:
        with jax.enable_x64(True):
            return decoded(self._family, self.params_, z) * self.scale_ + self.mean_

    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the mean squared distance of samples from the manifold.

        The objective itself does not rank fits, because folds increase it.

        Args:
            X: data (N, D).
            y: ignored.
        Returns:
            Score of 0 or less, squared data units.
        """
        x = np.asarray(X, np.float64)
        return -float(np.mean(np.sum((x - self.inverse_transform(self.transform(X))) ** 2, axis=1)))

    def noether_report(self, fields: Any = None) -> EmbeddingReport:
        """Return a report that shows whether the fit folds and how far it is from stationary.

        Args:
            fields: name -> vector field on data points, a JAX function (D,) -> (D,), data units. The report
                contains the divergence of the current of each field. In a stationary fit it is zero for a
                translation or a rotation under which the density is symmetric.
        Returns:
            The report.
        """
        check_is_fitted(self)
        with jax.enable_x64(True):
            return report_of(
                self._family,
                self.params_,
                self.density_,
                self._nodes,
                self._least,
                self.distance_,
                self._remarks,
                self.mean_,
                self.scale_,
                fields,
            )
