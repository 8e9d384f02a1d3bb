"""Simple ideals of a semisimple Lie algebra, from noisy structure constants.

The maps X that commute with all ad_a are combinations of the projections on the simple ideals. They are the
kernel of X -> [ad_a, X], a map from d^2 to d^3 numbers. It is only applied, never stored as a matrix, and
Krylov spaces give its smallest singular values. The identity is in the kernel and is left out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from noethers_razor.symmetry.algebra.ranks import CLEAR, FLOOR, Level, far, nonzero

_TRIES = 12
"""Number of random elements that are tried: the eigenvalues of one may by chance lie close together."""
_MOST_IDEALS = 8
"""Largest number of simple ideals. A complex ideal has two commuting maps, so twice as many are computed."""
_SMALL = 256
"""Largest number of entries of a map for which all maps are the subspace, so that all values are exact."""
_FEWEST_STEPS = 15
"""Steps before a value counts as the smallest: a random start has little of the kernel."""
_MOST_STEPS = 100
_ROUGH = 0.01
"""Error of a value, relative to it, if only its size matters."""
_FINE = 1e-9
"""Error of the square of a value that may be zero, relative to the largest."""

_Form = Callable[[np.ndarray], np.ndarray]
"""A symmetric positive form on maps: columns (d^2, k) -> columns (d^2, k)."""


def ideals(adjoint: np.ndarray, level: Level) -> list[np.ndarray]:
    """Return bases (d, k) of the simple ideals: eigenspaces of the maps that commute with ad.

    Args:
        adjoint: matrices ad_a (S, d, d, d) of the algebra and of S - 1 perturbed copies.
        level: noise and size of the brackets.
    """
    size = adjoint.shape[1]
    changes = adjoint[1:] - adjoint[:1]
    traces = 2 * size * np.sum(changes**2, axis=(1, 2, 3)) - 2 * np.sum(
        np.trace(changes, axis1=2, axis2=3) ** 2, axis=1
    )
    spread = 0.0
    if traces.max(initial=0.0) > FLOOR**2:
        spread = _norm(_commutation(changes[np.argmax(traces)]), size)
    maps = _smallest(_commutation(adjoint[0]), size, far(spread, level))
    maps = np.concatenate([np.eye(size)[None] / np.sqrt(size), maps])
    # Compute these from the maps: square roots of the eigenvalues would have half the digits.
    singular = np.array([np.linalg.norm(adjoint[0] @ one - one @ adjoint[0]) for one in maps])
    return _eigenspaces(maps[~nonzero(singular, spread, "the number of simple ideals", level)])


def _eigenspaces(commuting: np.ndarray) -> list[np.ndarray]:
    """Return real bases (d, k) of the common eigenspaces of maps (count, d, d)."""
    count, size = commuting.shape[:2]
    best, kept = 0.0, [np.eye(size)]
    for trial in range(_TRIES if count > 1 else 0):
        weights = np.random.default_rng(trial).normal(size=count)
        eigen, columns = np.linalg.eig(np.tensordot(weights, commuting, axes=1))
        order = np.argsort(eigen.real)
        gaps = np.diff(eigen.real[order])
        # A complex ideal has two commuting maps, and eigenvalues with one real part.
        for cuts in (np.sort(np.argsort(-gaps)[: k - 1]) + 1 for k in range(count, 1, -1)):
            parts = np.split(order, cuts)
            within = max(np.ptp(eigen.real[part]) for part in parts)
            clearness = gaps[cuts - 1].min() / max(within, 1e-12)
            if clearness > max(best, CLEAR):
                best, kept = clearness, [_real_basis(columns[:, part]) for part in parts]
                break
    return kept


def _real_basis(columns: np.ndarray) -> np.ndarray:
    """Return a real orthonormal basis (d, k) of the span of eigenvectors (d, k) in conjugate pairs."""
    both = np.concatenate([columns.real, columns.imag], axis=1)
    return np.linalg.svd(both, full_matrices=False)[0][:, : columns.shape[1]]


def _commutation(adjoint: np.ndarray) -> _Form:
    """Return the form sum_a |ad_a X - X ad_a|^2 of maps X (d, d)."""
    size = len(adjoint)
    turned = np.swapaxes(adjoint, 1, 2)
    both = np.einsum("aji,ajk->ik", adjoint, adjoint, optimize=True)
    other = np.einsum("aij,akj->ik", adjoint, adjoint, optimize=True)
    # Matrices of ad_a and of its transpose with (j, a k) and (j a, k): each product of all a is one product.
    wide = [one.transpose(1, 0, 2).reshape(size, -1) for one in (adjoint, turned)]
    tall = [one.transpose(2, 1, 0).reshape(size, -1) for one in (adjoint, turned)]

    def apply(columns: np.ndarray) -> np.ndarray:
        maps = columns.T.reshape(-1, size, size)
        found = both @ maps + maps @ other
        for right, left in zip(wide, tall, strict=True):
            # sum_a ad_a' X ad_a, and the same with ad_a and its transpose exchanged.
            found -= left @ (maps @ right).reshape(len(maps), size * size, size)
        return np.asarray(found.reshape(len(maps), -1).T)

    return apply


class _Krylov:
    """The smallest space with some maps that the form takes into itself, as far as it is built.

    Args:
        form: the form.
        start: maps as columns (d^2, k).
        without: orthonormal columns (d^2, j) in the kernel of the form. They are left out.
    """

    def __init__(self, form: _Form, start: np.ndarray, without: np.ndarray) -> None:
        self.form, self.without, self.block = form, without, start.shape[1]
        self.basis = self.images = start[:, :0]
        self._add(start)

    @property
    def full(self) -> bool:
        """Whether there is no room for one more step."""
        return self.basis.shape[1] + self.without.shape[1] + self.block > len(self.basis)

    def step(self) -> None:
        """Add the images of the maps that were added last."""
        self._add(self.images[:, -self.block :])

    def _add(self, columns: np.ndarray) -> None:
        before = np.concatenate([self.without, self.basis], axis=1)
        # Twice: where the space is complete, the first remainder is rounding.
        for _ in range(2):
            columns = np.linalg.qr(columns - before @ (before.T @ columns))[0]
        self.basis = np.concatenate([self.basis, columns], axis=1)
        self.images = np.concatenate([self.images, self.form(columns)], axis=1)

    def values(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the values (k,) of the form in the space, the smallest first, and combinations (k, k)."""
        product = self.basis.T @ self.images
        values, vectors = np.linalg.eigh((product + product.T) / 2)
        return values, vectors

    def errors(self, values: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Return the errors of values (j,) with combinations (k, j)."""
        return np.asarray(np.linalg.norm(self.images @ vectors - self.basis @ vectors * values, axis=0))


def _norm(form: _Form, size: int) -> float:
    """Return the square root of the largest value of a form."""
    start = np.random.default_rng(0).normal(size=(size * size, 1))
    krylov = _Krylov(form, start, start[:, :0])
    for _ in range(_MOST_STEPS):
        values, vectors = krylov.values()
        if krylov.full or krylov.errors(values[-1:], vectors[:, -1:])[0] <= _ROUGH * values[-1]:
            break
        krylov.step()
    return float(np.sqrt(max(values[-1], 0.0)))


def _smallest(form: _Form, size: int, limit: float) -> np.ndarray:
    """Return maps (k, d, d) with the smallest values of a form, but the identity.

    Args:
        form: the form.
        size: size d of the maps.
        limit: square root of a value. All smaller ones are found, and the next one, but at most 16 in all.
    """
    one = np.eye(size).reshape(-1, 1) / np.sqrt(size)
    most = min(2 * _MOST_IDEALS, size**2 - 1) - 1
    rng = np.random.default_rng(0)
    if size**2 <= _SMALL:
        krylov = _Krylov(form, rng.normal(size=(size**2, size**2 - 1)), one)
        return (krylov.basis @ krylov.values()[1][:, :most]).T.reshape(most, size, size)
    # A space from k maps has at most k copies of each value. Start with few: one application is slow.
    block = 1
    while True:
        krylov = _Krylov(form, rng.normal(size=(size**2, block)), one)
        for number in range(_MOST_STEPS):
            values, vectors = krylov.values()
            below = int(np.sum(values[:block] < limit**2))
            if below == block < most or krylov.full:
                break
            if number >= _FEWEST_STEPS and _settled(krylov, values, vectors, below, limit):
                break
            krylov.step()
        # No value in a space is smaller than the one in the space of all maps.
        if below < block or block == most:
            return (krylov.basis @ vectors[:, :block]).T.reshape(block, size, size)
        block = min(2 * block + 1, most)


def _settled(krylov: _Krylov, values: np.ndarray, vectors: np.ndarray, below: int, limit: float) -> bool:
    """Return whether values below the limit are accurate, and the next one is above the limit."""
    count = min(below + 1, krylov.block)
    errors = krylov.errors(values[:count], vectors[:, :count])
    if np.any(errors[:below] > _FINE * values[-1]):
        return False
    return below == count or bool(errors[below] <= min(values[below] / 4, values[below] - limit**2))
