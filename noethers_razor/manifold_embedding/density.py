"""Log densities of data, and their blurred versions, with which an embedding starts.

A blurred density is the density of the data with added normal noise. It is exact for mixtures of normal
densities. All densities here are such mixtures, except a density function given by the user.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.mixture import GaussianMixture

from noethers_razor._types import Array
from noethers_razor.errors import UsageError

_MOST_KERNELS = 512
"""Largest number of points of a kernel density. Each point is a component of every evaluation."""
_MANY = 2000
"""Largest number of samples for which a mixture is fitted from three starts instead of one."""
_SAMPLES = 10
"""Smallest number of samples for each component of a mixture, minus the number of features."""
_FLOOR = 1e-9
"""Smallest variance of a component in a direction, relative to the largest variance of all components."""


class Mixture(NamedTuple):
    """A mixture of m normal densities in D dimensions.

    If all components have the same covariance, the first axis of `axes` and `variances` has length 1.

    Args:
        weights: weights (m,) with sum 1.
        centres: means (m, D) in the coordinates of the axes.
        axes: orthonormal columns (m or 1, D, D).
        variances: variances (m or 1, D) along the axes.
    """

    weights: np.ndarray
    centres: np.ndarray
    axes: np.ndarray
    variances: np.ndarray

    @property
    def blurs(self) -> bool:
        """True: the density can be blurred."""
        return True

    def log_density(self, x: Array, blur: float | Array = 0.0) -> Array:
        """Return log p of the blurred mixture.

        Args:
            x: point (D,).
            blur: standard deviation of the added noise, 0 or more.
        Returns:
            Log density (), nats.
        """
        variances = self.variances + blur**2
        along = jnp.einsum("mij,i->mj", jnp.asarray(self.axes), x) - self.centres
        exponent = -0.5 * jnp.sum(along**2 / variances + jnp.log(2 * jnp.pi * variances), axis=1)
        return jax.nn.logsumexp(exponent, b=self.weights)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Given:
    """A density function given by the user, converted to standard units.

    Args:
        function: point (D,) in data units -> log density (), nats.
        mean: origin (D,) of the standard units, data units.
        scale: length of one standard unit, data units.
    """

    function: Callable[[Array], Array] = dataclasses.field(metadata={"static": True})
    mean: np.ndarray
    scale: float

    @property
    def blurs(self) -> bool:
        """False: the density cannot be blurred."""
        return False

    def log_density(self, x: Array, blur: float | Array = 0.0) -> Array:
        """Return log p.

        Args:
            x: point (D,), standard units.
            blur: ignored; the density is never blurred.
        Returns:
            Log density (), nats.
        """
        return self.function(jnp.asarray(self.mean) + self.scale * x) + x.shape[0] * jnp.log(self.scale)


Density = Mixture | Given
"""A density of data in standard units."""


def normal(x: np.ndarray) -> Mixture:
    """Return one normal density with the mean and the covariance of data (N, D)."""
    return _mixture(np.ones(1), x.mean(axis=0)[None], np.cov(x.T, bias=True)[None])


def fitted_mixture(x: np.ndarray, components: int, seed: int) -> Mixture:
    """Return a mixture of normal densities with one common covariance, fitted to data with scikit-learn.

    The covariance is common because an embedding moves to the highest density. With separate covariances, the
    log density of the narrowest component would exceed the others, and more so with each feature. The
    manifold would then cover only this component.

    Args:
        x: data (N, D), standard units.
        components: largest number of components. Fewer samples than 10 + D for each component reduce it.
        seed: seed of the starts.
    Returns:
        The fitted mixture.
    """
    most = min(components, max(1, len(x) // (_SAMPLES + x.shape[1])))
    spread = float(np.mean(x.var(axis=0)))
    # With many samples, one start finds the same mixture as three, in a third of the time.
    starts = 3 if len(x) <= _MANY else 1
    found = GaussianMixture(most, covariance_type="tied", random_state=seed, reg_covar=1e-6 * spread)
    found.set_params(n_init=starts).fit(x)
    return _mixture(found.weights_, found.means_, found.covariances_[None])


def kernels(x: np.ndarray, seed: int) -> Mixture:
    """Return a kernel density of data with the bandwidth of Scott's rule.

    Args:
        x: data (N, D), standard units.
        seed: seed of the choice of 512 points, if there are more.
    Returns:
        A mixture with one component for each point.
    """
    count, dim = x.shape
    chosen = x
    if count > _MOST_KERNELS:
        chosen = x[np.random.default_rng(seed).choice(count, _MOST_KERNELS, replace=False)]
    width = np.cov(x.T, bias=True) * len(chosen) ** (-2.0 / (dim + 4))
    return _mixture(np.full(len(chosen), 1.0 / len(chosen)), chosen, width[None])


def given_mixture(found: Any, mean: np.ndarray, scale: float) -> Mixture:
    """Return a fitted mixture of scikit-learn, converted from data units to standard units.

    Args:
        found: fitted ``GaussianMixture``, with any type of covariance, in data units.
        mean: origin (D,) of the standard units, data units.
        scale: length of one standard unit, data units.
    Returns:
        The mixture in standard units.
    Raises:
        UsageError: if the number of features of the mixture differs from D.
    """
    means = np.asarray(found.means_, np.float64)
    if means.shape[1] != len(mean):
        raise UsageError(
            f"density: a mixture of {means.shape[1]} features; the data have {len(mean)} features"
        )
    # Write covariances of every type as full matrices.
    kind, given = found.covariance_type, np.asarray(found.covariances_, np.float64)
    whole = {
        "full": lambda: given,
        "tied": lambda: given[None],
        "diag": lambda: given[:, :, None] * np.eye(len(mean)),
        "spherical": lambda: given[:, None, None] * np.eye(len(mean)),
    }[kind]()
    return _mixture(np.asarray(found.weights_), (means - mean) / scale, whole / scale**2)


def _mixture(weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> Mixture:
    """Return the mixture with weights (m,), means (m, D) and covariances (m or 1, D, D)."""
    variances, axes = np.linalg.eigh(covariances)
    centres = np.einsum("mij,mi->mj", np.broadcast_to(axes, (len(means), *axes.shape[1:])), means)
    return Mixture(weights, centres, axes, np.maximum(variances, _FLOOR * variances.max()))


def density_of(
    kind: Any, x: np.ndarray, components: int, seed: int, mean: np.ndarray, scale: float
) -> Density:
    """Return the density of data in standard units.

    Args:
        kind: ``gaussian``, ``mixture``, ``kde``, a fitted ``GaussianMixture`` of scikit-learn, or a JAX
            function that maps a point (D,) in data units to its log density.
        x: data (N, D), standard units.
        components: largest number of components of ``mixture``.
        seed: seed of ``mixture`` and ``kde``.
        mean: origin (D,) of the standard units, data units.
        scale: length of one standard unit, data units.
    Returns:
        The density in standard units.
    Raises:
        UsageError: if the density is unknown or not fitted, or if the function does not return one number.
    """
    # A FrozenEstimator contains the fitted mixture.
    mixture = getattr(kind, "estimator", kind)
    if hasattr(mixture, "means_") and hasattr(mixture, "covariances_"):
        return given_mixture(mixture, mean, scale)
    if hasattr(mixture, "fit"):
        raise UsageError(
            f"density {type(mixture).__name__} is not fitted or is not a GaussianMixture; fit a "
            "GaussianMixture first, and wrap it in a FrozenEstimator if it is cloned"
        )
    if callable(kind):
        try:
            shape = jax.eval_shape(kind, jax.ShapeDtypeStruct((x.shape[1],), jnp.float64))
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            reason = " ".join(str(error).split())[:120]
            told = f"density: the function cannot be traced by jax ({reason})"
            raise UsageError(f"{told}; write it with jax.numpy") from None
        if getattr(shape, "shape", None) != ():
            raise UsageError(f"density returns {shape}; expected one number, the log density of a point")
        return Given(kind, mean, scale)
    kinds: dict[str, Callable[[], Density]] = {
        "gaussian": lambda: normal(x),
        "mixture": lambda: fitted_mixture(x, components, seed),
        "kde": lambda: kernels(x, seed),
    }
    if isinstance(kind, str) and kind in kinds:
        return kinds[kind]()
    name = repr(kind) if isinstance(kind, str) else type(kind).__name__
    told = f"density {name}; expected {', '.join(kinds)}, a fitted GaussianMixture or a function of a point"
    raise UsageError(told)
