"""Variational manifold embedding: the unbounded objective, its restrictions, and a comparison of methods.

Run as `python -m experiments.manifold_embedding`. It measures wiggles around PCA, and fits of a line, a
circle and a sinusoid of 100 normal densities. It compares fits of an open arc and of handwritten digits with
PCA and Isomap. For an arc, a saddle and an S it compares reported folds with true folds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from scipy.spatial.distance import cdist
from scipy.stats import norm, spearmanr
from sklearn.datasets import load_digits, make_s_curve
from sklearn.decomposition import PCA
from sklearn.manifold import Isomap, trustworthiness
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split

from experiments.tables import markdown, parser, spread, write
from noethers_razor.cli import host
from noethers_razor.manifold_embedding import VariationalManifoldEmbedding, functional

WIGGLES = (0, 10, 100, 1000, 10_000)
"""Numbers n of the wiggles HEIGHT sin(n z)."""
HEIGHT = 0.1
"""Amplitude of the wiggles."""
VARIANCES = (1.0, 0.05)
"""Variances of the normal density along and across the principal axis."""
CURVES: dict[str, dict[str, Any]] = {
    "line": {"degree": 9},
    "circle": {"latent": "circle", "basis": "fourier", "degree": 3},
    "sinusoid": {"degree": 9},
}
"""Name of the curve -> settings of the fit."""
KINDS: dict[str, dict[str, Any]] = {
    "embedding": {},
    "normal latent": {"latent": "normal"},
    "without annealing": {"anneal": ()},
    "without bending": {"bending": 0.0},
}
"""Name of the variant -> settings; each but the first changes one default."""
SIGMA = 0.1
"""Standard deviation of the noise of curves and arcs; saddles and S have half of it."""
POINTS = 1000
"""Number of points of an arc, a saddle or an S."""
ARC = 1.5 * np.pi
"""Angle of the arc, radians."""
FEATURES = (3, 20)
"""Numbers of features. Features that a curve or surface does not use contain only noise."""
DIGITS_COMPONENTS = 20
"""Number of principal components of the digits for all methods; 1797 images are too few for 61 pixels."""


def wiggle_rows() -> list[dict[str, float]]:
    """Return objective and bending of the principal axis of a normal density, for each number of wiggles."""
    with jax.enable_x64(True):
        variances = jnp.asarray(VARIANCES)
        z = jnp.asarray(np.random.default_rng(4).normal(size=(20_000, 1)))

        def log_p(x: jax.Array) -> jax.Array:
            return -0.5 * jnp.sum(x**2 / variances + jnp.log(2 * jnp.pi * variances))

        rows = []
        for n in WIGGLES:

            def phi(u: jax.Array, n: int = n) -> jax.Array:
                return jnp.concatenate([u, HEIGHT * jnp.sin(n * u)])

            value, slope = jax.vmap(phi)(z), jax.vmap(jax.jacfwd(phi))(z)
            log_q = jax.vmap(lambda u: jnp.sum(jax.scipy.stats.norm.logpdf(u)))(z)
            energy = jax.vmap(lambda x, s, q: functional.energy(x, s, log_p, q))(value, slope, log_q)
            bent = float(jnp.mean(jnp.sum(jax.vmap(lambda u: functional.second(phi, u))(z) ** 2, (1, 2, 3))))
            enough = VARIANCES[1] / (2 * VARIANCES[0] ** 2)
            value = float(energy.mean())
            rows.append({"n": n, "J": value, "bending": bent, "penalised": value - enough * bent})
    return rows


def curve(name: str, t: np.ndarray) -> np.ndarray:
    """Return points (N, 2) of a curve at parameters t (N,) from 0 to 1."""
    return {
        "line": np.stack([2 * t - 1, 0.5 * (2 * t - 1)], axis=-1),
        "circle": np.stack([np.cos(2 * np.pi * t), np.sin(2 * np.pi * t)], axis=-1),
        "sinusoid": np.stack([4 * t - 2, np.sin(np.pi * (4 * t - 2) / 2)], axis=-1),
    }[name]


def along(name: str, seed: int, count: int = 400) -> tuple[GaussianMixture, np.ndarray, np.ndarray]:
    """Return 100 normal densities along a curve as a mixture, and a sample of it.

    Returns:
        Fitted mixture, curve parameters of the sample (N,), and points of the sample (N, 2).
    """
    mixture = GaussianMixture(100, covariance_type="spherical")
    mixture.means_ = curve(name, (np.arange(100) + 0.5) / 100)
    mixture.covariances_, mixture.weights_ = np.full(100, SIGMA**2), np.full(100, 0.01)
    draw = np.random.default_rng(seed)
    t = draw.uniform(size=count)
    return mixture, t, curve(name, t) + SIGMA * draw.normal(size=(count, 2))


def on_a_curve(name: str, seed: int) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
    """Fit the given density of a curve; return measured numbers, data (N, 2) and image (K, 2) of the fit."""
    mixture, t, x = along(name, seed)
    fitted = VariationalManifoldEmbedding(1, density=mixture, random_state=seed, **CURVES[name]).fit(x)
    image = fitted.inverse_transform(_latents(fitted, 400)[:, None])
    apart = cdist(image, curve(name, np.linspace(0, 1, 4000)))
    report = fitted.noether_report()
    found = {
        "off": float(apart.min(axis=1).mean()),
        "missed": float(apart.min(axis=0).mean()),
        "folded": report.folded,
        "energy_spread": report.energy_spread,
        "spearman": float(abs(spearmanr(t, fitted.transform(x)[:, 0])[0])),
    }
    return found, x, image


def arc(seed: int, features: int = 3, count: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Return angles (N,) and points (N, D) of an open arc in a plane, with noise in all features."""
    draw = np.random.default_rng(seed)
    t = draw.uniform(0, ARC, count)
    return t, _among(_on_an_arc(t), features) + SIGMA * draw.normal(size=(count, features))


def _on_an_arc(t: np.ndarray) -> np.ndarray:
    """Return points (N, 2) of the unit circle at angles (N,)."""
    return np.stack([np.cos(t), np.sin(t)], axis=1)


def _among(x: np.ndarray, features: int) -> np.ndarray:
    """Return points (N, D) with zeros appended, up to a number of features."""
    return np.pad(x, ((0, 0), (0, features - x.shape[1])))


def off_the_arc(x: np.ndarray) -> float:
    """Return the mean distance of points (N, D) from the arc."""
    return float(cdist(x, _among(_on_an_arc(np.linspace(0, ARC, 2000)), x.shape[1])).min(axis=1).mean())


def _latents(fitted: VariationalManifoldEmbedding, count: int) -> np.ndarray:
    """Return quantiles (K,) of a latent coordinate at equal steps of probability."""
    share = (np.arange(count) + 0.5) / count
    if fitted.latent == "circle":
        return 2 * np.pi * share
    return norm.ppf(share) if fitted.latent == "normal" else 2 * share - 1


def folds_of_an_arc(fitted: VariationalManifoldEmbedding) -> float:
    """Return the share of the latent line whose angle on the arc also belongs to another part of the line."""
    image = fitted.inverse_transform(_latents(fitted, 1001)[:, None])
    angle = np.unwrap(np.arctan2(image[:, 1], image[:, 0]))
    above = np.sign(angle[None] - angle[:, None] + 1e-12)
    return float(np.mean(np.count_nonzero(np.diff(above, axis=1), axis=1) > 1))


def saddle(seed: int, features: int = 3, count: int = POINTS) -> np.ndarray:
    """Return points (N, D) of the surface x_3 = x_1 x_2, with noise in all features."""
    draw = np.random.default_rng(seed)
    u = draw.uniform(-1, 1, (count, 2))
    on = _among(np.concatenate([u, u[:, :1] * u[:, 1:]], axis=1), features)
    return on + SIGMA / 2 * draw.normal(size=on.shape)


def s_curve(seed: int, features: int = 3, count: int = POINTS) -> np.ndarray:
    """Return points (N, D) of a surface bent into an S, 3 pi long and 2 wide, with noise in all features."""
    on = _among(make_s_curve(count, random_state=seed)[0], features)
    return on + SIGMA / 2 * np.random.default_rng(seed).normal(size=on.shape)


def place_on_an_s(x: np.ndarray) -> np.ndarray:
    """Return coordinates (N, 2), along and across the S, of its places nearest to points (N, D)."""
    t = np.linspace(-1.5 * np.pi, 1.5 * np.pi, 2000)
    bent = np.stack([np.sin(t), np.sign(t) * (np.cos(t) - 1)], axis=1)
    return np.stack([t[cdist(x[:, [0, 2]], bent).argmin(axis=1)], x[:, 1]], axis=1)


def folds_of_a_sheet(
    fitted: VariationalManifoldEmbedding, chart: Callable[[np.ndarray], np.ndarray]
) -> float:
    """Return twice the share of the latent square that has the rarer of the two orientations, 0 to 1.

    Args:
        chart: points (N, D) -> coordinates on the surface (N, 2).
    """
    axis = _latents(fitted, 80)
    z = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
    first, second = chart(fitted.inverse_transform(z.reshape(-1, 2))).T.reshape(2, 80, 80)
    (a, b), (c, d) = np.gradient(first), np.gradient(second)
    turn = a * d - b * c
    up = float(np.mean(turn[turn != 0] > 0))
    return 2 * min(up, 1 - up)


SHEETS: dict[str, tuple[Callable[..., np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "saddle": (saddle, lambda x: x[:, :2]),
    "S": (s_curve, place_on_an_s),
}
"""Name of the surface -> function of seed and features that draws points, chart."""


def on_sheets(seed: int) -> dict[str, dict[str, float]]:
    """Return for each case the share of the latent square that is folded, as reported and as measured."""
    found = {}
    for name, (drawn, chart) in SHEETS.items():
        for features in FEATURES:
            x = drawn(seed, features)
            for kind, settings in KINDS.items():
                method = VariationalManifoldEmbedding(2, random_state=seed, **settings).fit(x)
                own = {"folded": method.noether_report().folded, "there": folds_of_a_sheet(method, chart)}
                found[f"{name}, {features} features, {kind}"] = own
    return found


def tried(
    method: Any, train: np.ndarray, fresh: np.ndarray
) -> tuple[dict[str, float], np.ndarray, np.ndarray | None]:
    """Fit a method of scikit-learn to data (N, D), and apply it to fresh data (M, D).

    Returns:
        Seconds and reported folds, latent points (M, d) of the fresh data, and their decoded points (M, D).
        Without a decoder, the decoded points are None.
    """
    start = time.perf_counter()
    method.fit(train)
    own = {"seconds": time.perf_counter() - start}
    latent = method.transform(fresh)
    if isinstance(method, VariationalManifoldEmbedding):
        own["folded"] = method.noether_report().folded
    return own, latent, method.inverse_transform(latent) if hasattr(method, "inverse_transform") else None


def on_the_arc(seed: int, features: int) -> tuple[dict[str, dict[str, float]], np.ndarray, np.ndarray]:
    """Fit all methods to an arc with D features.

    Returns:
        Method -> numbers for fresh data, the data (N, D), and the image of the embedding (K, D).
    """
    _, x = arc(seed, features)
    t, fresh = arc(1000 + seed, features)
    methods: dict[str, Any] = {
        name: VariationalManifoldEmbedding(1, degree=8, random_state=seed, **settings)
        for name, settings in KINDS.items()
    }
    methods |= {"PCA": PCA(1), "Isomap": Isomap(n_components=1, n_neighbors=10)}
    found = {}
    for name, method in methods.items():
        own, latent, back = tried(method, x, fresh)
        own["spearman"] = float(abs(spearmanr(t, latent[:, 0])[0]))
        if isinstance(method, VariationalManifoldEmbedding):
            own["there"] = folds_of_an_arc(method)
        if back is not None:
            own["error"] = off_the_arc(back)
        found[name] = own
    image = methods["embedding"].inverse_transform(_latents(methods["embedding"], 400)[:, None])
    return found, x, image


def on_digits(seed: int) -> dict[str, dict[str, float]]:
    """Return for each method the share of the variance lost and the trustworthiness, for held-out digits."""
    pixels = load_digits().data
    train, test = train_test_split(pixels, test_size=0.3, random_state=seed)
    first = PCA(DIGITS_COMPONENTS).fit(train)
    train, test = first.transform(train), first.transform(test)
    methods: dict[str, Any] = {
        "embedding": VariationalManifoldEmbedding(2, random_state=seed),
        "PCA": PCA(2),
        "Isomap": Isomap(n_components=2, n_neighbors=10),
    }
    found = {}
    for name, method in methods.items():
        own, latent, back = tried(method, train, test)
        own["trust"] = float(trustworthiness(test, latent, n_neighbors=10))
        if back is not None:
            own["lost"] = float(np.sum((test - back) ** 2) / np.sum((test - train.mean(axis=0)) ** 2))
        found[name] = own
    return found


def many(seed: int) -> float:
    """Return the seconds of a fit of 10,000 points of 50 features."""
    draw = np.random.default_rng(seed)
    angle = draw.uniform(0, 2 * np.pi, (10_000, 2))
    bent = np.concatenate([np.cos(angle), np.sin(2 * angle), angle], axis=1)
    x = bent @ draw.normal(size=(6, 50)) + 0.3 * draw.normal(size=(10_000, 50))
    start = time.perf_counter()
    VariationalManifoldEmbedding(2, random_state=seed).fit(x)
    return time.perf_counter() - start


def of_methods(runs: list[dict[str, dict[str, float]]], columns: dict[str, str]) -> str:
    """Return a table with one row for each method; `columns` are titles and keys of the numbers."""
    rows = [
        [name, *(spread([run[name].get(key) for run in runs]) for key in columns.values())]
        for name in runs[0]
    ]
    return markdown(["", *columns], rows)


def picture(path: Path, panels: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Draw the first two coordinates of data and image, one panel for each name, into a file."""
    figure = Figure(figsize=(3.2 * len(panels), 3.2), layout="constrained")
    for ax, (name, (x, image)) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        ax.plot(x[:, 0], x[:, 1], ".", color="0.7", ms=3)
        ax.plot(image[:, 0], image[:, 1], color="#0072b2", lw=2)
        ax.set(title=name, aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> None:
    options = parser("variational manifold embedding")
    options.set_defaults(seeds=3)
    arguments = options.parse_args()
    host.prepare()
    seeds = range(1, arguments.seeds + 1)
    wiggles = wiggle_rows()
    curves = [{name: on_a_curve(name, seed) for name in CURVES} for seed in seeds]
    panels = {name: run[1:] for name, run in curves[0].items()}
    curve_runs = [{name: run[0] for name, run in one.items()} for one in curves]
    print(curve_runs, flush=True)
    arc_runs = {}
    for features in FEATURES:
        arcs = [on_the_arc(seed, features) for seed in seeds]
        panels.setdefault("arc", arcs[0][1:])
        arc_runs[features] = [run[0] for run in arcs]
        print(features, arc_runs[features], flush=True)
    sheet_runs = [on_sheets(seed) for seed in seeds]
    print(sheet_runs, flush=True)
    digit_runs = [on_digits(seed) for seed in seeds]
    print(digit_runs, flush=True)
    seconds = [many(seed) for seed in seeds]
    told = {"folded, reported": "folded", "folded, measured": "there"}
    number = "{:.4g}".format
    wiggle_table = markdown(
        ["n", "J", "mean bending", "J minus penalty"],
        [[f"{row['n']}", *(number(row[key]) for key in ("J", "bending", "penalised"))] for row in wiggles],
    )
    tables = [
        f"Wiggles {HEIGHT:g} sin(n z) on the principal axis of a normal density, variances 1 and .05, in "
        "nats. The penalty is lambda_2 / (2 lambda_1^2) times the mean bending.\n\n" + wiggle_table,
        f"Curves of 100 normal densities with standard deviation {SIGMA:g}.\n\n"
        + of_methods(
            curve_runs,
            {
                "mean distance, fit to curve": "off",
                "curve to fit": "missed",
                "folded, reported": "folded",
            },
        ),
        *(
            f"An arc of 270 degrees in {features} features, noise {SIGMA:g}, {POINTS} points, tested with "
            "fresh data.\n\n"
            + of_methods(runs, {"Spearman": "spearman", "error": "error", **told, "fit (s)": "seconds"})
            for features, runs in arc_runs.items()
        ),
        f"A saddle and an S, noise {SIGMA / 2:g}, {POINTS} points: share of the latent square that is "
        "folded, as reported and as measured from the known surface.\n\n" + of_methods(sheet_runs, told),
        f"Digits in two dimensions, from {DIGITS_COMPONENTS} principal components, 30 % held out.\n\n"
        + of_methods(
            digit_runs,
            {
                "variance lost": "lost",
                "trustworthiness": "trust",
                "folded, reported": "folded",
                "fit (s)": "seconds",
            },
        ),
        f"Fit of 10,000 points of 50 features in two dimensions: {spread(seconds)} s.\n",
    ]
    write(
        arguments.out,
        "manifold_embedding",
        title="Variational manifold embedding",
        command=f"python -m experiments.manifold_embedding --seeds {arguments.seeds}",
        table="\n".join(tables),
        remarks="",
        runs={
            "wiggles": wiggles,
            "curves": curve_runs,
            "arc": arc_runs,
            "sheets": sheet_runs,
            "digits": digit_runs,
            "many": seconds,
        },
    )
    picture(arguments.out / "manifold_embedding.png", panels)


if __name__ == "__main__":
    main()
