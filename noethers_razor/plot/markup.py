"""HTML for notebooks: tables, headlines, warnings and formulas."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of texts."""
    head = "".join(f"<th>{escape(text)}</th>" for text in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def folded(title: str, text: str) -> str:
    """Return preformatted text under a title that opens and closes it."""
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"


def formulas(texts: Sequence[str], expressions: Sequence[Any] | None) -> str:
    """Return numbered formulas.

    Args:
        texts: formulas as text.
        expressions: the same formulas for SymPy, shown as MathML. Without them, or if a name contains special
            characters, the text is shown.
    """
    names = [str(symbol) for one in expressions or () for symbol in one.free_symbols]
    # SymPy does not escape names. Names that could be markup need the text, which is escaped.
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
    """Return a headline, followed by pieces of HTML and by warnings."""
    said = "".join(f"<p><em>warning: {escape(text)}</em></p>" for text in warnings)
    return f"<div><p><strong>{escape(headline)}</strong></p>{''.join(filter(None, parts))}{said}</div>"
