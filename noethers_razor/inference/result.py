"""What a fit returns: energies, fields and rollouts in data units, the bound, save and load."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._optional import extra
from noethers_razor._types import Array, ArrayLike
from noethers_razor.config import FitConfig
from noethers_razor.conserved import FAMILIES, Tracks, gradients
from noethers_razor.data.frame import Frame
from noethers_razor.data.trajectories import coordinate_labels, coordinate_names
from noethers_razor.errors import RunFolderError, UsageError
from noethers_razor.inference import prediction
from noethers_razor.inference.history import FlatParams, Row
from noethers_razor.inference.prediction import Prediction
from noethers_razor.mechanics.phase_space import energy_drift
from noethers_razor.model.elbo import Model, build_model, conserved_of, precision
from noethers_razor.plot import markup
from noethers_razor.storage.run_folder import read_folder, versions, write_folder

FORMAT = 2
_DRAWS = 32
_ORBIT_SAMPLES = 8
_MODEL_FILE, _RUN_FILE = "model.npz", "run.json"


@dataclasses.dataclass(frozen=True, repr=False)
class FitResult:
    """A fitted model: see `fit` for how to get one, `find_symmetries` for what it says.

    Args:
        model, params: the model in its frame and the parameters of posterior, symmetry and noise.
        frame: from data units to the frame and back.
        config, seed: what it was made with.
        metrics: bound, noise, steps and seconds, as in metrics.json.
        evidence: bounds of the alternatives, judgements and the proposal, as plain JSON values.
        history: averages over chunks of steps.
        moment: second moment of the training states in the frame, see `forms.second_moment`.
        states: held-out states (count, M), data units; training states when ``held_out`` is False.
        tracks: some of the training trajectories, and their noise; None where nothing was asked of them.
        step: median data time of one integrator step in training.
        metadata: of the data.
    """

    model: Model
    params: FlatParams
    frame: Frame
    config: FitConfig
    seed: int
    metrics: dict[str, Any]
    evidence: dict[str, Any]
    history: list[Row]
    moment: np.ndarray
    states: np.ndarray
    held_out: bool
    tracks: Tracks | None
    step: float
    metadata: dict[str, Any]

    @property
    def elbo(self) -> float:
        """Evidence lower bound per transition, nats, in data units."""
        return self.metrics["elbo_per_transition"]

    @property
    def coordinates(self) -> list[str]:
        """Names of the M coordinates, positions first."""
        return coordinate_names(self.metadata, self.frame.dim // 2)

    @property
    def labels(self) -> list[str]:
        """Names of the M coordinates with their units, where the data say them, for axes."""
        return coordinate_labels(self.metadata, self.frame.dim // 2)

    @functools.cached_property
    def _draws(self) -> prediction.PosteriorDraws:
        draw = jax.jit(
            lambda params, key: prediction.posterior_draws(self.model, params, key, _DRAWS, _ORBIT_SAMPLES)
        )
        return draw(self.params, jax.random.key(self.seed))

    @functools.cached_property
    def _energy(self) -> Callable[[Array], Array]:
        # Parameters and draws are arguments, so that their flows are part of the compiled program.
        energy = jax.jit(lambda p, draws, z: prediction.mean_energy(self.model, p, draws)(z))
        return lambda z: energy(self.params, self._draws, z)

    @functools.cached_property
    def _gradient(self) -> Callable[[Array], Array]:
        def total(z: Array, p: FlatParams, draws: prediction.PosteriorDraws) -> Array:
            return jnp.sum(prediction.mean_energy(self.model, p, draws)(z))

        gradient = jax.jit(jax.grad(total))
        return lambda z: gradient(z, self.params, self._draws)

    def _into(self, x: ArrayLike) -> Array:
        array = np.asarray(x, np.float64)
        if array.shape[-1:] != (self.frame.dim,):
            raise UsageError(
                f"states of shape {array.shape}; expected the last axis {self.frame.dim} (positions, momenta)"
            )
        return jnp.asarray(self.frame.into(array), self.config.dtype)

    def hamiltonian(self, x: ArrayLike) -> np.ndarray:
        """Posterior-mean energy of states (..., M), data units, up to a constant."""
        with precision(self.config.dtype):
            return np.asarray(self._energy(self._into(x)), np.float64) * self.frame.energy

    def gradient(self, x: ArrayLike) -> np.ndarray:
        """Gradient of the posterior-mean energy at states (..., M), data units."""
        with precision(self.config.dtype):
            inner = np.asarray(self._gradient(self._into(x)), np.float64)
        return inner @ self.frame.matrix * self.frame.energy

    @functools.cached_property
    def slopes(self) -> np.ndarray:
        """`gradient` at the held-out states (count, M); a run folder keeps it once it is known."""
        return self.gradient(self.states)

    def field(self, x: ArrayLike) -> np.ndarray:
        """Posterior-mean velocity x' = J grad H at states (..., M), data units."""
        return _turned(self.gradient(x))

    def quadratic_forms(self) -> tuple[np.ndarray, np.ndarray]:
        """The learned quantities x'Ax/2 + b'x in the frame: (K, M, M), (K, M), float64.

        Raises:
            UsageError: when the family is not quadratic.
        """
        own = conserved_of(self.params)
        if not self.is_quadratic:
            raise UsageError(f"family {self.model.family.name} has no quadratic forms")
        if not own:
            return np.zeros((0, self.frame.dim, self.frame.dim)), np.zeros((0, self.frame.dim))
        form = np.asarray(own["form"], np.float64)
        return 0.5 * (form + form.transpose(0, 2, 1)), np.asarray(own["linear"], np.float64)

    @property
    def is_quadratic(self) -> bool:
        """Whether the quantities are quadratic forms, or there are none."""
        own = conserved_of(self.params)
        return not own or set(own) == {"form", "linear"}

    @property
    def dictionary_terms(self) -> list[str]:
        """Terms beside the coordinates that the quantities are polynomials in."""
        return list(getattr(self.model.family, "terms", ()))

    def conserved(self, x: ArrayLike) -> np.ndarray:
        """Values (..., K) of the learned quantities at states (..., M), in units of `Frame.action`."""
        with precision(self.config.dtype):
            return np.asarray(self.model.family.value(conserved_of(self.params), self._into(x)), np.float64)

    def function_slopes(self, states: np.ndarray) -> np.ndarray:
        """Gradients (K, B, M) of the learned quantities at states (B, M) of data units, in the frame."""
        with precision(self.config.dtype):
            inner = np.asarray(self._into(states))
            return gradients(self.model.family, conserved_of(self.params), inner)

    def generators(self, x: ArrayLike) -> np.ndarray:
        """Fields J grad C (K, ..., M) at states (..., M), data units; C: `conserved` times `Frame.action`."""
        states = np.asarray(x, np.float64)
        inner = self.function_slopes(states.reshape(-1, self.frame.dim))
        moved = _turned(inner) @ self.frame.inverse.T
        return moved.reshape(len(moved), *states.shape)

    def flow(self, x: ArrayLike, tau: ArrayLike) -> np.ndarray:
        """States (K, T, M) along the flow of each learned quantity, see `generators`, from a state (M,).

        Args:
            tau: flow times (T,), increasing, none below 0.
        Raises:
            UsageError: for other times, or where a flow could not be followed so far.
        """
        own, family = conserved_of(self.params), self.model.family
        with precision(self.config.dtype):
            paths = prediction.flows(lambda z: family.value(own, z), family.count, self._into(x), tau)
        return self.frame.out_of(paths)

    def to_arviz(self, draws: int = 200) -> Any:
        """Posterior draws of the weights as ArviZ InferenceData; what has no spread as constant data.

        Args:
            draws: of the weights of each layer, (1, draws, out, in + 1): [W b], the last without b.
        Raises:
            UsageError: without ArviZ.
        """
        with warnings.catch_warnings():
            # Once a day it says that another version will come.
            warnings.simplefilter("ignore", FutureWarning)
            arviz = extra("arviz", "arviz", "to_arviz")
        keys = jax.random.split(jax.random.key(self.seed), draws)
        with precision(self.config.dtype):
            weights = jax.vmap(lambda key: self.model.sample_weights(self.params, key))(keys)
        fixed = {k.replace("/", "_"): np.asarray(v) for k, v in self.params.items() if k[:9] != "posterior"}
        return arviz.from_dict(
            posterior={f"weights_{i}": np.asarray(w)[None] for i, w in enumerate(weights)},
            constant_data=fixed,
            attrs={"seed": self.seed, "elbo_per_transition": self.elbo, **versions()},
        )

    def __repr__(self) -> str:
        return f"FitResult({self.model.family.name}, seed {self.seed}, ELBO {self.elbo:.4g} per transition)"

    def _repr_html_(self) -> str:
        bounds = self.evidence.get("bounds", {})
        keys = ("noise_variance", "transitions", "steps", "seconds_total")
        values = {f"-ELBO per transition, {name}": b["negative_elbo"] for name, b in bounds.items()}
        values |= {key.replace("_", " "): self.metrics[key] for key in keys}
        shown = markup.table(["", ""], [[name, f"{value:.6g}"] for name, value in values.items()])
        return markup.block(f"fit with family {self.model.family.name}, seed {self.seed}", [shown])

    def predict(self, x0: ArrayLike, t: ArrayLike, *, samples: int = 32) -> Prediction:
        """Trajectories from starts, with their posterior spread.

        Args:
            x0: (B, M) or (M,), data units.
            t: increasing times (T,), or (B, T) for times of each start's own; the first is the start's.
            samples: number of posterior samples for the spread, at most 32; 0 for none.
        Raises:
            UsageError: for shapes or times that do not fit.
        """
        start = np.atleast_2d(np.asarray(x0, np.float64))
        times = np.asarray(t, np.float64)
        fits = times.ndim == 1 or times.shape[:-1] == start.shape[:1]
        if not fits or times.shape[-1] < 2 or not (np.diff(times) > 0).all():
            raise UsageError(f"times of shape {times.shape}; expected at least 2, increasing, (T,) or (B, T)")
        if not 0 <= samples <= _DRAWS:
            raise UsageError(f"samples = {samples}; expected 0 to {_DRAWS}")
        substeps = max(1, int(np.ceil(np.diff(times).max() / self.step - 1e-6)))
        with precision(self.config.dtype):
            inner = self._into(start)
            intervals = jnp.asarray(np.diff(times) / self.frame.time, inner.dtype)
            intervals = intervals if times.ndim == 1 else intervals.T[..., None]
            rollout = jax.jit(
                lambda p, draws, z, dt: prediction.mean_rollout(self.model, p, draws, z, dt, substeps)
            )
            mean = rollout(self.params, self._draws, inner, intervals)
            spread_of_energy = jnp.std(self._energy(self._into(self.states)))
            drift = energy_drift(self._energy, jnp.moveaxis(mean, 0, 1), spread_of_energy)
            spread = np.zeros((0, *mean.shape))
            if samples:
                few = prediction.PosteriorDraws(
                    [w[:samples] for w in self._draws.weights],
                    self._draws.tau[:samples],
                )
                rollouts = jax.jit(
                    lambda p, draws, z, dt: prediction.sample_rollouts(self.model, p, draws, z, dt, substeps)
                )
                spread = rollouts(self.params, few, inner, intervals)
        out = [self.frame.out_of(np.asarray(a, np.float64)) for a in (mean, spread)]
        return Prediction(times, np.moveaxis(out[0], 0, 1), np.moveaxis(out[1], 1, 2), np.asarray(drift))

    def _record(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "config": dataclasses.asdict(self.config),
            "seed": self.seed,
            "family": {
                "name": self.model.family.name,
                "settings": self.model.family.settings(),
                "names": list(self.model.conserved_names),
            },
            "substeps": self.model.likelihood.substeps,
            "transitions": self.model.likelihood.total,
            "step": self.step,
            "held_out": self.held_out,
            "frame_time": self.frame.time,
            "metrics": self.metrics,
            "evidence": self.evidence,
            "history": [dataclasses.asdict(row) for row in self.history],
            "data": self.metadata,
            "versions": versions(),
            "device": str(jax.devices()[0]),
        }

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        documents: dict[str, Any] | None = None,
        texts: dict[str, str] | None = None,
    ) -> Path:
        """Write a run folder that `load_result` reads back; no pickle.

        Args:
            folder: target, new or empty.
            overwrite: replace a folder that holds something.
            documents, texts: further files by name, JSON values and text.
        Raises:
            UsageError: when the folder cannot be used.
        """
        arrays = {f"params/{k}": np.asarray(v) for k, v in self.params.items()}
        arrays |= {
            "frame/centre": self.frame.centre,
            "frame/matrix": self.frame.matrix,
            "frame/noise_scale": self.frame.noise_scale,
            "moment": self.moment,
            "states": self.states,
        }
        if self.tracks is not None:
            arrays |= {f"tracks/{k}": v for k, v in self.tracks._asdict().items() if v is not None}
        if "slopes" in self.__dict__:
            arrays["slopes"] = self.slopes
        history = io.StringIO()
        fields = [f.name for f in dataclasses.fields(Row)]
        writer = csv.DictWriter(history, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in self.history)
        return write_folder(
            folder,
            arrays={_MODEL_FILE: arrays},
            documents={_RUN_FILE: self._record(), "metrics.json": self.metrics, **(documents or {})},
            texts={"history.csv": history.getvalue(), **(texts or {})},
            overwrite=overwrite,
        )


def _turned(gradient: np.ndarray) -> np.ndarray:
    """J g of gradients (..., M), in the precision that they have."""
    dq, dp = np.split(gradient, 2, axis=-1)
    return np.concatenate([dp, -dq], axis=-1)


def _group(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): v for name, v in arrays.items() if name.startswith(prefix)}


def load_result(folder: str | os.PathLike[str]) -> FitResult:
    """A saved result.

    Raises:
        RunFolderError: when the folder is incomplete, was changed, or is of another format.
    """
    arrays, record = read_folder(folder, arrays=_MODEL_FILE, document=_RUN_FILE)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        found = record.get("format") if isinstance(record, dict) else record
        raise RunFolderError(f"{folder}: run format {str(found)[:40]}; this version reads {FORMAT}")
    try:
        return _restored(arrays, record)
    except UsageError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunFolderError(
            f"{folder}: {_RUN_FILE} or {_MODEL_FILE} lack what a run has ({type(error).__name__}: {error}); "
            "restore them or fit again"
        ) from None


def _restored(arrays: dict[str, np.ndarray], record: dict[str, Any]) -> FitResult:
    """From what a run folder holds."""
    config = FitConfig(**record["config"])
    frame = Frame(
        arrays["frame/centre"], arrays["frame/matrix"], record["frame_time"], arrays["frame/noise_scale"]
    )
    with precision(config.dtype):
        params = {name: jnp.asarray(value) for name, value in _group(arrays, "params/").items()}
        saved = record["family"]
        family = FAMILIES[saved["name"]].restored(saved["settings"], conserved_of(params))
        model = build_model(
            config,
            family,
            tuple(saved["names"]),
            frame,
            substeps=record["substeps"],
            total=record["transitions"],
        )
    result = FitResult(
        model=model,
        params=params,
        frame=frame,
        config=config,
        seed=record["seed"],
        metrics=record["metrics"],
        evidence=record["evidence"],
        history=[Row(**row) for row in record["history"]],
        moment=arrays["moment"],
        states=arrays["states"],
        held_out=record["held_out"],
        tracks=Tracks(**tracks) if (tracks := _group(arrays, "tracks/")) else None,
        step=record["step"],
        metadata=record["data"],
    )
    if "slopes" in arrays:
        result.__dict__["slopes"] = arrays["slopes"]
    return result
