"""Generators of symmetries of a loss: vector fields on the parameters of a network.

A symmetry of a loss f with generator xi moves parameters q along xi(q) without changing f: <grad f, xi> = 0
(Tanaka and Kunin 2021, section 3). Normalisation makes f blind to the *scale* of what comes before it, a
softmax to a *translation* of all its inputs, a rectifier to a *rescaling* of weights before and after it, and
linear layers to a *rotation* of what lies between them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor._types import Array, ArrayLike
from noethers_razor.errors import UsageError

Leaves = dict[str, Array]
"""Parameters that a generator moves, by path."""
Per = int | Sequence[int] | None
"""Axes that tell charges apart; all others are summed over. None sums over all: one charge."""


@dataclasses.dataclass(frozen=True)
class Generator:
    """A vector field on some parameters, and what its charge is summed over.

    Args:
        name: in reports.
        per: path -> axes that tell charges (neurons) apart; a path is that of the leaf, names joined by
            ``/``, or its end where that is of one leaf only.
        field: parameters at these paths -> velocities at these paths.
        factors: path -> number, where the field is that times the parameters; empty where it is another.
    """

    name: str
    per: Mapping[str, tuple[int, ...] | None]
    field: Callable[[Leaves], Leaves]
    factors: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def is_scale(self) -> bool:
        """Whether the field is the parameters themselves: its charge is half the rate of a norm."""
        return bool(self.factors) and set(self.factors.values()) == {1.0}

    def leaves(self, tree: Any) -> Leaves:
        """Its parameters out of a pytree of the same structure as the parameters, in float32 or more.

        Raises:
            UsageError: for a path that there is not, or of several leaves, and for a leaf that two paths
                name.
        """
        return self.chosen(paths_of(tree))

    def chosen(self, leaves: Mapping[str, Any]) -> Leaves:
        """The same out of leaves by their whole paths."""
        whole = self.whole_paths(leaves)
        return {path: _wide(leaves[known]) for path, known in whole.items()}

    def whole_paths(self, known: Iterable[str]) -> dict[str, str]:
        """Path as it was given -> path of a leaf.

        Raises:
            UsageError: as `leaves` does.
        """
        names = list(known)
        found = {path: _resolved(path, names, self.name) for path in self.per}
        if len(set(found.values())) < len(found):
            raise UsageError(f"generator {self.name}: {', '.join(found)} name one parameter twice")
        return found

    def pairing(self, a: Leaves, b: Leaves, weights: Mapping[str, Any] | None = None) -> Array:
        """<a, b> summed over its parameters, one for each neuron: (...,).

        Args:
            weights: path -> factor of its part.
        """
        parts = [
            _summed(a[path], b[path], per) * (1.0 if weights is None else weights[path])
            for path, per in self.per.items()
        ]
        return sum(parts[1:], parts[0])

    def along(self, a: Leaves, q: Leaves, xi: Leaves, weights: Mapping[str, Any] | None = None) -> Array:
        """<a, xi(q)>, of multiples of q as sums over a and q: generators of one parameter then share them."""
        if not self.factors:
            return self.pairing(a, xi, weights)
        return self.pairing(a, q, {p: f * (weights[p] if weights else 1.0) for p, f in self.factors.items()})

    def require(self, params: Any) -> Leaves:
        """Its parameters out of all, checked.

        Raises:
            UsageError: where one is missing, has not the axes, or the parts have not the same neurons.
        """
        leaves = self.leaves(params)
        shapes = {}
        for path, per in self.per.items():
            shape = jnp.shape(leaves[path])
            there = [axis for axis in per or () if -len(shape) <= axis < len(shape)]
            if len({axis % len(shape) for axis in there}) < len(per or ()):
                raise UsageError(
                    f"generator {self.name}: {path} has shape {shape}; per = {list(per or ())} are not axes "
                    "of it, each once: give those that tell charges apart, or None"
                )
            shapes[path] = tuple(shape[axis] for axis in per or ())
        if len(set(shapes.values())) > 1:
            told = ", ".join(f"{path} {shape}" for path, shape in shapes.items())
            raise UsageError(f"generator {self.name}: parts with unequal numbers of charges: {told}")
        moved = jax.eval_shape(self.field, leaves)
        given = {path: getattr(moved.get(path), "shape", None) for path in self.per}
        if any(given[path] != jnp.shape(leaf) for path, leaf in leaves.items()):
            raise UsageError(
                f"generator {self.name}: its field gives {given}; expected one array of the shape of the "
                f"parameter for each of {', '.join(self.per)}"
            )
        return leaves

    def __add__(self, other: Generator) -> Generator:
        """Both at once, on parameters that they do not share, such as a rotation and its inverse."""
        if shared := self.per.keys() & other.per.keys():
            raise UsageError(f"{self.name} and {other.name} both move {', '.join(sorted(shared))}")

        def field(leaves: Leaves) -> Leaves:
            return {**self.field(leaves), **other.field(leaves)}

        return Generator(f"{self.name} and {other.name}", {**self.per, **other.per}, field)


def paths_of(tree: Any) -> dict[str, Any]:
    """Path, names joined by ``/`` -> leaf; the value of a variable of flax's nnx has the variable's path."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in flat}
    return {path.removesuffix("/value"): leaf for path, leaf in named.items()}


def _resolved(path: str, known: Sequence[str], name: str) -> str:
    """The whole path of a leaf, of which the end may be given."""
    found = [path] if path in known else [one for one in known if one.endswith(f"/{path}")]
    if len(found) == 1:
        return found[0]
    if list(known) == [""]:
        raise UsageError(
            f"generator {name}: parameters are one array without a name; put it into a dictionary"
        )
    why = f"several end so: {', '.join(found)}" if found else f"there are {', '.join(known) or 'none'}"
    raise UsageError(f"generator {name}: no parameter {path}; {why}")


def _wide(leaf: Any) -> Any:
    """In float32 or more: charges of half-precision parameters are sums that would lose all digits."""
    return jnp.asarray(leaf, working_dtype(leaf))


def working_dtype(leaf: Any) -> Any:
    """What sums over a leaf are computed in."""
    return jnp.promote_types(jnp.result_type(leaf), jnp.float32)


def _axes(per: Per) -> tuple[int, ...] | None:
    if per is None:
        return None
    axes = (per,) if isinstance(per, int) else tuple(per) if isinstance(per, (tuple, list)) else ("?",)
    if not all(isinstance(axis, int) and not isinstance(axis, bool) for axis in axes):
        raise UsageError(f"per = {per!r}; expected an axis, several, or None")
    return axes


def _summed(a: Array, b: Array, per: tuple[int, ...] | None) -> Array:
    """The sum of products over all axes but some."""
    if not per:
        return jnp.vdot(a, b)
    kept = [axis % jnp.ndim(a) for axis in per]
    # As a sum, not as a product of tensors: that would ask for other layouts of its arguments.
    summed = jnp.sum(a * b, axis=tuple(axis for axis in range(jnp.ndim(a)) if axis not in kept))
    return jnp.transpose(summed, [sorted(kept).index(axis) for axis in kept])


def _paths(paths: Sequence[Any], kind: str) -> None:
    """Refuses what is no path, and none.

    Raises:
        UsageError: for these.
    """
    if not paths or not all(isinstance(path, str) for path in paths):
        raise UsageError(f"{kind} of {list(paths)}; expected paths of parameters, such as 'Dense_0/kernel'")


def _named(kind: str, paths: Sequence[str]) -> str:
    _paths(paths, kind)
    return f"{kind} {', '.join(paths)}"


def _multiple(name: str, per: Mapping[str, Any], factors: Mapping[str, float]) -> Generator:
    """xi = factor q."""

    def field(leaves: Leaves) -> Leaves:
        return {path: factor * leaves[path] for path, factor in factors.items()}

    return Generator(name, per, field, factors)


def scale(*paths: str, per: Per = -1) -> Generator:
    """xi = q: the length of incoming weights, which normalisation takes out (paper, section 4).

    Args:
        paths: parameters scaled together, such as a kernel and its bias.
        per: the axis of neurons; the last of a kernel in flax.
    """
    return _multiple(_named("scale", paths), dict.fromkeys(paths, _axes(per)), dict.fromkeys(paths, 1.0))


def translation(*paths: str, per: Per = None) -> Generator:
    """xi = 1: a common shift, such as of all logits before a softmax (paper, section 3).

    Args:
        per: axes that are not shifted together; 0 of a kernel before a softmax: its logits are the last.
    """

    def field(leaves: Leaves) -> Leaves:
        return {path: jnp.ones_like(leaves[path]) for path in paths}

    return Generator(_named("translation", paths), dict.fromkeys(paths, _axes(per)), field)


def rescale(
    into: str | Sequence[str], out_of: str | Sequence[str], per_in: Per = -1, per_out: Per = -2
) -> Generator:
    """xi = -q of weights into a neuron, +q of those out of it: |W_out|^2 - |W_in|^2 (paper, section 3).

    Args:
        into: kernel, and bias, before a function with f(a x) = a f(x), a > 0, such as relu.
        out_of: kernel after it.
        per_in, per_out: the axes of the neurons: of kernels in flax the last and the one before it.
    """
    before, after = ([part] if isinstance(part, str) else list(part) for part in (into, out_of))
    _paths([*before, *after], "rescale")
    per = {**dict.fromkeys(before, _axes(per_in)), **dict.fromkeys(after, _axes(per_out))}

    factors = {**dict.fromkeys(before, -1.0), **dict.fromkeys(after, 1.0)}
    return _multiple(f"rescale {', '.join(before)} to {', '.join(after)}", per, factors)


def linear(path: str, matrix: ArrayLike, axis: int = -1, per: Per = None) -> Generator:
    """xi = X q along one axis of a parameter.

    Args:
        matrix: X (d, d).
        axis: of length d.
        per: axes that tell charges apart, among the others.
    Raises:
        UsageError: for a matrix that is not square.
    """
    array = np.asarray(matrix)
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise UsageError(f"generator of {path}: a matrix of shape {array.shape}; expected a square one")

    def field(leaves: Leaves) -> Leaves:
        leaf = leaves[path]
        if not -leaf.ndim <= axis < leaf.ndim or leaf.shape[axis] != len(array):
            raise UsageError(
                f"generator of {path}: a matrix of shape {array.shape} on axis {axis} of shape {leaf.shape}"
            )
        moved = jnp.tensordot(leaf, jnp.asarray(array, leaf.dtype), axes=(axis, 1))
        return {path: jnp.moveaxis(moved, -1, axis)}

    return Generator(_named("linear", [path]), {path: _axes(per)}, field)


def rotation(path: str, matrix: ArrayLike, axis: int = -1, per: Per = None) -> Generator:
    """xi = X q with X' = -X: its charge, an angular momentum, has no kinetic symmetry breaking.

    Raises:
        UsageError: for a matrix that is not skew.
    """
    array = np.asarray(matrix)
    found = linear(path, array, axis, per)
    if per is not None and axis in (_axes(per) or ()):
        raise UsageError(
            f"rotation of {path}: axis {axis} is turned, so that it tells no charges apart: per = {per}"
        )
    if not np.allclose(array, -array.T, atol=1e-12 * max(1.0, float(np.abs(array).max()))):
        raise UsageError(f"rotation of {path}: the matrix is not skew, X' = -X; use linear for others")
    return dataclasses.replace(found, name=_named("rotation", [path]))


def custom(
    name: str, paths: Sequence[str], field: Callable[[Leaves], Leaves], per: Mapping[str, Per] | None = None
) -> Generator:
    """Any field: parameters at paths -> velocities at the same paths.

    Args:
        per: path -> axes that tell charges apart; one charge where it is left out.
    """
    given = per or {}
    _paths(paths, name)
    return Generator(name, {path: _axes(given.get(path)) for path in paths}, field)
