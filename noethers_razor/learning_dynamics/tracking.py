"""Optimisers that tell what happens to the charges of a network, or hold its norms."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from noethers_razor._types import Array
from noethers_razor.errors import UsageError
from noethers_razor.learning_dynamics.charges import Charge, Motion, charge_of, motion_of, zero_charge
from noethers_razor.learning_dynamics.generators import Generator, Leaves, paths_of, working_dtype
from noethers_razor.learning_dynamics.heavy_ball import identify, momenta


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


@dataclasses.dataclass(frozen=True)
class Known:
    """What an optimiser was found to be.

    Args:
        motions: name of a generator -> heavy-ball momentum, or None.
        decays: whether any parameter is decayed.
        why: of what is None.
        precision: name of a generator -> unit of the last place of its parameters.
    """

    motions: dict[str, Motion | None]
    decays: bool
    why: str
    precision: dict[str, float]


class Tracked(optax.GradientTransformationExtraArgs):
    """An optimiser that tells charges.

    Attributes:
        generators: by name.
        known: params -> what the optimiser is for them, found once for each structure of parameters.
    """

    generators: dict[str, Generator]
    known: Callable[[Any], Known]


def _asking(
    optimizer: optax.GradientTransformation, generators: dict[str, Generator]
) -> Callable[[Any], Known]:
    """What an optimiser is for parameters, asked while a program is traced: it costs no step anything."""
    answers: dict[Any, Known] = {}

    def known(params: Any) -> Known:
        leaves, tree = jax.tree.flatten(params)
        key = tree, *((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
        if key not in answers:
            every = paths_of(params)
            whole = {name: one.whole_paths(every) for name, one in generators.items()}
            for one in generators.values():
                one.require(params)
            balls, why = identify(optimizer, params)
            answers[key] = Known(
                {
                    name: motion_of({p: balls.get(path) for p, path in own.items()})
                    for name, own in whole.items()
                },
                any(ball.k for ball in balls.values()),
                why,
                {
                    name: max(float(jnp.finfo(jnp.result_type(every[path])).eps) for path in own.values())
                    for name, own in whole.items()
                },
            )
        return answers[key]

    return known


def track_noether(
    optimizer: optax.GradientTransformation, generators: Sequence[Generator] | Generator, every: int = 1
) -> Tracked:
    """The same optimiser, its updates to the last bit, whose state tells the charges: see `TrackedState`.

    Of heavy-ball momentum (`optax.sgd`, with or without momentum, with or without `optax.add_decayed_weights`
    before it, by `optax.multi_transform` for parts of the parameters) all terms are told; of others charge,
    norms and anomaly. What stands before it in a chain has changed its gradients already.

    Args:
        every: measure each so many steps.
    Raises:
        UsageError: for what is no optimiser; from ``init``, for a generator that does not fit the parameters;
            from ``update``, without parameters.
    """
    named = named_generators(generators)
    if not hasattr(optimizer, "init") or not hasattr(optimizer, "update"):
        raise UsageError(
            f"optimizer of type {type(optimizer).__name__}; expected one of optax, such as sgd(0.1)"
        )
    if not isinstance(every, int) or every < 1:
        raise UsageError(f"every = {every}; expected 1 or more steps")
    inner, known = optax.with_extra_args_support(optimizer), _asking(optimizer, named)

    def init(params: Any) -> TrackedState:
        known(params)
        charges = {name: zero_charge(one, one.leaves(params)) for name, one in named.items()}
        rest = {name: jnp.zeros_like(charge.charge) for name, charge in charges.items()}
        none = Record(jnp.asarray(-1), 0 * _total(params), charges)
        return TrackedState(inner.init(params), none, rest, jnp.asarray(0))

    def update(
        gradient: Any, state: TrackedState, params: Any | None = None, **extra: Any
    ) -> tuple[Any, TrackedState]:
        if params is None:
            raise UsageError("charges need the parameters: update(gradient, state, params)")
        step, after = inner.update(gradient, state.inner, params, **extra)
        moved = known(params).motions
        # What looks on is not compiled into what it looks at: updates keep their last bit.
        seen = jax.lax.optimization_barrier(Seen(gradient, state.inner, params, step, after))
        paths = Seen(
            paths_of(seen.gradient),
            momenta(seen.before),
            paths_of(seen.params),
            paths_of(seen.step),
            momenta(seen.after),
        )

        def whole(_: None) -> tuple[Record, dict[str, Array]]:
            charges = {
                name: _charge(one, moved[name], state.pending[name], paths) for name, one in named.items()
            }
            record = Record(state.steps, _total(seen.gradient), charges)
            return record, {name: one.charge for name, one in charges.items()}

        def ahead(_: None) -> tuple[Record, dict[str, Array]]:
            return state.record, {name: _pending(one, moved[name], paths) for name, one in named.items()}

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
    tracked.generators, tracked.known = named, known
    return tracked


def _total(tree: Any) -> Array:
    """Sum of squares of all leaves."""
    leaves = [jnp.asarray(leaf, working_dtype(leaf)) for leaf in jax.tree.leaves(tree)]
    return sum((jnp.vdot(leaf, leaf) for leaf in leaves), jnp.zeros((), leaves[0].dtype))


class Seen(NamedTuple):
    """A step: gradient, the optimiser's state before, parameters before, the step, the state after.

    As trees, and then by path, of states the momenta.
    """

    gradient: Any
    before: Any
    params: Any
    step: Any
    after: Any


def _momentum(generator: Generator, motion: Motion, seen: Seen, traces: dict[str, Array]) -> Leaves:
    """v of its parameters; of an optimiser without momentum what its step was made of."""
    if motion.traced:
        return jax.tree.map(jnp.negative, generator.chosen(traces))
    return {path: leaf / motion.eta[path] for path, leaf in generator.chosen(seen.step).items()}


def _pending(generator: Generator, motion: Motion | None, seen: Seen) -> Array:
    """The charge after a step, alone."""
    moved = generator.chosen(seen.step) if motion is None else _momentum(generator, motion, seen, seen.after)
    q = generator.chosen(seen.params)
    return generator.along(moved, q, generator.field(q)).astype(_precision(q))


def _charge(generator: Generator, motion: Motion | None, before: Array, seen: Seen) -> Charge:
    q, g, d = (generator.chosen(leaves) for leaves in (seen.params, seen.gradient, seen.step))
    v = None
    if motion is not None:
        old, new = (_momentum(generator, motion, seen, traces) for traces in (seen.before, seen.after))
        v = old, new
    found = charge_of(generator, motion, before, q, g, d, v)
    return jax.tree.map(lambda value: value.astype(_precision(q)), found)


def _precision(q: Leaves) -> Any:
    """That of the parameters, whatever gradients and momenta have: states keep their types."""
    return jnp.result_type(*q.values())


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
    whole, leaves, steps = generator.whole_paths(paths_of(params)), paths_of(params), paths_of(step)
    q, d = ({path: tree[known] for path, known in whole.items()} for tree in (leaves, steps))
    moved: Leaves = {path: q[path] + d[path] for path in q}
    now = generator.pairing(moved, moved)
    factor = jnp.sqrt(square / jnp.where(now > 0, now, 1.0))
    held = {
        whole[path]: (moved[path] * _spread(factor, moved[path], per) - q[path]).astype(d[path].dtype)
        for path, per in generator.per.items()
    }

    flat, tree = jax.tree.flatten(step)
    return jax.tree.unflatten(tree, [held.get(path, leaf) for path, leaf in zip(steps, flat, strict=True)])


def _spread(values: Array, leaf: Array, per: tuple[int, ...] | None) -> Array:
    """Values of neurons along the axes of a leaf that tell them apart."""
    kept = [axis % leaf.ndim for axis in per or ()]
    ordered = jnp.transpose(values, sorted(range(len(kept)), key=kept.__getitem__)) if kept else values
    return ordered.reshape([n if axis in kept else 1 for axis, n in enumerate(leaf.shape)])
