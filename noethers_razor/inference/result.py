"""The result of a fit: energies, fields, flows, rollouts and scores in data units."""

from __future__ import annotations

import dataclasses
import functools
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
from noethers_razor.conserved.base import gradients_of
from noethers_razor.data.frame import Frame
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.data.trajectories import Trajectories, coordinate_labels, coordinate_names
from noethers_razor.errors import UsageError
from noethers_razor.inference import prediction
from noethers_razor.inference.history import Row
from noethers_razor.inference.prediction import Prediction
from noethers_razor.inference.problem import to_batch
from noethers_razor.mechanics.phase_space import apply_j_in_numpy, energy_drift
from noethers_razor.model.elbo import Model
from noethers_razor.model.parameters import FlatParams, conserved_of, precision
from noethers_razor.plot import markup
from noethers_razor.storage.run_folder import versions

_DRAWS = 32
"""Posterior samples of the weights that predictions average over."""
_ORBIT_SAMPLES = 8
"""Orbit points of each of them."""


@dataclasses.dataclass(frozen=True, repr=False)
class FitResult:
    """A fitted model. `fit` returns one, `find_symmetries` reports what it conserves.

    Args:
        model, params: model in its frame, and the parameters of posterior, symmetry and noise.
        frame: map from data units to the frame and back.
        config, seed: settings and seed of the fit.
        metrics: bound, noise, steps and seconds, as in metrics.json.
        evidence: bounds, compared sets and the proposal, as plain JSON values.
        history: averages over chunks of steps.
        moment: second moment of the training states in the frame, see `quadratic_form.second_moment`.
        states: held-out states (count, M), data units; training states when ``held_out`` is False.
        held_out: whether training has not seen ``states``.
        trajectories: some of the training trajectories with their noise; None without a proposal.
        step: median data time of one integrator step in training.
        metadata: of the data.
        others: results of the other seeds, best bound first, see `fit`; a saved run does not keep them.
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
    trajectories: FrameTrajectories | None
    step: float
    metadata: dict[str, Any]
    others: tuple[FitResult, ...] = ()

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
        """Names of the M coordinates for axes, with units where the data have them."""
        return coordinate_labels(self.metadata, self.frame.dim // 2)

    @functools.cached_property
    def _draws(self) -> prediction.PosteriorDraws:
        draw = jax.jit(
            lambda params, key: prediction.posterior_draws(self.model, params, key, _DRAWS, _ORBIT_SAMPLES)
        )
        return draw(self.params, jax.random.key(self.seed))

    @functools.cached_property
    def _energy(self) -> Callable[[Array], Array]:
        # Parameters and draws are arguments, so that their flows are compiled with the program.
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
        """Return the posterior-mean energy of states (..., M), data units, up to a constant."""
        with precision(self.config.dtype):
            return np.asarray(self._energy(self._into(x)), np.float64) * self.frame.energy

    def gradient(self, x: ArrayLike) -> np.ndarray:
        """Return the gradient of the posterior-mean energy at states (..., M), data units."""
        with precision(self.config.dtype):
            inner = np.asarray(self._gradient(self._into(x)), np.float64)
        return inner @ self.frame.matrix * self.frame.energy

    @functools.cached_property
    def state_gradients(self) -> np.ndarray:
        """`gradient` at the held-out states (count, M). A run folder keeps it once it is known."""
        return self.gradient(self.states)

    def field(self, x: ArrayLike) -> np.ndarray:
        """Return the posterior-mean velocity x' = J grad H at states (..., M), data units."""
        return apply_j_in_numpy(self.gradient(x))

    def quadratic_forms(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the learned quantities x'Ax/2 + b'x in the frame: (K, M, M), (K, M), float64.

        Raises:
            UsageError: when the family has quantities that are not quadratic.
        """
        family = self.model.family
        if not family.count:
            return np.zeros((0, self.frame.dim, self.frame.dim)), np.zeros((0, self.frame.dim))
        forms = family.forms(conserved_of(self.params))
        if forms is None:
            raise UsageError(f"family {family.name} has quantities that are not quadratic")
        return forms

    @property
    def is_quadratic(self) -> bool:
        """Whether all quantities are quadratic."""
        family = self.model.family
        return not family.count or family.forms(conserved_of(self.params)) is not None

    @property
    def terms(self) -> list[str]:
        """Formulas of further variables that the family was given."""
        return list(self.model.family.terms)

    def conserved(self, x: ArrayLike) -> np.ndarray:
        """Return values (..., K) of the learned quantities at states (..., M), in units of `Frame.action`."""
        with precision(self.config.dtype):
            return np.asarray(self.model.family.value(conserved_of(self.params), self._into(x)), np.float64)

    def conserved_gradients(self, states: np.ndarray) -> np.ndarray:
        """Return gradients (K, B, M), in the frame, of learned quantities at states (B, M) of data units."""
        with precision(self.config.dtype):
            inner = np.asarray(self._into(states))
            return gradients_of(self.model.family, conserved_of(self.params), inner)

    def generators(self, x: ArrayLike) -> np.ndarray:
        """Return fields J grad C (K, ..., M) at states (..., M), data units, with C of `conserved`."""
        states = np.asarray(x, np.float64)
        inner = self.conserved_gradients(states.reshape(-1, self.frame.dim))
        moved = apply_j_in_numpy(inner) @ self.frame.inverse.T
        return moved.reshape(len(moved), *states.shape)

    def flow(self, x: ArrayLike, tau: ArrayLike) -> np.ndarray:
        """Return states (K, T, M) along the flow of each learned quantity, see `generators`.

        Args:
            x: start (M,), data units.
            tau: flow times (T,), increasing, none below 0.
        Raises:
            UsageError: for other times, or where a flow could not be followed that far.
        """
        own, family = conserved_of(self.params), self.model.family
        with precision(self.config.dtype):
            paths = prediction.flows(lambda z: family.value(own, z), family.count, self._into(x), tau)
        return self.frame.out_of(paths)

    def to_arviz(self, draws: int = 200) -> Any:
        """Return posterior draws of the weights as ArviZ InferenceData; other parameters are constant data.

        Args:
            draws: number of draws; each layer has shape (1, draws, out, in + 1): [W b], the last without b.
        Raises:
            UsageError: when ArviZ is not installed.
        """
        with warnings.catch_warnings():
            # ArviZ announces its next version once a day.
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
        """Return trajectories from starts, with their posterior spread.

        Args:
            x0: (B, M) or (M,), data units.
            t: increasing times (T,), or (B, T) if each start has its own; the first is the time of the start.
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
        paths, samples_of_paths = np.moveaxis(out[0], 0, 1), np.moveaxis(out[1], 1, 2)
        return Prediction(times, paths, samples_of_paths, np.asarray(drift), tuple(self.coordinates))

    def score(self, data: Trajectories) -> float:
        """Return the mean log predictive density of the transitions of trajectories, nats, data units.

        The density of a transition is averaged over posterior samples. More is better. Scores compare only on
        the same data; trajectories that training has not seen give an honest one.

        Args:
            data: trajectories of the same system, data units.
        Raises:
            UsageError: when the data are of another phase space.
        """
        if 2 * data.dof != self.frame.dim:
            raise UsageError(
                f"the data have {data.dof} degrees of freedom, the fit {self.frame.dim // 2}; "
                "choose data of the same system"
            )
        with precision(self.config.dtype):
            batch = to_batch(self.frame, data.transitions(), self.config.dtype)
            density = jax.jit(lambda p, draws, pairs: prediction.log_density(self.model, p, draws, pairs))
            return float(np.mean(np.asarray(density(self.params, self._draws, batch), np.float64)))

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        documents: dict[str, Any] | None = None,
        texts: dict[str, str] | None = None,
    ) -> Path:
        """Write a run folder that `load_result` reads back, without pickle.

        Args:
            folder: target, new or empty.
            overwrite: replace a run that is there.
            documents, texts: further files by name, JSON values and text.
        Raises:
            UsageError: when the folder cannot be used.
        """
        from noethers_razor.inference.saved import save

        return save(self, folder, overwrite=overwrite, documents=documents or {}, texts=texts or {})
