"""Words that texts do not use, in docstrings, comments, messages and documentation."""

import ast
import io
import re
import tokenize

import pytest

from tests.project.house import FILES, PACKAGE, ROOT, tree_of

INSTEAD = {
    "tracks": "trajectories",
    "slopes": "gradients",
    "judgement": "model selection",
    "judgements": "model selection",
    "credible": "constant, selected",
    "answer sheet": "report",
    "answer sheets": "report",
    "the sheet": "the report",
    "a sheet": "a report",
    "spoilt": "degraded, corrupted",
    "mended": "corrected",
    "told": "reported, given",
    "goes on with": "resumes, continues",
    "go on with": "resume, continue",
    "gone on with": "resumed",
    "going on with": "resuming",
    "beside": "with, next to, compared with",
    "warm-up": "initial network, first stage",
    "warmup": "initial network, first stage",
}
"""Word -> what to write."""
ALLOWED = {
    # Names of fields and of settings in version 0.1, which stay for one release.
    "symmetry/report.py": {"judgements"},
    "CHANGELOG.md": {"judgements", "judgement", "warmup"},
}
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "notebooks").glob("*.md")),
]


def texts_of(path):
    """(line, text) of docstrings, comments and messages: strings of several words."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def wrong_words(text):
    """Words of a text that have another one to be used instead; code in backticks aside."""
    plain = re.sub(r"``?[^`]*``?", " ", text)
    return {word for word in INSTEAD if re.search(rf"(?<![-\w]){word}(?![-\w])", plain, re.IGNORECASE)}


def prose_of(page):
    """A page without code."""
    return re.sub(
        r"```.*?```|^ {4}.*?$|\]\([^)]*\)", " ", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE
    )


def test_docstrings_comments_and_messages_use_the_terms():
    found = [
        f"{path.relative_to(PACKAGE)}:{line} {word}: write {INSTEAD[word]}"
        for path in FILES
        for line, text in texts_of(path)
        for word in wrong_words(text) - ALLOWED.get(str(path.relative_to(PACKAGE)), set())
    ]
    assert not found, "\n".join(found)


def test_documentation_uses_the_terms():
    found = [
        f"{page.relative_to(ROOT)} {word}: write {INSTEAD[word]}"
        for page in PAGES
        for word in wrong_words(prose_of(page)) - ALLOWED.get(page.name, set())
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("text", ["The Sheet of answers", "# spoilt data", "is told by H", "go on with it"])
def test_the_check_finds_the_words(text):
    assert wrong_words(text)


@pytest.mark.parametrize("text", ["`judgements` is a key", "a tracksuit", "toldish", "the report"])
def test_the_check_leaves_others_alone(text):
    assert not wrong_words(text)


def test_public_docstrings_begin_with_a_verb_or_a_noun():
    """Functions: a verb in the imperative, so no article and no question."""
    wrong = re.compile(r"^(The|A|An|Whether|What|How|Which|From|Of|Those|That|Its|In|To|At|All|Some|For)\b")
    found = []
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                if any(ast.unparse(d).endswith(("property", "setter")) for d in node.decorator_list):
                    continue
                text = ast.get_docstring(node) or ""
                if wrong.match(text):
                    place = f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}"
                    found.append(f"{place}: {text.splitlines()[0]}")
    assert not found, "\n".join(found)
