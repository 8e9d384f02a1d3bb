"""What the README refers to exists; its example is run by `test_fit.py`."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_pictures_and_links_exist():
    for text in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "design.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", text.read_text()):
            assert (text.parent / target).exists(), f"{text.name}: {target}"
