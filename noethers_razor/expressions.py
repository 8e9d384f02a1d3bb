"""Formulas of coordinates as text, such as ``1/sqrt(qx^2 + qy^2)``: parsed, never executed as a program."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from noethers_razor._types import Array
from noethers_razor.errors import UsageError

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    name: getattr(jnp, name) for name in ("exp", "log", "sqrt", "sin", "cos", "tan", "tanh", "arctan2", "abs")
}
_CONSTANTS = {"pi": jnp.pi}
_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_LONGEST, _DEEPEST = 500, 50


def _reader(node: ast.expr, names: Sequence[str], depth: int = 0) -> Callable[[Array], Any]:
    """What a node of the formula says of states (..., M)."""
    if depth > _DEEPEST:
        raise UsageError(f"more than {_DEEPEST} levels of brackets")
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return lambda x: float(number) if isinstance(number, float) else number
        case ast.Name(id=name) if name in names:
            place = list(names).index(name)
            return lambda x: x[..., place]
        case ast.Name(id=name) if name in _CONSTANTS:
            return lambda x: _CONSTANTS[name]
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            negated = _reader(inner, names, depth + 1)
            return lambda x: -negated(x)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            first, second = _reader(left, names, depth + 1), _reader(right, names, depth + 1)
            return lambda x: _BINARY[type(op)](first(x), second(x))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            if len(arguments) != 1 + (name == "arctan2"):
                raise UsageError(f"{name} with {len(arguments)} arguments")
            inside = [_reader(argument, names, depth + 1) for argument in arguments]
            return lambda x: FUNCTIONS[name](*(read(x) for read in inside))
        case ast.Name(id=name):
            raise UsageError(f"unknown name {name!r}; expected one of {', '.join(names)}")
    raise UsageError(
        f"{ast.unparse(node)!r}; expected numbers, coordinates, + - * / ^ and {', '.join(FUNCTIONS)}"
    )


def expression(text: str, names: Sequence[str]) -> Callable[[Array], Array]:
    """The function of states (..., M) -> (...) that a formula of their coordinates names.

    Args:
        text: such as ``exp(q1 - q2)``; powers with ^ or **.
        names: of the M coordinates.
    Raises:
        UsageError: for what is no formula of these coordinates, or depends on none.
    """
    try:
        if len(text) > _LONGEST:
            raise UsageError(f"{len(text)} characters; expected at most {_LONGEST}")
        tree = ast.parse(text.strip().replace("^", "**"), mode="eval").body
        read = _reader(tree, names)
        if not any(isinstance(node, ast.Name) and node.id in names for node in ast.walk(tree)):
            raise UsageError(f"no coordinate in it; expected some of {', '.join(names)}")
    except UsageError as error:
        raise UsageError(f"term {text[:60]!r}: {error}") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UsageError(f"term {text[:60]!r} is no formula; expected one such as exp({names[0]})") from None
    return lambda x: jnp.asarray(read(x), x.dtype)
