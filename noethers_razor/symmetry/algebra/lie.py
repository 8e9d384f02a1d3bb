"""Invariants and names of Lie algebras, from noisy structure constants.

Structure constants come as a stack: first the algebra, then copies whose generators have additional noise of
the size of their error. Every invariant is the rank of a matrix. The spread of the copies decides which
singular values are zero, so there is no fixed tolerance. If a rank stays undecided, the algebra gets no name.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from noethers_razor.symmetry.algebra.ideals import ideals
from noethers_razor.symmetry.algebra.invariants import Invariants, abelian, circles
from noethers_razor.symmetry.algebra.ranks import Level, Unclear, image, kernel, rank, rows, short
from noethers_razor.symmetry.algebra.simple import Simple, simple_name

_TRIES = 12
"""Number of random elements that are tried: the eigenvalues of one may by chance lie close together."""
_TYPICAL = 0.3
"""Typical nonzero singular value, relative to the largest singular value of all brackets."""
_contracted = functools.partial(np.einsum, optimize=True)


class _Stack:
    """A Lie algebra and its perturbed copies.

    Args:
        structure: structure constants (S, r, r, r) with [e_i, e_j] = sum_k c_ijk e_k.
        level: noise and size of the brackets; computed from the structure constants by default.
    """

    def __init__(self, structure: np.ndarray, level: Level | None = None) -> None:
        self.c, self.size = structure, structure.shape[1]
        if level is None:
            changes = short(rows(structure[1:] - structure[:1], self.size))
            noise = np.linalg.norm(changes, ord=2, axis=(1, 2)).max(initial=0.0)
            level = Level(
                float(noise), _TYPICAL * float(np.linalg.norm(structure[0].reshape(-1, self.size), 2))
            )
        self.level = level
        self.whole = np.broadcast_to(np.eye(self.size), (len(structure), self.size, self.size))
        self.killing = _contracted("sikl,sjlk->sij", structure, structure)

    def bracket(self, a: np.ndarray, b: np.ndarray, what: str) -> np.ndarray:
        """Return bases of [A, B] for subspaces A and B with bases (S, r, k)."""
        if not a.shape[2] or not b.shape[2] or (a is b and a.shape[2] == 1):
            return a[:, :, :0]
        brackets = _contracted("sia,sjb,sijk->sabk", a, b, self.c)
        if a is b:
            # [x, y] = -[y, x]: one of both, with the weight of two, has the same singular values.
            brackets = np.sqrt(2.0) * brackets[:, *np.triu_indices(a.shape[2], 1)]
        return image(rows(brackets, self.size), what, self.level)

    def centraliser(self, of: np.ndarray, what: str) -> np.ndarray:
        """Return bases of the centraliser of a subspace with bases (S, r, k)."""
        if not of.shape[2]:
            return self.whole
        return kernel(rows(_contracted("sijk,sjb->sbki", self.c, of), self.size), what, self.level)

    def restricted(self, basis: np.ndarray) -> _Stack:
        """Return the subalgebra with bases (S, r, k)."""
        return _Stack(_contracted("sia,sjb,sijk,skc->sabc", basis, basis, self.c, basis), self.level)

    @functools.cached_property
    def derived(self) -> np.ndarray:
        """Bases of the derived algebra, the second term of both series."""
        return self.bracket(self.whole, self.whole, "the derived series")

    def series(self, both: bool, what: str) -> list[np.ndarray]:
        """Return bases of the derived (``both``) or lower central series, starting with the whole algebra."""
        found = [self.whole, self.derived]
        while found[-1].shape[2] and found[-1].shape[2] < found[-2].shape[2]:
            found.append(self.bracket(found[-1] if both else self.whole, found[-1], what))
        return found if found[-1].shape[2] < found[-2].shape[2] or len(found) == 2 else found[:-1]


def identify(structure: np.ndarray, action: np.ndarray) -> Invariants:
    """Compute the invariants of a Lie algebra, and its name if they determine one.

    Args:
        structure: structure constants (S, r, r, r) of the algebra and of S - 1 perturbed copies.
        action: matrices (S, r, m, m) of the generators. They distinguish isomorphic algebras.
    Returns:
        Invariants. Without a name, ``open`` gives the reason.
    """
    g, found = _Stack(structure), Invariants(structure.shape[1])
    try:
        centre = g.centraliser(g.whole, "the centre")
        found = dataclasses.replace(found, centre=centre.shape[2])
        if centre.shape[2] == g.size:
            return abelian(g.size)
        derived = g.series(True, "the derived series")
        found = dataclasses.replace(found, derived=tuple(a.shape[2] for a in derived))
        lower = g.series(False, "the lower central series")
        found = dataclasses.replace(found, lower_central=tuple(a.shape[2] for a in lower))
        found = dataclasses.replace(found, signature=_signature(g.killing, "the Killing form", g.level))
        radical = _radical(g, derived)
        found = dataclasses.replace(found, radical=radical.shape[2])
        return _named(g, found, centre, derived, radical, action)
    except Unclear as reason:
        return dataclasses.replace(found, open=f"the noise is too large to determine {reason}")


def _radical(g: _Stack, derived: list[np.ndarray]) -> np.ndarray:
    """Return bases of the radical: the complement of the derived algebra in the Killing form (Cartan)."""
    if not derived[-1].shape[2]:
        # A solvable algebra is its own radical.
        return g.whole
    return kernel(rows(_contracted("sia,sij->saj", derived[1], g.killing), g.size), "the radical", g.level)


def _signature(forms: np.ndarray, what: str, level: Level) -> tuple[int, int, int]:
    """Return the numbers of positive, negative and zero eigenvalues of the first of forms (S, a, a)."""
    count, values = rank(forms, what, level), np.linalg.eigvalsh(forms[0])
    kept = values[np.argsort(-np.abs(values))[:count]]
    return int(np.sum(kept > 0)), int(np.sum(kept < 0)), len(values) - count


def _named(
    g: _Stack,
    found: Invariants,
    centre: np.ndarray,
    derived: list[np.ndarray],
    radical: np.ndarray,
    action: np.ndarray,
) -> Invariants:
    """Return the invariants with the names of the parts that commute with each other."""
    both = np.concatenate([centre, derived[1]], axis=2)
    common = both.shape[2] - (
        rank(both, "the centre within the derived algebra", g.level) if both.shape[2] else 0
    )
    flat = centre.shape[2] - common
    nilpotent = g.bracket(g.whole, radical, "the brackets with the radical")
    if g.bracket(nilpotent, nilpotent, "the brackets of the nilpotent part").shape[2]:
        return dataclasses.replace(found, open="the brackets with the radical do not commute")
    apart = g.centraliser(nilpotent, "the centraliser of the nilpotent part")
    # The last term of the derived series is its own derived algebra. If the algebra acts on its nilpotent
    # part, the simple ideals are those that commute with this part.
    moved = nilpotent.shape[2] > 0 and not common
    core = g.bracket(apart, apart, "the simple ideals") if moved else derived[-1]
    simple = _simple_ideals(g, core, action)
    found = dataclasses.replace(found, simple=simple)
    if any(part.name is None for part in simple):
        return dataclasses.replace(found, open="a simple ideal is not in the table of names")
    rest = found.dimension - flat - sum(part.dimension for part in simple)
    if not nilpotent.shape[2]:
        if rest:
            return dataclasses.replace(found, open="the dimensions of the parts do not add up")
        return _joined(found, simple, flat, [], _contracted("ia,imn->amn", centre[0], action[0]))
    name = _Nilpotent(g, nilpotent, apart).name(rest, common, flat, simple)
    if name is None:
        return dataclasses.replace(found, open="these invariants are not in the table of names")
    if name.startswith("nbody"):
        return dataclasses.replace(found, name=name)
    return _joined(found, simple, flat, [name], np.zeros((0, *action.shape[2:])))


@dataclasses.dataclass(frozen=True)
class _Nilpotent:
    """An abelian ideal V = [g, radical] with bases ``space``, and its centraliser with bases ``apart``."""

    g: _Stack
    space: np.ndarray
    apart: np.ndarray

    def name(self, rest: int, common: int, flat: int, simple: tuple[Simple, ...]) -> str | None:
        """Return the name, or None if the table has none.

        Args:
            rest: dimension of this part.
            common: dimension of the intersection of the centre with the derived algebra.
            flat: number of central directions outside the derived algebra.
            simple: simple ideals that commute with V.
        """
        dim = self.space.shape[2]
        if common:
            # All brackets are multiples of one central element: a Heisenberg algebra.
            return f"heisenberg({(rest - 1) // 2})" if common == dim == 1 and rest % 2 else None
        acting = self.g.size - self.apart.shape[2]
        if rest != dim + acting:
            return None
        moved = _contracted("sijk,sjb,skc->sicb", self.g.c, self.space, self.space)
        trace = _contracted("sibc,sjcb->sij", moved, moved)
        if _signature(trace, "the trace form on the nilpotent part", self.g.level)[:2] != (0, acting):
            return None
        # Only so(dim) is compact, acts on V and has this dimension.
        if acting == dim * (dim - 1) // 2:
            return f"se({dim})"
        return self._of_bodies(dim, acting, flat, simple)

    def _of_bodies(self, dim: int, acting: int, flat: int, simple: tuple[Simple, ...]) -> str | None:
        """Return ``nbody(2)``, ``nbody(3)`` or None.

        V holds the total momentum and products of its components: weights 1 and 2 of rotations, once each.
        """
        others = tuple((part.dimension, part.compact) for part in simple)
        plane = (dim, acting, flat, others) == (4, 1, 2, ())
        if not plane and (dim, acting, flat, others) != (8, 3, 1, ((3, True),)):
            return None
        expected = np.array([1, 1, 2, 2] if plane else [0, 0, 1, 1, 1, 1, 2, 2]) / 2
        off = []
        for trial in range(_TRIES):
            x = np.random.default_rng(trial).normal(size=self.g.size)
            field = _contracted("i,ijk,jb,kc->cb", x, self.g.c[0], self.space[0], self.space[0])
            weights = np.sort(np.abs(np.linalg.eigvals(field)))
            off.append(np.abs(weights / weights[-1] - expected).max())
        return f"nbody({2 if plane else 3})" if min(off) < 0.1 else None


def _simple_ideals(g: _Stack, basis: np.ndarray, action: np.ndarray) -> tuple[Simple, ...]:
    """Return the simple ideals of a semisimple subalgebra with bases (S, r, k), large ones first."""
    if not basis.shape[2]:
        return ()
    inner = g.restricted(basis)
    if rank(inner.killing, "the Killing form of a semisimple part", g.level) < inner.size:
        raise Unclear("whether a part is semisimple")
    acting = _contracted("sia,simn->samn", basis, action)
    found = []
    for part in ideals(np.swapaxes(inner.c, 2, 3), inner.level):
        own = np.broadcast_to(part, (len(inner.c), *part.shape))
        ideal = inner.restricted(own)
        positive = _signature(ideal.killing, "the Killing form of a simple ideal", g.level)[0]
        matrices = _contracted("sia,simn->samn", own, acting)
        support = rank(rows(matrices, matrices.shape[-1]), "the space that a simple ideal acts on", g.level)
        trace = _contracted("aij,bji->ab", matrices[0], matrices[0])
        index = float(np.mean(np.linalg.eigvals(np.linalg.solve(ideal.killing[0], trace)).real))
        found.append(simple_name(part.shape[1], positive, index / max(support, 1), matrices[0]))
    return tuple(sorted(found, key=lambda one: (-one.dimension, str(one.name))))


def _joined(
    found: Invariants,
    simple: tuple[Simple, ...],
    flat: int,
    others: list[str],
    central: np.ndarray,
) -> Invariants:
    """Return the invariants with the name of the direct sum.

    Two halves that act on one space are so(4) or so(2,2); su(n) and a centre that do so are u(n).
    """
    left, names = list(simple), []
    while left:
        part = left.pop(0)
        partner = next((one for one in left if part.half and one.half and part.acts_with(one.matrices)), None)
        if partner is not None and (part.compact, partner.compact) in ((True, True), (False, False)):
            # Ideals with one name are equal: `remove` would take the first of them.
            left = [one for one in left if one is not partner]
            names.append("so(4)" if part.compact else "so(2,2)")
        elif flat and part.unitary and part.acts_with(central):
            flat -= 1
            names.append(str(part.name).removeprefix("s"))
        else:
            names.append(str(part.name))
    names += others
    if flat:
        names.append(circles(flat))
    return dataclasses.replace(found, name="+".join(names))
