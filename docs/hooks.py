"""Hooks of the site: pages from outside `docs`, links, a list of all tables, formulas without scripts."""

from __future__ import annotations

import html
import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([\[(])(.*?)\\[\])]</\1>', re.DOTALL)
_LINK = re.compile(r"(\]\()([^)#:\s]+)(#[^)\s]*)?\)")
_CODE = re.compile(r"(^```.*?^```|^ {4}.*?$|`[^`\n]*`)", re.DOTALL | re.MULTILINE)
_TAKEN = (
    "notebooks/*.ipynb",
    "experiments/results/*.md",
    "experiments/results/*.png",
    "benchmarks/results/*.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
)
_LIST = "<!-- all tables: docs/hooks.py -->"
"""The place of the list of tables in results.md."""
_DOCS = "docs/"


def _tables(root: Path) -> str:
    """Return a list of every table with the command that made it, as links of a page of `docs`."""
    lines = []
    for folder, title in (("experiments", "What is found"), ("benchmarks", "What it costs")):
        lines += ["", f"### {title}", ""]
        for path in sorted((root / folder / "results").glob("*.md")):
            text = path.read_text()
            command = re.search(r"Command: `([^`]*)`", text)
            name = text.splitlines()[0].removeprefix("# ")
            link = f"* [{name}](../{folder}/results/{path.name})"
            lines.append(link + (f": `{command[1]}`" if command else ""))
    return "\n".join(lines) + "\n"


@event_priority(100)
def on_files(files: Files, config: Any) -> Files:
    """Add notebooks, results and notes of the project root, before plugins run."""
    root = Path(config.config_file_path).parent
    for pattern in _TAKEN:
        for path in sorted(root.glob(pattern)):
            name = str(path.relative_to(root))
            files.append(File(name, str(root), config.site_dir, config.use_directory_urls))
    return files


def _in_repository(page: str) -> str:
    """Return the path in the repository of a page of the site."""
    outside = any(Path(page).match(pattern) for pattern in _TAKEN)
    return page if outside else _DOCS + page


def _on_site(link: re.Match[str], page: str) -> str:
    """Return a link of the repository as a link of the site, where `docs` is the root.

    Links within `docs`, and links that are right on the site already, stay as they are.
    """
    source = _in_repository(page)
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[2]))
    if target.startswith(_DOCS) == source.startswith(_DOCS):
        return link[0]
    new = posixpath.relpath(target.removeprefix(_DOCS), posixpath.dirname(page) or ".")
    return f"{link[1]}{new}{link[3] or ''})"


def on_page_markdown(text: str, page: Any, config: Any, **_: Any) -> str:
    """Fill the list of tables, and turn links between `docs` and the rest of the repository."""
    name = page.file.src_uri
    text = text.replace(_LIST, _tables(Path(config.config_file_path).parent))
    parts = _CODE.split(text)
    # Every second part is code, which has no links.
    parts[::2] = [_LINK.sub(lambda link: _on_site(link, name), part) for part in parts[::2]]
    return "".join(parts)


def on_page_content(text: str, **_: Any) -> str:
    """Replace LaTeX by MathML, which browsers draw without a script."""

    def mathml(match: re.Match[str]) -> str:
        if match[2] == "(":
            return convert(html.unescape(match[3]), display="inline")
        # On a narrow page a wide formula scrolls.
        drawn = convert(html.unescape(match[3]), display="block")
        return f'<div style="overflow: auto hidden">{drawn}</div>'

    return _FORMULA.sub(mathml, text)
