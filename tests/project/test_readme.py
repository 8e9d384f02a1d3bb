"""Texts: links and commands exist, sentences are short, examples agree; `test_fit.py` runs the example."""

import importlib.util
import os.path
import re
from pathlib import Path

import click
import pytest

from noethers_razor.cli.main import cli
from tests.project.house import MOST, sentences_of

ROOT = Path(__file__).parents[2]
NOTES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
PAGES = [*NOTES, ROOT / "notebooks" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MOST_WORDS = MOST["words of the longest sentence of README and docs/index"]
PLAIN = [page for page in PAGES if page.stem not in ("learning-dynamics", "manifold-embedding", "plot")]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pictures_and_links_exist(page):
    # A link may also be right on the site, where `docs` is the root.
    inside = page.is_relative_to(ROOT / "docs")
    site = ROOT / page.parent.relative_to(ROOT / "docs") if inside else page.parent
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text()):
        places = (os.path.normpath(folder / target) for folder in (page.parent, site))
        assert any(Path(place).exists() for place in places), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_tests_exist(page):
    text = page.read_text()
    for module in re.findall(r"python -m ((?:experiments|benchmarks)\.\w+)", text):
        assert importlib.util.find_spec(module), f"{page.name}: {module}"
    for path in re.findall(r"\btests/[\w/]+\.py", text):
        assert (ROOT / path).is_file(), f"{page.name}: {path}"
    for path, name in re.findall(r"pytest (tests/[\w/]+\.py)[^`\n]*? -k (\w+)", text):
        source = (ROOT / path).read_text()
        assert re.search(rf"def test_\w*{name}", source), f"{page.name}: no test {name} in {path}"


@pytest.mark.parametrize("page", PLAIN, ids=lambda path: str(path.relative_to(ROOT)))
def test_sentences_are_short(page):
    long = [one for one in sentences_of(page.read_text()) if len(one.split()) > MOST_WORDS]
    assert not long, f"{page.name}:\n" + "\n".join(long)


def test_readme_and_site_have_the_same_example():
    first = [
        re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)[0]
        for name in ("README.md", "docs/index.md")
    ]
    assert first[0] == first[1]


def flags_of(command, context):
    return {flag for option in command.get_params(context) for flag in (*option.opts, *option.secondary_opts)}


def test_flags_of_commands_exist():
    context, seen = click.Context(cli), 0
    for page in PAGES:
        for name, rest in re.findall(r"noethers-razor (\w+)([^\n`#]*)", page.read_text()):
            command = cli.get_command(context, name)
            assert command is not None, f"{page.name}: noethers-razor {name}"
            for flag in re.findall(r"--[a-z][\w-]*", rest):
                seen += 1
                assert flag in flags_of(command, context), f"{page.name}: noethers-razor {name} {flag}"
    assert seen > 30
