"""The settings of a fit: frozen, checked when made, the same names as on the command line."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from noethers_razor.errors import UsageError

# Names only: the functions behind them live where JAX is loaded, and `--help` must not wait for it.
ACTIVATIONS = ("gelu", "tanh", "softplus", "squareplus", "elu")
MEASURES = ("uniform", "ball", "normal", "line")
SAMPLINGS = ("plain", "antithetic", "quasi")
INTEGRATORS = ("euler", "midpoint", "rk4", "implicit_midpoint")
DTYPES = ("float32", "float64")


def _setting(default: Any, text: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": text})


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 1


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """Everything that a fit depends on besides data, family and seed.

    Raises:
        UsageError: for a value out of range, naming it and what is expected.
    """

    steps: int = _setting(6000, "optimiser steps of the fit, over the stages without symmetry and joint")
    warmup: float | None = _setting(
        None,
        "largest share of the steps spent without symmetry first; if unset .6, .05 before a random start",
    )
    width: int = _setting(64, "units of a hidden layer")
    depth: int = _setting(2, "number of hidden layers")
    activation: str = _setting("gelu", f"one of {', '.join(ACTIVATIONS)}")
    orbit_samples: int = _setting(8, "S, orbit points that H is averaged over")
    measure: str = _setting("ball", f"law of the flow times: one of {', '.join(MEASURES)}")
    sampling: str = _setting("quasi", f"how they are drawn: one of {', '.join(SAMPLINGS)}")
    weight_samples: int = _setting(1, "weight samples per step")
    batch: int = _setting(64, "transitions per step")
    learning_rate: float = _setting(0.01, "Adam step size of the posterior, first stage")
    joint_learning_rate: float = _setting(0.005, "Adam step size of the posterior, joint stage")
    conserved_learning_rate: float | None = _setting(
        None, "Adam step size of the conserved quantities; if unset .00005 after a proposal, .003 from random"
    )
    noise_learning_rate: float = _setting(0.01, "Adam step size of the log noise deviation")
    initial_deviation: float = _setting(0.3, "posterior deviation at the start, times sqrt(fan-in)")
    noise_variance: float | None = _setting(None, "fixed noise variance in data units; learned if unset")
    noise_floor: float = _setting(0.01, "smallest learned noise deviation, relative to the data's spread")
    integrator: str = _setting("rk4", f"step over a transition: one of {', '.join(INTEGRATORS)}")
    substeps: int | None = _setting(None, "integrator steps per transition; from the data if unset")
    held_out: float = _setting(0.05, "share of 20 or more trajectories kept out of training, for defects")
    judge: bool = _setting(
        True, "let the bound decide on doubtful directions, a new proposal, and no quantity"
    )
    chunk: int = _setting(200, "steps per compiled call: progress, history and guard are once a chunk")
    dtype: str = _setting("float32", "float32 or float64")

    def __post_init__(self) -> None:
        for name in ("steps", "width", "depth", "orbit_samples", "weight_samples", "batch", "chunk"):
            self._require(name, _is_count(getattr(self, name)), "a whole number, at least 1")
        for name in ("learning_rate", "joint_learning_rate", "initial_deviation"):
            self._require(name, 0 < getattr(self, name) < math.inf, "a positive number")
        for name in ("noise_learning_rate", "noise_floor"):
            self._require(name, 0 <= getattr(self, name) < math.inf, "0 or more")
        rate = self.conserved_learning_rate
        self._require("conserved_learning_rate", rate is None or 0 <= rate < math.inf, "0 or more, or unset")
        self._require("held_out", 0 <= self.held_out < 1, "a share in [0, 1)")
        self._require("warmup", self.warmup is None or 0 <= self.warmup < 1, "a share in [0, 1), or unset")
        variance, substeps = self.noise_variance, self.substeps
        self._require(
            "noise_variance", variance is None or 0 < variance < math.inf, "a positive number, or unset"
        )
        self._require(
            "substeps", substeps is None or _is_count(substeps), "a whole number, at least 1, or unset"
        )
        for name, choices in (
            ("activation", ACTIVATIONS),
            ("measure", MEASURES),
            ("sampling", SAMPLINGS),
            ("integrator", INTEGRATORS),
            ("dtype", DTYPES),
        ):
            self._require(name, getattr(self, name) in choices, f"one of {', '.join(choices)}")

    def _require(self, name: str, good: bool, expected: str) -> None:
        if not good:
            raise UsageError(f"{name} = {getattr(self, name)!r}; expected {expected}")
