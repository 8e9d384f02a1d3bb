"""Examples in texts run, with fits of a few steps; built notebooks are of their sources and have run."""

import re
from pathlib import Path

import jupytext
import pytest

import noethers_razor as nr
from noethers_razor.inference import fit as fitting

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "notebooks").glob("*.py"))
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOUND = [
    (f"{path.name}-{i + 1}", code)
    for path in TEXTS
    for i, code in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL))
]
# The first of the README, and of the site, is run at full length by `test_fit.py`.
EXAMPLES = [pytest.param(code, id=name) for name, code in FOUND if code != FOUND[0][1]]


@pytest.fixture
def briefly(monkeypatch):
    """Fits of a few hundred steps of a small network."""

    def brief(data, *, config=None, **settings):
        small = {"steps": 400, "chunk": 100, "width": 16, "batch": 16, "orbit_samples": 2, "selection": False}
        return fitting.fit(data, config=(config or nr.FitConfig()).replace(**small), **settings)

    monkeypatch.setattr(nr, "fit", brief)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_built_notebooks_are_of_their_sources(source):
    built = jupytext.read(source.with_suffix(".ipynb"))
    wanted = jupytext.read(source)
    assert [(c.cell_type, c.source) for c in built.cells] == [(c.cell_type, c.source) for c in wanted.cells]
    for cell in built.cells:
        if cell.cell_type == "code" and cell.source:
            assert cell.execution_count, f"{source.name}: not run, see `make notebooks`: {cell.source}"
            assert not [out for out in cell.outputs if out.output_type == "error"]


@pytest.mark.parametrize("code", EXAMPLES)
def test_examples_in_texts_run(code, briefly):
    exec(compile(code, "example", "exec"), {})


def test_every_notebook_is_on_the_site_and_in_its_list():
    site, own = (ROOT / "mkdocs.yml").read_text(), (ROOT / "notebooks" / "README.md").read_text()
    assert len(SOURCES) == 8
    for source in SOURCES:
        assert f"notebooks/{source.stem}.ipynb" in site
        assert f"{source.stem}.ipynb" in own
