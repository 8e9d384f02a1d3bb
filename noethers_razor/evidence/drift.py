"""Drift along trajectories: p-values for "the first K observables are exactly conserved".

Under this hypothesis the deviations of a quantity from its mean on a trajectory are noise. If it is broken,
dC/dt = g(x), and the deviations follow the integrals of g. Families of g are tested, from few directions to
many. Each statistic is a sum of squares, and draws of the noise give its distribution:

* linear: a linear field is added to the motion. It breaks all K quantities at once, by known functions.
* hamiltonian: the same with any polynomial that is added to the Hamiltonian.
* free: any polynomial rates, of each quantity its own.
* path: no function of the state at all; the deviations add up along a trajectory (Kwiatkowski et al. 1992);
* variance: a deviation is larger than the noise of the data makes it.

The quantities were chosen because they vary least. What a change of this choice can explain is projected out
of deviations and integrals, so that choice and test can use the same trajectories (Johansen 1988).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg

from noethers_razor.data.frame_trajectories import ROUNDING, FrameTrajectories
from noethers_razor.evidence.candidates import Observed
from noethers_razor.evidence.rates import Rates
from noethers_razor.evidence.variation import centred, integrals, summed

_SIGNAL = 10.0
"""Smallest square of the integrals in a tested direction, relative to what noise makes of it."""
_DEPENDENT = 1e-8
"""Square of integrals, relative to their size, that passes as zero."""
_DRAWS = 200
"""Largest number of draws of the noise."""
_FEWEST_DRAWS = 60
_TOGETHER = 10
"""Number of draws that are made at a time."""
_COSTLY = 1e9
"""Number of multiplications for the draws that is not exceeded, unless there were fewer than 60 draws."""

Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(deviations (N, m), their products (D, m) with the integrals) -> a value for each K = 1, ..., m."""


class Drift(NamedTuple):
    """Drift of m functions, in a basis in which the first ones drift least.

    Args:
        rows: the basis (m, m): combinations of the functions, of unit variance by noise.
        size: root-mean-square lengths (m,) of its gradients.
        p_values: p-values (m, tests) for "the first K are exact". That of a test without a direction is 1.
        tests: names of the tests.
        variance: mean variance (m,) of the first K, in units of noise.
        information: information on a rate in each tested direction: one over its variance, for one
            function, in units of time and noise.
    """

    rows: np.ndarray
    size: np.ndarray
    p_values: np.ndarray
    tests: tuple[str, ...]
    variance: np.ndarray
    information: np.ndarray

    @property
    def p(self) -> np.ndarray:
        """p-values (m,) of all tests together (Bonferroni)."""
        return np.asarray(np.minimum(1.0, len(self.tests) * self.p_values.min(axis=1)))


class _Deviations(NamedTuple):
    """What the tests see: deviations and integrals, and the noise of the deviations.

    Args:
        values: deviations (N, m) of the tested functions, weighted, without what a change of the choice
            explains.
        integrals: integrals (N, D) of the rates, likewise.
        noise: gradients (N, m, M) in units of noise, weighted.
        error: change (N, D) of the integrals by a draw of the noise.
        others: orthonormal deviations (N, E - m) of the functions that vary more.
        free: degrees of freedom of a deviation.
    """

    values: np.ndarray
    integrals: np.ndarray
    noise: np.ndarray
    error: np.ndarray
    others: np.ndarray
    free: int

    @classmethod
    def of(cls, found: Observed, trajectories: FrameTrajectories, rates: Rates) -> _Deviations:
        states, labels, close = trajectories.states, trajectories.trajectory, found.close
        weight = np.sqrt(found.weights)[:, None]
        values = weight * centred(found.values, labels)
        total, shaken = (
            weight * centred(integrals(rates.values(x), labels, trajectories.times), labels)
            for x in (states, trajectories.shaken_states(0))
        )
        others, _ = np.linalg.qr(values[:, close:])
        noise = found.gradients @ trajectories.noise_factor * weight[..., None]
        free = trajectories.free - others.shape[1]
        values, total, shaken = (_without(others, part) for part in (values[:, :close], total, shaken))
        return cls(values, total, noise, shaken - total, others, max(free, 1))

    def turned(self, rows: np.ndarray) -> _Deviations:
        """Return combinations of the functions, given as rows (m, m)."""
        noise = np.matmul(rows, self.noise)
        return self._replace(values=self.values @ rows.T, noise=noise)


def _without(others: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return columns (N, k) without their parts in the span of orthonormal columns (N, r)."""
    return np.asarray(columns - others @ (others.T @ columns))


def drift(found: Observed, trajectories: FrameTrajectories, seed: int = 0) -> Drift:
    """Test functions for drift.

    Args:
        found: functions at the states of the trajectories.
        trajectories: trajectories in the frame, with their noise and times.
        seed: of the draws of the noise.
    """
    if not found.close:
        nothing = np.zeros(0)
        return Drift(np.zeros((0, 0)), nothing, np.zeros((0, 1)), ("variance",), nothing, nothing)
    rates = Rates.of(trajectories.states)
    seen = _Deviations.of(found, trajectories, rates)
    gram, error = seen.integrals.T @ seen.integrals, seen.error.T @ seen.error
    whitening = _directions(gram, error)
    # In units of noise, turn the functions: those that drift least come first.
    rows = scipy.linalg.solve_triangular(
        np.linalg.cholesky(_mean_product(seen.noise)), np.eye(found.close), lower=True
    )
    scores = whitening.T @ (seen.integrals.T @ (seen.values @ rows.T))
    rows = np.linalg.svd(scores, full_matrices=True)[2][::-1] @ rows
    seen = seen.turned(rows)
    gradients, states, labels = rows @ found.gradients, trajectories.states, trajectories.trajectory
    tests = {
        "linear": _structured(rates.by_linear_fields(gradients, states), gram, error),
        "hamiltonian": _structured(rates.by_hamiltonians(gradients, states), gram, error),
        "free": _free(seen, whitening),
        "path": _path(labels),
    }
    tested = {name: test for name, test in tests.items() if test is not None}
    p_values, variance = _p_values(seen, trajectories, list(tested.values()), seed)
    return Drift(
        rows,
        np.sqrt(np.mean(np.sum(gradients**2, axis=-1), axis=0)),
        p_values,
        (*tested, "variance"),
        variance,
        1.0 / np.sum(whitening**2, axis=0),
    )


def _mean_product(noise: np.ndarray) -> np.ndarray:
    """Return the mean (m, m) over states of products of rows (N, m, M)."""
    return np.asarray(np.tensordot(noise, noise, axes=((0, 2), (0, 2))) / len(noise))


def _rounding(trajectories: FrameTrajectories) -> float:
    """Return the variance of rounding errors in units of the noise."""
    size = np.mean(trajectories.states**2)
    return float(ROUNDING**2 * size / np.linalg.eigvalsh(trajectories.noise)[-1])


def _directions(gram: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return the directions (D, r), of unit length in gram, in which the integrals are more than noise.

    Args:
        gram: products (D, D) of the integrals.
        error: what noise makes of them.
    """
    size = np.sqrt(np.maximum(np.diag(gram), 1e-300))
    values, vectors = np.linalg.eigh(gram / np.outer(size, size))
    kept = values > _DEPENDENT * values[-1]
    unit = vectors[:, kept] / np.sqrt(values[kept]) / size[:, None]
    noise, turned = np.linalg.eigh(unit.T @ error @ unit)
    return np.asarray(unit @ turned[:, _SIGNAL * noise < 1])


def _structured(rates: np.ndarray, gram: np.ndarray, error: np.ndarray) -> Statistic | None:
    """Test changes of the motion that cause rates of all quantities.

    Args:
        rates: coefficients (m, D, F) of the rates that each of F changes causes.
        gram: products (D, D) of the integrals.
        error: what noise makes of them.
    Returns:
        The statistic; None if no change is visible in the integrals.
    """
    roots, total, noise = [], np.zeros(2 * rates.shape[2:]), np.zeros(2 * rates.shape[2:])
    for own in rates:
        total, noise = total + own.T @ gram @ own, noise + own.T @ error @ own
        roots.append(_directions(total, noise))
    if not any(root.shape[1] for root in roots):
        return None

    def statistic(deviations: np.ndarray, scores: np.ndarray) -> np.ndarray:
        own = np.cumsum(np.einsum("kdf,dk->kf", rates, scores), axis=0)
        return np.array([np.sum((root.T @ row) ** 2) for root, row in zip(roots, own, strict=True)])

    return statistic


def _free(seen: _Deviations, whitening: np.ndarray) -> Statistic:
    """Test polynomial rates of each quantity. What a change of the choice explains is projected out."""
    scores = whitening.T @ (seen.integrals.T @ seen.values)
    # Columns of the last observables first: the first columns of the factor are what K leaves outside.
    outside, _ = np.linalg.qr(scores[:, ::-1])
    count = seen.values.shape[1]

    def statistic(deviations: np.ndarray, scores: np.ndarray) -> np.ndarray:
        white = whitening.T @ scores
        inside = np.cumsum((outside.T @ white) ** 2, axis=0)
        inside = np.concatenate([np.zeros((1, count)), inside])
        total = np.cumsum(np.sum(white**2, axis=0) - inside, axis=1)
        kept = np.arange(1, count + 1)
        return np.asarray(total[np.minimum(count - kept, len(inside) - 1), kept - 1])

    return statistic


def _path(trajectory: np.ndarray) -> Statistic:
    """Test whether deviations add up along trajectories, whatever the reason."""

    def statistic(deviations: np.ndarray, scores: np.ndarray) -> np.ndarray:
        return np.cumsum(np.sum(summed(deviations, trajectory) ** 2, axis=0))

    return statistic


def _p_values(
    seen: _Deviations, trajectories: FrameTrajectories, tests: list[Statistic], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return p-values (m, tests) and mean variances (m,) of the first K.

    A statistic over its variance is compared with a gamma distribution of the mean and variance of the draws.
    """
    # This import is slow.
    from scipy.stats import gamma, norm

    trajectory, kept = trajectories.trajectory, np.arange(1, seen.values.shape[1] + 1)

    def of(deviations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores = seen.integrals.T @ deviations
        variance = np.cumsum(np.sum(deviations**2, axis=0)) / kept / seen.free
        return np.stack([test(deviations, scores) for test in tests], axis=1), variance

    draw = np.random.default_rng(seed)
    number = int(np.clip(_COSTLY / seen.noise.size, _FEWEST_DRAWS, _DRAWS))
    drawn, own = [], []
    for part in np.array_split(np.arange(number), -(-number // _TOGETHER)):
        noise = draw.normal(size=(len(part), *seen.noise.shape[::2]))
        for shaken in np.moveaxis(seen.noise @ np.moveaxis(noise, 0, -1), -1, 0):
            deviations = _without(seen.others, centred(shaken, trajectory))
            values, variance = of(deviations)
            drawn.append(values / variance[:, None])
            own.append(np.mean(deviations**2, axis=0))
    mean, spread = np.mean(drawn, axis=0), np.maximum(np.var(drawn, axis=0), 1e-300)
    observed, variance = of(seen.values)
    ratio = observed / np.maximum(variance, _rounding(trajectories))[:, None]
    p_values = np.where(mean > 0, gamma.sf(ratio * mean / spread, np.maximum(mean**2 / spread, 1e-9)), 1.0)
    expected = np.mean(own, axis=0)
    largest = np.maximum.accumulate(np.array(own) / expected, axis=1)
    beyond = np.maximum.accumulate(np.mean(seen.values**2, axis=0) / expected) - np.mean(largest, axis=0)
    error = np.hypot(np.std(largest, axis=0), trajectories.noise_error)
    return np.column_stack([p_values, norm.sf(beyond / error)]), variance
