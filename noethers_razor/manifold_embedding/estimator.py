"""A scikit-learn estimator: fit, transform to the nearest point of the manifold, decode."""

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
from noethers_razor.manifold_embedding.training import Family, climb, decoded, nearest

_NUMBERS = (
    ("bending", 0, numbers.Real),
    ("tol", 0, numbers.Real),
    ("max_iter", 1, numbers.Integral),
    ("degree", 1, numbers.Integral),
    ("mixture_components", 1, numbers.Integral),
)
"""Setting, least value, kind."""


class VariationalManifoldEmbedding(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A smooth manifold through data, as the decoder phi that maximises a functional of a density.

    The functional has no maximum among all functions: `basis`, `bending` and `anneal` are what makes a fit
    one that can be trusted, and `noether_report` says whether it is (Vastola, Gershman, Rajan 2025).

    Args:
        n_components: d, latent dimensions, below the number of features.
        density: of the data: ``gaussian``, ``mixture`` (of normal densities of one covariance), ``kde``, a
            fitted ``GaussianMixture`` of scikit-learn (in a ``FrozenEstimator`` where it is to be cloned), or
            a function of a point (D,), its log density, by jax, which is not annealed.
        latent: ``normal``, ``uniform`` on (-1, 1)^d, or ``circle``.
        basis: ``affine``, ``chebyshev``, ``fourier`` (with a circle), or a flax module (d,) -> (D,).
        degree: of polynomials in all variables together; the highest frequency.
        bending: factor of the mean squared second derivative of phi, data in units of `scale_`, latent
            coordinates in units of their deviation; zero lets a fit fold. It leaves affine maps alone, and b
            keeps them from wiggling in noise of sqrt(2 b); a blurred density has more of it.
        anneal: deviations of noise that the density is blurred with before it is taken as it is, one after
            the other, in units of `scale_`.
        init: ``pca``, or an array (D, d) of first derivatives of phi, (D, 2) on a circle.
        mixture_components: of the mixture, at most.
        max_iter: of each blur.
        tol: of the gradient, nats.
        random_state: of the mixture and of a module's first parameters.

    Attributes:
        scale_: root mean square of the d + 1 largest principal deviations: what noise in further features
            leaves as it is.
        mean_, density_, params_, n_iter_, converged_: of the fit, in units of `scale_` about `mean_`.
        distance_: root mean square distance of the data to the manifold, data units.
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
        """Fits the density, then the decoder.

        Args:
            X: (N, D), two samples or more.
        Raises:
            ValueError: for data or settings that cannot be used, in one line.
        """
        x = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._check(x)
        self.mean_, centred = x.mean(axis=0), x - x.mean(axis=0)
        largest = np.linalg.svd(centred, compute_uv=False)[: self.n_components + 1]
        self.scale_ = float(np.sqrt(np.mean(largest**2) / len(x)))
        standard = centred / self.scale_
        self._family = Family(hashable(self.basis), self.latent, self.degree)
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
            self._remarks.append("the climb had not ended: raise max_iter or tol")
        named = isinstance(self.density, str) and self.density == "mixture" and self.mixture_components > 1
        if named and isinstance(self.density_, Mixture) and len(self.density_.weights) == 1:
            self._remarks.append(
                f"{x.shape[0]} samples of {x.shape[1]} features give a mixture of 1 component: a normal "
                "density, which has no more to show than PCA"
            )
        self.distance_ = float(np.sqrt(np.mean(np.sum((x - self._decoded(self._nearest(x))) ** 2, axis=1))))
        self._n_features_out = self.n_components
        return self

    def _check(self, x: np.ndarray) -> None:
        """Settings against data.

        Raises:
            ValueError: naming the first that does not fit.
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
            raise ValueError(f"all {count} samples are the same point; nothing to embed")
        flat = np.flatnonzero(spread <= 1e-12 * np.max(np.abs(x), axis=0))
        if len(flat):
            raise ValueError(
                f"feature {flat[0]} is constant ({x[0, flat[0]]:g}): the data have no density; leave it out"
            )
        rank = int(np.linalg.matrix_rank(x - x.mean(axis=0)))
        if rank < features:
            raise ValueError(
                f"{features} features of rank {rank} in {count} samples: the data have no density; give more "
                "samples, or fewer features (PCA)"
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
            raise ValueError(f"anneal = {self.anneal!r}; expected deviations of 0 or more")

    def _first(self, standard: np.ndarray) -> np.ndarray:
        """First derivatives of the start (D, d), on a circle those of both axes (D, 2)."""
        columns = 2 if self.latent == "circle" else self.n_components
        if not isinstance(self.init, str):
            axes, shape = np.asarray(self.init, np.float64), (standard.shape[1], columns)
            if axes.shape != shape or not np.all(np.isfinite(axes)):
                raise ValueError(f"init of shape {axes.shape}; expected finite numbers of {shape}")
            if np.linalg.matrix_rank(axes) < columns:
                raise ValueError(f"init of rank {np.linalg.matrix_rank(axes)}; expected {columns} directions")
            return axes / self.scale_
        if self.init != "pca":
            raise ValueError(f"init = {self.init!r}; expected pca or an array")
        variances, axes = np.linalg.eigh(np.cov(standard.T, bias=True))
        # What makes the latent coordinates' spread that of the data.
        unit = np.sqrt(np.maximum(variances, 0.0) / latents.VARIANCE[self.latent])
        return (axes * unit)[:, ::-1][:, :columns]

    def transform(self, X: Any) -> np.ndarray:
        """Latent points (N, d) of the nearest points of the manifold.

        Args:
            X: (N, D).
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
        """phi (N, D) at latent points (N, d)."""
        check_is_fitted(self)
        z = check_array(X, dtype=np.float64)
        if z.shape[1] != self._n_features_out:
            raise ValueError(f"latent points of {z.shape[1]} coordinates; expected {self._n_features_out}")
        return self._decoded(z)

    def _decoded(self, z: np.ndarray) -> np.ndarray:
        with jax.enable_x64(True):
            return decoded(self._family, self.params_, z) * self.scale_ + self.mean_

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the mean squared distance of samples to the manifold, data units squared.

        The objective itself does not rank fits: a manifold that folds has more of it.
        """
        x = np.asarray(X, np.float64)
        return -float(np.mean(np.sum((x - self.inverse_transform(self.transform(X))) ** 2, axis=1)))

    def noether_report(self, fields: Any = None) -> EmbeddingReport:
        """Whether the fit can be trusted: above all whether it folds, and how far it is from stationary.

        Args:
            fields: name -> vector field on data points (D,) -> (D,), by jax: symmetries of the density that
                you declare, whose currents are then free of divergence.
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
