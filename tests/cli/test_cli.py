"""Tests of the command line: all commands on a tiny fit, and one line with an exit code for wrong use."""

import errno
import json
import re
import shutil
import subprocess
import sys

import click
import numpy as np
import pytest

from noethers_razor.cli import fit as training
from noethers_razor.cli import main as cli
from noethers_razor.cli import options
from noethers_razor.config import FitConfig, flag_of
from noethers_razor.systems import SYSTEMS
from tests.brief import FLAGS as TINY
from tests.brief import two_oscillators


@pytest.fixture
def run(monkeypatch, capsys):
    """Return a function that runs the program in this process and returns exit code, output and errors."""
    monkeypatch.setattr(cli.host, "prepare", lambda: None)
    monkeypatch.setattr(cli.os, "_exit", sys.exit)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["noethers-razor", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return call


def test_a_run_folder_holds_what_is_promised(files):
    names = {path.name for path in (files / "r").iterdir()}
    assert names >= {
        "run.json",
        "metrics.json",
        "history.csv",
        "model.npz",
        "symmetry.json",
        "manifest.json",
        "README.md",
        "training.png",
        "spectrum.png",
    }
    metrics = json.loads((files / "r" / "metrics.json").read_text())
    assert metrics.keys() >= {
        "elbo_per_transition",
        "nll",
        "kl",
        "noise_variance",
        "steps",
        "seconds_total",
        "seconds_compile",
        "seconds_per_step",
    }
    assert metrics["elbo_per_transition"] == pytest.approx(-metrics["nll"] - metrics["kl"])
    record = json.loads((files / "r" / "run.json").read_text())
    assert record["seed"] == 1 and record["config"]["width"] == 8 and "jax" in record["versions"]
    assert len(record["data"]["sha256"]) == 64


def test_inspect_as_json_and_text(run, files):
    code, out, _ = run("inspect", files / "r", "--truth", "oscillators", "--json")
    assert code == 0
    report = json.loads(out)
    assert report.keys() >= {
        "rank",
        "singular_values",
        "parallelness",
        "largest_angle",
        "algebra",
        "dimension",
        "closure_defect",
        "conservation_defect",
        "true_conservation_defect",
        "formulas",
        "warnings",
    }
    assert len(report["singular_values"]) == 6
    code, out, _ = run("inspect", files / "r", "--figures", files / "figures")
    assert code == 0 and "conserved quantit" in out
    assert (files / "figures" / "spectrum.png").stat().st_size > 1000


def test_inspect_writes_a_page_and_replaces_none_unasked(run, files):
    words = ["inspect", files / "r", "--html", files / "sheet.html", "--data", files / "d.npz"]
    code, out, _ = run(*words)
    assert code == 0
    assert out.splitlines()[0] in (files / "sheet.html").read_text()
    code, _, err = run(*words)
    assert code == 2 and "exists" in err
    assert run(*words, "--overwrite")[0] == 0
    code, _, err = run("inspect", files / "r", "--data", files / "d.npz")
    assert code == 2 and "--html" in err


def test_compare_is_a_table_or_json(run, files):
    code, out, _ = run(
        "compare", files / "r", files / "r", "--truth", "oscillators", "--data", files / "d.npz"
    )
    assert code == 0 and len(out.splitlines()) == 3
    code, out, _ = run("compare", files / "r", "--json")
    rows = json.loads(out)["runs"]
    assert code == 0 and rows[0]["family"] == "quadratic" and rows[0]["mse_rollout"] is None
    assert run("compare")[0] == 2


def test_predict_writes_rollouts_and_prints_errors(run, files):
    target = files / "p.npz"
    words = ["predict", files / "r", "--data", files / "d.npz", "--out", target, "--samples", "4"]
    code, out, _ = run(*words, "--figure", files / "p.png")
    assert code == 0 and "mse_rollout" in out
    with np.load(target) as archive:
        assert archive["mean"].shape == (24, 11, 4)
        assert archive["deviation"].shape == (24, 11, 4)
        assert json.loads(str(archive["summary"]))["mse_rollout"] > 0
    assert (files / "p.png").stat().st_size > 1000
    before = target.read_bytes()
    code, _, err = run(*words)
    assert code == 2 and "exists" in err and target.read_bytes() == before


def test_oracle_and_no_symmetry(run, files):
    code, out, _ = run("fit", files / "d.npz", "--out", files / "o", "--oracle", "oscillators", *TINY)
    assert code == 0 and out.startswith("4 conserved quantities; algebra u(2)")
    code, out, err = run(
        "fit", files / "d.npz", "--out", files / "n", "--family", "none", "--seeds", "2", *TINY
    )
    assert "2 of 2 find 0" in out
    assert code == 0 and out.startswith("0 conserved quantities")
    assert "pass --seed" in err  # a drawn seed is reported


def test_frequencies_reach_the_system(run, tmp_path):
    words = ["simulate", "oscillators", "--n", "2", "--parameter", "frequencies=[1, 1.5]"]
    code, _, _ = run(*words, "--out", tmp_path / "a.npz", "--n-trajectories", "2", "--seed", "0")
    assert code == 0
    with np.load(tmp_path / "a.npz") as archive:
        parameters = json.loads(str(archive["metadata"]))["system"]["parameters"]
    assert parameters == {"n": 2, "frequencies": [1.0, 1.5]}


WRONG = {
    "unknown system": (["simulate", "pendulums", "--out", "{t}/x.npz"], 2, "unknown system 'pendulums'"),
    "unknown truth": (["inspect", "{f}/r", "--truth", "kepplr"], 2, "unknown system 'kepplr'"),
    "no quantities": (
        ["fit", "{f}/d.npz", "--out", "{t}/r", "--conserved", "0"],
        2,
        "0 is not in the range x>=1",
    ),
    "missing file": (["fit", "{t}/no.npz", "--out", "{t}/r"], 3, "NR109 .*no such file"),
    "folder in use": (["fit", "{f}/d.npz", "--out", "{f}/r"], 2, "not empty"),
    "file in use": (["simulate", "oscillators", "--out", "{f}/d.npz"], 2, "exists"),
    "no such run": (["inspect", "{t}/r"], 5, "not a run folder"),
    "setting": (
        ["fit", "{f}/d.npz", "--out", "{t}/r", "--width", "0"],
        2,
        "width = 0; expected a whole number",
    ),
    "choice": (
        ["fit", "{f}/d.npz", "--out", "{t}/r", "--activation", "relu6"],
        2,
        "expected one of gelu",
    ),
    "flag": (["fit", "{f}/d.npz"], 2, "Missing option '--out'"),
    "command": (["fitt"], 2, "No such command 'fitt'"),
    "oracle of a family": (
        ["fit", "{f}/d.npz", "--out", "{t}/r", "--oracle", "oscillators", "--family", "none"],
        2,
        "--oracle with --family none",
    ),
    "size flag": (["simulate", "oscillators", "--dim", "2", "--out", "{t}/x.npz"], 2, "has no flag --dim"),
    "parameter": (
        ["simulate", "oscillators", "--parameter", "w=1", "--out", "{t}/x.npz"],
        2,
        "no parameter w",
    ),
    "flag of another family": (
        ["fit", "{f}/d.npz", "--out", "{t}/r", "--degree", "3"],
        2,
        "--degree with family quadratic; it is for family polynomial",
    ),
    "forms": (
        ["fit", "{f}/d.npz", "--out", "{t}/r", "--no-quadratic"],
        2,
        "--no-quadratic with family quadratic",
    ),
    "functions": (
        ["fit", "{f}/d.npz", "--out", "{t}/r", "--non-quadratic", "2"],
        2,
        "--non-quadratic with family quadratic",
    ),
    "term": (
        ["fit", "{f}/d.npz", "--out", "{t}/r", "--family", "polynomial", "--term", "1/sqrt(x)", "--quiet"],
        2,
        "unknown name 'x'; expected one of q1, q2, p1, p2",
    ),
    "parent": (["simulate", "oscillators", "--out", "{t}/no/x.npz", "--seed", "1"], 2, "does not exist"),
    "noise": (["simulate", "oscillators", "--noise", "-1", "--out", "{t}/x.npz"], 2, "noise = -1.0"),
    "truth size": (
        ["inspect", "{f}/r", "--truth", "oscillators", "--n", "3"],
        2,
        "dimension 6, the fit on 4",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_one_line_and_an_exit_code(run, files, tmp_path, case):
    words, expected, message = WRONG[case]
    filled = [word.format(f=files, t=tmp_path) for word in words]
    before = {path: path.read_bytes() for path in files.rglob("*") if path.is_file()}
    code, out, err = run(*filled)
    lines = [line for line in err.splitlines() if not line.startswith("seed ")]
    assert code == expected and out == ""
    assert len(lines) == 1 and lines[0].startswith("noethers-razor: ")
    # Data are read before a seed is drawn and reported.
    assert expected != 3 or err.splitlines() == lines
    assert re.search(message, lines[0])
    assert not any(tmp_path.iterdir())
    assert before == {path: path.read_bytes() for path in files.rglob("*") if path.is_file()}


def test_only_a_run_folder_is_replaced(run, files, tmp_path):
    precious = tmp_path / "papers"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    words = ["fit", files / "d.npz", "--out", precious, "--overwrite", "--seed", "1", *TINY]
    code, _, err = run(*words)
    assert code == 2 and "not a run folder and is not replaced" in err
    assert (precious / "thesis.tex").read_text() == "years of work"


def test_an_old_run_is_replaced_when_asked(run, files, tmp_path):
    words = ["fit", files / "d.npz", "--out", tmp_path / "r", "--family", "none", *TINY]
    assert run(*words, "--seed", "1")[0] == 0
    assert run(*words, "--seed", "2", "--overwrite")[0] == 0
    assert json.loads((tmp_path / "r" / "run.json").read_text())["seed"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_predict_follows_ragged_trajectories(run, files, tmp_path):
    generator = np.random.default_rng(0)
    q, p = generator.normal(size=(2, 3, 4, 2))
    mask = np.ones((3, 4), bool)
    mask[0, 0] = False  # no first state: left out
    mask[2, 2:] = False  # short: the times of missing states have no meaning
    t = np.tile(np.arange(4) * 0.2, (3, 1))
    t[2, 2:] = 0.0
    np.savez(tmp_path / "ragged.npz", q=q, p=p, t=t, mask=mask)
    words = ["predict", files / "r", "--data", tmp_path / "ragged.npz", "--out", tmp_path / "p.npz"]
    code, _out, _ = run(*words, "--samples", "2", "--figure", tmp_path / "p.png")
    assert code == 0
    with np.load(tmp_path / "p.npz") as archive:
        assert archive["trajectory"].tolist() == [1, 2]
        assert np.isfinite(archive["mean"]).all()
        summary = json.loads(str(archive["summary"]))
    assert summary["left_out"] == 1 and np.isfinite(summary["mse_rollout"])


def test_given_size_keeps_the_other_parameters_of_the_data():
    saved = {"system": {"name": "oscillators", "parameters": {"n": 2, "frequencies": [1.0, 1.5]}}}
    same = options.build_system("oscillators", 2, None, (), saved)
    other = options.build_system("oscillators", 3, None, (), saved)
    assert same.parameters()["frequencies"] == [1.0, 1.5]
    assert other.parameters()["frequencies"] == [1.0, 1.0, 1.0]


def test_interrupt_is_exit_code_130(run, files, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("noethers_razor.inference.training.Trainer.chunks", interrupted)
    code, _, err = run("fit", files / "d.npz", "--out", tmp_path / "r", "--seed", "1", *TINY)
    assert code == 130 and f"checkpoints are in {tmp_path / 'r'}: pass --resume" in err
    code, _, err = run("fit", files / "d.npz", "--out", tmp_path / "r", *TINY)
    assert code == 2 and "holds an unfinished fit; pass --resume" in err


def test_a_fit_that_was_interrupted_goes_on_with_its_settings(run, files, tmp_path, monkeypatch):
    words = ["fit", files / "d.npz", "--out", tmp_path / "r"]
    with monkeypatch.context() as patch:

        def stop(*_, **__):
            raise KeyboardInterrupt

        patch.setattr("noethers_razor.inference.training.Trainer.chunks", stop)
        assert run(*words, "--seed", "5", "--conserved", "6", *TINY)[0] == 130
    code, _, err = run(*words, "--resume", "--width", "9")
    assert code == 2 and "--width 9 with --resume, but the fit was started with 8" in err
    code, _, err = run(*words, "--resume", "--overwrite")
    assert code == 2 and "exclude each other; pass one of them" in err
    with monkeypatch.context() as patch:

        def full(*_, **__):
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr("noethers_razor.inference.saved.write_folder", full)
        code, _, err = run(*words, "--resume", "--quiet")
        assert (
            code == 2
            and "cannot be saved (No space left on device): free some space, then pass --resume" in err
        )
    assert run(*words, "--resume", "--quiet")[0] == 0
    record = json.loads((tmp_path / "r" / "run.json").read_text())
    assert record["seed"] == 5 and record["config"]["width"] == 8
    assert not (tmp_path / "r" / "checkpoints").exists()
    # A finished run is reported again, but only for the same data.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "r").iterdir()}
    code, out, _ = run(*words, "--resume")
    assert code == 0 and "conserved quantit" in out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "r").iterdir()} == before
    code, _, err = run(*words, "--resume", "--term", "q1")
    assert code == 2 and "--term" in err and "with --resume" in err
    # A run that is saved but not yet reported still has its settings.
    record = dict(manifest := json.loads((tmp_path / "r" / "manifest.json").read_text()))
    record.pop("symmetry.json")
    (tmp_path / "r" / "symmetry.json").unlink()
    (tmp_path / "r" / "manifest.json").write_text(json.dumps(record))
    assert run(*words, "--resume")[0] == 0
    assert (tmp_path / "r" / "symmetry.json").is_file() and "symmetry.json" in manifest
    other = tmp_path / "other.npz"
    two_oscillators(seed=2).save(other)
    code, _, err = run("fit", other, "--out", files / "r", "--resume")
    assert code == 2 and "holds a finished fit of other data" in err


@pytest.mark.parametrize("words", [[], ["simulate"], ["fit"], ["inspect"], ["predict"], ["demo"]])
def test_help_on_every_level_loads_no_jax(words):
    program = (
        "import sys; from noethers_razor.cli.main import cli; "
        f"cli({[*words, '--help']!r}, standalone_mode=False); "
        "assert not {'jax', 'numpy', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


def test_every_setting_is_a_flag_with_text_and_default():
    context = click.Context(training.fit)
    flags = {option.name: option for option in training.fit.get_params(context)}
    for _, field in FitConfig.settings():
        option = flags[flag_of(field)]
        assert option.help and option.default == field.default


def test_help_lists_every_system(run):
    _, out, _ = run("simulate", "--help")
    for name in SYSTEMS:
        assert name in out


def test_help_of_fit_has_a_dozen_flags_and_help_all_the_rest(run):
    code, short, err = run("fit", "-h")
    assert code == 0, err
    shown = [line for line in short.splitlines() if re.match(r" +(-h, )?--", line)]
    assert 10 <= len(shown) <= 16
    assert "--help-all" in short and "--width" not in short and "--degree" not in short
    _, whole, _ = run("fit", "--help-all")
    for _, field in FitConfig.settings():
        assert f"--{flag_of(field).replace('_', '-')}" in whole
    for flag in ("--degree", "--term", "--units", "--non-quadratic", "--axes", "--oracle"):
        assert flag in whole


def test_flags_of_the_last_version_warn_and_work(run, files, tmp_path):
    words = ["fit", files / "d.npz", "--out", tmp_path / "r", "--family", "none", "--seed", "1", *TINY]
    code, _, err = run(*words, "--warmup=0.25", "--no-judge")
    assert code == 0
    assert "warning: --warmup is deprecated; use --first-stage" in err
    assert "warning: --no-judge is deprecated; use --no-selection" in err
    record = json.loads((tmp_path / "r" / "run.json").read_text())
    assert (record["config"]["first_stage"], record["config"]["selection"]) == (0.25, False)


def test_inspect_finds_the_run_in_a_folder_or_names_the_runs(run, files, tmp_path):
    shutil.copytree(files / "r", tmp_path / "demo" / "run")
    code, out, _ = run("inspect", tmp_path / "demo", "--json")
    assert code == 0 and "rank" in json.loads(out)
    shutil.copytree(files / "r", tmp_path / "demo" / "second")
    code, _, err = run("inspect", tmp_path / "demo")
    assert code == 5 and f"choose one of {tmp_path / 'demo' / 'run'}, {tmp_path / 'demo' / 'second'}" in err


def test_reports_of_all_families_have_the_same_keys(run, files, tmp_path):
    code, _, _ = run(
        "fit", files / "d.npz", "--out", tmp_path / "n", "--family", "none", "--seed", "1", *TINY
    )
    assert code == 0
    quadratic, none = (
        json.loads(run("inspect", path, "--json")[1]) for path in (files / "r", tmp_path / "n")
    )
    assert set(quadratic) == set(none)
    assert {"rank", "algebra", "dimension", "closure_defect", "conservation_defect", "formulas"} <= set(none)


def test_answer_only_prints_the_answer_and_writes_nothing(run, files, tmp_path):
    before = sorted(tmp_path.iterdir())
    code, out, _ = run("fit", files / "d.npz", "--answer-only")
    assert code == 0 and out.startswith("Hamiltonian ")
    assert "exactly conserved" in out.splitlines()[2]
    assert sorted(tmp_path.iterdir()) == before


def test_a_fit_without_a_folder_is_refused(run, files):
    code, _, err = run("fit", files / "d.npz")
    assert code == 2 and "--out" in err
