"""What changes a charge, term by term: the account that training and embeddings share."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from noethers_razor._types import Array


class Budget(NamedTuple):
    """The rate of a charge, or the divergence of its current, and the terms that it is the sum of.

    Args:
        rate: (...,) measured by itself, not as the sum of the terms.
        terms: name -> (...,), such as what breaks the symmetry of the kinetic term and of the potential.
        size: (...,) of the products that rate and terms are sums of: what a sum is zero beside.
    """

    rate: Array
    terms: dict[str, Array]
    size: Array

    @property
    def residual(self) -> Array:
        """Rate less terms (...,): zero where the motion is the one that the terms are of."""
        return self.rate - sum(self.terms.values(), jnp.zeros_like(self.rate))

    def share(self, values: Array) -> Array:
        """Sizes of values (...,) relative to the largest of rate, terms and size; zero where all are zero."""
        every = [self.size, jnp.abs(self.rate), *(jnp.abs(term) for term in self.terms.values())]
        whole = jnp.max(jnp.stack(every), axis=0)
        return jnp.abs(values) / jnp.where(whole > 0, whole, 1.0)
