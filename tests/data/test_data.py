"""Trajectories: errors of unusable arrays, transitions, and files."""

import io
import json
import pickle  # only to write files that must raise an error: nothing here or in the package reads a pickle
import zipfile

import numpy as np
import pytest

from noethers_razor.data.readers import READERS, load_trajectories
from noethers_razor.data.trajectories import Trajectories
from noethers_razor.errors import DataError, UsageError

SHAPE = (3, 5, 2)


def arrays(**changes):
    """Return three trajectories of five states with two degrees of freedom, with some arrays replaced."""
    rng = np.random.default_rng(0)
    good = {"q": rng.normal(size=SHAPE), "p": rng.normal(size=SHAPE), "t": np.arange(5) * 0.2}
    return good | changes


def changed(array, index, value):
    array = np.array(array, dtype=np.float64)
    array[index] = value
    return array


Q, T = arrays()["q"], arrays()["t"]
HOLES = np.ones(SHAPE[:2], dtype=bool)
HOLES[1, 2] = HOLES[2, 4] = False

REFUSED = {
    "complex positions": ({"q": Q + 0j}, r"NR101 .*q holds complex128; expected real numbers"),
    "text times": ({"t": np.array(list("abcde"))}, r"NR101 .*t holds <U1; expected real numbers"),
    "boolean momenta": ({"p": Q > 0}, r"NR101 .*p holds bool"),
    "missing axis": ({"q": Q[0]}, r"NR102 .*q has shape \(5, 2\); expected \(trajectory, time, dof\)"),
    "momenta without positions": ({"p": Q[:, :, :1]}, r"NR102 .*q has shape .* but p has shape \(3, 5, 1\)"),
    "too few times": ({"t": T[:4]}, r"NR102 .*t has shape \(4,\); expected \(5,\) or \(3, 5\)"),
    "one number for times": ({"t": np.array(0.2)}, r"NR102 .*t has shape \(\)"),
    "mask of another shape": ({"mask": HOLES.T}, r"NR102 .*mask has shape \(5, 3\); expected \(3, 5\)"),
    "single states": (
        {"q": Q[:, :1], "p": Q[:, :1], "t": T[:1]},
        r"NR103 .*expected at least 1 trajectory, 2 times",
    ),
    "no trajectory": ({"q": Q[:0], "p": Q[:0]}, r"NR103 .*q has shape \(0, 5, 2\)"),
    "no coordinate": (
        {"q": Q[..., :0], "p": Q[..., :0]},
        r"NR103 .*and 1 degree of freedom",
    ),
    "no neighbours": (
        {"mask": np.tile([True, False, True, False, True], (3, 1))},
        r"NR103 .*no two neighbouring states are present",
    ),
    "time standing still": ({"t": changed(T, 3, T[2])}, r"NR104 .*t\[3\] = 0\.4 after t\[2\] = 0\.4"),
    "time running back": (
        {"t": changed(np.tile(T, (3, 1)), (2, 1), -1.0)},
        r"NR104 .*t\[1\] = -1 after t\[0\] = 0 \(trajectory 2\): sort the states by time",
    ),
    "time not a number": ({"t": changed(T, 2, np.nan)}, r"NR104 .*t\[2\] = nan"),
    "time without end": ({"t": changed(T, 4, np.inf)}, r"NR10[45] .*t\[4\] = inf"),
    "position not a number": (
        {"q": changed(changed(Q, (1, 2, 0), np.nan), (2, 0, 1), np.inf)},
        r"NR105 .*q\[1, 2, 0\] = nan is not finite \(2 in total\): remove these states, or set mask",
    ),
    "momentum without bound": ({"p": changed(Q, (0, 0, 1), -np.inf)}, r"NR105 .*p\[0, 0, 1\] = -inf"),
    "no motion": ({"q": np.zeros(SHAPE), "p": np.ones(SHAPE)}, r"NR106 .*expected motion"),
    # The mean of many .1 is not exactly .1. Rest must not depend on rounding.
    "no motion off the grid": (
        {"q": np.full(SHAPE, 0.1), "p": np.full(SHAPE, 0.7)},
        r"NR106 .*expected motion",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_unusable_arrays_are_refused(case):
    changes, message = REFUSED[case]
    with pytest.raises(DataError, match=message) as refusal:
        Trajectories(**arrays(**changes))
    # A message for the user, an error code for programs, an exit code for the shell.
    assert str(refusal.value).startswith(refusal.value.code)
    assert refusal.value.exit_code == 3
    assert "\n" not in str(refusal.value)


def test_all_problems_come_in_one_message():
    broken = arrays(q=changed(Q, (0, 0, 0), np.nan), t=T[::-1].copy())
    with pytest.raises(DataError, match=r"^NR105 runs: q\[0, 0, 0\] .*; NR104 t does not increase"):
        Trajectories(**broken, source="runs")


def test_problems_are_returned_without_raising():
    broken = arrays(q=changed(Q, (0, 0, 0), np.nan), t=T[::-1].copy())
    found = Trajectories.validate(broken["q"], broken["p"], broken["t"])
    assert [problem.code for problem in found] == ["NR105", "NR104"]
    assert Trajectories.validate(Q, Q, T) == []


def test_masked_states_may_hold_anything():
    broken = changed(changed(Q, (1, 2, 0), np.nan), (2, 4, 1), np.inf)
    times = changed(np.tile(T, (3, 1)), (2, 4), 0.0)
    data = Trajectories(**arrays(q=broken, t=times, mask=HOLES))
    assert np.isfinite(data.observed()).all()
    assert data.observed().shape == (13, 4)


def test_transitions_are_the_neighbours_that_both_exist():
    times = np.array([[0.0, 1.0, 3.0, 6.0, 10.0]] * 3) * [[1.0], [2.0], [3.0]]
    data = Trajectories(**arrays(t=times, mask=HOLES))
    transitions = data.transitions()
    # Trajectory 1 has no state 2 and therefore two transitions less. Trajectory 2 has no last state.
    pairs = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 3), (2, 0), (2, 1), (2, 2)]
    states = np.concatenate([data.q, data.p], axis=-1)
    assert transitions.total == len(pairs)
    np.testing.assert_array_equal(transitions.start, [states[i, k] for i, k in pairs])
    np.testing.assert_array_equal(transitions.end, [states[i, k + 1] for i, k in pairs])
    expected = [[times[i, k + 1] - times[i, k]] for i, k in pairs]
    np.testing.assert_allclose(transitions.duration, expected)


def test_shared_times_serve_every_trajectory():
    data = Trajectories(**arrays())
    assert (data.count, data.dof) == (3, 2)
    assert data.present.all()
    np.testing.assert_array_equal(data.times, np.tile(T, (3, 1)))
    assert data.transitions().total == 12
    np.testing.assert_allclose(data.transitions().duration, 0.2)


def test_whole_numbers_become_real_ones():
    data = Trajectories(**arrays(q=np.arange(30, dtype=np.uint8).reshape(SHAPE)))
    assert data.states.dtype == np.float64
    # Unsigned differences would wrap around.
    np.testing.assert_array_equal((data.transitions().end - data.transitions().start)[:, :2], 2.0)


@pytest.mark.parametrize("times", [T, np.tile(T, (3, 1)) * [[1.0], [2.0], [3.0]]], ids=["shared", "own"])
def test_selection_keeps_what_belongs_together(times):
    data = Trajectories(**arrays(t=times, mask=HOLES), metadata={"seed": 3})
    some = data.select(np.array([2, 1]))
    assert some.metadata == {"seed": 3}
    for name in ("states", "times", "present"):
        np.testing.assert_array_equal(getattr(some, name), getattr(data, name)[[2, 1]])


def test_digest_distinguishes_data_sets():
    digest = Trajectories(**arrays()).digest
    assert Trajectories(**arrays(), metadata={"note": 1}).digest == digest
    others = [{"q": changed(Q, (0, 0, 0), 9.0)}, {"t": 2 * T}, {"mask": HOLES}, {"p": Q.astype(np.float32)}]
    assert digest not in {Trajectories(**arrays(**other)).digest for other in others}


@pytest.mark.parametrize("mask", [None, HOLES], ids=["whole", "holes"])
@pytest.mark.parametrize("times", [T, np.tile(T, (3, 1)) * [[1.0], [2.0], [3.0]]], ids=["shared", "own"])
def test_files_give_back_what_was_saved(times, mask, tmp_path):
    metadata = {"system": {"name": "x", "parameters": {"w": [1.0, 2.5]}}, "note": "zürich"}
    data = Trajectories(**arrays(t=times, mask=mask), metadata=metadata)
    path = data.save(tmp_path / "orbits.npz")
    loaded = load_trajectories(path)
    for name in ("q", "p", "t"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(data, name))
    assert (loaded.mask is None) == (mask is None)
    np.testing.assert_array_equal(loaded.present, data.present)
    assert loaded.metadata == metadata
    assert loaded.digest == data.digest
    assert [p.name for p in tmp_path.iterdir()] == ["orbits.npz"]


def test_suffix_is_added_to_a_name_without_it(tmp_path):
    path = Trajectories(**arrays()).save(str(tmp_path / "run.1"))
    assert path == tmp_path / "run.1.npz"
    assert load_trajectories(str(path)).count == 3


def test_existing_files_are_overwritten_on_request_only(tmp_path):
    path = Trajectories(**arrays()).save(tmp_path / "orbits.npz")
    other = Trajectories(**arrays(t=2 * T))
    with pytest.raises(UsageError, match=r"orbits\.npz exists; choose another name"):
        other.save(path)
    np.testing.assert_array_equal(load_trajectories(path).t, T)
    other.save(path, overwrite=True)
    np.testing.assert_array_equal(load_trajectories(path).t, 2 * T)


def test_folders_are_not_made_on_the_way(tmp_path):
    with pytest.raises(UsageError, match=r"folder .*nowhere does not exist; create it first"):
        Trajectories(**arrays()).save(tmp_path / "nowhere" / "orbits.npz")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"NR109 .*nothing\.npz: no such file; check the path"):
        load_trajectories(tmp_path / "nothing.npz")


def test_unknown_format_is_refused_with_the_known_ones(tmp_path):
    (tmp_path / "orbits.txt").write_text("1 2 3")
    known = ", ".join(READERS).replace(".", r"\.")
    with pytest.raises(DataError, match=rf"NR110 .*unknown format '\.txt'; expected one of {known}"):
        load_trajectories(tmp_path / "orbits.txt")


def test_missing_arrays_are_named(tmp_path):
    np.savez(tmp_path / "orbits.npz", q=Q, t=T, w=Q)
    with pytest.raises(
        DataError, match=r"NR107 .*no array p among q, t, w; expected .*momenta p \(or velocities v"
    ):
        load_trajectories(tmp_path / "orbits.npz")


def test_refusals_name_the_file(tmp_path):
    np.savez(tmp_path / "orbits.npz", **arrays(t=T[::-1]))
    with pytest.raises(DataError, match=r"NR104 .*orbits\.npz: t does not increase"):
        load_trajectories(tmp_path / "orbits.npz")


class Trap:
    """Object that writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def write_pickle(path, trap):
    path.write_bytes(pickle.dumps({"q": trap}))


def write_object_array(path, trap):
    np.savez(path, **arrays(q=np.array([trap], dtype=object)))


def write_object_mask(path, trap):
    np.savez(path, **arrays(mask=np.array([trap], dtype=object)))


@pytest.mark.parametrize("write", [write_pickle, write_object_array, write_object_mask])
def test_pickles_are_never_opened(write, tmp_path):
    write(tmp_path / "orbits.npz", Trap(tmp_path / "trace"))
    with pytest.raises(DataError, match=r"NR108 .*not a readable \.npz archive of plain arrays") as refused:
        load_trajectories(tmp_path / "orbits.npz")
    assert not (tmp_path / "trace").exists()
    assert "unsafely" not in str(refused.value)  # the message does not advise to open it


def saved_bytes(tmp_path):
    return bytearray(Trajectories(**arrays()).save(tmp_path / "good.npz").read_bytes())


def truncated(content):
    return content[: len(content) // 2]


def flipped(content):
    # A deflated array begins with its block type. Type 3 does not exist: reading fails before the checksum.
    with zipfile.ZipFile(io.BytesIO(bytes(content))) as archive:
        header = archive.getinfo("q.npy").header_offset
    name, extra = (int.from_bytes(content[header + at : header + at + 2], "little") for at in (26, 28))
    content[header + 30 + name + extra] = 0b111
    return content


def encrypted(content):
    # The flag of encryption, in the central directory.
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return content


def unknown_compression(content):
    content[content.index(b"PK\x01\x02") + 10] = 77
    return content


def one_array(content):
    buffer = io.BytesIO()
    np.save(buffer, Q)
    return buffer.getvalue()


def text(content):
    return b"q,p,t\n1,2,3\n"


def nothing(content):
    return b""


def impossible_size(content):
    buffer, header = io.BytesIO(), io.BytesIO()
    shape = (10**6, 10**6, 10**3)
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in "qpt":
            archive.writestr(f"{name}.npy", header.getvalue())
    return buffer.getvalue()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "damage",
    [truncated, flipped, encrypted, unknown_compression, one_array, text, nothing, impossible_size],
)
def test_damaged_files_are_refused(damage, tmp_path):
    path = tmp_path / "orbits.npz"
    path.write_bytes(damage(saved_bytes(tmp_path)))
    with pytest.raises(DataError, match=r"NR108 .*orbits\.npz: not a readable \.npz archive"):
        load_trajectories(path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("[1, 2]", r"NR108 .*metadata have type list; expected a JSON object"),
        ("{seed", r"NR108 .*not a readable"),
        ("[" * 100_000, r"NR108 .*not a readable"),
    ],
    ids=["list", "no JSON", "too deep"],
)
def test_metadata_must_be_a_json_object(metadata, message, tmp_path):
    np.savez(tmp_path / "orbits.npz", **arrays(), metadata=np.array(metadata))
    with pytest.raises(DataError, match=message):
        load_trajectories(tmp_path / "orbits.npz")


def test_metadata_may_be_missing(tmp_path):
    np.savez(tmp_path / "orbits.npz", **arrays())
    assert load_trajectories(tmp_path / "orbits.npz").metadata == {}


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ({"made by": object()}, "NR115"),
        ({"dt": float("nan")}, "NR115"),
        ({"mass": "heavy"}, "NR112"),
        ({"mass": [1.0]}, "NR112"),
        ({"coordinates": ["a", "b", "c", "d\x1b[31m"]}, "NR115"),
    ],
)
def test_metadata_that_cannot_be_kept_are_refused(metadata, code):
    with pytest.raises(DataError, match=f"^{code} "):
        Trajectories(**arrays(), metadata=metadata)


def test_saved_metadata_is_json_text(tmp_path):
    path = Trajectories(**arrays(), metadata={"seed": 1}).save(tmp_path / "orbits.npz")
    with np.load(path, allow_pickle=False) as archive:
        assert json.loads(str(archive["metadata"][()])) == {"seed": 1}
