"""The balance of a charge: its rate of change and the terms that explain it.

`learning_dynamics` and `manifold_embedding` both use it.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from noethers_razor._types import Array


class Budget(NamedTuple):
    """The rate of a charge, or the divergence of its current, and the terms whose sum it should be.

    Args:
        rate: rate (...), measured independently of the terms.
        terms: terms (...) by name, such as the symmetry breaking of the kinetic term and of the potential.
        size: magnitude (...) of the products in the sums for rate and terms. A sum is zero if it is small
            compared with it.
    """

    rate: Array
    terms: dict[str, Array]
    size: Array

    @property
    def residual(self) -> Array:
        """Rate minus the sum of the terms (...); zero if the motion obeys the equations behind the terms."""
        return self.rate - sum(self.terms.values(), jnp.zeros_like(self.rate))

    def share(self, values: Array) -> Array:
        """Return |values| relative to the largest of |rate|, |terms| and size.

        Args:
            values: values (...), for example `residual`.
        Returns:
            Shares (...); |values| itself where rate, terms and size are all zero.
        """
        every = [self.size, jnp.abs(self.rate), *(jnp.abs(term) for term in self.terms.values())]
        whole = jnp.max(jnp.stack(every), axis=0)
        return jnp.abs(values) / jnp.where(whole > 0, whole, 1.0)
