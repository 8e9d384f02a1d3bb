"""Tests of the HTML report: it contains the report and needs no other file."""

import dataclasses
import html.parser
import shutil
import subprocess

import numpy as np
import pytest

import noethers_razor as nr
from noethers_razor.cli.html_report import page
from noethers_razor.inference.rollouts import compare_rollouts, kept_trajectories
from noethers_razor.inference.run_table import as_table, row_of, warnings_of
from tests.brief import TINY, TWO, two_oscillators

BRIEF = TINY.replace(selection=False)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def data():
    return two_oscillators()


@pytest.fixture(scope="module")
def result(files):
    return nr.load_result(files / "r")


@pytest.fixture(scope="module")
def text(result):
    return page(nr.find_symmetries(result), result)


class Parts(html.parser.HTMLParser):
    """Tags and words of an HTML document, and the addresses that it refers to."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.addresses = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.words += data


def test_the_page_says_what_the_sheet_says(result, text):
    report, parts = nr.find_symmetries(result), Parts(text)
    assert str(report).splitlines()[0] in parts.words
    for said in (
        *report.formulas,
        *report.warnings,
        "exactly conserved",
        "Poisson bracket",
        "energy drift",
    ):
        assert said in parts.words
    # Pictures: generators, spectrum, first rollout, training.
    assert parts.tags.count("img") == 4


def test_the_page_needs_no_other_file(text):
    parts = Parts(text)
    assert all(address.startswith("data:image/svg+xml;base64,") for address in parts.addresses)
    assert not {"script", "link", "iframe"} & set(parts.tags)


def test_the_same_answer_is_the_same_page(result, text):
    assert page(nr.find_symmetries(result), result) == text


def test_formulas_cannot_become_markup(result):
    names = ["<b>", "q2", "p1", "p2"]
    other = dataclasses.replace(result, metadata={**result.metadata, "coordinates": names})
    written = page(nr.find_symmetries(other), other)
    assert "&lt;b&gt;" in written and "<b>" not in written


def test_rollouts_follow_given_trajectories(result):
    test = TWO.simulate(1, n_trajectories=3, n_steps=10, stream="test")
    written = Parts(page(nr.find_symmetries(result), result, compare_rollouts(result, test, 2))).words
    assert "of the given trajectories" in written


def test_a_run_keeps_trajectories_as_they_were(result, data):
    kept = kept_trajectories(result, 4)
    assert kept.count == 4
    np.testing.assert_allclose(kept.states[0], data.states[0], atol=1e-12)
    np.testing.assert_allclose(kept.times[0], data.t, atol=1e-12)


def test_runs_beside_each_other(result, data):
    bare = nr.fit(data, seed=2, conserved=nr.NoSymmetry(), config=BRIEF)
    rows = [row_of("a", result, TWO, data), row_of("b", bare, TWO, data)]
    table = as_table(rows).splitlines()
    assert len(table) == 3 and table[0].startswith("run  family")
    assert rows[0]["quantities"] == nr.find_symmetries(result).rank and rows[1]["quantities"] == 0
    assert rows[0]["gain"] > rows[1]["gain"] == 0.0
    assert warnings_of(rows) == []
    rows[1]["data"] = ["another", 230]
    assert "different data" in warnings_of(rows)[0]


def test_pages_of_other_families(data):
    bare = nr.fit(data, seed=1, conserved=nr.NoSymmetry(), config=BRIEF)
    written = Parts(page(nr.find_symmetries(bare), bare))
    assert "0 conserved quantities" in written.words and "Predictions" not in written.words
    mixed = nr.fit(data, seed=1, conserved=nr.Polynomial(2, degree=2), config=BRIEF)
    # Old runs have no times, so there are no trajectories to follow.
    old = dataclasses.replace(mixed, trajectories=mixed.trajectories._replace(time=None))
    written = Parts(page(nr.find_symmetries(old), old))
    assert "Uncertainty" in written.words and "Predictions" not in written.words


# The tests require only packages from pip. Without a browser, only the parser above reads the HTML report.
@pytest.mark.skipif(CHROMIUM is None, reason="no browser on this machine")
@pytest.mark.parametrize("width", [1100, 400])
def test_a_browser_draws_the_page(text, tmp_path, width):
    (tmp_path / "sheet.html").write_text(text)
    quiet = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-sync",
    ]
    quiet += ["--disable-background-networking", "--disable-component-update", "--virtual-time-budget=5000"]
    words = [CHROMIUM, *quiet, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},4000"]
    address = (tmp_path / "sheet.html").as_uri()
    picture = tmp_path / "page.png"
    subprocess.run([*words, f"--screenshot={picture}", address], check=True, timeout=120, capture_output=True)
    from matplotlib.image import imread

    pixels = imread(picture)
    # Only pictures have colours, so a coloured pixel shows that they were drawn.
    assert np.ptp(pixels[..., :3], axis=-1).max() > 0.5
    assert pixels.shape[1] == width
