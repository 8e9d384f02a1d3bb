"""Reports on the charges of a training: broken symmetries, their causes, and norms."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from noethers_razor.errors import UsageError
from noethers_razor.learning_dynamics.generators import Generator
from noethers_razor.learning_dynamics.reading import BROKEN, Reading, anomaly_share, broken_from
from noethers_razor.learning_dynamics.tracking import Record, Tracked, named_generators
from noethers_razor.plot import markup


@dataclasses.dataclass(frozen=True)
class SymmetryCheck:
    """Test of a symmetry of a loss f, to first order, at some parameters.

    Args:
        name: name of the generator.
        share: |<grad f, xi>| / (|grad f| |xi|) (neurons): 0 if the loss has the symmetry, 1 if xi is
            parallel to the gradient, NaN where the gradient is only rounding.
        limit: share above which the symmetry counts as broken.
    """

    name: str
    share: np.ndarray
    limit: float = BROKEN

    @property
    def holds(self) -> bool:
        """Whether no charge has a share above the limit."""
        return not np.any(self.share > self.limit)

    def __str__(self) -> str:
        known = self.share[np.isfinite(self.share)]
        if not known.size:
            return f"{self.name} holds: the gradient is smaller than rounding of the whole gradient"
        few = (
            "" if known.size == self.share.size else f", {self.share.size - known.size} too small to measure"
        )
        word = "holds" if self.holds else "is broken"
        return f"{self.name} {word}: |<g, xi>| is up to {known.max():.2g} of |g| |xi|{few}"


def check_symmetry(
    loss: Callable[[Any, Any], Any], params: Any, batch: Any, generators: Sequence[Generator] | Generator
) -> dict[str, SymmetryCheck]:
    """Test whether a loss has symmetries, before any training.

    Args:
        loss: function (params, batch) -> scalar.
        params: parameters of the network, a pytree.
        batch: argument of the loss.
        generators: generators of the symmetries.
    Returns:
        Name of a generator -> test of its symmetry.
    Raises:
        UsageError: if a generator does not fit the parameters, or if the loss is not a scalar.
    """
    shape = jax.eval_shape(loss, params, batch)
    if getattr(shape, "shape", None) != ():
        raise UsageError(f"the loss returns {shape}; expected one number from loss(params, batch)")
    gradient = jax.grad(loss)(params, batch)
    total = optax.tree.norm(gradient, squared=True)
    precision = max(float(jnp.finfo(jnp.result_type(leaf)).eps) for leaf in jax.tree.leaves(gradient))
    found = {}
    for name, one in named_generators(generators).items():
        q, g = one.require(params), one.leaves(gradient)
        xi = one.field(q)
        sizes = one.pairing(g, g), one.pairing(xi, xi)
        share = anomaly_share(one.pairing(g, xi), *sizes, total, precision)
        found[name] = SymmetryCheck(name, share, broken_from(precision))
    return found


@dataclasses.dataclass(frozen=True)
class NoetherReport:
    """Results of a training for each generator, and deviations from the theory.

    Args:
        readings: name of a generator -> results for it.
        findings: deviations from symmetry and theory, one line each.
        why: reason why the optimiser is not heavy-ball momentum, for generators where it is not.
    """

    readings: dict[str, Reading]
    findings: list[str]
    why: str = ""

    def __str__(self) -> str:
        lines = [line for reading in self.readings.values() for line in reading.lines(self.why)]
        return "\n".join([*lines, *(f"warning: {text}" for text in self.findings)])

    def _repr_html_(self) -> str:
        head = f"{len(self.readings)} generators, {len(self.findings)} findings"
        return markup.block(head, [markup.folded("all numbers", str(self))], self.findings)


def noether_report(tracked: Tracked, records: Record | Sequence[Record], params: Any) -> NoetherReport:
    """Return the report of a training.

    Args:
        tracked: optimiser from `track_noether`.
        records: ``state.record`` after each step. Give one record, records stacked by `jax.lax.scan`, or a
            list of both, in the order of the steps.
        params: parameters of the network at any step, a pytree.
    Raises:
        UsageError: if the optimiser is not tracked, or if there are no records of its generators.
    """
    if not isinstance(tracked, Tracked):
        raise UsageError(f"a report needs the optimiser from track_noether, not {type(tracked).__name__}")
    given = [records] if isinstance(records, Record) else list(records)
    fits = all(isinstance(one, Record) and set(one.charges) == set(tracked.generators) for one in given)
    if not given or not fits:
        raise UsageError("no records of these generators; store state.record after each update")
    given = [jax.tree.map(np.asarray, one) for one in given]
    stacked = [jax.tree.map(lambda leaf: leaf[None], one) if one.steps.ndim == 0 else one for one in given]
    whole = jax.tree.map(lambda *leaves: np.concatenate(leaves), *stacked)
    steps, first = np.unique(whole.steps, return_index=True)
    first = first[steps >= 0]
    if not len(first):
        raise UsageError("no step was measured; store state.record after each update")
    kept, known = jax.tree.map(lambda leaf: leaf[first], whole), tracked.known(params)
    readings = {
        name: Reading(
            one, known.motions[name], kept.steps, kept.total, kept.charges[name], known.precision[name]
        )
        for name, one in tracked.generators.items()
    }
    findings = [text for one in readings.values() for text in one.findings(known.decays)]
    return NoetherReport(readings, findings, known.why)
