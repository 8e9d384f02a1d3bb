"""Optimisers that measure the charges of a network, or keep its norms constant."""

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
    """The last measurement. `noether_report` needs the records of all steps.

    Args:
        steps: number of steps before the measured one; -1 if there is no measurement yet.
        total: |g|^2 of all parameters in the measured step.
        charges: name of a generator -> its charges in the measured step.
    """

    steps: Array
    total: Array
    charges: dict[str, Charge]


class TrackedState(NamedTuple):
    """State of an optimiser that measures charges.

    Args:
        inner: state of the wrapped optimiser.
        record: last measurement.
        pending: name of a generator -> charge (neurons) after the last step, if the next step is measured.
        steps: number of steps so far.
    """

    inner: Any
    record: Record
    pending: dict[str, Array]
    steps: Array


def named_generators(generators: Sequence[Generator] | Generator) -> dict[str, Generator]:
    """Return generators by name.

    Raises:
        UsageError: if there is no generator, or if two have the same name.
    """
    given = [generators] if isinstance(generators, Generator) else list(generators)
    if not given or not all(isinstance(one, Generator) for one in given):
        raise UsageError("no generators; give one or more, such as learning_dynamics.scale('Dense_0/kernel')")
    names = [one.name for one in given]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(
            f"several generators have the name {', '.join(sorted(twice))}; give each its own name, with "
            "dataclasses.replace(generator, name=...)"
        )
    return dict(zip(names, given, strict=True))


@dataclasses.dataclass(frozen=True)
class Known:
    """Properties of an optimiser, from trial steps.

    Args:
        motions: name of a generator -> heavy-ball momentum, or None for another optimiser.
        decays: whether the optimiser decays any parameter.
        why: reason for None.
        precision: name of a generator -> unit of the last place of its parameters.
    """

    motions: dict[str, Motion | None]
    decays: bool
    why: str
    precision: dict[str, float]


class Tracked(optax.GradientTransformationExtraArgs):
    """An optimiser that measures charges.

    Attributes:
        generators: generators by name.
        known: function from parameters to properties of the optimiser. Trial steps run once for each
            structure of parameters.
    """

    generators: dict[str, Generator]
    known: Callable[[Any], Known]


def _asking(
    optimizer: optax.GradientTransformation, generators: dict[str, Generator]
) -> Callable[[Any], Known]:
    """Return the function that finds the properties of an optimiser. It runs while a program is traced."""
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
    """Wrap an optimiser so that its state contains the charges, see `TrackedState`.

    The updates stay the same, bit for bit. For heavy-ball momentum all terms are measured: `optax.sgd`, with
    or without momentum, with or without `optax.add_decayed_weights` before it, also in
    `optax.multi_transform`. For other optimisers only charge, norms and anomaly are measured.

    Wrap the whole chain: transformations before the tracker change the gradients that it measures.

    Args:
        optimizer: optimiser of optax.
        generators: generators of the charges.
        every: number of steps from one measurement to the next.
    Raises:
        UsageError: if an argument is wrong. ``init`` raises it if a generator does not fit the parameters,
            and ``update`` raises it without parameters.
    """
    named = named_generators(generators)
    if not hasattr(optimizer, "init") or not hasattr(optimizer, "update"):
        raise UsageError(
            f"optimizer of type {type(optimizer).__name__}; expected an optax optimiser, such as "
            "optax.sgd(0.1)"
        )
    if not isinstance(every, int) or every < 1:
        raise UsageError(f"every = {every}; expected a whole number of steps, 1 or more")
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
            raise UsageError("charges need the parameters; call update(gradient, state, params)")
        step, after = inner.update(gradient, state.inner, params, **extra)
        moved = known(params).motions
        # The barrier separates measurement and update in compilation, so that updates stay the same.
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
    """Return the sum of squares of all leaves."""
    leaves = [jnp.asarray(leaf, working_dtype(leaf)) for leaf in jax.tree.leaves(tree)]
    return sum((jnp.vdot(leaf, leaf) for leaf in leaves), jnp.zeros((), leaves[0].dtype))


class Seen(NamedTuple):
    """One step: gradient, state and parameters before, the step, and the state after.

    The fields are first pytrees, and then dictionaries by path. For states these contain the momenta.
    """

    gradient: Any
    before: Any
    params: Any
    step: Any
    after: Any


def _momentum(generator: Generator, motion: Motion, seen: Seen, traces: dict[str, Array]) -> Leaves:
    """Return v for the parameters of a generator; without a trace the step over the learning rate."""
    if motion.traced:
        return jax.tree.map(jnp.negative, generator.chosen(traces))
    return {path: leaf / motion.eta[path] for path, leaf in generator.chosen(seen.step).items()}


def _pending(generator: Generator, motion: Motion | None, seen: Seen) -> Array:
    """Return only the charge after a step."""
    moved = generator.chosen(seen.step) if motion is None else _momentum(generator, motion, seen, seen.after)
    q = generator.chosen(seen.params)
    return generator.along(moved, q, generator.field(q)).astype(_precision(q))


def _charge(generator: Generator, motion: Motion | None, before: Array, seen: Seen) -> Charge:
    """Return the charge after a step and its terms."""
    q, g, d = (generator.chosen(leaves) for leaves in (seen.params, seen.gradient, seen.step))
    v = None
    if motion is not None:
        old, new = (_momentum(generator, motion, seen, traces) for traces in (seen.before, seen.after))
        v = old, new
    found = charge_of(generator, motion, before, q, g, d, v)
    return jax.tree.map(lambda value: value.astype(_precision(q)), found)


def _precision(q: Leaves) -> Any:
    """Return the dtype of the parameters. States keep it, whatever gradients and momenta have."""
    return jnp.result_type(*q.values())


def freeze_norm(
    optimizer: optax.GradientTransformation, generators: Sequence[Generator] | Generator
) -> optax.GradientTransformationExtraArgs:
    """Wrap an optimiser so that the norms of scale generators stay constant (paper, figure 3).

    After each step the parameters of a generator are scaled back to their initial norm. The momentum is not
    changed.

    Args:
        optimizer: optimiser of optax.
        generators: `scale` generators.
    Raises:
        UsageError: if a generator is not from `scale`. ``init`` raises it if a generator does not fit the
            parameters, and ``update`` raises it without parameters.
    """
    inner, named = optax.with_extra_args_support(optimizer), named_generators(generators)
    if other := [name for name, one in named.items() if not one.is_scale]:
        raise UsageError(f"{other[0]}: only norms can be kept constant; use scale generators")

    def init(params: Any) -> tuple[Any, dict[str, Array]]:
        own = {name: one.require(params) for name, one in named.items()}
        return inner.init(params), {name: named[name].pairing(q, q) for name, q in own.items()}

    def update(
        gradient: Any, state: tuple[Any, dict[str, Array]], params: Any | None = None, **extra: Any
    ) -> tuple[Any, tuple[Any, dict[str, Array]]]:
        if params is None:
            raise UsageError("norms need the parameters; call update(gradient, state, params)")
        step, after = inner.update(gradient, state[0], params, **extra)
        for name, one in named.items():
            step = _held(one, params, step, state[1][name])
        return step, (after, state[1])

    return optax.GradientTransformationExtraArgs(init, update)


def _held(generator: Generator, params: Any, step: Any, square: Array) -> Any:
    """Return the step that ends at a squared norm (neurons)."""
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
    """Reshape values (neurons) so that they broadcast along the axes `per` of a leaf."""
    kept = [axis % leaf.ndim for axis in per or ()]
    ordered = jnp.transpose(values, sorted(range(len(kept)), key=kept.__getitem__)) if kept else values
    return ordered.reshape([n if axis in kept else 1 for axis, n in enumerate(leaf.shape)])
