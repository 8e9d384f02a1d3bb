"""Formulas of coordinates as text, such as ``1/sqrt(qx^2 + qy^2)``: parsed, never executed as a program."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from noethers_razor._optional import extra
from noethers_razor._types import Array
from noethers_razor.errors import UsageError

NAMES = ("exp", "log", "sqrt", "sin", "cos", "tan", "tanh", "arctan2", "abs")
"""Functions that a formula may call."""


class Library(NamedTuple):
    """What numbers, pi and functions are: arrays of JAX, or expressions of SymPy."""

    number: Callable[[float], Any]
    pi: Any
    functions: Mapping[str, Callable[..., Any]]


_ARRAYS = Library(lambda number: number, jnp.pi, {name: getattr(jnp, name) for name in NAMES})
_At = Callable[[int], Any]
_Read = Callable[[_At, Library], Any]
_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_LONGEST, _DEEPEST, _LARGEST_POWER = 500, 50, 100


def _constant(node: ast.expr) -> float | None:
    """The value of what depends on no coordinate, in floating point; None of other things.

    Raises:
        UsageError: where it is not finite.
    """
    value: float | None = None
    try:
        match node:
            case ast.Constant(value=int() | float() as number):
                value = float(number)
            case ast.UnaryOp(op=ast.USub(), operand=inner) if (own := _constant(inner)) is not None:
                value = -own
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                first, second = _constant(left), _constant(right)
                if first is not None and second is not None:
                    value = float(_BINARY[type(op)](first, second))
    except (ArithmeticError, TypeError):
        value = math.inf
    if value is not None and not math.isfinite(value):
        raise UsageError(f"{ast.unparse(node)!r} is no finite number")
    return value


def _reader(node: ast.expr, names: Sequence[str], depth: int = 0) -> _Read:
    """What a node of the formula says, given the coordinates by place, and a library."""
    if depth > _DEEPEST:
        raise UsageError(f"more than {_DEEPEST} levels of brackets")
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            _constant(node)
            return lambda at, library: library.number(number)
        case ast.Name(id=name) if name in names:
            place = list(names).index(name)
            return lambda at, library: at(place)
        case ast.Name(id="pi"):
            return lambda at, library: library.pi
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            negated = _reader(inner, names, depth + 1)
            return lambda at, library: -negated(at, library)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            _constant(node)
            power = _constant(right) if isinstance(op, ast.Pow) else None
            if power is not None and abs(power) > _LARGEST_POWER:
                raise UsageError(f"power {power:g}; expected at most {_LARGEST_POWER}")
            first, second = _reader(left, names, depth + 1), _reader(right, names, depth + 1)
            return lambda at, library: _BINARY[type(op)](first(at, library), second(at, library))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in NAMES:
            if len(arguments) != 1 + (name == "arctan2"):
                raise UsageError(f"{name} with {len(arguments)} arguments")
            inside = [_reader(argument, names, depth + 1) for argument in arguments]
            return lambda at, library: library.functions[name](*(read(at, library) for read in inside))
        case ast.Name(id=name):
            raise UsageError(f"unknown name {name!r}; expected one of {', '.join(names)}")
    raise UsageError(
        f"{ast.unparse(node)!r}; expected numbers, coordinates, + - * / ^ and {', '.join(NAMES)}"
    )


def _read(text: str, names: Sequence[str]) -> _Read:
    """Of a formula that depends on some coordinate."""
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
    return read


def expression(text: str, names: Sequence[str]) -> Callable[[Array], Array]:
    """The function of states (..., M) -> (...) that a formula of their coordinates names.

    Args:
        text: such as ``exp(q1 - q2)``; powers with ^ or **.
        names: of the M coordinates.
    Raises:
        UsageError: for what is no formula of these coordinates, or depends on none.
    """
    read = _read(text, names)
    return lambda x: jnp.asarray(read(lambda place: x[..., place], _ARRAYS), x.dtype)


def require_sympy() -> Any:
    """The module.

    Raises:
        UsageError: without SymPy.
    """
    return extra("sympy", "symbolic", "an expression")


def symbols(names: Sequence[str]) -> list[Any]:
    """Real SymPy symbols, made from names, which nothing evaluates."""
    sympy = require_sympy()
    return [sympy.Symbol(name, real=True) for name in names]


def symbolic(text: str, names: Sequence[str]) -> Any:
    """The SymPy expression that a formula of coordinates names.

    Args:
        text, names: see `expression`.
    Raises:
        UsageError: see `expression`, and without SymPy.
    """
    sympy, variables = require_sympy(), symbols(names)
    called = {"arctan2": "atan2", "abs": "Abs"}
    functions = {name: getattr(sympy, called.get(name, name)) for name in NAMES}
    return _read(text, names)(variables.__getitem__, Library(sympy.sympify, sympy.pi, functions))
