"""Power of the answer: how small a breaking of a symmetry it sees, and how often it errs.

Run as `python -m experiments.power`. Four systems have a parameter that breaks their symmetry. Four rules see
each data set: the answer of `nr.answer`; the threshold of version 0.1 (variation up to 1.5 times a noise of
at least 1 % of the spread); the largest gap of the singular values; a likelihood-ratio test that knows the
family of systems. It does not know initial states and the rate of all motion, and is linear in the breaking.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from experiments.tables import markdown, parser, write
from experiments.threshold import count_below_threshold
from noethers_razor._types import Array
from noethers_razor.data.frame import Frame, fit_frame
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.data.trajectories import Trajectories
from noethers_razor.evidence.answer import answer_with_field
from noethers_razor.evidence.candidates import candidates
from noethers_razor.mechanics.integrators import step
from noethers_razor.systems import Kepler

BREAKINGS = (0.0, 1e-4, 1e-3, 1e-2, 1e-1)
NOISES = (0.0, 0.003, 0.03, 0.1, 0.25)
"""Standard deviations of the noise, relative to the spread of the states."""
SHAPES = ((10, 50), (30, 20), (100, 5), (100, 50), (300, 20), (30, 200))
"""Numbers of trajectories and of steps."""
_DT = 0.2
_SUBSTEPS = 20
_LEVEL = 1e-3
"""Level of the likelihood-ratio test."""


class Family(NamedTuple):
    """A field (x, breaking) -> dx/dt, initial states, and numbers of exact quantities without and with it."""

    field: Callable[[Array, Array], Array]
    start: Callable[[np.random.Generator, int], np.ndarray]
    whole: int
    left: int


def _normal(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.normal(size=(count, 4))


def _ellipses(rng: np.random.Generator, count: int) -> np.ndarray:
    key = jax.random.key(int(rng.integers(2**31)))
    return np.asarray(Kepler().initial_states(key, count))


def _of(hamiltonian: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """Return the Hamiltonian field of H(x, breaking)."""

    def field(x: Array, size: Array) -> Array:
        gradient = jax.grad(hamiltonian)(x, size)
        return jnp.concatenate([gradient[2:], -gradient[:2]])

    return field


def _detuned(x: Array, size: Array) -> Array:
    energies = (x[:2] ** 2 + x[2:] ** 2) / 2
    return (1 - size / 2) * energies[0] + (1 + size / 2) * energies[1]


def _damped(x: Array, size: Array) -> Array:
    return jnp.concatenate([x[2:], -x[:2] - size * x[2:]])


def _quartic(x: Array, size: Array) -> Array:
    return jnp.sum(x[2:] ** 2) / 2 + jnp.sum(x[:2] ** 2) ** 2 / 4 + size * x[0] ** 4 / 4


def _flattened(x: Array, size: Array) -> Array:
    radius = jnp.sqrt(jnp.sum(x[:2] ** 2))
    return jnp.sum(x[2:] ** 2) / 2 - 1 / radius - size * (x[0] ** 2 - x[1] ** 2) / (2 * radius**5)


FAMILIES = {
    "detuned oscillators": Family(_of(_detuned), _normal, 4, 2),
    "damped oscillators": Family(_damped, _normal, 4, 0),
    "anisotropic quartic well": Family(_of(_quartic), _normal, 1, 0),
    "flattened Kepler potential": Family(_of(_flattened), _ellipses, 1, 0),
}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _path(name: str, steps: int, start: Array, size: Array, rate: Array) -> Array:
    """Return states (steps + 1, M) from a start (M,); all times are divided by ``rate``."""
    advance = step("rk4")

    def field(x: Array) -> Array:
        return rate * FAMILIES[name].field(x, size)

    def next_state(x: Array, _: None) -> tuple[Array, Array]:
        small = jnp.asarray(_DT / _SUBSTEPS)
        after = jax.lax.fori_loop(0, _SUBSTEPS, lambda _, y: advance(field, y, small), x)
        return after, after

    return jnp.concatenate([start[None], jax.lax.scan(next_state, start, None, steps)[1]])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _with_slopes(name: str, steps: int, start: Array, size: float) -> tuple[Array, Array, Array, Array]:
    """Return paths (B, T, M), and their derivatives by breaking, rate (B, T, M) and start (B, T, M, M)."""

    def one(x: Array) -> tuple[Array, Array, Array, Array]:
        slopes = jax.jacfwd(lambda *values: _path(name, steps, *values), argnums=(1, 2, 0))
        zero, unit = jnp.zeros(()), jnp.ones(())
        return _path(name, steps, x, jnp.asarray(size), unit), *slopes(x, zero, unit)

    return jax.vmap(one)(start)


def likelihood_ratio(
    slopes: tuple[np.ndarray, ...], noise: np.ndarray, deviation: float, size: float
) -> float:
    """Return the p-value of the likelihood-ratio test of no breaking, linear in the breaking.

    Args:
        slopes: derivatives of the paths by breaking, rate and start.
        noise: of the data, the shape of the paths.
        deviation: its standard deviation.
        size: the breaking.
    """
    if deviation == 0:
        return 1.0 if size == 0 else 0.0
    by_size, by_rate, by_start = slopes
    count, dim = by_size.shape[0], by_size.shape[-1]
    flat = by_start.reshape(count, -1, dim)
    columns = np.stack([part.reshape(count, -1) for part in (by_size, by_rate)], axis=-1)
    # Starts are unknown, and so is the rate of all motion.
    free = columns - flat @ (np.linalg.pinv(flat) @ columns)
    free = free.reshape(-1, 2)
    direction = free[:, 0] - free[:, 1] * (free[:, 1] @ free[:, 0]) / max(free[:, 1] @ free[:, 1], 1e-300)
    length = np.linalg.norm(direction)
    score = direction @ noise.ravel() / length / deviation + size * length / deviation
    return float(2 * norm.sf(abs(score)))


def largest_gap(trajectories: FrameTrajectories, most: int = 10) -> int:
    """Return the number of singular values before their largest ratio."""
    values = np.sqrt(np.maximum(candidates(trajectories).variance[: most + 1], 1e-30))
    return int(np.argmax(values[1:] / values[:-1])) + 1


class _Motion(NamedTuple):
    """True states and velocities in the frame, for true relative rates."""

    states: np.ndarray
    velocity: np.ndarray

    @classmethod
    def of(cls, name: str, frame: Frame, path: np.ndarray, size: float) -> _Motion:
        states = path.reshape(-1, path.shape[-1])
        field = jax.vmap(lambda x: FAMILIES[name].field(x, jnp.asarray(size)))
        return cls(frame.into(states), np.asarray(field(jnp.asarray(states))) @ frame.matrix.T)

    def rate(self, form: np.ndarray, linear: np.ndarray) -> float:
        """Return the root-mean-square of dC/dt, relative to those of the gradient and of the velocity."""
        gradient = self.states @ form + linear
        rate, sizes = np.sum(gradient * self.velocity, axis=1), (gradient, self.velocity)
        scale = np.prod([np.mean(np.sum(part**2, axis=1)) for part in sizes])
        return float(np.sqrt(np.mean(rate**2) / scale))


def one_set(name: str, size: float, noise: float, shape: tuple[int, int], seed: int) -> dict[str, Any]:
    """Judge one data set by all rules."""
    family, (count, steps) = FAMILIES[name], shape
    rng = np.random.default_rng([seed, count, steps, round(1e6 * noise), list(FAMILIES).index(name)])
    with jax.enable_x64(True):
        path, *slopes = (
            np.asarray(part)
            for part in _with_slopes(name, steps, jnp.asarray(family.start(rng, count)), size)
        )
        deviation = float(noise * path.std(axis=(0, 1)).mean())
        drawn = deviation * rng.normal(size=path.shape)
        states = path + drawn
        data = Trajectories(q=states[..., :2], p=states[..., 2:], t=_DT * np.arange(steps + 1))
        frame = fit_frame(data.observed(), data.transitions())
        trajectories = FrameTrajectories.of(frame, data)
        answer = answer_with_field(trajectories, frame)
        motion = _Motion.of(name, frame, path, size)
        return {
            "family": name,
            "breaking": size,
            "noise": noise,
            "shape": list(shape),
            "seed": seed,
            "exact": answer.count,
            "cannot_tell": bool(answer.cannot_tell),
            "resolution": answer.resolution,
            "threshold": count_below_threshold(trajectories),
            "gap": largest_gap(trajectories),
            "likelihood_ratio": likelihood_ratio(tuple(slopes), drawn, deviation, size),
            "exact_rates": [motion.rate(*one) for one in zip(answer.form, answer.linear, strict=True)],
            "sizes": [
                [motion.rate(one.form, one.linear), one.breaking, *one.interval] for one in answer.approximate
            ],
        }


def _short(value: Any) -> Any:
    """Return a record with three digits of each number."""
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_short(one) for one in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value


def _job(job: tuple[Any, ...]) -> dict[str, Any]:
    return dict(_short(one_set(*job)))


def _wrong(family: Family, row: dict[str, Any], rule: str) -> bool:
    """Return whether a rule says that a broken quantity is exact, or misses the set of an unbroken system."""
    return bool(row[rule] > family.left if row["breaking"] else row[rule] != family.whole)


def summary(name: str, rows: list[dict[str, Any]]) -> list[list[str]]:
    """Return table rows of one family: one for each breaking."""
    family, table = FAMILIES[name], []
    for size in BREAKINGS:
        own = [row for row in rows if row["family"] == name and row["breaking"] == size]
        if not own:
            continue
        seen = [row for row in own if row["likelihood_ratio"] < _LEVEL]
        told = [row for row in own if not row["cannot_tell"]]

        def share(chosen: list[dict[str, Any]], rule: str) -> str:
            count = sum(_wrong(family, row, rule) for row in chosen)
            return "-" if not chosen else f"{count} of {len(chosen)}"

        where = [row for row in told if row in seen] if size else told
        sizes = np.array([one for row in told for one in row["sizes"]]).reshape(-1, 4)
        exact = [row for row in told if row["exact_rates"]]
        over = sum(max(row["exact_rates"]) > row["resolution"] for row in exact)
        ratio = sizes[:, 1] / sizes[:, 0]
        inside = (sizes[:, 2] <= sizes[:, 0]) & (sizes[:, 0] <= sizes[:, 3])
        table.append(
            [
                name,
                f"{size:g}",
                f"{len(own)}",
                f"{len(own) - len(told)}",
                f"{len(seen)}",
                share(where, "exact"),
                f"{over} of {len(exact)}",
                share(where, "threshold"),
                share(where, "gap"),
                "-" if not len(sizes) else f"{np.median(ratio):.2f} ({np.mean(np.abs(ratio - 1) < 0.2):.2f})",
                "-" if not len(sizes) else f"{inside.mean():.2f}",
            ]
        )
    return table


COLUMNS = [
    "system",
    "breaking",
    "data sets",
    "cannot tell",
    "LRT rejects at 1e-3",
    "answer wrong",
    "a rate above the stated resolution",
    "threshold of 0.1 wrong",
    "largest gap wrong",
    "stated / true size, median (share within 20 %)",
    "intervals that hold the true size",
]


def main() -> None:
    """Run all cells and write the table."""
    options = parser(str(__doc__))
    options.add_argument("--family", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    options.add_argument("--processes", type=int, default=2)
    chosen = options.parse_args()
    cells = itertools.product(chosen.family, BREAKINGS, NOISES, SHAPES, range(chosen.seeds))
    with ProcessPoolExecutor(chosen.processes) as pool:
        rows = list(pool.map(_job, cells, chunksize=10))
    table = [line for name in chosen.family for line in summary(name, rows)]
    write(
        chosen.out,
        "power",
        title="Power of the answer",
        command=f"python -m experiments.power --seeds {chosen.seeds}",
        table=markdown(COLUMNS, table),
        remarks=(
            "Of unbroken systems, an answer is wrong if it is not the true set. Of broken ones, it is wrong "
            "if it says that a broken quantity is exact where the likelihood-ratio test (LRT) rejects. Data "
            "sets of which the answer says that they cannot tell are left out of the last six columns. "
            "Noise "
            f"{', '.join(map(str, NOISES))} of the spread; trajectories x steps "
            f"{', '.join(f'{n} x {t}' for n, t in SHAPES)}; {chosen.seeds} seeds of each."
        ),
        runs={"sets": rows},
        spread_of="Each cell counts data sets.",
    )


if __name__ == "__main__":
    main()
