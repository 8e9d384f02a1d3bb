"""Files of all formats: equal data from each format, and error codes of unusable files."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import noethers_razor as nr
from experiments.refusals import CASES, GOOD, HEADER, hdf5, npz, rows, table
from noethers_razor._optional import extra
from noethers_razor.cli.options import LAYOUT, load_data
from noethers_razor.data import readers
from noethers_razor.data.gaps import split_arrays
from noethers_razor.data.layout import Layout, parsed_names
from noethers_razor.data.readers import READERS, base, load_trajectories, reader_of
from noethers_razor.errors import DataError, UsageError
from noethers_razor.systems import Oscillators

DATA = Oscillators(n=2).simulate(0, n_trajectories=5, n_steps=9)
FLAGS = {"axes": "--axes", "mass": "--mass"}


def flags(given=()):
    """Return the settings of a command line with only these flags."""
    found = dict.fromkeys(LAYOUT) | {"names": ()}
    for name, flag in FLAGS.items():
        if flag in given:
            found[name] = given[given.index(flag) + 1]
    return found


@pytest.mark.parametrize("name", CASES)
def test_files_that_cannot_be_used_are_refused_with_their_code(name, tmp_path):
    case = CASES[name]
    path = case.write(tmp_path)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    with pytest.raises(DataError, match=rf"^{case.code} .*d\.") as refusal:
        load_data(path, flags(case.flags))
    assert "\n" not in str(refusal.value)
    # The message has a place, then a reason or value, then what is expected or what to do.
    assert len(refusal.value.problems) >= 1 and any(mark in str(refusal.value) for mark in (";", ": "))
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before


def test_there_are_fifty_kinds_of_files_that_cannot_be_used():
    assert len(CASES) >= 50
    assert len({case.code for case in CASES.values()}) >= 14


GOOD_FILES = {"npz": npz(), "csv": table(HEADER, *rows()), "h5": hdf5(lambda file, folder: None)}
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["flip", "set", "cut", "insert", "remove"]), st.floats(0, 1), st.integers(0, 255)
    ),
    min_size=1,
    max_size=8,
)


def mutated(content, changes):
    content = bytearray(content)
    for kind, place, value in changes:
        at = int(place * max(len(content) - 1, 0))
        if kind == "cut":
            del content[at:]
        elif kind == "insert":
            content[at:at] = bytes([value]) * (1 + value % 16)
        elif content and kind == "remove":
            del content[at : at + 1 + value % 16]
        elif content:
            content[at] = value if kind == "set" else content[at] ^ (1 << value % 8)
    return bytes(content)


@pytest.mark.parametrize(("suffix", "count"), [("npz", 250), ("csv", 200), ("h5", 150)])
def test_mutations_of_a_valid_file_are_read_or_refused(suffix, count, tmp_path):
    path = GOOD_FILES[suffix](tmp_path)
    content = path.read_bytes()

    @settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(changes=CHANGES)
    def mutate(changes):
        path.write_bytes(mutated(content, changes))
        try:
            data = load_trajectories(path)
        except DataError as refusal:
            assert refusal.code.startswith("NR1") and "\n" not in str(refusal)
        else:
            assert np.isfinite(data.observed()).all()

    mutate()


def as_csv(path, data, delimiter=","):
    lines = [delimiter.join(["trajectory", "t", *data.coordinates])]
    for i in range(data.count):
        for k in np.flatnonzero(data.present[i]):
            numbers = [data.times[i, k], *data.states[i, k]]
            lines.append(delimiter.join([f"run {i}", *(repr(float(v)) for v in numbers)]))
    path.write_text("\n".join(lines) + "\n")


def write_variant(name, folder):
    """Write the same data in another form. Return path and layout."""
    import h5py

    arrays = {"q": DATA.q, "p": DATA.p, "t": DATA.t}
    path, layout = folder / "d.npz", Layout()
    match name:
        case "32 bits":
            arrays = {key: value.astype(np.float32) for key, value in arrays.items()}
        case "Fortran order":
            arrays = {key: np.asfortranarray(value) for key, value in arrays.items()}
        case "times of each trajectory":
            arrays["t"] = np.tile(DATA.t, (DATA.count, 1))
        case "padded":
            arrays = {key: np.pad(arrays[key], ((0, 0), (0, 3), (0, 0))) for key in "qp"}
            arrays["t"] = np.append(DATA.t, DATA.t[-1] + np.arange(1.0, 4.0))
            arrays["mask"] = np.tile(np.arange(13) < 10, (DATA.count, 1))
        case "other names":
            arrays = {"position": DATA.q, "momentum": DATA.p, "when": DATA.t}
            layout = Layout(parsed_names(["q=position", "p=momentum", "t=when"]))
        case "time first":
            arrays = {"q": DATA.q.transpose(1, 2, 0), "p": DATA.p.transpose(1, 2, 0), "t": DATA.t}
            layout = Layout(axes=("time", "dof", "trajectory"))
        case "coordinates apart":
            arrays = {f"x{i}": DATA.q[..., i] for i in range(2)} | {f"y{i}": DATA.p[..., i] for i in range(2)}
            arrays["t"] = DATA.t
            layout = Layout(parsed_names(["q=x0,x1", "p=y0,y1"]))
        case "velocities and masses":
            arrays = {"q": DATA.q, "v": DATA.p / [2.0, 4.0], "t": DATA.t, "mass": np.array([2.0, 4.0])}
    if name == "csv":
        as_csv(folder / "d.csv", DATA)
        return folder / "d.csv", layout
    if name == "tsv":
        as_csv(folder / "d.tsv", DATA, "\t")
        return folder / "d.tsv", layout
    if name == "HDF5":
        with h5py.File(folder / "d.h5", "w") as file:
            for key, value in arrays.items():
                file.create_dataset(f"run/{key}", data=value, compression="gzip")
        return folder / "d.h5", Layout({key: (f"run/{key}",) for key in arrays})
    if name.startswith("netCDF"):
        DATA.to_xarray().transpose("dof", ...).to_netcdf(
            folder / "d.nc", engine="scipy" if "classic" in name else "h5netcdf"
        )
        return folder / "d.nc", layout
    if name.startswith("zarr"):
        import zarr

        store = folder / "d.zarr"
        if "zip" in name:
            store = zarr.storage.ZipStore(folder / "d.zip", mode="w")
        group = zarr.open_group(store, mode="w", zarr_format=2 if "2" in name else 3)
        for key, value in arrays.items():
            group.create_array(key, data=value)
        if "zip" in name:
            store.close()
        return folder / ("d.zip" if "zip" in name else "d.zarr"), layout
    np.savez(path, **arrays)
    return path, layout


VARIANTS = [
    *("plain", "32 bits", "Fortran order", "times of each trajectory", "padded", "other names", "time first"),
    *("coordinates apart", "velocities and masses", "csv", "tsv", "HDF5", "netCDF", "netCDF classic"),
    *("zarr 2", "zarr 3", "zarr zip"),
]


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_data_are_the_same_from_every_file(name, tmp_path):
    data = load_trajectories(*write_variant(name, tmp_path))
    assert data.q.dtype == np.float64
    np.testing.assert_allclose(data.observed(), DATA.observed(), atol=1e-6)
    ours, theirs = DATA.transitions(), data.transitions()
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-6)
    if name not in ("32 bits", "velocities and masses"):
        assert data.digest == DATA.digest


def test_unequal_lengths_come_from_tables(tmp_path):
    pieces = [(t, DATA.q[i, : len(t)], DATA.p[i, : len(t)]) for i, t in enumerate((DATA.t[:4], DATA.t[:9]))]
    data = nr.Trajectories.of_pieces(pieces, {"coordinates": ["x", "y", "px", "py"]})
    as_csv(tmp_path / "d.csv", data)
    layout = Layout(parsed_names(["q=x,y", "p=px,py"]))
    again = load_trajectories(tmp_path / "d.csv", layout)
    assert again.digest == data.digest
    assert again.coordinates == ["x", "y", "px", "py"]
    assert data.present.sum(axis=1).tolist() == [4, 9]
    assert data.transitions().total == 11


def test_pieces_must_fit_each_other():
    with pytest.raises(DataError, match=r"NR102 .*piece 1 has t \(3,\), q \(4, 2\)"):
        nr.Trajectories.of_pieces([(t, DATA.q[0, :4], DATA.p[0, :4]) for t in (DATA.t[:4], DATA.t[:3])])
    with pytest.raises(DataError, match=r"NR103 .*no piece"):
        nr.Trajectories.of_pieces([])


def test_bodies_in_space_have_a_mass_each(tmp_path):
    rng = np.random.default_rng(0)
    q, v = rng.normal(size=(2, 4, 10, 3, 2))
    np.savez(tmp_path / "d.npz", x=q, v=v, t=np.arange(10.0), m=np.array([1.0, 2.0, 3.0]))
    names = parsed_names(["q=x", "mass=m"])
    data = load_trajectories(tmp_path / "d.npz", Layout(names, ("trajectory", "time", "body", "dim")))
    np.testing.assert_allclose(data.p, (v * np.array([1.0, 2.0, 3.0])[:, None]).reshape(4, 10, 6))
    assert data.metadata["mass"] == [1, 1, 2, 2, 3, 3]
    # Without axes of bodies the body of a coordinate is unknown.
    np.savez(
        tmp_path / "d.npz", x=q.reshape(4, 10, 6), v=v.reshape(4, 10, 6), t=np.arange(10.0), m=np.ones(3)
    )
    with pytest.raises(DataError, match=r"NR112 .*3 masses for 6 .*trajectory,time,body,dim"):
        load_trajectories(tmp_path / "d.npz", Layout(names))
    data = load_trajectories(tmp_path / "d.npz", Layout(names, mass=(2.0,)))
    np.testing.assert_allclose(data.p, 2 * v.reshape(4, 10, 6))


def test_a_simulation_archive_gives_momenta(tmp_path):
    import rebound

    simulation = rebound.Simulation()
    simulation.add(m=1.0)
    simulation.add(m=1e-3, x=1.0, vy=1.0)
    simulation.move_to_com()
    simulation.save_to_file(str(tmp_path / "d.bin"), interval=0.25, delete_file=True)
    simulation.integrate(6.0)
    data = load_trajectories(tmp_path / "d.bin")
    assert (data.count, data.dof) == (1, 4)
    assert data.coordinates[:4] == ["x1", "y1", "x2", "y2"]
    # The momentum of the centre of mass vanishes. Angular momentum is constant.
    x1, y1, x2, y2, px1, py1, px2, py2 = data.states[0].T
    np.testing.assert_allclose(px1 + px2, 0, atol=1e-15)
    turning = x1 * py1 - y1 * px1 + x2 * py2 - y2 * px2
    np.testing.assert_allclose(turning, turning[0], rtol=1e-10)
    assert turning[0] > 1e-4


def test_a_folder_of_data_runs_no_code(tmp_path, monkeypatch):
    CASES["body without mass"].write(tmp_path)
    (tmp_path / "rebound.py").write_text("open('trace', 'w')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"^NR112 "):
        load_trajectories("d.bin")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("order", [("t", "q2", "q1", "p1", "p2"), ("p2", "q1", "t", "p1", "q2")])
def test_momenta_of_a_table_go_with_their_positions(order, tmp_path):
    values = {name: 10 * i + np.arange(4.0) for i, name in enumerate(("t", "q1", "q2", "p1", "p2"))}
    lines = [",".join(order), *(",".join(str(values[name][k]) for name in order) for k in range(4))]
    (tmp_path / "d.csv").write_text("\n".join(lines))
    data = load_trajectories(tmp_path / "d.csv")
    for i, name in enumerate(data.coordinates):
        np.testing.assert_array_equal(data.states[0, :, i], values[name])
    assert [name[1] for name in data.coordinates[:2]] == [name[1] for name in data.coordinates[2:]]


@pytest.mark.parametrize("header", ["t,q1,q_error,p1,p_value", "t,q1,q2,p1,p3"])
def test_columns_that_do_not_go_together_are_refused(header, tmp_path):
    (tmp_path / "d.csv").write_text("\n".join([header, "0,1,2,3,4", "1,2,3,4,5"]))
    with pytest.raises(DataError, match=r"^NR102 .*do not match p.*, (p_value|p3); expected one for each"):
        load_trajectories(tmp_path / "d.csv")


def test_lines_are_counted_as_editors_do(tmp_path):
    (tmp_path / "d.csv").write_text("t,q,p\n\n0,1,2\n\n1,x,2\n")
    with pytest.raises(DataError, match=r"^NR105 .*line 5, column q: 'x'"):
        load_trajectories(tmp_path / "d.csv")


def test_inner_axes_of_momenta_must_be_those_of_positions(tmp_path):
    np.savez(tmp_path / "d.npz", q=np.ones((4, 5, 3, 2)), p=np.ones((4, 5, 2, 3)), t=np.arange(5.0))
    with pytest.raises(DataError, match=r"^NR102 .*inner axes \(3, 2\) but p has \(2, 3\)"):
        load_trajectories(tmp_path / "d.npz", Layout(axes=("trajectory", "time", "body", "dim")))


def test_what_is_named_goes_before_what_happens_to_be_there(tmp_path):
    np.savez(
        tmp_path / "d.npz", q=DATA.q, p=0 * DATA.p, w=DATA.p, t=DATA.t, m1=np.array([2.0]), m2=np.array([4.0])
    )
    data = load_trajectories(tmp_path / "d.npz", Layout(parsed_names(["v=w", "mass=m1,m2"])))
    np.testing.assert_allclose(data.p, DATA.p * [2.0, 4.0])
    with pytest.raises(UsageError, match="p and v are both named"):
        Layout(parsed_names(["v=w", "p=p"]))
    with pytest.raises(UsageError, match="field t has the names a, b; expected one name"):
        Layout(parsed_names(["t=a,b"]))


def test_packed_netcdf_is_unpacked_and_its_dimensions_are_not_guessed(tmp_path):
    x = DATA.to_xarray()
    for name in "qp":
        x[name].encoding = {"dtype": "int16", "scale_factor": 1e-3, "_FillValue": -32768}
    x.to_netcdf(tmp_path / "d.nc", engine="h5netcdf")
    np.testing.assert_allclose(load_trajectories(tmp_path / "d.nc").states, DATA.states, atol=6e-4)
    # Momenta with bodies and axes in another order.
    q = DATA.q.reshape(5, 10, 2, 1)
    import xarray

    turned = xarray.Dataset(
        {
            "q": (("trajectory", "time", "body", "axis"), q),
            "p": (("axis", "time", "body", "trajectory"), DATA.p.reshape(5, 10, 2, 1).transpose(3, 1, 2, 0)),
            "t": ("time", DATA.t),
        }
    )
    turned.to_netcdf(tmp_path / "d.nc", engine="h5netcdf")
    assert load_trajectories(tmp_path / "d.nc").digest == DATA.digest
    x.rename(trajectory="run").to_netcdf(tmp_path / "d.nc", engine="h5netcdf")
    with pytest.raises(
        DataError,
        match=r"^NR102 .*dimensions run, time, dof; expected trajectory, time and .*run='trajectory'",
    ):
        load_trajectories(tmp_path / "d.nc")


def test_flags_that_a_format_has_no_use_for_are_refused(tmp_path):
    as_csv(tmp_path / "d.csv", DATA)
    with pytest.raises(UsageError, match="--axes has no effect on a table"):
        load_trajectories(tmp_path / "d.csv", Layout(axes=("time", "dof")))
    with pytest.raises(DataError, match=r"^NR107 .*no column run"):
        load_trajectories(tmp_path / "d.csv", Layout(parsed_names(["trajectory=run"])))


def test_gaps_are_cut(tmp_path):
    t = np.concatenate([np.arange(5.0), 100 + np.arange(4.0), [0.0, 1.0]])
    q = np.arange(22.0).reshape(1, 11, 2)
    with pytest.raises(DataError, match=r"NR104 .*cut trajectories there \(--split-at-gaps"):
        nr.Trajectories(q, q, t)
    arrays, alone = split_arrays(q, q, t, None)
    cut = nr.Trajectories(*arrays)
    assert alone == 0
    assert cut.present.sum(axis=1).tolist() == [5, 4, 2]
    assert cut.transitions().duration.max() == 1.0
    mask = np.ones((1, 11), bool)
    mask[0, 2] = False
    whole = nr.Trajectories(q[:, :9], q[:, :9], t[:9], mask[:, :9])
    assert whole.split_at_gaps().present.sum(axis=1).tolist() == [2, 2, 4]
    assert whole.split_at_gaps(1000.0).count == 2
    mask[0, 4] = False
    left = nr.Trajectories(q[:, :9], q[:, :9], t[:9], mask[:, :9]).split_at_gaps()
    assert left.present.sum(axis=1).tolist() == [2, 4]
    assert "1 of 7 states were single states between gaps and were removed" in left.summary().warnings
    assert left.split_at_gaps().alone == 1
    # Data that are cut again when they are read keep the number of removed states. A part of them does not.
    again = load_trajectories(left.save(tmp_path / "left.npz"), Layout(split=5.0))
    assert again.alone == 1
    assert left.select([0]).alone == 0


def test_rows_without_numbers_are_states_that_are_missing(tmp_path):
    lines = ["run,t,x,v", *(f"{run},{k},{run + 0.1 * k},{0.1 * k * k}" for run in (0, 1) for k in range(6))]
    lines[3], lines[11] = "0,2,,0.4", "1,none,1.4,x"
    path = tmp_path / "d.csv"
    path.write_text("\n".join(lines))
    names = {"trajectory": "run", "q": "x", "v": "v"}
    with pytest.raises(DataError) as refused:
        load_trajectories(path, Layout(names, mass=(2.0,)))
    assert [text.partition(":")[0] for _, text in refused.value.problems][1:] == [
        "line 4, column x",
        "line 12, column v",
    ]
    cut = load_trajectories(path, Layout(names, mass=(2.0,), split=5.0))
    # Two states before the first missing one, three after it. Four before the second one, one after it.
    assert cut.present.sum(axis=1).tolist() == [2, 3, 4]
    assert cut.alone == 1
    np.testing.assert_allclose(cut.p[0, :2, 0], [0.0, 0.2])
    path.write_text("t,q,p\n0,a,1\n1,b,2")
    with pytest.raises(DataError, match=r"^NR105 .*line 2, column q: 'a' is not a finite number \(2 in this"):
        load_trajectories(path, Layout(split=5.0))


def test_a_field_is_named_in_one_entry_or_several():
    assert parsed_names(["q=x,y"]) == parsed_names(["q=x", " q = y"]) == {"q": ("x", "y")}
    assert Layout({"t": "time", "q": ["x", "y"]}) == Layout({"t": ("time",), "q": ("x", "y")})


def test_what_is_no_layout_and_no_data_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"layout is dict; expected Layout\(names"):
        load_trajectories(tmp_path, {"q": "x"})
    with pytest.raises(UsageError, match="data are str; expected Trajectories, see load_trajectories"):
        nr.fit("d.npz", seed=1)


def test_summary_says_what_to_keep_in_mind():
    rng = np.random.default_rng(0)
    q = rng.normal(size=(4, 30, 2))
    q[..., 1] = 1e6 + 1e-3 * rng.normal(size=(4, 30))
    p = rng.normal(size=(4, 30, 2))
    p[..., 1] = 3.0
    q[3], p[3], p[0, 5], q[0, 5] = q[2], p[2], p[0, 4], q[0, 4]
    t = np.arange(30.0)
    t[20:] += 50
    found = nr.Trajectories(q, p, t).summary()
    text = str(found)
    assert text.startswith("4 trajectories of 30 states, 2 degrees of freedom")
    for words in (
        "116 transitions; fewer than 200",
        "p2 does not move",
        "q2 has mean 1e+06 and standard deviation 0.001: 32-bit numbers",
        "between equal states",
        "the longest time step is 51, the median is 1",
        "states change by",
        "1 trajectories are copies",
    ):
        assert words in text, words
    assert json.loads(json.dumps(found.as_json(), allow_nan=False))["transitions"] == 116
    assert not DATA.summary().warnings or "fewer than" in DATA.summary().warnings[0]


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"names": {"x": ("q",)}}, "unknown field 'x'; expected one of q, p, v"),
        ({"axes": ("dof",)}, "axes dof; expected different names that include time"),
        ({"axes": ("time", "time")}, "expected different names"),
        ({"split": 1.0}, "split at gaps of 1.0 time steps; expected a finite number above 1"),
    ],
)
def test_layouts_that_cannot_be_are_refused(layout, message):
    with pytest.raises(UsageError, match=message):
        Layout(**layout)
    with pytest.raises(UsageError, match="--map 'q'; expected FIELD=NAME"):
        parsed_names(["q"])


def test_a_missing_extra_is_named(monkeypatch):
    with pytest.raises(
        UsageError, match=r"reading HDF5 needs h5py_no; run: pip install 'noethers_razor\[hdf5\]'"
    ):
        extra("h5py_no", "hdf5", "reading HDF5")


def test_every_reader_is_registered():
    assert set(READERS) >= {".npz", ".csv", ".tsv", ".h5", ".hdf5", ".nc", ".zarr", ".zip", ".bin"}
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in READERS)
    files = {path.stem for path in Path(readers.__file__).parent.glob("*.py")} - {"__init__", "base"}
    assert {reader_of(suffix).__module__.rpartition(".")[2] for suffix in READERS} == files


def test_a_new_format_needs_one_entry(tmp_path, monkeypatch):
    as_csv(tmp_path / "d.lines", DATA)
    (tmp_path / "d.folder").mkdir()
    monkeypatch.setitem(READERS, ".lines", "noethers_razor.data.readers.table:read_table")
    assert load_trajectories(tmp_path / "d.lines").digest == DATA.digest
    monkeypatch.setitem(READERS, ".folder", lambda path, layout: DATA)
    with pytest.raises(DataError, match=r"^NR109 .*d\.folder is a folder"):
        load_trajectories(tmp_path / "d.folder")
    # A reader of folders says so in its own file.
    monkeypatch.setattr(base, "_FOLDERS", set(base._FOLDERS))
    monkeypatch.setitem(READERS, ".folder", base.folders(lambda path, layout: DATA))
    assert load_trajectories(tmp_path / "d.folder").digest == DATA.digest


def test_a_file_of_another_name_is_read_as_what_it_is_said_to_be(tmp_path):
    as_csv(tmp_path / "d.txt", DATA)
    assert load_trajectories(tmp_path / "d.txt", suffix="csv").digest == DATA.digest
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("nothing", "")
    with pytest.raises(DataError, match=r"NR10[78]"):
        load_trajectories(tmp_path / "d.zip")
    assert GOOD["q"].shape[0] == 6


def test_unused_columns_of_numbers_are_reported(tmp_path):
    path = tmp_path / "shots.csv"
    path.write_text("shot,t,q1,p1,z,who\n1,0,1,2,3,a\n1,.1,1.1,2,3,b\n2,.2,1.3,2,4,c\n2,.3,1.4,2,4,nan\n")
    warning = (
        "columns {} of the table hold numbers that are not used; if they are needed, name them with --map"
    )
    assert warning.format("shot, z") in nr.load_trajectories(path).summary().warnings
    named = load_trajectories(path, Layout({"trajectory": "shot"}))
    assert warning.format("z") in named.summary().warnings
