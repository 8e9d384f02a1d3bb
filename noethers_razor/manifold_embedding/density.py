"""Densities of data in log form, and their blurred versions, from which an embedding starts.

A blurred density is the same with normal noise added to the data: exact for mixtures of normal densities,
which all of these are but a user's own.
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
"""Points of a kernel density, at most: each is a component at every evaluation."""
_MANY = 2000
"""Points up to which a mixture is fitted from several starts."""
_SAMPLES = 10
"""Samples a component of a mixture has at least, more than features."""
_FLOOR = 1e-9
"""Least variance of a component in a direction, relative to the largest of the data."""


class Mixture(NamedTuple):
    """A mixture of normal densities. A covariance of all components has a length of 1 for their number m.

    Args:
        weights: (m,), sum 1.
        centres: (m, D), means along the axes.
        axes: (m or 1, D, D) orthonormal columns.
        variances: (m or 1, D) along these.
    """

    weights: np.ndarray
    centres: np.ndarray
    axes: np.ndarray
    variances: np.ndarray

    @property
    def blurs(self) -> bool:
        """Whether noise can be added."""
        return True

    def log_density(self, x: Array, blur: float | Array = 0.0) -> Array:
        """log p at a point (D,) of the mixture with noise of a deviation added, nats."""
        variances = self.variances + blur**2
        along = jnp.einsum("mij,i->mj", jnp.asarray(self.axes), x) - self.centres
        exponent = -0.5 * jnp.sum(along**2 / variances + jnp.log(2 * jnp.pi * variances), axis=1)
        return jax.nn.logsumexp(exponent, b=self.weights)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Given:
    """A user's own density, as it is in standard units.

    Args:
        function: log density of a point in data units, nats.
        mean, scale: data are mean + scale times standard units.
    """

    function: Callable[[Array], Array] = dataclasses.field(metadata={"static": True})
    mean: np.ndarray
    scale: float

    @property
    def blurs(self) -> bool:
        """Whether noise can be added."""
        return False

    def log_density(self, x: Array, blur: float | Array = 0.0) -> Array:
        """log p at a point (D,), nats."""
        return self.function(jnp.asarray(self.mean) + self.scale * x) + x.shape[0] * jnp.log(self.scale)


Density = Mixture | Given


def normal(x: np.ndarray) -> Mixture:
    """One normal density with the mean and covariance of data (N, D)."""
    return _mixture(np.ones(1), x.mean(axis=0)[None], np.cov(x.T, bias=True)[None])


def fitted_mixture(x: np.ndarray, components: int, seed: int) -> Mixture:
    """A mixture of normal densities of one covariance, fitted to data (N, D) with scikit-learn.

    Of one covariance, since an embedding goes where the density is highest: with a covariance of its own the
    narrowest component would be nats above the others for each feature, and hold the manifold alone.
    """
    most = min(components, max(1, len(x) // (_SAMPLES + x.shape[1])))
    spread = float(np.mean(x.var(axis=0)))
    # Of many points one start finds what three do, in a third of the time.
    starts = 3 if len(x) <= _MANY else 1
    found = GaussianMixture(most, covariance_type="tied", random_state=seed, reg_covar=1e-6 * spread)
    found.set_params(n_init=starts).fit(x)
    return _mixture(found.weights_, found.means_, found.covariances_[None])


def kernels(x: np.ndarray, seed: int) -> Mixture:
    """A kernel density of data (N, D) with Scott's width, of at most 512 points."""
    count, dim = x.shape
    chosen = x
    if count > _MOST_KERNELS:
        chosen = x[np.random.default_rng(seed).choice(count, _MOST_KERNELS, replace=False)]
    width = np.cov(x.T, bias=True) * len(chosen) ** (-2.0 / (dim + 4))
    return _mixture(np.full(len(chosen), 1.0 / len(chosen)), chosen, width[None])


def given_mixture(found: Any, mean: np.ndarray, scale: float) -> Mixture:
    """A fitted mixture of scikit-learn, of data units, in standard ones.

    Raises:
        UsageError: for one of another number of features.
    """
    means = np.asarray(found.means_, np.float64)
    if means.shape[1] != len(mean):
        raise UsageError(f"density: a mixture of {means.shape[1]} features; the data have {len(mean)}")
    # Covariances of any kind as whole matrices.
    kind, given = found.covariance_type, np.asarray(found.covariances_, np.float64)
    whole = {
        "full": lambda: given,
        "tied": lambda: given[None],
        "diag": lambda: given[:, :, None] * np.eye(len(mean)),
        "spherical": lambda: given[:, None, None] * np.eye(len(mean)),
    }[kind]()
    return _mixture(np.asarray(found.weights_), (means - mean) / scale, whole / scale**2)


def _mixture(weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> Mixture:
    """Of covariances (m, D, D), or (1, D, D) where there is one."""
    variances, axes = np.linalg.eigh(covariances)
    centres = np.einsum("mij,mi->mj", np.broadcast_to(axes, (len(means), *axes.shape[1:])), means)
    return Mixture(weights, centres, axes, np.maximum(variances, _FLOOR * variances.max()))


def density_of(
    kind: Any, x: np.ndarray, components: int, seed: int, mean: np.ndarray, scale: float
) -> Density:
    """The density of a kind for data (N, D) in standard units.

    Args:
        kind: ``gaussian``, ``mixture``, ``kde``, a fitted mixture of scikit-learn, or a function of a point
            (D,) in data units, by jax.
        mean, scale: data are mean + scale times standard units.
    Raises:
        UsageError: for another kind, or a function that gives no number.
    """
    # What a frozen estimator holds is fitted as it is.
    mixture = getattr(kind, "estimator", kind)
    if hasattr(mixture, "means_") and hasattr(mixture, "covariances_"):
        return given_mixture(mixture, mean, scale)
    if hasattr(mixture, "fit"):
        raise UsageError(
            f"density {type(mixture).__name__} is not fitted, or is no GaussianMixture; fit it, and put it "
            "into a FrozenEstimator where it is cloned"
        )
    if callable(kind):
        try:
            shape = jax.eval_shape(kind, jax.ShapeDtypeStruct((x.shape[1],), jnp.float64))
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            reason = " ".join(str(error).split())[:120]
            told = f"density: the function cannot be traced by jax ({reason})"
            raise UsageError(f"{told}; write it with jax.numpy") from None
        if getattr(shape, "shape", None) != ():
            raise UsageError(f"density gives {shape}; expected one number, the log density of a point")
        return Given(kind, mean, scale)
    kinds: dict[str, Callable[[], Density]] = {
        "gaussian": lambda: normal(x),
        "mixture": lambda: fitted_mixture(x, components, seed),
        "kde": lambda: kernels(x, seed),
    }
    if isinstance(kind, str) and kind in kinds:
        return kinds[kind]()
    name = repr(kind) if isinstance(kind, str) else type(kind).__name__
    told = f"density {name}; expected {', '.join(kinds)}, a fitted mixture or a function of a point"
    raise UsageError(told)
