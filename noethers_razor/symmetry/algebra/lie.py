"""Invariants and names of Lie algebras, from noisy structure constants.

Structure constants come as a stack: first the algebra, then copies whose generators have additional noise of
the size of their error. Every invariant is the rank of a matrix. The spread of the copies decides which
singular values are zero, so there is no fixed tolerance. If a rank stays undecided, the algebra gets no name.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import numpy as np
import scipy.sparse.linalg

from noethers_razor.symmetry.algebra.invariants import Invariants, abelian, circles
from noethers_razor.symmetry.algebra.simple import Simple, simple_name

_ZERO = 2.0
"""Largest multiple of the noise at which a singular value counts as zero."""
_CLEAR = 4.0
"""Smallest multiple of the noise that counts as nonzero. Also the least clear gap, see `_ideals`."""
_GAP = 4.0
"""Smallest ratio of neighbours that decides on singular values between `_ZERO` and `_CLEAR`."""
_FAR = 10.0
"""Smallest multiple of the noise that is never zero: errors of learned generators prefer some directions."""
_WIDE = 25.0
"""Smallest ratio to the next larger value at which one between `_CLEAR` and `_FAR` counts as zero."""
_FLOOR = 1e-7
"""Largest singular value that counts as zero without noise; generators have unit size."""
_TRIES = 12
"""Number of random elements that are tried: the eigenvalues of one may by chance lie close together."""
_TYPICAL = 0.3
"""Typical nonzero singular value, relative to the largest singular value of all brackets."""
_MOST_IDEALS = 8
"""Largest number of simple ideals. A complex ideal has two commuting maps, so twice as many are computed."""
_contracted = functools.partial(np.einsum, optimize=True)


class _Level(NamedTuple):
    """Noise of all brackets, as a lower limit for small matrices, and a typical size of a bracket."""

    noise: float
    size: float


class Unclear(Exception):
    """Error for a rank that the noise does not decide. The message names the rank."""


def _rank(stack: np.ndarray, what: str, level: _Level) -> int:
    """Return the rank of the first of matrices (S, a, b); its differences from the others are noise."""
    values = np.linalg.svd(_short(stack[:1])[0], compute_uv=False)
    noise = np.linalg.norm(_short(stack[1:] - stack[:1]), ord=2, axis=(1, 2)).max(initial=0.0)
    return int(_nonzero(values, float(noise), what, level).sum())


def _nonzero(values: np.ndarray, noise: float, what: str, level: _Level) -> np.ndarray:
    """Return which singular values (k,) are nonzero.

    A wide gap decides on the values between the limits of zero and nonzero.

    Raises:
        Unclear: if there are such values and no wide gap.
    """
    noise = max(noise, level.noise)
    far = values >= max(_FAR * noise, _FLOOR)
    clear = values >= max(_CLEAR * noise, _FLOOR)
    near = clear & ~far
    others = values[far].min() if far.any() else level.size
    if near.any() and others >= _WIDE * values[near].max():
        return np.asarray(far)
    zero = values <= max(_ZERO * noise, _FLOOR)
    between = ~zero & ~clear
    if not between.any():
        return np.asarray(clear)
    above = values[clear].min(initial=level.size) / values[between].max()
    below = values[between].min() / values[zero].max(initial=noise)
    if max(above, below) < _GAP:
        raise Unclear(what)
    return clear if above > below else ~zero


def _aligned(bases: np.ndarray) -> np.ndarray:
    """Return orthonormal bases (S, r, k), each rotated within its span to be closest to the first."""
    u, _, v = np.linalg.svd(np.swapaxes(bases, 1, 2) @ bases[:1])
    return np.asarray(bases @ u @ v)


def _image(stack: np.ndarray, what: str, level: _Level) -> np.ndarray:
    """Return orthonormal bases (S, b, k) of the row spaces of matrices (S, a, b)."""
    count = _rank(stack, what, level)
    return _aligned(np.swapaxes(_right(stack)[:, :count], 1, 2))


def _kernel(stack: np.ndarray, what: str, level: _Level) -> np.ndarray:
    """Return orthonormal bases (S, b, k) of the null spaces of matrices (S, a, b)."""
    count = _rank(stack, what, level)
    return _aligned(np.swapaxes(_right(stack)[:, count:], 1, 2))


def _right(stack: np.ndarray) -> np.ndarray:
    """Return all right singular vectors (S, b, b) of matrices (S, a, b)."""
    return np.linalg.svd(_short(stack))[2]


def _short(stack: np.ndarray) -> np.ndarray:
    """Return matrices with at most b rows and the singular values and right vectors of (S, a, b)."""
    return np.asarray(np.linalg.qr(stack, mode="r")) if stack.shape[1] > stack.shape[2] else stack


def _rows(tensor: np.ndarray, last: int) -> np.ndarray:
    """Reshape (S, ..., last) to matrices (S, rows, last)."""
    return tensor.reshape(len(tensor), tensor[0].size // last, last)


class _Stack:
    """A Lie algebra and its perturbed copies.

    Args:
        structure: structure constants (S, r, r, r) with [e_i, e_j] = sum_k c_ijk e_k.
        level: noise and size of the brackets; computed from the structure constants by default.
    """

    def __init__(self, structure: np.ndarray, level: _Level | None = None) -> None:
        self.c, self.size = structure, structure.shape[1]
        if level is None:
            changes = _short(_rows(structure[1:] - structure[:1], self.size))
            noise = np.linalg.norm(changes, ord=2, axis=(1, 2)).max(initial=0.0)
            level = _Level(
                float(noise), _TYPICAL * float(np.linalg.norm(structure[0].reshape(-1, self.size), 2))
            )
        self.level = level
        self.whole = np.broadcast_to(np.eye(self.size), (len(structure), self.size, self.size))
        self.killing = _contracted("sikl,sjlk->sij", structure, structure)

    def bracket(self, a: np.ndarray, b: np.ndarray, what: str) -> np.ndarray:
        """Return bases of [A, B] for subspaces A and B with bases (S, r, k)."""
        if not a.shape[2] or not b.shape[2]:
            return a[:, :, :0]
        return _image(_rows(_contracted("sia,sjb,sijk->sabk", a, b, self.c), self.size), what, self.level)

    def centraliser(self, of: np.ndarray, what: str) -> np.ndarray:
        """Return bases of the centraliser of a subspace with bases (S, r, k)."""
        if not of.shape[2]:
            return self.whole
        return _kernel(_rows(_contracted("sijk,sjb->sbki", self.c, of), self.size), what, self.level)

    def restricted(self, basis: np.ndarray) -> _Stack:
        """Return the subalgebra with bases (S, r, k)."""
        return _Stack(_contracted("sia,sjb,sijk,skc->sabc", basis, basis, self.c, basis), self.level)

    def series(self, both: bool, what: str) -> list[np.ndarray]:
        """Return bases of the derived (``both``) or lower central series, starting with the whole algebra."""
        found = [self.whole]
        while found[-1].shape[2] and (len(found) == 1 or found[-1].shape[2] < found[-2].shape[2]):
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
    return _kernel(_rows(_contracted("sia,sij->saj", derived[1], g.killing), g.size), "the radical", g.level)


def _signature(forms: np.ndarray, what: str, level: _Level) -> tuple[int, int, int]:
    """Return the numbers of positive, negative and zero eigenvalues of the first of forms (S, a, a)."""
    rank, values = _rank(forms, what, level), np.linalg.eigvalsh(forms[0])
    kept = values[np.argsort(-np.abs(values))[:rank]]
    return int(np.sum(kept > 0)), int(np.sum(kept < 0)), len(values) - rank


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
        _rank(both, "the centre within the derived algebra", g.level) if both.shape[2] else 0
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
    if _rank(inner.killing, "the Killing form of a semisimple part", g.level) < inner.size:
        raise Unclear("whether a part is semisimple")
    acting = _contracted("sia,simn->samn", basis, action)
    found = []
    for part in _ideals(inner):
        own = np.broadcast_to(part, (len(inner.c), *part.shape))
        ideal = inner.restricted(own)
        positive = _signature(ideal.killing, "the Killing form of a simple ideal", g.level)[0]
        matrices = _contracted("sia,simn->samn", own, acting)
        support = _rank(_rows(matrices, matrices.shape[-1]), "the space that a simple ideal acts on", g.level)
        trace = _contracted("aij,bji->ab", matrices[0], matrices[0])
        index = float(np.mean(np.linalg.eigvals(np.linalg.solve(ideal.killing[0], trace)).real))
        found.append(simple_name(part.shape[1], positive, index / max(support, 1), matrices[0]))
    return tuple(sorted(found, key=lambda one: (-one.dimension, str(one.name))))


def _ideals(inner: _Stack) -> list[np.ndarray]:
    """Return bases (r, k) of the simple ideals: eigenspaces of the maps that commute with ad."""
    size = inner.size
    adjoint = np.swapaxes(inner.c, 2, 3)
    form = _commutation(adjoint[0])
    most = min(2 * _MOST_IDEALS, size**2 - 1)
    # Find the smallest eigenvalues. A negative shift keeps the factorised matrix regular.
    shift = -1e-3 * np.trace(form) / len(form)
    begin = np.random.default_rng(0).normal(size=len(form))
    vectors = scipy.sparse.linalg.eigsh(form, most, sigma=shift, v0=begin)[1]
    maps = vectors.T.reshape(most, size, size)
    off = adjoint[0][None] @ maps[:, None] - maps[:, None] @ adjoint[0][None]
    # Compute these from the maps: square roots of the eigenvalues would have half the digits.
    singular = np.sqrt(np.sum(off**2, axis=(1, 2, 3)))
    noise = max((_commutation(other - adjoint[0]) for other in adjoint[1:]), key=np.trace)
    spread = 0.0
    if np.trace(noise) > _FLOOR**2:
        largest = scipy.sparse.linalg.eigsh(noise, 1, tol=0.01, v0=begin, return_eigenvectors=False)
        spread = float(np.sqrt(largest[0]))
    commuting = maps[~_nonzero(singular, spread, "the number of simple ideals", inner.level)]
    count = len(commuting)
    best, kept = 0.0, [np.eye(size)]
    for trial in range(_TRIES if count > 1 else 0):
        weights = np.random.default_rng(trial).normal(size=count)
        eigen, columns = np.linalg.eig(_contracted("a,aij->ij", weights, commuting))
        order = np.argsort(eigen.real)
        gaps = np.diff(eigen.real[order])
        # A complex ideal has two commuting maps, and eigenvalues with one real part.
        for cuts in (np.sort(np.argsort(-gaps)[: k - 1]) + 1 for k in range(count, 1, -1)):
            parts = np.split(order, cuts)
            within = max(np.ptp(eigen.real[part]) for part in parts)
            clearness = gaps[cuts - 1].min() / max(within, 1e-12)
            if clearness > max(best, _CLEAR):
                best, kept = clearness, [_real_basis(columns[:, part]) for part in parts]
                break
    return kept


def _commutation(adjoint: np.ndarray) -> np.ndarray:
    """Return the matrix (d^2, d^2) of the quadratic form sum_a |ad_a X - X ad_a|^2 of maps X (d, d)."""
    size = adjoint.shape[1]
    one = np.eye(size)
    left = _contracted("aji,ajk->ik", adjoint, adjoint)
    right = _contracted("aij,akj->ik", adjoint, adjoint)
    cross = _contracted("aji,alk->ikjl", adjoint, adjoint).reshape(size**2, size**2)
    return np.asarray(np.kron(left, one) + np.kron(one, right) - cross - cross.T)


def _real_basis(columns: np.ndarray) -> np.ndarray:
    """Return a real orthonormal basis (d, k) of the span of eigenvectors (d, k) in conjugate pairs."""
    both = np.concatenate([columns.real, columns.imag], axis=1)
    return np.linalg.svd(both, full_matrices=False)[0][:, : columns.shape[1]]


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
