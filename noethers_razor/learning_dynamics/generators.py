"""Generators of symmetries of a loss: vector fields on the parameters of a network.

A symmetry with generator xi moves parameters q along xi(q) and does not change the loss f: <grad f, xi> = 0
(Tanaka and Kunin 2021, section 3). Examples:

* `scale`: weights before a normalisation may be multiplied by a number.
* `translation`: all inputs of a softmax may be shifted by the same number.
* `rescale`: weights before a rectifier may be divided by a positive number, and those after it multiplied.
* `rotation`: the space between two linear layers may be rotated.
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
"""Parameters of a generator, by path."""
Per = int | Sequence[int] | None
"""Axes with one charge for each index. The charge is a sum over the other axes. None gives one charge."""


@dataclasses.dataclass(frozen=True)
class Generator:
    """A vector field on some parameters, and the axes of its charges.

    Args:
        name: name for reports.
        per: path -> axes with one charge (neuron) for each index. A path consists of the names that lead to
            a leaf of the parameters, joined by ``/``. Its end is enough if no other leaf has the same end.
        field: function from the parameters at these paths to their velocities xi(q), by path.
        factors: path -> factor c, if the field is xi = c q for each parameter; empty for other fields.
    """

    name: str
    per: Mapping[str, tuple[int, ...] | None]
    field: Callable[[Leaves], Leaves]
    factors: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def is_scale(self) -> bool:
        """Whether xi = q. In continuous time (v = dq/dt) the charge is then half the rate of |q|^2."""
        return bool(self.factors) and set(self.factors.values()) == {1.0}

    def leaves(self, tree: Any) -> Leaves:
        """Return the leaves of a pytree that belong to the generator, in float32 or higher precision.

        Args:
            tree: pytree with the structure of the parameters.
        Returns:
            Leaves by the paths of `per`.
        Raises:
            UsageError: if a path fits no leaf or several leaves, or if two paths fit the same leaf.
        """
        return self.chosen(paths_of(tree))

    def chosen(self, leaves: Mapping[str, Any]) -> Leaves:
        """Return the same as `leaves`, from a dictionary of whole paths -> leaves."""
        whole = self.whole_paths(leaves)
        return {path: _wide(leaves[known]) for path, known in whole.items()}

    def whole_paths(self, known: Iterable[str]) -> dict[str, str]:
        """Return for each path of `per` the whole path of its leaf.

        Args:
            known: whole paths of all leaves.
        Raises:
            UsageError: as in `leaves`.
        """
        names = list(known)
        found = {path: _resolved(path, names, self.name) for path in self.per}
        if len(set(found.values())) < len(found):
            raise UsageError(
                f"generator {self.name}: {', '.join(found)} name the same parameter; give it once"
            )
        return found

    def pairing(self, a: Leaves, b: Leaves, weights: Mapping[str, Any] | None = None) -> Array:
        """Return the inner product <a, b> over the parameters of the generator.

        Args:
            a: array for each path of `per`.
            b: array for each path of `per`.
            weights: path -> factor of the part of this path; 1 by default.
        Returns:
            Inner products (neurons).
        """
        parts = [
            _summed(a[path], b[path], per) * (1.0 if weights is None else weights[path])
            for path, per in self.per.items()
        ]
        return sum(parts[1:], parts[0])

    def along(self, a: Leaves, q: Leaves, xi: Leaves, weights: Mapping[str, Any] | None = None) -> Array:
        """Return <a, xi(q)> (neurons).

        For fields xi = c q it is computed from <a, q>, which the compiler shares between generators.

        Args:
            a: array for each path of `per`.
            q: parameters.
            xi: field at q.
            weights: path -> factor of the part of this path; 1 by default.
        """
        if not self.factors:
            return self.pairing(a, xi, weights)
        return self.pairing(a, q, {p: f * (weights[p] if weights else 1.0) for p, f in self.factors.items()})

    def require(self, params: Any) -> Leaves:
        """Return the parameters of the generator, after a check that the generator fits them.

        Args:
            params: pytree of all parameters of the network.
        Raises:
            UsageError: if a parameter or one of its axes is missing, if the numbers of charges differ
                between parameters, or if the field returns other shapes.
        """
        leaves = self.leaves(params)
        shapes = {}
        for path, per in self.per.items():
            shape = jnp.shape(leaves[path])
            there = [axis for axis in per or () if -len(shape) <= axis < len(shape)]
            if len({axis % len(shape) for axis in there}) < len(per or ()):
                raise UsageError(
                    f"generator {self.name}: {path} has shape {shape}; per = {list(per or ())} are not "
                    "different axes of it: give the axes with one charge for each index, or None"
                )
            shapes[path] = tuple(shape[axis] for axis in per or ())
        if len(set(shapes.values())) > 1:
            told = ", ".join(f"{path} {shape}" for path, shape in shapes.items())
            raise UsageError(
                f"generator {self.name}: different numbers of charges: {told}; give axes of equal length"
            )
        moved = jax.eval_shape(self.field, leaves)
        given = {path: getattr(moved.get(path), "shape", None) for path in self.per}
        if any(given[path] != jnp.shape(leaf) for path, leaf in leaves.items()):
            raise UsageError(
                f"generator {self.name}: its field returns {given}; expected an array with the shape of "
                f"the parameter for each of {', '.join(self.per)}"
            )
        return leaves

    def __add__(self, other: Generator) -> Generator:
        """Return the sum of two generators of different parameters, such as a rotation and its inverse."""
        if shared := self.per.keys() & other.per.keys():
            raise UsageError(
                f"{self.name} and {other.name} both move {', '.join(sorted(shared))}; add "
                "generators of different parameters"
            )

        def field(leaves: Leaves) -> Leaves:
            return {**self.field(leaves), **other.field(leaves)}

        return Generator(f"{self.name} and {other.name}", {**self.per, **other.per}, field)


def paths_of(tree: Any) -> dict[str, Any]:
    """Return the leaves of a pytree by path, the names joined by ``/``.

    The value of a variable of flax.nnx gets the path of the variable.
    """
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in flat}
    return {path.removesuffix("/value"): leaf for path, leaf in named.items()}


def _resolved(path: str, known: Sequence[str], name: str) -> str:
    """Return the whole path of a leaf, given this path or its end."""
    found = [path] if path in known else [one for one in known if one.endswith(f"/{path}")]
    if len(found) == 1:
        return found[0]
    if list(known) == [""]:
        raise UsageError(
            f"generator {name}: the parameters are one array without a name; use a dictionary, such as "
            "{'w': array}"
        )
    why = (
        f"it is the end of several paths: {', '.join(found)}; give a longer one"
        if found
        else f"the parameters are {', '.join(known) or 'none'}"
    )
    raise UsageError(f"generator {name}: no parameter has the path {path}; {why}")


def _wide(leaf: Any) -> Any:
    """Convert to float32 or higher precision: in half precision the sums of charges lose all digits."""
    return jnp.asarray(leaf, working_dtype(leaf))


def working_dtype(leaf: Any) -> Any:
    """Return the dtype for sums over a leaf, float32 or higher precision."""
    return jnp.promote_types(jnp.result_type(leaf), jnp.float32)


def _axes(per: Per) -> tuple[int, ...] | None:
    if per is None:
        return None
    axes = (per,) if isinstance(per, int) else tuple(per) if isinstance(per, (tuple, list)) else ("?",)
    if not all(isinstance(axis, int) and not isinstance(axis, bool) for axis in axes):
        raise UsageError(f"per = {per!r}; expected an axis, a tuple of axes, or None")
    return axes


def _summed(a: Array, b: Array, per: tuple[int, ...] | None) -> Array:
    """Return the sum of a * b over all axes except `per`."""
    if not per:
        return jnp.vdot(a, b)
    kept = [axis % jnp.ndim(a) for axis in per]
    # A sum instead of a tensor product, because a tensor product needs its arguments in another layout.
    summed = jnp.sum(a * b, axis=tuple(axis for axis in range(jnp.ndim(a)) if axis not in kept))
    return jnp.transpose(summed, [sorted(kept).index(axis) for axis in kept])


def _paths(paths: Sequence[Any], kind: str) -> None:
    """Check that there are paths, all strings.

    Raises:
        UsageError: if not.
    """
    if not paths or not all(isinstance(path, str) for path in paths):
        raise UsageError(f"{kind} of {list(paths)}; expected paths of parameters, such as 'Dense_0/kernel'")


def _named(kind: str, paths: Sequence[str]) -> str:
    _paths(paths, kind)
    return f"{kind} {', '.join(paths)}"


def _multiple(name: str, per: Mapping[str, Any], factors: Mapping[str, float]) -> Generator:
    """Return the generator xi = factor q."""

    def field(leaves: Leaves) -> Leaves:
        return {path: factor * leaves[path] for path, factor in factors.items()}

    return Generator(name, per, field, factors)


def scale(*paths: str, per: Per = -1) -> Generator:
    """Return the generator xi = q, a change of length (paper, section 4).

    It is a symmetry for incoming weights of a normalisation.

    Args:
        paths: paths of parameters that are scaled together, such as a kernel and its bias.
        per: axis of the neurons; for kernels of flax the last axis.
    Raises:
        UsageError: if a path is not a string, or if per is not an axis.
    """
    return _multiple(_named("scale", paths), dict.fromkeys(paths, _axes(per)), dict.fromkeys(paths, 1.0))


def translation(*paths: str, per: Per = None) -> Generator:
    """Return the generator xi = 1, a common shift (paper, section 3).

    It is a symmetry for the logits of a softmax.

    Args:
        paths: paths of parameters that are shifted together.
        per: axes with one charge for each index. For the kernel of the logits it is 0: the shift is common
            to all logits, which are the last axis.
    Raises:
        UsageError: if a path is not a string, or if per is not an axis.
    """

    def field(leaves: Leaves) -> Leaves:
        return {path: jnp.ones_like(leaves[path]) for path in paths}

    return Generator(_named("translation", paths), dict.fromkeys(paths, _axes(per)), field)


def rescale(
    into: str | Sequence[str], out_of: str | Sequence[str], per_in: Per = -1, per_out: Per = -2
) -> Generator:
    """Return the generator xi = -q for incoming and xi = +q for outgoing weights (paper, section 3).

    It is a symmetry for neurons with a function f(a x) = a f(x), a > 0, such as relu. In continuous time the
    charge is half the rate of |W_out|^2 - |W_in|^2.

    Args:
        into: path of the kernel before the function, or paths of kernel and bias.
        out_of: path or paths of the kernel after the function.
        per_in: axis of the neurons in ``into``; for kernels of flax the last axis.
        per_out: axis of the neurons in ``out_of``; for kernels of flax the axis before the last.
    Raises:
        UsageError: if a path is not a string, or if an axis is not a number.
    """
    before, after = ([part] if isinstance(part, str) else list(part) for part in (into, out_of))
    _paths([*before, *after], "rescale")
    per = {**dict.fromkeys(before, _axes(per_in)), **dict.fromkeys(after, _axes(per_out))}

    factors = {**dict.fromkeys(before, -1.0), **dict.fromkeys(after, 1.0)}
    return _multiple(f"rescale {', '.join(before)} to {', '.join(after)}", per, factors)


def linear(path: str, matrix: ArrayLike, axis: int = -1, per: Per = None) -> Generator:
    """Return the generator xi = X q along one axis of a parameter.

    Args:
        path: path of the parameter.
        matrix: matrix X (d, d).
        axis: axis of length d.
        per: other axes with one charge for each index; None for a single charge.
    Raises:
        UsageError: if the matrix is not square.
    """
    array = np.asarray(matrix)
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise UsageError(f"generator of {path}: the matrix has shape {array.shape}; expected a square matrix")

    def field(leaves: Leaves) -> Leaves:
        leaf = leaves[path]
        if not -leaf.ndim <= axis < leaf.ndim or leaf.shape[axis] != len(array):
            raise UsageError(
                f"generator of {path}: a matrix of shape {array.shape} does not fit axis {axis} of the "
                f"parameter, which has shape {leaf.shape}"
            )
        moved = jnp.tensordot(leaf, jnp.asarray(array, leaf.dtype), axes=(axis, 1))
        return {path: jnp.moveaxis(moved, -1, axis)}

    return Generator(_named("linear", [path]), {path: _axes(per)}, field)


def rotation(path: str, matrix: ArrayLike, axis: int = -1, per: Per = None) -> Generator:
    """Return the generator xi = X q with X' = -X, a rotation along one axis of a parameter.

    Its charge is an angular momentum and has no kinetic symmetry breaking.

    Args:
        path: path of the parameter.
        matrix: skew matrix X (d, d).
        axis: axis of length d.
        per: other axes with one charge for each index; None for a single charge.
    Raises:
        UsageError: if the matrix is not skew, or if per contains the axis of the rotation.
    """
    array = np.asarray(matrix)
    found = linear(path, array, axis, per)
    if per is not None and axis in (_axes(per) or ()):
        raise UsageError(
            f"rotation of {path}: axis {axis} is rotated and cannot be in per = {per}; give other axes"
        )
    if not np.allclose(array, -array.T, atol=1e-12 * max(1.0, float(np.abs(array).max()))):
        raise UsageError(
            f"rotation of {path}: the matrix is not skew (X' = -X); use linear for other matrices"
        )
    return dataclasses.replace(found, name=_named("rotation", [path]))


def custom(
    name: str, paths: Sequence[str], field: Callable[[Leaves], Leaves], per: Mapping[str, Per] | None = None
) -> Generator:
    """Return the generator of any vector field.

    Args:
        name: name for reports.
        paths: paths of the parameters that the field moves.
        field: function from the parameters at these paths to their velocities xi(q), by path.
        per: path -> axes with one charge for each index; a path that is missing gives a single charge.
    Raises:
        UsageError: if a path is not a string, or if an axis is not a number.
    """
    given = per or {}
    _paths(paths, name)
    return Generator(name, {path: _axes(given.get(path)) for path in paths}, field)
