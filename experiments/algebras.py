"""Names of algebras, identified from generators with noise in random bases and coordinates.

Run as `python -m experiments.algebras`. Each trial draws a basis of the algebra, a symplectic change of
coordinates, and an error of each generator relative to its size.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable

import numpy as np
import scipy.linalg

from experiments.tables import markdown, parser, write
from noethers_razor.mechanics.phase_space import symplectic_form
from noethers_razor.mechanics.quadratic_form import (
    basis,
    embed,
    moving_combinations,
    product_form,
    stack_forms,
)
from noethers_razor.symmetry.algebra.structure import Algebra, analyse
from noethers_razor.symmetry.span import span_of
from noethers_razor.systems import NBody, Oscillators

NOISES = (0.0, 1e-3, 1e-2)
"""Errors of a generator, relative to its size."""
_STRETCH = 0.3
"""Standard deviation of the logarithm of the change of coordinates."""

Quantities = tuple[np.ndarray, np.ndarray]
"""Quadratic forms (r, M, M) and linear parts (r, M)."""


def _unit(dof: int, index: int) -> np.ndarray:
    return np.eye(2 * dof)[index]


def _forms(*forms: np.ndarray) -> Quantities:
    return np.array(forms), np.zeros((len(forms), len(forms[0])))


def _rotations(n: int, dof: int) -> list[np.ndarray]:
    """Return the quadratic forms of q_i p_j - q_j p_i for the first n coordinates."""
    return [
        product_form(_unit(dof, i), _unit(dof, dof + j)) - product_form(_unit(dof, j), _unit(dof, dof + i))
        for i in range(n)
        for j in range(i + 1, n)
    ]


def unitary(n: int) -> Quantities:
    """Return the conserved quantities of n oscillators, u(n)."""
    return stack_forms(Oscillators(n=n).conserved())


def special_unitary(n: int) -> Quantities:
    """Return the conserved quantities of n oscillators without the trace, su(n)."""
    form, _ = unitary(n)
    traces = np.einsum("kii->k", form) / (2 * n)
    rows = (form - traces[:, None, None] * np.eye(2 * n)).reshape(len(form), 4 * n * n)
    return _forms(*np.linalg.svd(rows)[2][: n * n - 1].reshape(-1, 2 * n, 2 * n))


def euclidean(n: int) -> Quantities:
    """Return rotations and momenta of a particle in n dimensions, se(n)."""
    form, linear = _forms(*_rotations(n, n))
    momenta = np.eye(2 * n)[n:]
    return np.concatenate([form, np.zeros((n, 2 * n, 2 * n))]), np.concatenate([linear, momenta])


def heisenberg() -> Quantities:
    """Return q1 p2, p1 and their bracket p2."""
    form = np.zeros((3, 4, 4))
    form[0] = product_form(_unit(2, 0), _unit(2, 3))
    return form, np.stack([np.zeros(4), _unit(2, 2), _unit(2, 3)])


def oscillator(dof: int, index: int) -> np.ndarray:
    """Return the quadratic form (2 dof, 2 dof) of the energy of one oscillator."""
    return np.diag(_unit(dof, index) + _unit(dof, dof + index))


ALGEBRAS: dict[str, Callable[[], Quantities]] = {
    **{f"u({n})": functools.partial(unitary, n) for n in range(1, 6)},
    "su(2)": functools.partial(special_unitary, 2),
    "su(3)": functools.partial(special_unitary, 3),
    "so(3)": lambda: _forms(*_rotations(3, 3)),
    "so(4)": lambda: _forms(*_rotations(4, 4)),
    "se(2)": functools.partial(euclidean, 2),
    "se(3)": functools.partial(euclidean, 3),
    "heisenberg(1)": heisenberg,
    "u(1)^3": lambda: _forms(*(oscillator(3, i) for i in range(3))),
    "so(3)+u(1)": lambda: _forms(*_rotations(3, 4), oscillator(4, 3)),
    "nbody(2)": lambda: stack_forms(NBody(n_bodies=3, dim=2).conserved()),
    "nbody(3)": lambda: stack_forms(NBody(n_bodies=3, dim=3).conserved()),
}


def trial(name: str, noise: float, seed: int) -> Algebra:
    """Identify an algebra from generators with an error, in a random basis and random coordinates.

    Args:
        name: key of `ALGEBRAS`.
        noise: error of a generator, relative to its size.
        seed: seed of basis, coordinates and error.
    """
    form, linear = ALGEBRAS[name]()
    count, dim = linear.shape
    rng = np.random.default_rng([seed, count, dim])
    draw = rng.normal(size=(dim, dim))
    change = scipy.linalg.expm(symplectic_form(dim) @ (draw + draw.T) * _STRETCH / np.sqrt(dim))
    form, linear = np.einsum("ji,kjl,lm->kim", change, form, change), linear @ change
    moment = np.eye(dim + 1) / dim
    size = np.linalg.norm(embed(form, linear, moment), axis=1)
    mixing = np.linalg.qr(rng.normal(size=(count, count)))[0] / size
    form, linear = np.einsum("ab,bij->aij", mixing, form), mixing @ linear
    every_form, every_linear = basis(dim)
    unit = moving_combinations(embed(every_form, every_linear, moment))
    error = rng.normal(size=(count, unit.shape[1])) @ unit.T / np.sqrt(unit.shape[1])
    error *= noise * np.linalg.norm(embed(form, linear, moment), axis=1)[:, None]
    form, linear = form + np.einsum("rd,dij->rij", error, every_form), linear + error @ every_linear
    span = span_of(form, linear, moment)
    return analyse(span.form[:count], span.linear[:count], moment)


def main() -> None:
    arguments = parser("identify algebras from generators with noise")
    arguments.add_argument(
        "--trials", type=int, default=200, help="number of trials of each algebra at each noise"
    )
    arguments.add_argument("--algebra", nargs="+", choices=list(ALGEBRAS), default=list(ALGEBRAS))
    chosen = arguments.parse_args()
    rows, runs = [], {}
    for name in chosen.algebra:
        cells = []
        for noise in NOISES:
            found = [trial(name, noise, seed) for seed in range(1, chosen.trials + 1)]
            names = Counter(str(one.name) for one in found)
            runs[f"{name} {noise}"] = dict(names)
            wrong = sum(count for label, count in names.items() if label not in (name, "None"))
            cells.append(f"{names[name]} of {chosen.trials}, {wrong} wrong")
            print(name, noise, dict(names), flush=True)
        rows.append([name, *cells])
    write(
        chosen.out,
        "algebras",
        title="Names of algebras in random bases and coordinates",
        command=f"python -m experiments.algebras --trials {chosen.trials}",
        table=markdown(["algebra", *(f"noise {noise:g}" for noise in NOISES)], rows),
        remarks="",
        runs=runs,
        spread_of="The cells count trials with the right name and trials with a wrong name. The other trials "
        "have no name. The noise is relative to the size of a generator.",
    )


if __name__ == "__main__":
    main()
