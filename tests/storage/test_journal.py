"""Checkpoints: an interrupted fit ends with the same result, and every corruption is reported."""

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import noethers_razor as nr
from noethers_razor.cli import jobs as workflow
from noethers_razor.cli.jobs import RunTarget, fit_into_folder
from noethers_razor.cli.progress import Progress
from noethers_razor.errors import UsageError
from noethers_razor.storage import journal as room
from noethers_razor.storage.journal import Journal, fingerprint
from noethers_razor.systems import Oscillators
from tests.brief import TINY as BRIEF
from tests.brief import one_oscillator

TINY = nr.FitConfig.of(steps=200, chunk=10, width=8, depth=1, orbit_samples=2, batch=16, first_stage=0.5)
JOB = {"data": "d", "seed": 1}
INPUTS = {"x": np.arange(3.0)}


@pytest.fixture
def told():
    return []


def opened(folder, told, seconds=0.0, job=JOB):
    journal = Journal(folder, seconds, told.append)
    journal.begin(job)
    return journal


def model(result):
    return fingerprint({name: np.asarray(value) for name, value in result.params.items()})


@pytest.mark.slow
def test_an_interrupted_fit_ends_as_it_would_have(tmp_path):
    system, family = Oscillators(n=1), nr.Quadratic(3)
    data = system.simulate(1, n_trajectories=24, n_steps=8)
    whole = nr.fit(data, seed=1, conserved=family, config=TINY)
    lengths, fitted, stops = np.random.default_rng(0).integers(2, 12, 100), None, 0
    while fitted is None:
        left = lengths[stops]

        def watch(row, total):
            nonlocal left
            left -= 1
            if not left:
                raise KeyboardInterrupt

        try:
            fitted = nr.fit(
                data, seed=1, conserved=family, config=TINY, watch=watch, journal=Journal(tmp_path / "j", 0.0)
            )
        except KeyboardInterrupt:
            stops += 1
    assert stops >= 2
    assert model(fitted) == model(whole)
    saved = [one.save(tmp_path / name) / "model.npz" for one, name in ((fitted, "a"), (whole, "b"))]
    assert saved[0].read_bytes() == saved[1].read_bytes()
    assert fitted.elbo == whole.elbo
    assert [row.negative_elbo for row in fitted.history] == [row.negative_elbo for row in whole.history]
    assert fitted.metrics["steps"] == whole.metrics["steps"]


@pytest.mark.slow
def test_seeds_have_journals_of_their_own(tmp_path):
    data = Oscillators(n=1).simulate(1, n_trajectories=24, n_steps=8)
    best = nr.fit(data, seed=[1, 2], conserved=3, config=TINY, journal=tmp_path / "j")
    calls = []
    again = nr.fit(
        data,
        seed=[1, 2],
        conserved=3,
        config=TINY,
        watch=lambda row, total: calls.append(row),
        journal=Journal(tmp_path / "j"),
    )
    assert [model(one) for one in (again, *again.others)] == [model(one) for one in (best, *best.others)]
    # All calls are in the journal: nothing is trained again.
    assert not calls


def test_checkpoints_of_another_fit_are_refused(tmp_path):
    data, other = one_oscillator(), one_oscillator(seed=2)
    nr.fit(data, seed=1, conserved=nr.NoSymmetry(), config=BRIEF, journal=Journal(tmp_path / "j"))
    with pytest.raises(UsageError, match=r"of another fit: data, seed differ \(data: \w+\.\.\. there"):
        nr.fit(other, seed=2, conserved=nr.NoSymmetry(), config=BRIEF, journal=Journal(tmp_path / "j"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file; expected a folder for checkpoints"):
        Journal(tmp_path / "file")


def test_newest_records_are_kept_and_found(tmp_path, told):
    call = opened(tmp_path, told).call("training", INPUTS)
    for i in range(5):
        call.keep({"at": np.array(i)}, {"i": i})
    assert len(list(tmp_path.glob("0001-*"))) == 2
    again = opened(tmp_path, told).call("training", INPUTS)
    record = again.found()
    assert (int(record.arrays["at"]), record.document, record.ended) == (4, {"i": 4}, False)
    again.keep({"at": np.array(9)}, {}, ended=True)
    assert [path.name for path in tmp_path.glob("0001-*")] == ["0001-end"]
    assert opened(tmp_path, told).call("training", INPUTS).found().ended
    assert not told


def test_time_between_records_is_kept(tmp_path, told, monkeypatch):
    now = 100.0
    monkeypatch.setattr(room.time, "monotonic", lambda: now)
    call = opened(tmp_path, told, seconds=10.0).call("training", INPUTS)
    assert not call.due
    now = 110.0
    assert call.due
    call.keep({}, {})
    assert not call.due


@pytest.mark.parametrize("change", ["name", "inputs", "job"])
def test_records_of_other_inputs_are_not_used(change, tmp_path, told):
    opened(tmp_path, told).call("training", INPUTS).keep({}, {}, ended=True)
    if change == "job":
        # A corrupted job description is written again. Every record holds the digest of its job.
        next((tmp_path / "job").glob("*.json")).write_text("{")
    journal = opened(tmp_path, told, job={**JOB, "seed": 2} if change == "job" else JOB)
    name, inputs = ("joint" if change == "name" else "training"), dict(INPUTS)
    if change == "inputs":
        inputs["x"] = np.nextafter(INPUTS["x"], 9)
    assert journal.call(name, inputs).found() is None
    assert "checkpoint of other inputs; computing this part again" in told[-1]
    assert not list(tmp_path.glob("0001-*"))


def damaged(path, generator, cut):
    """Flip a random bit of a file, or cut the file at a random place."""
    content = bytearray(path.read_bytes())
    if cut:
        path.write_bytes(content[: generator.integers(len(content))])
    else:
        content[generator.integers(len(content))] ^= 1 << int(generator.integers(8))
        path.write_bytes(content)


def test_other_circumstances_are_told_and_do_not_stop(tmp_path, told):
    journal = Journal(tmp_path, 0.0, told.append)
    journal.begin(JOB, {"devices": 2})
    journal.call("training", INPUTS).keep({}, {}, ended=True)
    journal.begin(JOB, {"devices": 1})
    assert "begun with {'devices': 2}, resumed with {'devices': 1}: last digits may differ" in told[0]
    assert journal.call("training", INPUTS).found().ended


@pytest.mark.parametrize("cut", [False, True], ids=["200 bits", "20 cuts"])
def test_damage_never_passes_in_silence(cut, tmp_path):
    generator, silent, fallen_back = np.random.default_rng(0), 0, 0
    states = [{"x": generator.normal(size=50), "count": np.array(i)} for i in range(2)]
    for trial in range(20 if cut else 200):
        folder, told = tmp_path / str(trial), []
        call = opened(folder, told).call("training", INPUTS)
        for i, state in enumerate(states):
            call.keep(state, {"i": i})
        newest = max(folder.glob("0001-*"))
        files = sorted(newest.iterdir())
        sizes = np.array([file.stat().st_size for file in files])
        damaged(generator.choice(files, p=sizes / sizes.sum()), generator, cut)
        found = opened(folder, told).call("training", INPUTS).found()
        whole = fingerprint(found.arrays) == fingerprint(states[found.document["i"]])
        silent += not whole or (found.document["i"] == 0 and not told)
        fallen_back += found.document["i"] == 0
        assert (found.document["i"] == 0) == ("checkpoint corrupted" in "".join(told))
    assert silent == 0
    assert fallen_back >= 0.95 * (trial + 1)


def test_a_full_disk_costs_the_checkpoint_alone(tmp_path, told, monkeypatch):
    call = opened(tmp_path, told).call("training", INPUTS)
    call.keep({"at": np.array(1)}, {})

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        call.keep({"at": np.array(2)}, {})
    assert "no checkpoint written (No space left on device); the fit continues without it" in told[0]
    assert int(opened(tmp_path, told).call("training", INPUTS).found().arrays["at"]) == 1
    assert not list(tmp_path.glob(".*"))


def test_what_was_not_finished_is_cleared_away(tmp_path, told):
    journal = opened(tmp_path, told)
    (tmp_path / ".0001-000001.abc").mkdir()
    journal.begin(JOB)
    assert not list(tmp_path.glob(".*"))


def test_two_do_not_write_into_one_folder(tmp_path, told):
    run = tmp_path / "run"
    first, second = (Journal(run / "checkpoints", 0.0, told.append, claimed=run) for _ in range(2))
    refused = f"another fit is writing into {run}; wait for it, or choose another folder"
    data = Oscillators(n=1).simulate(1, n_trajectories=24, n_steps=8)
    with first, first.part("seed-1") as part:
        part.begin(JOB)
        part.call("training", INPUTS).keep({}, {}, ended=True)
        for other in (second, second.part("seed-1"), second.part("seed-2")):
            with pytest.raises(UsageError, match=refused), other:
                pass
        for choice in ({"overwrite": True}, {"overwrite": False, "resume": True}):
            with pytest.raises(UsageError, match=refused):
                fit_into_folder(data, RunTarget(run, **choice), nr.NoSymmetry(), [1], TINY)
        assert len(part.records_of("0001")) == 1
    # After the release the folder is free, and no lock file is left next to it.
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    with second:
        second.clear()
    assert not second.folder.exists()


def test_a_run_is_claimed_until_its_last_file_is_written(tmp_path, monkeypatch):
    data = one_oscillator()

    def looked_at(*_):
        with pytest.raises(UsageError, match="another fit is writing"), Journal(tmp_path / "run"):
            pass
        return {}

    monkeypatch.setattr(workflow, "figures_of", looked_at)
    workflow.fit_into_folder(data, RunTarget(tmp_path / "run"), nr.NoSymmetry(), [1], BRIEF)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_clearing_leaves_what_is_not_its_own(tmp_path, told):
    journal = opened(tmp_path / "j", told)
    journal.call("training", INPUTS).keep({}, {}, ended=True)
    opened(tmp_path / "j" / "seed-1", told)
    (journal.folder / "thesis.tex").write_text("of another")
    journal.clear()
    assert [path.name for path in journal.folder.iterdir()] == ["thesis.tex"]


# The test imitates a file system without locks by replacing `fcntl.flock`. Windows has no `fcntl`.
@pytest.mark.skipif(sys.platform == "win32", reason="needs fcntl")
def test_a_folder_that_cannot_be_locked_is_used(tmp_path, told, monkeypatch):
    import fcntl

    def without(number):
        def flock(*_):
            raise OSError(number, os.strerror(number))

        return flock

    for number in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
        monkeypatch.setattr(fcntl, "flock", without(number))
        with Journal(tmp_path / "j", 0.0, told.append) as journal:
            journal.begin(JOB)
        assert "cannot be locked; make sure that no other fit writes there" in told.pop()
    monkeypatch.setattr(fcntl, "flock", without(errno.EIO))
    with pytest.raises(OSError, match="Input/output"), journal:
        pass


COMMAND = [sys.executable, "-m", "noethers_razor.cli.main"]
SETTINGS = ["--steps", "600", "--chunk", "10", "--width", "8", "--conserved", "3", "--seed", "1", "--quiet"]


def program(*words, **options):
    return subprocess.Popen(
        [*COMMAND, *map(str, words)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
    )


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL], ids=["TERM", "KILL"])
def test_a_program_that_is_stopped_goes_on(sent, tmp_path):
    data, run = tmp_path / "d.npz", tmp_path / "run"
    Oscillators(n=1).simulate(1, n_trajectories=24, n_steps=8).save(data)
    child = program("fit", data, "--out", run, *SETTINGS, "--checkpoint-seconds", "0")
    began = time.monotonic()
    while not list(run.glob("checkpoints/0001-*")):
        assert time.monotonic() - began < 120, child.communicate()
        assert child.poll() is None, child.communicate()
        time.sleep(0.05)
    os.kill(child.pid, sent)
    _, errors = child.communicate(timeout=120)
    if sent != signal.SIGKILL:
        assert child.returncode == 130
        assert f"interrupted; checkpoints are in {run}: pass --resume to continue" in errors
    ended = program("fit", data, "--out", run, "--resume", "--quiet")
    out, errors = ended.communicate(timeout=120)
    assert ended.returncode == 0, errors
    assert "conserved quantit" in out
    assert not (run / "checkpoints").exists()
    settings = nr.FitConfig.of(steps=600, chunk=10, width=8)
    assert nr.load_result(run).config == settings


def test_a_signal_whose_exception_is_lost_still_stops(monkeypatch):
    class Leaving:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    lost, before = [], signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    with Progress(quiet=True) as progress:
        progress(None, 1)
        Leaving()
        assert [one.exc_type for one in lost] == [KeyboardInterrupt]
        with pytest.raises(KeyboardInterrupt):
            progress(None, 1)
    assert signal.getsignal(signal.SIGTERM) == before
