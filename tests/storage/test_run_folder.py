"""Run folders: written completely or not at all, and never read after a change."""

import json

import numpy as np
import pytest

from noethers_razor.errors import RunFolderError, UsageError
from noethers_razor.storage.run_folder import (
    MANIFEST,
    read_folder,
    require_free,
    require_target,
    write_folder,
)

ARRAYS = {"params/0/mean": np.arange(6.0).reshape(2, 3), "states": np.float32([[1.5, -2.0]])}
RECORD = {"seed": 3, "history": [{"step": 1, "stage": "joint"}], "none": None}


def write(folder, **options):
    return write_folder(
        folder,
        arrays={"model.npz": ARRAYS},
        documents={"run.json": RECORD},
        texts={"history.csv": "step\n1\n"},
        **options,
    )


def read(folder):
    return read_folder(folder, arrays="model.npz", document="run.json")


@pytest.fixture
def run(tmp_path):
    return write(tmp_path / "run")


def test_folder_gives_back_what_was_written(run):
    arrays, record = read(str(run))
    assert record == RECORD
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    assert (run / "history.csv").read_text() == "step\n1\n"
    assert {path.name for path in run.iterdir()} == {"model.npz", "run.json", "history.csv", MANIFEST}
    # No temporary folder is left next to it.
    assert [path.name for path in run.parent.iterdir()] == ["run"]


@pytest.mark.parametrize("name", ["model.npz", "run.json", "history.csv"])
def test_a_flipped_bit_is_found(name, run):
    content = bytearray((run / name).read_bytes())
    content[len(content) // 2] ^= 1
    (run / name).write_bytes(content)
    with pytest.raises(RunFolderError, match=rf"{name} differs from its checksum in {MANIFEST}") as refusal:
        read(run)
    assert refusal.value.exit_code == 5


@pytest.mark.parametrize("name", ["model.npz", "run.json", "history.csv"])
def test_a_missing_file_is_named(name, run):
    (run / name).unlink()
    with pytest.raises(RunFolderError, match=rf"{name} is missing; restore it or fit again"):
        read(run)


@pytest.mark.parametrize("manifest", [None, b"", b"[]", b"{", b"\xff"])
def test_without_a_manifest_nothing_is_read(manifest, run):
    if manifest is None:
        (run / MANIFEST).unlink()
    else:
        (run / MANIFEST).write_bytes(manifest)
    with pytest.raises(RunFolderError, match=rf"no readable {MANIFEST}; the run is incomplete"):
        read(run)


@pytest.mark.parametrize("name", ["model.npz", "run.json"])
def test_a_file_that_the_manifest_does_not_vouch_for_is_not_read(name, run):
    manifest = json.loads((run / MANIFEST).read_text())
    del manifest[name]
    (run / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(RunFolderError, match=rf"{MANIFEST} does not list {name}"):
        read(run)


def test_a_path_in_the_manifest_does_not_lead_outside(run):
    outside = run.parent / "outside"
    outside.write_text("secret")
    manifest = json.loads((run / MANIFEST).read_text())
    (run / MANIFEST).write_text(json.dumps(manifest | {"../outside": manifest["run.json"]}))
    with pytest.raises(RunFolderError, match=r"run.outside is missing"):
        read(run)


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_what_is_no_folder_is_no_run(kind, tmp_path):
    if kind == "file":
        (tmp_path / "run").write_text("")
    with pytest.raises(RunFolderError, match="is not a run folder; expected a folder that a fit has written"):
        read(tmp_path / "run")


def test_a_folder_that_holds_something_is_refused(run):
    before = read(run)[1]
    with pytest.raises(UsageError, match=r"run is not empty; choose another folder, or pass --overwrite"):
        write(run)
    assert read(run)[1] == before


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "run").mkdir()
    assert read(write(tmp_path / "run"))[1] == RECORD


def test_overwriting_replaces_the_whole_folder(run):
    (run / "stray.txt").write_text("from before")
    write(run, overwrite=True)
    assert not (run / "stray.txt").exists()
    assert read(run)[1] == RECORD


def test_impossible_targets_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="is a file; expected a folder to write a run into"):
            require_free(tmp_path / "file", overwrite=overwrite)
        with pytest.raises(UsageError, match=r"folder .*nowhere does not exist; create it first"):
            require_free(tmp_path / "nowhere" / "run", overwrite=overwrite)


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({"documents": {"run.json": {"bound": float("nan")}}}, ValueError, "Out of range float values"),
        ({"documents": {"run.json": {"bound": object()}}}, TypeError, "not JSON serializable"),
        ({"arrays": {"model.npz": {"a": np.array([object()])}}}, ValueError, "Object arrays cannot be saved"),
    ],
    ids=["not a number", "no JSON", "objects"],
)
def test_a_failed_write_leaves_everything_as_it_was(parts, error, message, run):
    whole = {"arrays": {"model.npz": ARRAYS}, "documents": {"run.json": RECORD}, "texts": {}}
    with pytest.raises(error, match=message):
        write_folder(run, **(whole | parts), overwrite=True)
    assert read(run)[1] == RECORD
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_what_cannot_be_renamed_is_refused_before_training(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    monkeypatch.chdir(tmp_path / "there")
    for folder in (tmp_path / "link", tmp_path / "there"):
        with pytest.raises(UsageError, match="a mount point; choose a folder in it"):
            require_target(folder, overwrite=False, resume=False)


def test_a_run_that_a_write_set_aside_is_put_back(run, tmp_path):
    run.replace(tmp_path / ".run.old.abc")
    require_target(tmp_path / "run", overwrite=False, resume=True)
    assert read(tmp_path / "run")[1] == RECORD


def test_links_in_a_run_are_not_followed(run, tmp_path):
    content = (run / "model.npz").read_bytes()
    (run / "model.npz").unlink()
    (tmp_path / "elsewhere.npz").write_bytes(content)
    (run / "model.npz").symlink_to(tmp_path / "elsewhere.npz")
    with pytest.raises(RunFolderError, match="is a link"):
        read(run)
