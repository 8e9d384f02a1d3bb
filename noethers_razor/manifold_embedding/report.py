"""Report of an embedding: its objective, the identities that a stationary embedding obeys, and folds."""

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
from noethers_razor.manifold_embedding.training import DecoderFamily, decoded, energies, maps
from noethers_razor.plot import markup

_BATCH = 256
"""Latent points that are evaluated at once; this limits the memory for second derivatives."""
_UNEVEN = 1.0
"""Standard deviation of the energy, nats, above which the report warns of a wrong parametrisation."""


@dataclasses.dataclass(frozen=True)
class EmbeddingReport:
    """Identities that a stationary embedding obeys, and the deviation of a fit from them.

    Args:
        objective: J for data units, nats.
        log_area: log Z for data units, nats. Z is the area of the manifold weighted by the density.
        divergence: KL = log Z - J, nats, 0 or more: the divergence of the latent density from the density of
            the data along the manifold.
        energy_spread: standard deviation of the energy e over q, nats; 0 at the optimal parametrisation.
        residual: root mean square of R, in units of 1 / `scale_`; 0 if J is stationary among all functions.
        virial: E[<phi - centre, grad log p>] + d. It is 0 at an optimum without bending, even at a fold. It
            measures the effect of bending and of an unfinished optimisation.
        stein: |E[grad log p]| in units of 1 / `scale_`. It measures the same for translations.
        currents: name of a vector field -> root mean square of div j / q.
        folded: share of the latent space, 0 to 1, whose image covers the same data as another part of the
            manifold.
        distance: root mean square distance of the data from the manifold, data units.
        warnings: sentences about limits of the fit; empty if there are none.
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
            f"energy           constant up to {self.energy_spread:.3g} nats",
            f"residual         {self.residual:.3g}",
            f"virial, Stein    {self.virial:.3g}, {self.stein:.3g}",
            *(f"div j, {name:<9} {value:.3g}" for name, value in self.currents.items()),
            f"folded           {100 * self.folded:.2g} % of the latent space",
            f"distance         {self.distance:.3g}, root mean square, of the data from the manifold",
        ]
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings)])

    def _repr_html_(self) -> str:
        head = f"J = {self.objective:.4g} nats, {100 * self.folded:.2g} % folded"
        return markup.block(head, [markup.folded("all numbers", str(self))], self.warnings)


def report_of(
    family: DecoderFamily,
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
    """Return the report of a fit.

    Args:
        family: family of decoders.
        params: parameters of the decoder, standard units.
        density: density of the data, standard units.
        nodes: weighted latent points.
        least: smallest log density of a place with data, nats; see `folds.least_of`.
        distance: root mean square distance of the data from the manifold, data units.
        remarks: warnings of the fit, put before the warnings of the report.
        mean: origin (D,) of the standard units, data units.
        scale: length of one standard unit, data units.
        fields: name -> vector field on data points, data units; None for no field.
    Returns:
        The report.
    """
    dim, features = nodes.z.shape[1], len(mean)
    energy = np.asarray(energies(family, params, density, nodes))
    weights, z = nodes.weights, jnp.asarray(nodes.z)
    value = float(weights @ energy)
    area = float(logsumexp(energy, b=weights))
    off, slope = (np.asarray(part) for part in _at_nodes(family, params, density, z))
    image = decoded(family, params, nodes.z)
    # Convert to data units: lengths grow by scale, and the density is per volume.
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
def _at_nodes(family: DecoderFamily, params: Any, density: Density, z: Array) -> tuple[Array, Array]:
    """Return residual R and gradient of log p, each (K, D), at latent points (K, d)."""
    phi, log_p, log_q = maps(family, params, density)

    def one(z: Array) -> tuple[Array, Array]:
        return functional.residual(phi, log_p, log_q, z), jax.grad(log_p)(phi(z))

    # Compute in batches: second derivatives of a large decoder would fill the memory.
    return jax.lax.map(one, z, batch_size=_BATCH)


def _divergence(
    parts: tuple[Any, Any, Any],
    field: Callable[[Array], Array],
    nodes: Nodes,
    mean: np.ndarray,
    scale: float,
) -> float:
    """Return the root mean square over q of div j / q of a vector field in data units.

    Args:
        parts: phi, log p and log q in standard units.
        field: vector field (D,) -> (D,), data units.
        nodes: weighted latent points.
        mean: origin (D,) of the standard units, data units.
        scale: length of one standard unit, data units.
    """

    def standard(x: Array) -> Array:
        return field(jnp.asarray(mean) + scale * x) / scale

    def rate(z: Array) -> Array:
        return functional.budget(*parts, standard, z).rate

    rates = jax.jit(lambda z: jax.lax.map(rate, z, batch_size=_BATCH))(jnp.asarray(nodes.z))
    return float(np.sqrt(nodes.weights @ np.asarray(rates) ** 2))


def _warnings(family: DecoderFamily, folded: float, spread: float, value: float) -> list[str]:
    """Return warnings about an infinite objective, about folds, and about the spread of the energy."""
    found = []
    if not np.isfinite(value):
        found.append("the objective is not finite: do not use this fit")
    if folded > 0:
        way = " or lower degree" if isinstance(family.basis, str) and family.degree > 1 else ""
        found.append(
            f"the manifold folds: {100 * folded:.2g} % of the latent space covers the same data as another "
            f"part; raise bending{way}"
        )
    if spread > _UNEVEN:
        found.append(
            f"the energy varies by {spread:.2g} nats: the latent density differs from the density of the "
            "data along the manifold"
        )
    return found
