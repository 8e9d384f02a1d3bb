"""Whether an embedding is one: its functional, the identities of a stationary one, and folds."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import shortest_path
from scipy.spatial import Delaunay
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from noethers_razor import markup
from noethers_razor._types import Array
from noethers_razor.manifold_embedding import functional
from noethers_razor.manifold_embedding.density import Density
from noethers_razor.manifold_embedding.latent import Nodes
from noethers_razor.manifold_embedding.training import Family, decoded, energies, maps

_NEAR = 1.0
"""Two sheets of a manifold nearer than so many distances of data to it are one to the data."""
_APART = 3.0
"""Times their straight distance that two points are apart along the manifold, where it folds between them."""
_MOST_DIMENSIONS = 2
"""Latent dimensions in which folds are looked for: in more, triangles between few points are too coarse."""
_UNEVEN = 0.5
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
        folded: share of the latent space whose image lies on another sheet of the manifold; not a number in
            more than two latent dimensions, where folds are not looked for.
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
            "folded           "
            + (
                f"{100 * self.folded:.2g} % of the latent space"
                if np.isfinite(self.folded)
                else "not looked for"
            ),
            f"distance         {self.distance:.3g}, root mean square, of the data to the manifold",
        ]
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings)])

    def _repr_html_(self) -> str:
        folds = f"{100 * self.folded:.2g} % folded" if np.isfinite(self.folded) else "folds not looked for"
        head = f"J = {self.objective:.4g} nats, {folds}"
        return markup.block(head, [markup.folded("all numbers", str(self))], self.warnings)


def report_of(
    family: Family,
    params: Any,
    density: Density,
    nodes: Nodes,
    distance: float,
    converged: bool,
    mean: np.ndarray,
    scale: float,
    fields: Mapping[str, Callable[[Array], Array]] | None,
) -> EmbeddingReport:
    """The report of a fit in standard units.

    Args:
        distance: root mean square distance of the data to the manifold, data units.
        converged: whether the climb has ended by itself.
        mean, scale: data are mean + scale times standard units.
        fields: name -> vector field on data points, data units.
    """
    dim, features = nodes.z.shape[1], len(mean)
    phi, log_p, log_q = maps(family, params, density)
    energy = np.asarray(energies(family, params, density, nodes))
    weights, z = nodes.weights, jnp.asarray(nodes.z)
    value = float(weights @ energy)
    area = float(logsumexp(energy, b=weights))
    off = np.asarray(jax.jit(jax.vmap(lambda u: functional.residual(phi, log_p, log_q, u)))(z))
    image = decoded(family, params, nodes.z)
    slope = np.asarray(jax.jit(jax.vmap(jax.grad(log_p)))(jnp.asarray(image)))
    # Data units: lengths are scale times as large, and the density is per volume.
    units = -(features - dim) * float(np.log(scale))
    centre = weights @ image
    folded = _folded(image, nodes, family.latent == "circle", distance / scale)
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
            name: _divergence(phi, log_p, log_q, field, nodes, mean, scale)
            for name, field in (fields or {}).items()
        },
        folded=folded,
        distance=distance,
        warnings=_warnings(folded, spread, value, converged, density.blurs),
    )


def _divergence(
    phi: Any,
    log_p: Any,
    log_q: Any,
    field: Callable[[Array], Array],
    nodes: Nodes,
    mean: np.ndarray,
    scale: float,
) -> float:
    """Root mean square of div j / q of a field that is given in data units."""

    def standard(x: Array) -> Array:
        return field(jnp.asarray(mean) + scale * x) / scale

    def rate(z: Array) -> Array:
        return functional.budget(phi, log_p, log_q, standard, z).rate

    return float(np.sqrt(nodes.weights @ np.asarray(jax.jit(jax.vmap(rate))(jnp.asarray(nodes.z))) ** 2))


def _folded(image: np.ndarray, nodes: Nodes, closed: bool, distance: float) -> float:
    """Share of the latent space whose image has another part of the manifold near it that is far along it."""
    dim = nodes.z.shape[1]
    if dim > _MOST_DIMENSIONS:
        return float("nan")
    apart = cdist(image, image)
    along = _along(image, nodes.z, closed)
    other = np.any((apart < _NEAR * distance) & (along > _APART * np.maximum(apart, distance)), axis=1)
    return float(nodes.weights @ other)


def _along(image: np.ndarray, z: np.ndarray, closed: bool) -> np.ndarray:
    """Distances (K, K) along the manifold between images of latent points, through neighbours among them.

    Args:
        closed: whether the last of them is beside the first.
    """
    edges = _neighbours(z, closed)
    lengths = np.maximum(np.linalg.norm(image[edges[:, 0]] - image[edges[:, 1]], axis=1), 1e-300)
    graph = coo_matrix((lengths, edges.T), shape=(len(z), len(z)))
    return np.asarray(shortest_path(graph.tocsr(), directed=False))


def _neighbours(z: np.ndarray, closed: bool) -> np.ndarray:
    """Pairs (E, 2) of latent points (K, d) beside each other: in order, or the edges of a triangulation."""
    if z.shape[1] == 1:
        order = np.argsort(z[:, 0])
        pairs = np.stack([order, np.roll(order, -1)], axis=1)
        return pairs if closed else pairs[:-1]
    corners = Delaunay(z).simplices
    edges = [corners[:, [i, j]] for i, j in itertools.combinations(range(corners.shape[1]), 2)]
    return np.unique(np.sort(np.concatenate(edges), axis=1), axis=0)


def _warnings(folded: float, spread: float, value: float, converged: bool, annealed: bool) -> list[str]:
    found = []
    if not np.isfinite(value):
        found.append("the objective is not finite: the fit tells nothing")
    if not converged:
        found.append("the climb had not ended: raise max_iter or tol")
    if np.isnan(folded):
        found.append(f"folds are not looked for in more than {_MOST_DIMENSIONS} latent dimensions")
    if folded > 0:
        way = "raise bending, lower degree" + (", or anneal from another blur" if annealed else "")
        found.append(
            f"the manifold folds: {100 * folded:.2g} % of the latent space lies on another sheet; {way}"
        )
    if spread > _UNEVEN:
        found.append(
            f"energy varies by {spread:.2g} nats: latent points are not spread along the manifold as the "
            "data are"
        )
    return found
