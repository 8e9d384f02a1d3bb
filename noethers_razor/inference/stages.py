"""The stages of a fit as explicit objects: without symmetry, proposal, joint training, control.

A family of conserved quantities takes part through ``propose`` and ``principal`` only, so that a new
one proposes in the same place. The last stage, the judgement, is in `judgement`.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor.conserved import FunctionFamily, NoSymmetry, Proposal, thinned
from noethers_razor.conserved.expansion import LENGTH
from noethers_razor.errors import TrainingDiverged
from noethers_razor.inference.history import FlatParams
from noethers_razor.inference.state import FitState
from noethers_razor.inference.training import Rates
from noethers_razor.mechanics.orbits import RADIUS
from noethers_razor.model.elbo import prefixed

_STATES = 512
_SHARES = np.array([1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0])
"""Of the longest flow times, at which the energy along proposed paths is looked at."""
_KEPT = 0.25
"""Share of the change of energy by noise that the median change along a path may be. At .67 orbits of the
Laplace-Runge-Lenz vector still cost bound."""
_LENGTHS = (1.0, 0.25)
"""Shares of that reach between which the bound chooses."""


class Stage(Protocol):
    """One step of a fit: reads and replaces what `FitState` holds."""

    def run(self, state: FitState) -> None:
        """Do it."""
        ...


@dataclasses.dataclass(frozen=True)
class WithoutSymmetry:
    """Train the network alone, no orbit average, until the bound improves slowly."""

    steps: int
    rates: Rates
    stop_when_slow: bool
    name: str = "without symmetry"

    def run(self, state: FitState) -> None:
        """Leaves the fitted posterior in ``params`` and in ``bare``."""
        state.params = state.train(
            NoSymmetry(),
            state.params,
            stage=self.name,
            steps=self.steps,
            rates=self.rates,
            stop_when_slow=self.stop_when_slow,
        )
        state.bare = dict(state.params)


@dataclasses.dataclass(frozen=True)
class Propose:
    """Ask the family for a start, given the trajectories and the noise that the network leaves."""

    name: str = "proposal"

    def run(self, state: FitState) -> None:
        """Adds the family's parameters to ``params``."""
        state.tracks = state.measured(state.params)
        if state.family.functions:
            state.tracks = state.with_slopes(state.params)
        state.proposal = found = state.family.propose(state.tracks, state.stream("start"))
        if (functions := state.family.functions) and np.isfinite(found.length[-functions:]).any():
            if found.length[-functions:].any() or state.family.count == functions:
                _shorten(state, found)
            else:
                state.leave_functions()
        state.params |= prefixed(state.proposal.params, state.data.start.dtype)


def _shorten(state: FitState, found: Proposal) -> None:
    """Let paths end where the energy along them begins to change: by a share of what noise changes it by.

    A function is known where there are data, and its flow may lead away from them: what it says beyond would
    cost bound, though it is conserved.
    """
    family, tracks = state.family, state.tracks
    assert tracks.slopes is not None, "made before the proposal"
    assert isinstance(family, FunctionFamily), "it has functions"
    longest = family.with_reach(1.0)
    dtype = state.data.start.dtype
    states = jnp.asarray(thinned(tracks.states, _STATES), dtype)
    energy = state.energies(state.params)
    shares = np.concatenate([-_SHARES[::-1], _SHARES])

    @jax.jit
    def changes(params: FlatParams, tau: jax.Array) -> jax.Array:
        return jnp.median(jnp.abs(energy(longest.orbit(params, tau)(states)) - energy(states)), axis=-1)

    by_noise = np.median(np.linalg.norm(tracks.slopes @ np.linalg.cholesky(tracks.noise), axis=1))
    params = {name: jnp.asarray(value, dtype) for name, value in found.params.items()}
    reach = len(_SHARES)
    for k in family.count - family.functions + np.flatnonzero(found.length[-family.functions :]):
        tau = np.outer(RADIUS * shares, np.eye(family.count)[k])
        moved = np.asarray(changes(params, jnp.asarray(tau, dtype))).reshape(2, -1)
        worst = np.maximum.accumulate(np.maximum(moved[0][::-1], moved[1]))
        reach = min(reach, int(np.sum(worst <= _KEPT * by_noise)))
    shorter = family.with_reach(float(_SHARES[max(reach - 1, 0)]))
    state.model = dataclasses.replace(state.model, family=shorter)


@dataclasses.dataclass(frozen=True)
class ShortenOrbits:
    """Ask the bound how long orbits of functions are to be, after a short joint training with each length.

    Kepler's pass where no trajectory was, Toda's do not, and energies along both look alike.
    """

    steps: int
    rates: Rates
    name: str = "orbit length"

    def run(self, state: FitState) -> None:
        """Sets the length in ``params``; training starts from there again."""
        key, found, functions = f"conserved/{LENGTH}", state.proposal, state.family.functions
        if not functions or found is None or not np.any(found.length[-functions:] > 0):
            return
        best, start = np.inf, state.params
        for share in _LENGTHS:
            shorter = {**start, key: jnp.asarray(share, state.data.start.dtype)}
            stage = f"{self.name} {share:g}"
            try:
                params = state.train(
                    state.family, shorter, stage=stage, stream=self.name, steps=self.steps, rates=self.rates
                )
            except TrainingDiverged:
                continue
            bound = state.estimate(state.family, params).negative_elbo
            if bound < best:
                best, state.params = bound, shorter


@dataclasses.dataclass(frozen=True)
class Joint:
    """Train posterior, noise and conserved quantities together under the bound (paper, eq. 9)."""

    steps: int
    rates: Rates
    name: str = "joint"

    def run(self, state: FitState) -> None:
        """Leaves parameters in principal directions, and the bound under the family's name."""
        family = state.family
        rates = self.rates if family.trainable else self.rates._replace(conserved=0.0)
        params = state.train(family, state.params, stage=self.name, steps=self.steps, rates=rates)
        # Ball and normal laws do not see a rotation of the quantities; the cube does.
        state.params = params if state.model.orbits.measure == "uniform" else state.spectrum(params)[1]
        state.bounds[family.name] = state.estimate(family, state.params)


@dataclasses.dataclass(frozen=True)
class Control:
    """Train on without symmetry for as long as the joint stage: what the symmetry is compared with."""

    steps: int
    rates: Rates
    name: str = "control"

    def run(self, state: FitState) -> None:
        """Leaves the bound ``none``; with the empty family its parameters are the result."""
        none = NoSymmetry()
        params = state.train(none, state.bare, stage=self.name, steps=self.steps, rates=self.rates)
        state.bounds["none"] = state.estimate(none, params)
        state.bare = params
        if state.family.count == 0:
            state.params = params
