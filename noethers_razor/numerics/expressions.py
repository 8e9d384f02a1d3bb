"""Formulas of coordinates given as text, such as ``1/sqrt(qx^2 + qy^2)``.

The text is parsed. It is never executed as Python.
"""

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
    """The numbers, pi and functions of one backend: JAX arrays or SymPy expressions."""

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
_LONGEST = 500
"""Largest number of characters, so that parsing takes little time and memory."""
_DEEPEST = 50
"""Largest depth of nested operations, far below the recursion limit of Python."""
_LARGEST_POWER = 100
"""Largest constant power. Numbers above 2.5 to a larger power overflow in float32."""


def _constant(node: ast.expr) -> float | None:
    """Return the value of an expression of numbers only, or None for any other expression.

    Raises:
        UsageError: if the value is not finite.
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
        raise UsageError(f"{ast.unparse(node)!r} is not a finite number")
    return value


def _reader(node: ast.expr, names: Sequence[str], depth: int = 0) -> _Read:
    """Return a function that evaluates a node, given the coordinates by position and a library."""
    if depth > _DEEPEST:
        raise UsageError(f"more than {_DEEPEST} levels of nesting; write a simpler formula")
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
                raise UsageError(f"{name} has {len(arguments)} arguments; expected 1, or 2 for arctan2")
            inside = [_reader(argument, names, depth + 1) for argument in arguments]
            return lambda at, library: library.functions[name](*(read(at, library) for read in inside))
        case ast.Name(id=name):
            raise UsageError(f"unknown name {name!r}; expected one of {', '.join(names)}")
    raise UsageError(
        f"{ast.unparse(node)!r} is not allowed; expected numbers, coordinates, pi, + - * / ^ "
        f"and {', '.join(NAMES)}"
    )


def _read(text: str, names: Sequence[str]) -> _Read:
    """Parse a formula that contains at least one coordinate."""
    try:
        if len(text) > _LONGEST:
            raise UsageError(f"{len(text)} characters; expected at most {_LONGEST}")
        tree = ast.parse(text.strip().replace("^", "**"), mode="eval").body
        read = _reader(tree, names)
        if not any(isinstance(node, ast.Name) and node.id in names for node in ast.walk(tree)):
            raise UsageError(f"the formula has no coordinate; expected at least one of {', '.join(names)}")
    except UsageError as error:
        raise UsageError(f"term {text[:60]!r}: {error}") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UsageError(f"term {text[:60]!r} is not a formula; a valid one is exp({names[0]})") from None
    return read


def expression(text: str, names: Sequence[str]) -> Callable[[Array], Array]:
    """Return the function of states that a formula describes.

    Args:
        text: formula such as ``exp(q1 - q2)``; powers are written with ^ or **.
        names: names of the M coordinates.
    Returns:
        Function of states (..., M) -> values (...).
    Raises:
        UsageError: if the text is not a formula of these coordinates, or contains none of them.
    """
    read = _read(text, names)
    return lambda x: jnp.asarray(read(lambda place: x[..., place], _ARRAYS), x.dtype)


def require_sympy() -> Any:
    """Return the module SymPy.

    Raises:
        UsageError: if SymPy is not installed.
    """
    return extra("sympy", "symbolic", "an expression")


def symbols(names: Sequence[str]) -> list[Any]:
    """Return real SymPy symbols with these names. The names are not evaluated."""
    sympy = require_sympy()
    return [sympy.Symbol(name, real=True) for name in names]


def symbolic(text: str, names: Sequence[str]) -> Any:
    """Return the SymPy expression of a formula.

    Args:
        text, names: see `expression`.
    Raises:
        UsageError: see `expression`; also if SymPy is not installed.
    """
    sympy, variables = require_sympy(), symbols(names)
    called = {"arctan2": "atan2", "abs": "Abs"}
    functions = {name: getattr(sympy, called.get(name, name)) for name in NAMES}
    return _read(text, names)(variables.__getitem__, Library(sympy.sympify, sympy.pi, functions))
