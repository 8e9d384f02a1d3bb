"""Sparse polynomial conserved quantities, in the coordinates of the data and in terms such as 1/r."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from noethers_razor._deprecated import old_names
from noethers_razor._types import Array, Params
from noethers_razor.conserved.base import flagged
from noethers_razor.conserved.expansion import Expansion
from noethers_razor.data.frame import Frame
from noethers_razor.errors import UsageError
from noethers_razor.numerics.expressions import expression
from noethers_razor.numerics.polynomials import MOST, exponents, monomials, number


def _typical_gradient(powers: np.ndarray) -> float:
    """Root-mean-square gradient of a monomial under a standard normal law."""

    def moment(power: int) -> int:
        return math.prod(range(2 * power - 1, 0, -2))

    total = sum(
        int(p) ** 2 * moment(int(p) - 1) * math.prod(moment(int(r)) for j, r in enumerate(powers) if j != i)
        for i, p in enumerate(powers)
        if p
    )
    return math.sqrt(total)


class Chart(NamedTuple):
    """The map from the frame to the data's coordinates, x = matrix z + centre, in which formulas are sparse.

    The variables of monomials are (x - shift) / scale.
    """

    matrix: tuple[tuple[float, ...], ...]
    centre: tuple[float, ...]
    shift: tuple[float, ...]
    scale: tuple[float, ...]
    names: tuple[str, ...]


def _chart(frame: Frame, names: Sequence[str]) -> Chart:
    matrix, centre = frame.inverse, frame.centre
    # In the frame every coordinate has spread 1.
    scale = np.linalg.norm(matrix, axis=1)
    shift = np.where(np.abs(centre) > 2 * scale, centre, 0.0)
    rows = tuple(tuple(map(float, row)) for row in matrix)
    return Chart(rows, tuple(centre.tolist()), tuple(shift.tolist()), tuple(scale.tolist()), tuple(names))


@old_names(forms="quadratic", functions="non_quadratic")
@dataclasses.dataclass(frozen=True)
class Polynomial(Expansion):
    """Quadratic quantities, and polynomials in the coordinates and in terms of them.

    Args:
        count, start, quadratic, non_quadratic, reach, averaged: see `Expansion`.
        degree: largest degree of a monomial.
        terms: formulas in the names of the data's coordinates, used as further variables, see `expressions`.
        chart: coordinates of the monomials; set by the data.
    Raises:
        ValueError: for a degree below 1, or see `Expansion`.
        UsageError: in `fitted_to`, for a term that is not a formula of the coordinates.
    """

    degree: int = flagged(3, "degree", "Largest degree of a monomial.")
    terms: tuple[str, ...] = flagged(
        (),
        "term",
        "Further variable of the polynomials, such as 1/sqrt(q1^2+q2^2); may be repeated.",
        metavar="FORMULA",
    )
    chart: Chart | None = None
    name = "polynomial"
    sparse = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.degree < 1:
            raise ValueError(f"degree = {self.degree} of family polynomial; expected at least 1")

    def fitted_to(self, frame: Frame, coordinates: Sequence[str] = ()) -> Polynomial:
        """Return the family in the phase space of a frame, whose coordinates have these names.

        Raises:
            UsageError: for a term that is not a formula of the coordinates, or for too many monomials.
        """
        for term in self.terms:
            expression(term, coordinates)
        if (count := self.feature_count(frame.dim)) > MOST:
            raise UsageError(
                f"degree {self.degree} in {frame.dim + len(self.terms)} variables makes {count} monomials; "
                f"expected at most {MOST}: lower the degree"
            )
        return dataclasses.replace(self.in_phase_space(frame.dim), chart=_chart(frame, coordinates))

    @classmethod
    def restored(cls, settings: dict[str, Any], params: Params) -> Polynomial:
        """Return the family of `settings`, with tuples for the lists of JSON."""
        chart = settings["chart"]
        if chart is not None:
            matrix, *rest = chart
            chart = Chart(tuple(map(tuple, matrix)), *map(tuple, rest))
        return super().restored({**settings, "terms": tuple(settings["terms"]), "chart": chart}, params)

    def feature_count(self, dim: int) -> int:
        """Return (V + degree choose degree) - 1 with V = M + number of terms."""
        return number(dim + len(self.terms), self.degree)

    def features(self, params: Params, x: Array) -> Array:
        """Return monomials of the coordinates, relative to their spread, and of the terms."""
        variables = x
        if self.chart is not None:
            matrix, centre, shift, scale = (np.asarray(part) for part in self.chart[:4])
            # One affine map: a centre far from the origin would cost digits.
            inner, offset = matrix / scale[:, None], (centre - shift) / scale
            variables = x @ jnp.asarray(inner, x.dtype).T + jnp.asarray(offset, x.dtype)
            if self.terms:
                back = x @ jnp.asarray(matrix, x.dtype).T + jnp.asarray(centre, x.dtype)
                further = [expression(term, self.chart.names)(back) for term in self.terms]
                variables = jnp.concatenate([variables, jnp.stack(further, axis=-1)], axis=-1)
        factor = [1.0 / _typical_gradient(row) for row in exponents(variables.shape[-1], self.degree)]
        return monomials(variables, self.degree) * jnp.asarray(factor, x.dtype)
