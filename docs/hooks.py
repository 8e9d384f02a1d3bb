"""What the site takes from outside its folder, and formulas that need no script to be shown."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([\[(])(.*?)\\[\])]</\1>', re.DOTALL)
_TAKEN = (
    "notebooks/*.ipynb",
    "experiments/results/*.md",
    "experiments/results/*.png",
    "benchmarks/results/*.md",
    "CHANGELOG.md",
    "SECURITY.md",
)


def _results(root: Path) -> str:
    """A page that names every table, and the command that made it."""
    lines = ["# Results", "", "Every table names the command, the machine and the commit that made it."]
    for folder, title in (("experiments", "What is found"), ("benchmarks", "What it costs")):
        lines += ["", f"## {title}", ""]
        for path in sorted((root / folder / "results").glob("*.md")):
            text = path.read_text()
            command = re.search(r"Command: `([^`]*)`", text)
            name = text.splitlines()[0].removeprefix("# ")
            lines.append(
                f"* [{name}]({folder}/results/{path.name})" + (f": `{command[1]}`" if command else "")
            )
    return "\n".join(lines) + "\n"


@event_priority(100)
def on_files(files: Files, config: Any) -> Files:
    """Notebooks, results, and notes at the project root; before plugins, which see them too."""
    root = Path(config.config_file_path).parent
    for pattern in _TAKEN:
        for path in sorted(root.glob(pattern)):
            name = str(path.relative_to(root))
            files.append(File(name, str(root), config.site_dir, config.use_directory_urls))
    files.append(File.generated(config, "results.md", content=_results(root)))
    return files


def on_page_markdown(text: str, page: Any, **_: Any) -> str:
    """The project's root is the root of the site: links of pages of `docs` to what lies beside it."""
    return text.replace("](../", "](") if page.file.src_uri == "design.md" else text


def on_page_content(text: str, **_: Any) -> str:
    """LaTeX as MathML, which browsers draw themselves."""

    def mathml(match: re.Match[str]) -> str:
        if match[2] == "(":
            return convert(html.unescape(match[3]), display="inline")
        # On a narrow page a wide formula is moved sideways, not cut.
        drawn = convert(html.unescape(match[3]), display="block")
        return f'<div style="overflow: auto hidden">{drawn}</div>'

    return _FORMULA.sub(mathml, text)
