"""The example in the README runs as it stands and says what the README says."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_python_example_finds_u2(capsys):
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    names: dict = {}
    exec(compile(program, "README.md", "exec"), names)
    assert names["report"].rank == 4
    assert names["report"].algebra == "u(2)"
    out = capsys.readouterr().out.splitlines()
    error, deviation = map(float, out[-1].split())
    assert error < 0.01 and deviation > 0


def test_pictures_and_links_exist():
    for text in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "design.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", text.read_text()):
            assert (text.parent / target).exists(), f"{text.name}: {target}"
