"""Ranks of noisy matrices.

Matrices come as a stack: first the matrix, then copies with additional noise of the size of its error. The
spread of the copies decides which singular values are zero, so there is no fixed tolerance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_ZERO = 2.0
"""Largest multiple of the noise at which a singular value counts as zero."""
CLEAR = 4.0
"""Smallest multiple of the noise that counts as nonzero."""
_GAP = 4.0
"""Smallest ratio of neighbours that decides on singular values between `_ZERO` and `CLEAR`."""
_FAR = 10.0
"""Smallest multiple of the noise that is never zero: errors of learned generators prefer some directions."""
_WIDE = 25.0
"""Smallest ratio to the next larger value at which one between `CLEAR` and `_FAR` counts as zero."""
FLOOR = 1e-7
"""Largest singular value that counts as zero without noise; generators have unit size."""


class Level(NamedTuple):
    """Noise of all brackets, as a lower limit for small matrices, and a typical size of a bracket."""

    noise: float
    size: float


class Unclear(Exception):
    """Error for a rank that the noise does not decide. The message names the rank."""


def rank(stack: np.ndarray, what: str, level: Level) -> int:
    """Return the rank of the first of matrices (S, a, b); its differences from the others are noise."""
    values = np.linalg.svd(short(stack[:1])[0], compute_uv=False)
    noise = np.linalg.norm(short(stack[1:] - stack[:1]), ord=2, axis=(1, 2)).max(initial=0.0)
    return int(nonzero(values, float(noise), what, level).sum())


def far(noise: float, level: Level) -> float:
    """Return the smallest singular value that is never zero. `nonzero` needs none of those above it."""
    return max(_FAR * max(noise, level.noise), FLOOR)


def nonzero(values: np.ndarray, noise: float, what: str, level: Level) -> np.ndarray:
    """Return which singular values (k,) are nonzero.

    A wide gap decides on the values between the limits of zero and nonzero.

    Raises:
        Unclear: if there are such values and no wide gap.
    """
    beyond = values >= far(noise, level)
    noise = max(noise, level.noise)
    clear = values >= max(CLEAR * noise, FLOOR)
    near = clear & ~beyond
    others = values[beyond].min() if beyond.any() else level.size
    if near.any() and others >= _WIDE * values[near].max():
        return np.asarray(beyond)
    zero = values <= max(_ZERO * noise, FLOOR)
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


def image(stack: np.ndarray, what: str, level: Level) -> np.ndarray:
    """Return orthonormal bases (S, b, k) of the row spaces of matrices (S, a, b)."""
    count = rank(stack, what, level)
    return _aligned(np.swapaxes(_right(stack)[:, :count], 1, 2))


def kernel(stack: np.ndarray, what: str, level: Level) -> np.ndarray:
    """Return orthonormal bases (S, b, k) of the null spaces of matrices (S, a, b)."""
    count = rank(stack, what, level)
    return _aligned(np.swapaxes(_right(stack)[:, count:], 1, 2))


def _right(stack: np.ndarray) -> np.ndarray:
    """Return all right singular vectors (S, b, b) of matrices (S, a, b)."""
    return np.linalg.svd(short(stack))[2]


def short(stack: np.ndarray) -> np.ndarray:
    """Return matrices with at most b rows and the singular values and right vectors of (S, a, b)."""
    return np.asarray(np.linalg.qr(stack, mode="r")) if stack.shape[1] > stack.shape[2] else stack


def rows(tensor: np.ndarray, last: int) -> np.ndarray:
    """Reshape (S, ..., last) to matrices (S, rows, last)."""
    return tensor.reshape(len(tensor), tensor[0].size // last, last)
