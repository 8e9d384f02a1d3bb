"""Matrix-normal posterior over the weights [W b] of each layer, its prior, and their divergence.

W = M + L_row E L_col', E standard normal, both factors lower triangular with positive diagonal.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions.kl import kl_divergence

from noethers_razor._types import Array

LEAVES = ("mean", "row", "column")
"""Names of the arrays of one layer: mean (out, in), raw factors (out, out) and (in, in)."""


def factor(raw: Array) -> Array:
    """Return a lower-triangular factor with positive diagonal, from (D, D) with the log of the diagonal."""
    # Constant masks compile several times faster than tril and diag, and the bound is compiled often.
    one, below = np.eye(raw.shape[-1], dtype=raw.dtype), np.tri(raw.shape[-1], k=-1, dtype=raw.dtype)
    return raw * below + jnp.exp(raw * one) * one


def initial_layer(weights: Array, deviation: float) -> dict[str, Array]:
    """Return parameters of a posterior around weights (out, in), with independent entries.

    Args:
        weights: mean.
        deviation: standard deviation of every entry.
    """
    log_half = 0.5 * jnp.log(jnp.asarray(deviation, weights.dtype))
    out, into = weights.shape
    return {
        "mean": weights,
        "row": log_half * np.eye(out, dtype=weights.dtype),
        "column": log_half * np.eye(into, dtype=weights.dtype),
    }


def layer_posterior(mean: Array, row: Array, column: Array) -> dist.MatrixNormal:
    """Return the distribution of one layer from its parameters, see `initial_layer`."""
    # Valid by construction. NumPyro's check would compile a dozen small programs at start-up.
    return dist.MatrixNormal(mean, factor(row), factor(column), validate_args=False)


def empirical_prior(posterior: dist.MatrixNormal) -> dist.Distribution:
    """Return the prior N(0, v I) that maximises the bound: v = (|L_row|^2 |L_col|^2 + |M|^2) / D."""
    second_moment = jnp.sum(posterior.scale_tril_row**2) * jnp.sum(posterior.scale_tril_column**2)
    shape = posterior.loc.shape
    variance = (second_moment + jnp.sum(posterior.loc**2)) / (shape[0] * shape[1])
    return dist.Normal(0.0, jnp.sqrt(variance)).expand(shape).to_event(2)


@kl_divergence.register(dist.MatrixNormal, dist.Independent)
def matrix_normal_divergence(posterior: dist.MatrixNormal, prior: dist.Independent) -> Array:
    """Return KL(matrix normal || independent normals), nats, in closed form.

    NumPyro has no closed form for MatrixNormal, and would use Monte Carlo without a warning.

    Raises:
        NotImplementedError: when the prior is not a normal over both axes.
    """
    base = prior.base_dist
    while isinstance(base, dist.ExpandedDistribution):
        base = base.base_dist
    if not isinstance(base, dist.Normal) or prior.event_dim != 2:
        raise NotImplementedError(
            f"closed form needs a Normal prior over (out, in); found {type(base).__name__} "
            f"with event_dim {prior.event_dim}"
        )
    rows, columns = posterior.loc.shape
    row_variance = jnp.sum(posterior.scale_tril_row**2, axis=1)
    column_variance = jnp.sum(posterior.scale_tril_column**2, axis=1)
    spread = row_variance[:, None] * column_variance[None, :]
    ratio = (spread + (posterior.loc - base.loc) ** 2) / base.scale**2
    log_prior = 2.0 * jnp.sum(jnp.broadcast_to(jnp.log(base.scale), (rows, columns)))
    log_posterior = 2.0 * (
        columns * jnp.sum(jnp.log(jnp.diag(posterior.scale_tril_row)))
        + rows * jnp.sum(jnp.log(jnp.diag(posterior.scale_tril_column)))
    )
    return 0.5 * (jnp.sum(ratio) - rows * columns + log_prior - log_posterior)
