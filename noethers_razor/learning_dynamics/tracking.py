"""Optimisers that tell what happens to the charges of a network, or hold its norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from noethers_razor._types import Array
from noethers_razor.errors import UsageError
from noethers_razor.learning_dynamics.charges import Charge, Motion, charge_of, motion_of, zero_charge
from noethers_razor.learning_dynamics.generators import Generator, Leaves, resolved
from noethers_razor.learning_dynamics.heavy_ball import identify, momentum_of


class Record(NamedTuple):
    """What was last measured; stacked along time it is what `noether_report` reads.

    Args:
        steps: that had been taken before the one that was measured; -1 before any.
        total: |g|^2 of all parameters in that step.
        charges: name of a generator -> its charges in that step.
    """

    steps: Array
    total: Array
    charges: dict[str, Charge]


class TrackedState(NamedTuple):
    """State of an optimiser that tells charges.

    Args:
        inner: that of the optimiser itself.
        record: what was last measured.
        pending: name of a generator -> charge after the last step, where the next one is measured.
        steps: so far.
    """

    inner: Any
    record: Record
    pending: dict[str, Array]
    steps: Array


def named_generators(generators: Sequence[Generator] | Generator) -> dict[str, Generator]:
    """By their names.

    Raises:
        UsageError: for none, and for two of one name.
    """
    given = [generators] if isinstance(generators, Generator) else list(generators)
    if not given or not all(isinstance(one, Generator) for one in given):
        raise UsageError("no generators; expected some, such as learning_dynamics.scale('Dense_0/kernel')")
    names = [one.name for one in given]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"generators of one name: {', '.join(sorted(twice))}")
    return dict(zip(names, given, strict=True))


def motions(
    optimizer: optax.GradientTransformation, generators: dict[str, Generator], params: Any
) -> tuple[dict[str, Motion | None], bool]:
    """Name of a generator -> what the optimiser is for it, and whether it decays any parameter."""
    balls = identify(optimizer, params)
    moved = {
        name: motion_of(one, {path: balls.get(resolved(path, params, name)) for path in one.per})
        for name, one in generators.items()
    }
    return moved, any(ball.decay for ball in balls.values())


class Tracked(optax.GradientTransformationExtraArgs):
    """An optimiser that tells charges: ``optimizer`` itself, and its ``generators`` by name."""

    optimizer: optax.GradientTransformation
    generators: dict[str, Generator]


def track_noether(
    optimizer: optax.GradientTransformation, generators: Sequence[Generator] | Generator, every: int = 1
) -> Tracked:
    """The same optimiser, its updates to the last bit, whose state tells the charges: see `TrackedState`.

    Of heavy-ball momentum (`optax.sgd`, with or without momentum, with or without `optax.add_decayed_weights`
    before it) all terms are told; of others charge, norms and anomaly.

    Args:
        every: measure each so many steps.
    Raises:
        UsageError: from ``init``, for a generator that does not fit the parameters; from ``update``, without
            parameters.
    """
    inner, named = optax.with_extra_args_support(optimizer), named_generators(generators)
    if every < 1:
        raise UsageError(f"every = {every}; expected 1 or more steps")
    known: dict[Any, dict[str, Motion | None]] = {}

    def moving(params: Any) -> dict[str, Motion | None]:
        # Asked once for each structure, while a program is traced: it costs no step anything.
        leaves, tree = jax.tree.flatten(params)
        key = tree, *((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
        if key not in known:
            for one in named.values():
                one.require(params)
            known[key], _ = motions(optimizer, named, params)
        return known[key]

    def init(params: Any) -> TrackedState:
        moving(params)
        charges = {name: zero_charge(one, one.leaves(params)) for name, one in named.items()}
        rest = {name: jnp.zeros_like(charge.charge) for name, charge in charges.items()}
        none = Record(jnp.asarray(-1), 0 * optax.tree.norm(params, squared=True), charges)
        return TrackedState(inner.init(params), none, rest, jnp.asarray(0))

    def update(
        gradient: Any, state: TrackedState, params: Any | None = None, **extra: Any
    ) -> tuple[Any, TrackedState]:
        if params is None:
            raise UsageError("charges need the parameters: update(gradient, state, params)")
        step, after = inner.update(gradient, state.inner, params, **extra)
        # What looks on is not compiled into what it looks at: updates keep their last bit.
        seen = Seen(*jax.lax.optimization_barrier((gradient, state.inner, params, step, after)))
        moved = moving(params)

        def whole(_: None) -> tuple[Record, dict[str, Array]]:
            charges = {
                name: _charge(one, moved[name], state.pending[name], seen) for name, one in named.items()
            }
            record = Record(state.steps, optax.tree.norm(seen.gradient, squared=True), charges)
            return record, {name: one.charge for name, one in charges.items()}

        def ahead(_: None) -> tuple[Record, dict[str, Array]]:
            return state.record, {name: _pending(one, moved[name], seen) for name, one in named.items()}

        def idle(_: None) -> tuple[Record, dict[str, Array]]:
            return state.record, state.pending

        phase = state.steps % every
        if every == 1:
            record, pending = whole(None)
        else:
            branch = jnp.where(phase == 0, 0, jnp.where(phase == every - 1, 1, 2))
            record, pending = jax.lax.switch(branch, [whole, ahead, idle], None)
        return step, TrackedState(after, record, pending, state.steps + 1)

    tracked = Tracked(init, update)
    tracked.optimizer, tracked.generators = optimizer, named
    return tracked


class Seen(NamedTuple):
    """A step: gradient, the optimiser's state before, parameters before, the step, the state after."""

    gradient: Any
    before: Any
    params: Any
    step: Any
    after: Any


def _momentum(generator: Generator, motion: Motion | None, seen: Seen, state: Any) -> Leaves | None:
    """v of its parameters in a state; what the step was made of, where it is in none."""
    if motion is None:
        return None
    trace = momentum_of(state, seen.params)
    if trace is not None:
        return jax.tree.map(jnp.negative, generator.leaves(trace))
    return jax.tree.map(lambda leaf: leaf / motion.eta, generator.leaves(seen.step))


def _pending(generator: Generator, motion: Motion | None, seen: Seen) -> Array:
    """The charge after a step, alone."""
    momentum = _momentum(generator, motion, seen, seen.after)
    moved = generator.leaves(seen.step) if momentum is None else momentum
    return generator.pairing(moved, generator.field(generator.leaves(seen.params)))


def _charge(generator: Generator, motion: Motion | None, before: Array, seen: Seen) -> Charge:
    q, g, d = (generator.leaves(tree) for tree in (seen.params, seen.gradient, seen.step))
    old, new = (_momentum(generator, motion, seen, state) for state in (seen.before, seen.after))
    v = None if old is None or new is None else (old, new)
    return charge_of(generator, motion, before, q, g, d, v)


def freeze_norm(
    optimizer: optax.GradientTransformation, generators: Sequence[Generator] | Generator
) -> optax.GradientTransformationExtraArgs:
    """The same optimiser with the norms of scale generators held where they are at first (paper, figure 3).

    After each step what the generator scales is brought back to its norm; momentum is left as it is.

    Raises:
        UsageError: for another generator than `scale`, or one that does not fit the parameters.
    """
    inner, named = optax.with_extra_args_support(optimizer), named_generators(generators)
    if other := [name for name, one in named.items() if not one.is_scale]:
        raise UsageError(f"{other[0]}: only norms can be held; give scale generators")

    def init(params: Any) -> tuple[Any, dict[str, Array]]:
        own = {name: one.require(params) for name, one in named.items()}
        return inner.init(params), {name: named[name].pairing(q, q) for name, q in own.items()}

    def update(
        gradient: Any, state: tuple[Any, dict[str, Array]], params: Any | None = None, **extra: Any
    ) -> tuple[Any, tuple[Any, dict[str, Array]]]:
        if params is None:
            raise UsageError("norms need the parameters: update(gradient, state, params)")
        step, after = inner.update(gradient, state[0], params, **extra)
        for name, one in named.items():
            step = _held(one, params, step, state[1][name])
        return step, (after, state[1])

    return optax.GradientTransformationExtraArgs(init, update)


def _held(generator: Generator, params: Any, step: Any, square: Array) -> Any:
    """The step, and back to a squared norm (neurons,)."""
    q, d = generator.leaves(params), generator.leaves(step)
    moved: Leaves = {path: q[path] + d[path] for path in q}
    now = generator.pairing(moved, moved)
    factor = jnp.sqrt(square / jnp.where(now > 0, now, 1.0))
    held = {
        resolved(path, params, generator.name): moved[path] * _spread(factor, moved[path], per) - q[path]
        for path, per in generator.per.items()
    }

    def at(path: Any, leaf: Any) -> Any:
        return held.get(jax.tree_util.keystr(path, simple=True, separator="/"), leaf)

    return jax.tree_util.tree_map_with_path(at, step)


def _spread(values: Array, leaf: Array, per: tuple[int, ...] | None) -> Array:
    """Values of neurons along the axes of a leaf that tell them apart."""
    kept = [axis % leaf.ndim for axis in per or ()]
    ordered = jnp.transpose(values, sorted(range(len(kept)), key=kept.__getitem__)) if kept else values
    return ordered.reshape([n if axis in kept else 1 for axis, n in enumerate(leaf.shape)])
