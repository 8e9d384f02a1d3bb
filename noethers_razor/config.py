"""Settings of a fit: frozen, checked when made, and with the same names as on the command line."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from noethers_razor._deprecated import warn_of_old_name
from noethers_razor.errors import UsageError

# Names only. The functions behind them are in modules that load JAX, and `--help` must not wait for it.
ACTIVATIONS = ("gelu", "tanh", "softplus", "squareplus", "elu")
MEASURES = ("uniform", "ball", "normal", "line")
SAMPLINGS = ("plain", "antithetic", "quasi")
INTEGRATORS = ("euler", "midpoint", "rk4", "implicit_midpoint")
DTYPES = ("float32", "float64")

Check = tuple[Callable[[Any], bool], str]
"""Test of a value, and what is expected."""


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _or_unset(check: Check) -> Check:
    return (lambda value: value is None or check[0](value)), f"{check[1]}, or unset"


def _one_of(names: tuple[str, ...]) -> Check:
    return (lambda value: value in names), f"one of {', '.join(names)}"


_COUNT: Check = (_is_count, "a whole number, at least 1")
_POSITIVE: Check = ((lambda value: 0 < value < math.inf), "a positive number")
_NOT_NEGATIVE: Check = ((lambda value: 0 <= value < math.inf), "0 or more")
_SHARE: Check = ((lambda value: 0 <= value < 1), "a share in [0, 1)")
_SWITCH: Check = ((lambda value: isinstance(value, bool)), "True or False")


def _setting(default: Any, text: str, check: Check, flag: str = "") -> Any:
    return dataclasses.field(default=default, metadata={"help": text, "check": check, "flag": flag})


def flag_of(field: dataclasses.Field[Any]) -> str:
    """Return the name of a setting on the command line, with underscores."""
    return field.metadata["flag"] or field.name


class _Group:
    """Settings that are checked when they are made."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            value = getattr(self, field.name)
            if "check" in field.metadata:
                good, expected = field.metadata["check"]
                try:
                    fits = good(value)
                except TypeError:
                    fits = False
                if not fits:
                    raise UsageError(f"{flag_of(field)} = {value!r}; expected {expected}")


@dataclasses.dataclass(frozen=True)
class NetworkConfig(_Group):
    """The network F and the start of its posterior."""

    width: int = _setting(64, "Units of a hidden layer.", _COUNT)
    depth: int = _setting(2, "Number of hidden layers.", _COUNT)
    activation: str = _setting("gelu", f"One of {', '.join(ACTIVATIONS)}.", _one_of(ACTIVATIONS))
    initial_deviation: float = _setting(
        0.3, "Initial standard deviation of a weight, times sqrt(fan-in).", _POSITIVE
    )


@dataclasses.dataclass(frozen=True)
class OrbitConfig(_Group):
    """Orbit points over which the network is averaged."""

    samples: int = _setting(8, "S, orbit points over which the network is averaged.", _COUNT, "orbit_samples")
    measure: str = _setting(
        "ball", f"Law of the flow times: one of {', '.join(MEASURES)}.", _one_of(MEASURES)
    )
    sampling: str = _setting(
        "quasi", f"How flow times are drawn: one of {', '.join(SAMPLINGS)}.", _one_of(SAMPLINGS)
    )


@dataclasses.dataclass(frozen=True)
class OptimiserConfig(_Group):
    """Minibatches and step sizes."""

    batch: int = _setting(64, "Transitions per step.", _COUNT)
    weight_samples: int = _setting(1, "Weight samples per step.", _COUNT)
    learning_rate: float = _setting(0.01, "Adam step size of the posterior, first stage.", _POSITIVE)
    joint_learning_rate: float = _setting(0.005, "Adam step size of the posterior, joint stage.", _POSITIVE)
    conserved_learning_rate: float | None = _setting(
        None,
        "Adam step size of the conserved quantities; if unset .00005 after a proposal, .003 from random.",
        _or_unset(_NOT_NEGATIVE),
    )
    noise_learning_rate: float = _setting(
        0.01, "Adam step size of the log of the noise standard deviation.", _NOT_NEGATIVE
    )


@dataclasses.dataclass(frozen=True)
class LikelihoodConfig(_Group):
    """Noise and the integrator of a transition."""

    noise_variance: float | None = _setting(
        None, "Fixed noise variance in data units; learned if unset.", _or_unset(_POSITIVE)
    )
    noise_floor: float = _setting(
        0.01,
        "Smallest learned noise standard deviation, relative to the spread of the data.",
        _NOT_NEGATIVE,
    )
    integrator: str = _setting(
        "rk4", f"Step over a transition: one of {', '.join(INTEGRATORS)}.", _one_of(INTEGRATORS)
    )
    substeps: int | None = _setting(
        None, "Integrator steps per transition; from the data if unset.", _or_unset(_COUNT)
    )


@dataclasses.dataclass(frozen=True)
class FitConfig(_Group):
    """Everything that a fit depends on, other than data, family and seed.

    Args:
        steps, first_stage, held_out, selection, chunk, dtype: of the fit as a whole.
        network, orbits, optimiser, likelihood: groups of settings, or mappings of their names to values.
    Raises:
        UsageError: for a value out of range, with its name and what is expected.
    """

    steps: int = _setting(6000, "Optimiser steps of the fit, over the first and the joint stage.", _COUNT)
    first_stage: float | None = _setting(
        None,
        "Largest share of the steps without symmetry; if unset .6, or .05 before a random start.",
        _or_unset(_SHARE),
    )
    held_out: float = _setting(
        0.05,
        "Share of the trajectories held out to measure bracket defects; none if there are fewer than 20.",
        _SHARE,
    )
    selection: bool = _setting(
        True, "After a random start, compare doubtful sets of quantities by the bound.", _SWITCH
    )
    chunk: int = _setting(
        200, "Steps per compiled call. Progress, history and checks happen once a chunk.", _COUNT
    )
    dtype: str = _setting("float32", "float32 or float64.", _one_of(DTYPES))
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    orbits: OrbitConfig = dataclasses.field(default_factory=OrbitConfig)
    optimiser: OptimiserConfig = dataclasses.field(default_factory=OptimiserConfig)
    likelihood: LikelihoodConfig = dataclasses.field(default_factory=LikelihoodConfig)
    GROUPS: ClassVar[dict[str, type[_Group]]] = {
        "network": NetworkConfig,
        "orbits": OrbitConfig,
        "optimiser": OptimiserConfig,
        "likelihood": LikelihoodConfig,
    }

    def __post_init__(self) -> None:
        for name, group in self.GROUPS.items():
            value = getattr(self, name)
            if isinstance(value, Mapping):
                known = [field.name for field in dataclasses.fields(group)]  # type: ignore[arg-type]
                if unknown := sorted(set(value) - set(known)):
                    raise UsageError(f"{name} has no setting {unknown[0]!r}; it has {', '.join(known)}")
                object.__setattr__(self, name, group(**value))
            elif not isinstance(value, group):
                raise UsageError(f"{name} = {value!r}; expected {group.__name__} or a mapping")
        super().__post_init__()

    @classmethod
    def settings(cls) -> Iterator[tuple[str, dataclasses.Field[Any]]]:
        """Yield every setting with the name of its group, which is empty for those of the whole fit."""
        for field in dataclasses.fields(cls):
            if field.name not in cls.GROUPS:
                yield "", field
        for name, group in cls.GROUPS.items():
            for field in dataclasses.fields(group):  # type: ignore[arg-type]  # every group is a dataclass
                yield name, field

    @classmethod
    def of(cls, **values: Any) -> FitConfig:
        """Return the configuration of settings by their names on the command line, without groups.

        Raises:
            UsageError: for an unknown name, or a value out of range.
        """
        return cls().replace(**values)

    def replace(self, **values: Any) -> FitConfig:
        """Return the configuration with other values of settings, by their names on the command line.

        Raises:
            UsageError: for an unknown name, or a value out of range.
        """
        own: dict[str, dict[str, Any]] = {}
        for group, field in self.settings():
            if flag_of(field) in values:
                own.setdefault(group, {})[field.name] = values.pop(flag_of(field))
        if values:
            names = ", ".join(flag_of(field) for _, field in self.settings())
            raise UsageError(f"unknown setting {sorted(values)[0]!r}; expected one of {names}")
        groups = {
            name: dataclasses.replace(getattr(self, name), **changes) for name, changes in own.items() if name
        }
        return dataclasses.replace(self, **own.get("", {}), **groups)

    def flat(self) -> dict[str, Any]:
        """Return all settings by their names on the command line, the inverse of `of`."""
        return {
            flag_of(field): getattr(getattr(self, group) if group else self, field.name)
            for group, field in self.settings()
        }

    def __getattr__(self, name: str) -> Any:
        where = _OLD_NAMES.get(name)
        if where is None:
            raise AttributeError(f"FitConfig has no setting {name!r}")
        warn_of_old_name(f"FitConfig: {name}", where)
        return functools.reduce(getattr, where.split("."), self)


_RENAMED = {"warmup": "first_stage", "judge": "selection"}
"""Names of settings of the whole fit in version 0.1 -> their names now."""
_OLD_NAMES = {
    **{
        flag_of(field): f"{group}.{field.name}"
        for group, field in FitConfig.settings()
        if group or flag_of(field) != field.name
    },
    **_RENAMED,
}
"""Names of settings in version 0.1 -> where they are now."""


def modern(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by name, with the names of version 0.1 replaced."""
    return {_RENAMED.get(name, name): value for name, value in settings.items()}


def _accept_old_names(cls: type[FitConfig]) -> None:
    """Let the constructor take the names of version 0.1, with a warning."""
    made = cls.__init__

    @functools.wraps(made)
    def init(self: FitConfig, *args: Any, **values: Any) -> None:
        old = [name for name in values if name in _OLD_NAMES]
        for name in old:
            where, value = _OLD_NAMES[name], values.pop(name)
            warn_of_old_name(f"FitConfig: {name}", where)
            group, _, inner = where.rpartition(".")
            if not group:
                values[inner] = value
                continue
            known = values.get(group, {})
            known = dict(known) if isinstance(known, Mapping) else dataclasses.asdict(known)
            values[group] = {**known, inner: value}
        made(self, *args, **values)

    cls.__init__ = init  # type: ignore[method-assign]  # the names of version 0.1 work until 0.3


_accept_old_names(FitConfig)
