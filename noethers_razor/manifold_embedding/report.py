"""Whether an embedding is one: its functional, the identities of a stationary one, and folds."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp

from noethers_razor._types import Array
from noethers_razor.manifold_embedding import folds, functional
from noethers_razor.manifold_embedding.density import Density
from noethers_razor.manifold_embedding.latent import Nodes
from noethers_razor.manifold_embedding.training import Family, decoded, energies, maps
from noethers_razor.plot import markup

_BATCH = 256
"""Latent points that are worked on at once."""
_UNEVEN = 1.0
"""Spread of the energy, nats, from which on latent density and data differ."""


@dataclasses.dataclass(frozen=True)
class EmbeddingReport:
    """What is exact of a stationary embedding, and how far this one is from it.

    Args:
        objective: J, nats, data units.
        log_area: log Z, of the area of the manifold weighted by the density, nats.
        divergence: KL = log Z - J, nats: how far the latent density is from that of the data along the
            manifold.
        energy_spread: standard deviation over q of what is constant at best, nats.
        residual: root mean square of R times the spread of the data: 0 where J is stationary among all
            functions.
        virial: E[<phi - centre, grad log p>] + d: what bending, and an unfinished climb, leave of it. It is 0
            of a fold too.
        stein: |E[grad log p]| times the spread of the data, the same of translations.
        currents: name of a declared field -> root mean square of div j / q.
        folded: share of the latent space whose image lies on another sheet of the manifold, with no valley
            of the density between.
        distance: root mean square distance of the data to it.
        warnings: what to keep in mind.
    """

    objective: float
    log_area: float
    divergence: float
    energy_spread: float
    residual: float
    virial: float
    stein: float
    currents: dict[str, float]
    folded: float
    distance: float
    warnings: list[str]

    def __str__(self) -> str:
        lines = [
            f"J                {self.objective:.4g} nats = log Z {self.log_area:.4g} - KL "
            f"{self.divergence:.3g}",
            f"energy           constant to {self.energy_spread:.3g} nats",
            f"residual         {self.residual:.3g}",
            f"virial, Stein    {self.virial:.3g}, {self.stein:.3g}",
            *(f"div j, {name:<9} {value:.3g}" for name, value in self.currents.items()),
            f"folded           {100 * self.folded:.2g} % of the latent space",
            f"distance         {self.distance:.3g}, root mean square, of the data to the manifold",
        ]
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings)])

    def _repr_html_(self) -> str:
        head = f"J = {self.objective:.4g} nats, {100 * self.folded:.2g} % folded"
        return markup.block(head, [markup.folded("all numbers", str(self))], self.warnings)


def report_of(
    family: Family,
    params: Any,
    density: Density,
    nodes: Nodes,
    least: float,
    distance: float,
    remarks: Sequence[str],
    mean: np.ndarray,
    scale: float,
    fields: Mapping[str, Callable[[Array], Array]] | None,
) -> EmbeddingReport:
    """The report of a fit in standard units.

    Args:
        least: log p that places of data have, at least.
        distance: root mean square distance of the data to the manifold, data units.
        remarks: of the fit, for the warnings.
        mean, scale: data are mean + scale times standard units.
        fields: name -> vector field on data points, data units.
    """
    dim, features = nodes.z.shape[1], len(mean)
    energy = np.asarray(energies(family, params, density, nodes))
    weights, z = nodes.weights, jnp.asarray(nodes.z)
    value = float(weights @ energy)
    area = float(logsumexp(energy, b=weights))
    off, slope = (np.asarray(part) for part in _at_nodes(family, params, density, z))
    image = decoded(family, params, nodes.z)
    # Data units: lengths are scale times as large, and the density is per volume.
    units = -(features - dim) * float(np.log(scale))
    centre = weights @ image
    folded = folds.share(family, params, density, nodes, least)
    spread = float(np.sqrt(weights @ (energy - value) ** 2))
    return EmbeddingReport(
        objective=value + units,
        log_area=area + units,
        divergence=area - value,
        energy_spread=spread,
        residual=float(np.sqrt(weights @ np.sum(off**2, axis=1))),
        virial=float(weights @ np.sum((image - centre) * slope, axis=1)) + dim,
        stein=float(np.linalg.norm(weights @ slope)),
        currents={
            name: _divergence(maps(family, params, density), field, nodes, mean, scale)
            for name, field in (fields or {}).items()
        },
        folded=folded,
        distance=distance,
        warnings=[*remarks, *_warnings(family, folded, spread, value)],
    )


@functools.partial(jax.jit, static_argnames="family")
def _at_nodes(family: Family, params: Any, density: Density, z: Array) -> tuple[Array, Array]:
    """Residual and gradient of log p, each (K, D), at latent points (K, d)."""
    phi, log_p, log_q = maps(family, params, density)

    def one(z: Array) -> tuple[Array, Array]:
        return functional.residual(phi, log_p, log_q, z), jax.grad(log_p)(phi(z))

    # So many at once that second derivatives of large decoders fit into memory.
    return jax.lax.map(one, z, batch_size=_BATCH)


def _divergence(
    parts: tuple[Any, Any, Any],
    field: Callable[[Array], Array],
    nodes: Nodes,
    mean: np.ndarray,
    scale: float,
) -> float:
    """Root mean square of div j / q of a field that is given in data units.

    Args:
        parts: phi, log p, log q.
    """

    def standard(x: Array) -> Array:
        return field(jnp.asarray(mean) + scale * x) / scale

    def rate(z: Array) -> Array:
        return functional.budget(*parts, standard, z).rate

    rates = jax.jit(lambda z: jax.lax.map(rate, z, batch_size=_BATCH))(jnp.asarray(nodes.z))
    return float(np.sqrt(nodes.weights @ np.asarray(rates) ** 2))


def _warnings(family: Family, folded: float, spread: float, value: float) -> list[str]:
    found = []
    if not np.isfinite(value):
        found.append("the objective is not finite: the fit tells nothing")
    if folded > 0:
        way = " or lower degree" if isinstance(family.basis, str) and family.degree > 1 else ""
        found.append(
            f"the manifold folds: {100 * folded:.2g} % of the latent space lies on another sheet; raise "
            f"bending{way}"
        )
    if spread > _UNEVEN:
        found.append(
            f"energy varies by {spread:.2g} nats: latent points are not spread along the manifold as the "
            "data are"
        )
    return found
