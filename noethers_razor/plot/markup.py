"""Pieces of HTML that notebooks show: tables, headlines, warnings, formulas."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts."""
    head = "".join(f"<th>{escape(text)}</th>" for text in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def folded(title: str, text: str) -> str:
    """Text as it is, shown when asked for."""
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"


def formulas(texts: Sequence[str], expressions: Sequence[Any] | None) -> str:
    """Numbered formulas: as MathML of SymPy expressions, or as text without them, and where names are odd."""
    names = [str(symbol) for one in expressions or () for symbol in one.free_symbols]
    # SymPy writes names as they are: those that could be markup are left to the text, which is escaped.
    if expressions is None or not all(re.fullmatch(r"\w+", name) for name in names):
        lines = [f"C<sub>{i + 1}</sub> = <code>{escape(text)}</code>" for i, text in enumerate(texts)]
    else:
        from sympy.printing.mathml import mathml

        lines = [
            f"<math><msub><mi>C</mi><mn>{i + 1}</mn></msub><mo>=</mo>"
            f"{mathml(expression, printer='presentation')}</math>"
            for i, expression in enumerate(expressions)
        ]
    return "".join(f"<div>{line}</div>" for line in lines)


def block(headline: str, parts: Sequence[str], warnings: Sequence[str] = ()) -> str:
    """A headline, pieces of HTML, and warnings."""
    said = "".join(f"<p><em>warning: {escape(text)}</em></p>" for text in warnings)
    return f"<div><p><strong>{escape(headline)}</strong></p>{''.join(filter(None, parts))}{said}</div>"
