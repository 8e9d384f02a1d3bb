"""`fit`: from trajectories to a posterior over Hamiltonians and their conserved quantities."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor.config import FitConfig
from noethers_razor.conserved import ConservedFamily, Quadratic, Tracks, thinned
from noethers_razor.data.frame import Frame, fit_frame, suggested_substeps
from noethers_razor.data.trajectories import Trajectories, Transitions
from noethers_razor.errors import TrainingDiverged, UsageError
from noethers_razor.inference.history import Estimate, Watcher
from noethers_razor.inference.judgement import Judge, active_slopes
from noethers_razor.inference.result import FitResult
from noethers_razor.inference.stages import Control, Joint, Propose, ShortenOrbits, Stage, WithoutSymmetry
from noethers_razor.inference.state import FitState
from noethers_razor.inference.training import Rates
from noethers_razor.mechanics.quadratic_form import second_moment
from noethers_razor.model.elbo import Batch, build_model, initial_params, precision
from noethers_razor.numerics.expressions import expression
from noethers_razor.numerics.subspaces import largest_angle
from noethers_razor.storage.journal import Journal
from noethers_razor.storage.run_folder import versions

_FEWEST_TO_HOLD_OUT = 20
_STATES_KEPT, _TRACKED = 1024, 20_000
_REFINE, _GROW = 0.00005, 0.003
"""Step sizes of conserved quantities: a proposal is right to a degree and larger steps only blur it; a random
start has to turn and to grow."""
_WARMUP, _WARMUP_OF_RANDOM = 0.6, 0.05
"""Shares of the first stage: a network trained to convergence holds a small random start down."""
_TRIAL = 4
"""Part of the joint stage for which each orbit length is tried."""
_NOISE_START = 0.25
"""Noise deviation at the start, relative to the mean displacement of a transition: well above any fit."""


def _split(data: Trajectories, share: float) -> tuple[Trajectories, np.ndarray, bool]:
    """Training trajectories, states kept for defects, and whether training has not seen them."""
    # Held-out trajectories without a state would leave nothing to measure defects on.
    held = int(share * data.count) if data.count >= _FEWEST_TO_HOLD_OUT else 0
    if not data.present[data.count - held :].any():
        held = 0
    train = data.select(slice(0, data.count - held))
    states = data.states[data.count - held :][data.present[data.count - held :]] if held else data.observed()
    return train, thinned(states, _STATES_KEPT), held > 0


def to_batch(frame: Frame, transitions: Transitions, dtype: str) -> Batch:
    """Transitions in the frame, in the precision of a fit."""
    return Batch(
        jnp.asarray(frame.into(transitions.start), dtype),
        jnp.asarray(transitions.duration / frame.time, dtype),
        jnp.asarray(frame.into(transitions.end), dtype),
    )


def to_tracks(frame: Frame, data: Trajectories) -> Tracks:
    """Trajectories in the frame, of unknown noise."""
    track = np.nonzero(data.present)[0]
    time = data.times[data.present] / frame.time
    return Tracks(frame.into(data.observed()), track, np.eye(frame.dim), time=time)


def _kept(tracks: Tracks) -> Tracks:
    """Whole trajectories, evenly spaced, of so many states; the beginning of one that is longer."""
    labels, count = np.unique(tracks.track, return_counts=True)
    chosen = thinned(labels, max(int(_TRACKED / count.mean()), 1))
    kept = np.isin(tracks.track, chosen)
    return tracks.where(kept & (np.cumsum(kept) <= _TRACKED))._replace(slopes=None)


def plan(config: FitConfig, family: ConservedFamily) -> list[Stage]:
    """The stages of a fit in order."""
    random = getattr(family, "start", "") == "random"
    share = config.warmup
    if share is None:
        share = _WARMUP_OF_RANDOM if random else _WARMUP
    first = round(share * config.steps)
    conserved_rate = config.conserved_learning_rate
    if conserved_rate is None:
        conserved_rate = _GROW if random else _REFINE
    joint_rates = Rates(config.joint_learning_rate, conserved_rate, config.noise_learning_rate)
    bare_rates = Rates(config.learning_rate, 0.0, config.noise_learning_rate)
    stages: list[Stage] = []
    if first:
        stages.append(WithoutSymmetry(first, bare_rates, stop_when_slow=True))
    if family.count:
        stages.append(Propose())
        if family.functions:
            stages.append(ShortenOrbits((config.steps - first) // _TRIAL, joint_rates))
        stages.append(Joint(config.steps - first, joint_rates))
    stages.append(Control(config.steps - first, joint_rates._replace(conserved=0.0)))
    if family.trainable and config.judge:
        stages.append(Judge(config.steps - first, joint_rates))
    return stages


def fit(
    data: Trajectories,
    *,
    seed: int,
    conserved: ConservedFamily | int | None = None,
    config: FitConfig | None = None,
    stages: Sequence[Stage] | None = None,
    watch: Watcher | None = None,
    journal: Journal | None = None,
) -> FitResult:
    """Train a Hamiltonian and its conserved quantities together under the lower bound.

    Args:
        data: trajectories in data units.
        seed: of initialisation, minibatches, weights and orbits; same seed, same result.
        conserved: family of conserved quantities, a number of quadratic ones, or None for `Quadratic()`;
            ``NoSymmetry()`` fits without, ``KnownQuadratic.of(system.conserved())`` with given ones.
        config: settings; the defaults suit noise from 0 to a twentieth of the spread.
        stages: of the fit, those of `plan` by default.
        watch: called after each chunk of steps, for progress.
        journal: checkpoints in a folder; a fit that was interrupted goes on from those that are there, and
            ends as it would have.
    Raises:
        TrainingDiverged: when the bound is not finite.
        UsageError: when the family does not fit the phase space, or the journal is of another fit.
    """
    with journal or nullcontext():
        return _fit(data, seed, conserved, config or FitConfig(), stages, watch, journal)[0]


def fit_seeds(
    data: Trajectories,
    *,
    seeds: Sequence[int],
    conserved: ConservedFamily | int | None = None,
    config: FitConfig | None = None,
    watch: Watcher | None = None,
    journal: Journal | None = None,
) -> list[FitResult]:
    """The same fit from several seeds, best bound first; what is compiled is compiled once.

    The ``seeds`` of each result's evidence say what every seed found, and at which angle to the best; one
    seed alone has none.

    Args:
        seeds: of the fits, different ones.
        data, conserved, config, watch, journal: see `fit`.
    Raises:
        UsageError: without a seed, or with one given twice.
        TrainingDiverged: when every fit diverges; one that does is left out, and named in the evidence.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise UsageError(f"seeds = {list(seeds)}; expected at least one, each once")
    if len(seeds) == 1:
        return [fit(data, seed=seeds[0], conserved=conserved, config=config, watch=watch, journal=journal)]
    config, state = config or FitConfig(), None
    fits, lost = [], []
    with journal or nullcontext():
        for seed in seeds:
            try:
                own = None if journal is None else journal.part(f"seed-{seed}")
                result, state = _fit(data, seed, conserved, config, None, watch, own, state)
            except TrainingDiverged as error:
                lost.append((seed, error))
            else:
                fits.append((result, active_slopes(state)))
    if not fits:
        raise lost[0][1]
    fits.sort(key=lambda one: -one[0].elbo)
    spread = [_seed_record(result, slopes, fits[0][1]) for result, slopes in fits]
    spread += [{"seed": seed, "diverged": str(error)} for seed, error in lost]
    return [dataclasses.replace(result, evidence={**result.evidence, "seeds": spread}) for result, _ in fits]


def _seed_record(result: FitResult, slopes: np.ndarray, best: np.ndarray) -> dict[str, Any]:
    return {
        "seed": result.seed,
        "rank": len(slopes),
        "negative_elbo": -result.elbo,
        "none": result.evidence["bounds"]["none"]["negative_elbo"],
        "angle": largest_angle(slopes, best),
    }


def _fit(
    data: Trajectories,
    seed: int,
    conserved: ConservedFamily | int | None,
    config: FitConfig,
    stages: Sequence[Stage] | None,
    watch: Watcher | None,
    journal: Journal | None,
    other: FitState | None = None,
) -> tuple[FitResult, FitState]:
    """A fit, and its state, from which another fit of the same data can take the programs."""
    if not isinstance(data, Trajectories):
        raise UsageError(f"data are {type(data).__name__}; expected Trajectories, see load_trajectories")
    family = Quadratic(conserved) if isinstance(conserved, int) else conserved or Quadratic()
    train, states, held_out = _split(data, config.held_out)
    transitions = train.transitions()
    isotropic = None if config.noise_variance is None else np.ones(2 * data.dof)
    frame = fit_frame(train.observed(), transitions, noise_scale=isotropic)
    family = family.fitted_to(frame, data.coordinates)
    _require_defined(getattr(family, "terms", ()), train)
    if config.warmup == 0 and getattr(family, "start", "") == "proposal":
        raise UsageError(
            "warmup = 0 with start 'proposal'; the stage without symmetry tells the proposal the noise: "
            "use start 'random' or a positive warmup"
        )
    substeps = config.substeps or suggested_substeps(frame, transitions)
    if journal is not None:
        journal.begin(_job(data, family, config, seed), _circumstances())
    with precision(config.dtype):
        batch = to_batch(frame, transitions, config.dtype)
        base = jax.random.key(seed)
        init_key, fit_key = jax.random.split(base)
        names = tuple(family.init(init_key, frame.dim))
        model = build_model(config, family, names, frame, substeps=substeps, total=transitions.total)
        start = initial_params(
            model.network, init_key, config.initial_deviation, _log_noise(config, frame, batch)
        )
        tracks = to_tracks(frame, train)
        state = FitState(model, batch, tracks, start, fit_key, config, bare=dict(start), watch=watch)
        state.journal = journal
        if other is not None:
            state.share_programs(other)
        _run(state, plan(config, family) if stages is None else stages)
        frame_noise = _noise_variance(state, frame)
        step = float(np.median(transitions.duration)) / substeps
        best = state.bounds[state.family.name]
        metrics = _metrics(state, best, frame_noise, transitions.total)
        result = FitResult(
            model=state.model,
            params=state.params,
            frame=frame,
            config=config,
            seed=seed,
            metrics=metrics,
            evidence=_evidence(state),
            history=state.history,
            moment=second_moment(frame.into(transitions.start)),
            states=states,
            held_out=held_out,
            tracks=None if state.proposal is None else _kept(state.tracks),
            step=step,
            metadata={**data.metadata, "sha256": data.digest},
        )
        return result, state


def _job(data: Trajectories, family: ConservedFamily, config: FitConfig, seed: int) -> dict[str, Any]:
    """What the outcome of a fit depends on."""
    return {
        "data": data.digest,
        "family": f"{family.name} {family.settings()}",
        "seed": seed,
        **dataclasses.asdict(config),
    }


def _circumstances() -> dict[str, Any]:
    """What the last digits of a fit depend on besides."""
    return {"backend": jax.default_backend(), "devices": jax.local_device_count(), **versions()}


def _require_defined(terms: Sequence[str], data: Trajectories) -> None:
    """Refuse terms that are not finite at some state of the data, before any training."""
    states = jnp.asarray(data.observed())
    for term in terms:
        undefined = int(np.sum(~np.isfinite(np.asarray(expression(term, data.coordinates)(states)))))
        if undefined:
            raise UsageError(
                f"term {term!r} is not finite at {undefined} of {len(states)} states of the data; "
                "name a term that is defined wherever they go"
            )


def _run(state: FitState, stages: Sequence[Stage]) -> None:
    state.pool = ThreadPoolExecutor(1)
    try:
        state.prepare()
        for stage in stages:
            stage.run(state)
    finally:
        # Interrupted, a fit does not wait for programs that it will not need.
        state.pool.shutdown(wait=False, cancel_futures=True)
    if state.family.name not in state.bounds:
        last = "Control" if state.family.count == 0 else "Joint"
        raise UsageError(
            f"the stages leave no bound of family {state.family.name}; expected {last} among them"
        )


def _log_noise(config: FitConfig, frame: Frame, batch: Batch) -> float | None:
    if config.noise_variance is not None:
        return None
    moved = np.asarray(batch.end - batch.start, np.float64) @ frame.residual_matrix.T
    return math.log(_NOISE_START * math.sqrt(float(np.mean(moved**2))) + 1e-12)


def _noise_variance(state: FitState, frame: Frame) -> float:
    deviation = state.trainer(state.family).noise_deviation(state.params)
    return deviation**2 * float(np.mean(frame.noise_scale**2))


def _metrics(state: FitState, best: Estimate, noise: float, total: int) -> dict[str, Any]:
    clock = state.clock
    return {
        "elbo_per_transition": -best.negative_elbo,
        "elbo_standard_error": best.error,
        "elbo_total": -best.negative_elbo * total,
        "nll": best.nll,
        "kl": best.kl,
        "noise_variance": noise,
        "transitions": total,
        "steps": clock.steps,
        "seconds_total": clock.total,
        "seconds_compile": clock.compiling,
        "seconds_per_step": clock.training / max(clock.steps, 1),
    }


def _plain(values: Sequence[float] | np.ndarray) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]


def _estimate(value: Estimate) -> dict[str, float | None]:
    numbers = ("negative_elbo", "error", "nll", "kl")
    return dict(zip(numbers, _plain([getattr(value, name) for name in numbers]), strict=True))


def _evidence(state: FitState) -> dict[str, Any]:
    """Bounds, judgements and proposal as plain JSON values."""
    record: dict[str, Any] = {
        "bounds": {name: _estimate(value) for name, value in state.bounds.items()},
        "judgements": [
            {
                "name": judgement.name,
                "kept": judgement.kept,
                "removed": list(judgement.removed),
                "accepted": judgement.accepted,
                "singular_values": list(judgement.singular_values),
                **_estimate(judgement.estimate),
            }
            for judgement in state.judgements
        ],
    }
    if state.proposal is not None:
        record["proposal"] = {name: _plain(getattr(state.proposal, name)) for name in ("defect", "length")}
        record["proposal"]["expected"] = state.proposal.expected
    return record
