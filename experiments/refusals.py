"""Unusable files: what is wrong with each file, the error code, and the seconds and memory of the check.

Run as `python -m experiments.refusals`. `noethers-razor check` reads each file in its own process.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.tables import markdown, parser, write

Writer = Callable[[Path], Path]
SHAPE = (6, 20, 2)
STATES = np.random.default_rng(0).normal(size=(*SHAPE, 2))
GOOD: dict[str, Any] = {"q": STATES[..., 0], "p": STATES[..., 1], "t": 0.2 * np.arange(SHAPE[1])}
HEADER = "trajectory,t,q1,q2,p1,p2"


class Case(NamedTuple):
    """Function that writes a file, the expected error code, and the flags of `noethers-razor check`."""

    write: Writer
    code: str
    flags: tuple[str, ...] = ()


def _changed(array: np.ndarray, place: Any, value: Any) -> np.ndarray:
    out = array.copy()
    out[place] = value
    return out


def npz(**changes: Any) -> Writer:
    """Write a good .npz archive with changed arrays; None leaves an array out."""

    def write(folder: Path) -> Path:
        arrays = {**GOOD, **changes}
        np.savez(folder / "d.npz", **{name: value for name, value in arrays.items() if value is not None})
        return folder / "d.npz"

    return write


def _bytes(name: str, content: bytes) -> Writer:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def _damaged(inner: Writer, damage: Callable[[bytes], bytes]) -> Writer:
    def write(folder: Path) -> Path:
        path = inner(folder)
        path.write_bytes(damage(path.read_bytes()))
        return path

    return write


def _cut(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0x10]) + content[middle + 1 :]


def _bomb(folder: Path) -> Path:
    """Write half a gigabyte of zeros into an archive of half a megabyte."""
    with zipfile.ZipFile(folder / "d.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("q", "p"):
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array_header_1_0(
                    member, {"descr": "<f8", "fortran_order": False, "shape": (64, 2**16, 8)}
                )
                for _ in range(256):
                    member.write(bytes(2**20))
        with archive.open("t.npy", "w") as member:
            np.lib.format.write_array(member, np.arange(2.0**16))
    return folder / "d.npz"


def _escaping(folder: Path) -> Path:
    path = npz()(folder)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../outside.npy", b"")
    return path


def _huge_header(folder: Path) -> Path:
    """Write arrays whose headers claim more numbers than any disk can hold."""
    with zipfile.ZipFile(folder / "d.npz", "w") as archive:
        for name in ("q", "p", "t"):
            with archive.open(f"{name}.npy", "w") as member:
                header = {"descr": "<f8", "fortran_order": False, "shape": (10**12, 10**3, 2)}
                np.lib.format.write_array_header_1_0(member, header)
    return folder / "d.npz"


def table(*lines: str) -> Writer:
    return _bytes("d.csv", "\n".join(lines).encode())


def rows(count: int = 8, **cells: str) -> list[str]:
    """Return lines of one trajectory; a keyword cROW_COLUMN replaces the text of that cell."""
    rows = [["0", f"{0.1 * k:.1f}", *(f"{v:.4f}" for v in STATES[0, k].T.ravel())] for k in range(count)]
    for place, value in cells.items():
        row, column = place.removeprefix("c").split("_")
        rows[int(row)][int(column)] = value
    return [",".join(row) for row in rows]


def hdf5(change: Callable[[Any, Path], None]) -> Writer:
    """Write a good HDF5 file, then call `change` with the open file and its folder."""

    def write(folder: Path) -> Path:
        import h5py

        with h5py.File(folder / "other.h5", "w") as other:
            other["q"] = GOOD["q"]
        with h5py.File(folder / "d.h5", "w") as file:
            for name, value in GOOD.items():
                file[name] = value
            change(file, folder)
        return folder / "d.h5"

    return write


def _external_link(file: Any, folder: Path) -> None:
    import h5py

    del file["q"]
    file["q"] = h5py.ExternalLink(str(folder / "other.h5"), "/q")


def _soft_link(file: Any, folder: Path) -> None:
    import h5py

    file["there"] = GOOD["q"]
    del file["q"]
    file["q"] = h5py.SoftLink("/there")


def _virtual(file: Any, folder: Path) -> None:
    import h5py

    layout = h5py.VirtualLayout(SHAPE, "f8")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "q", SHAPE)
    del file["q"]
    file.create_virtual_dataset("q", layout)


def _external_storage(file: Any, folder: Path) -> None:
    (folder / "raw").write_bytes(GOOD["q"].tobytes())
    del file["q"]
    file.create_dataset("q", SHAPE, "f8", external=[(str(folder / "raw"), 0, GOOD["q"].nbytes)])


def _group(file: Any, folder: Path) -> None:
    del file["q"]
    file.create_group("q")


def _text(file: Any, folder: Path) -> None:
    del file["q"]
    file["q"] = "text"


def _unwritten(file: Any, folder: Path) -> None:
    """Create an array of 8 GB without writing any of it."""
    del file["q"]
    file.create_dataset("q", (1000, 1000, 1000), "f8", chunks=True)


def _large_chunk(file: Any, folder: Path) -> None:
    """Store a small array in a chunk of 80 MB."""
    del file["q"]
    file.create_dataset("q", data=GOOD["q"], chunks=(1000, 100, 100), maxshape=(None,) * 3, compression=9)


def _netcdf_with_link(folder: Path) -> Path:
    import h5py

    path = _netcdf()(folder)
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = 1.0
    with h5py.File(path, "a") as file:
        file["elsewhere"] = h5py.ExternalLink(str(folder / "other.h5"), "/x")
    return path


def _long_description(store: Path) -> None:
    _pickling(store)
    document = store / "q" / ".zarray"
    document.write_text(document.read_text() + " " * 2**20)


def _zarr_large_chunk(folder: Path) -> Path:
    import zarr

    group = zarr.open_group(folder / "d.zarr", mode="w", zarr_format=3)
    for name in ("q", "p"):
        group.create_array(name, shape=SHAPE, dtype="f8", chunks=(100, 1000, 1000))
    group.create_array("t", data=GOOD["t"])
    return folder / "d.zarr"


def _no_momenta(file: Any, folder: Path) -> None:
    del file["p"]


def _netcdf(change: Callable[[Any], Any] = lambda data: data, engine: str = "h5netcdf") -> Writer:
    def write(folder: Path) -> Path:
        import noethers_razor as nr

        change(nr.Trajectories(**GOOD).to_xarray()).to_netcdf(folder / "d.nc", engine=engine)
        return folder / "d.nc"

    return write


def _zarr(change: Callable[[Path], None]) -> Writer:
    def write(folder: Path) -> Path:
        import zarr

        group = zarr.open_group(folder / "d.zarr", mode="w", zarr_format=2)
        for name, value in GOOD.items():
            group.create_array(name, data=value)
        change(folder / "d.zarr")
        return folder / "d.zarr"

    return write


def _pickling(store: Path) -> None:
    document = store / "q" / ".zarray"
    value = json.loads(document.read_text())
    document.write_text(json.dumps({**value, "filters": [{"id": "pickle", "protocol": 5}]}))


def _without(name: str) -> Callable[[Path], None]:
    return lambda store: shutil.rmtree(store / name)


def _linked(store: Path) -> None:
    shutil.move(store / "q", store.parent / "elsewhere")
    (store / "q").symlink_to(store.parent / "elsewhere")


def _chunk_cut(store: Path) -> None:
    chunk = next(path for path in (store / "q").iterdir() if not path.name.startswith("."))
    chunk.write_bytes(chunk.read_bytes()[:20])


def _archive(masses: tuple[float, ...] = (1.0, 1e-3)) -> Writer:
    def write(folder: Path) -> Path:
        import rebound

        simulation = rebound.Simulation()
        for i, mass in enumerate(masses):
            simulation.add(m=mass, x=float(i), vy=0.9 * float(i))
        simulation.save_to_file(str(folder / "d.bin"), interval=0.5, delete_file=True)
        simulation.integrate(5.0)
        return folder / "d.bin"

    return write


def _nothing(folder: Path) -> Path:
    return folder / "d.npz"


def _folder(folder: Path) -> Path:
    (folder / "d.npz").mkdir()
    return folder / "d.npz"


_PICKLE = b"\x80\x04\x95\n\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01q\x94K\x01s."
"""Pickle of {"q": 1}."""
_TIMES = GOOD["t"]
_EACH = np.tile(_TIMES, (SHAPE[0], 1))
CASES: dict[str, Case] = {
    "positions without trajectories": Case(npz(q=GOOD["q"][0]), "NR102"),
    "positions with a fourth axis": Case(npz(q=GOOD["q"][..., None]), "NR102"),
    "fewer momenta than positions": Case(npz(p=GOOD["p"][..., :1]), "NR102"),
    "momenta at fewer times": Case(npz(p=GOOD["p"][:, :-1]), "NR102"),
    "fewer times than states": Case(npz(t=_TIMES[:-1]), "NR102"),
    "times with three axes": Case(npz(t=_EACH[..., None]), "NR102"),
    "one number for times": Case(npz(t=np.array(0.2)), "NR102"),
    "mask of another shape": Case(npz(mask=np.ones((2, 2), bool)), "NR102"),
    "axes in another order than said": Case(npz(), "NR102", ("--axes", "time,trajectory,dof")),
    "single states": Case(npz(q=GOOD["q"][:, :1], p=GOOD["p"][:, :1], t=_TIMES[:1]), "NR103"),
    "no trajectory": Case(npz(q=GOOD["q"][:0], p=GOOD["p"][:0]), "NR103"),
    "no degree of freedom": Case(npz(q=GOOD["q"][..., :0], p=GOOD["p"][..., :0]), "NR103"),
    "every state masked": Case(npz(mask=np.zeros(SHAPE[:2], bool)), "NR103"),
    "no neighbouring states": Case(npz(mask=np.arange(SHAPE[1]) % 2 * np.ones((SHAPE[0], 1), int)), "NR103"),
    "position not a number": Case(npz(q=_changed(GOOD["q"], (1, 2, 0), np.nan)), "NR105"),
    "momentum infinite": Case(npz(p=_changed(GOOD["p"], (0, 0, 1), np.inf)), "NR105"),
    "position beyond squares": Case(npz(q=_changed(GOOD["q"], (0, 0, 0), 1e200)), "NR105"),
    "no motion": Case(npz(q=np.ones(SHAPE), p=np.ones(SHAPE)), "NR106"),
    "time decreases": Case(npz(t=_TIMES[::-1]), "NR104"),
    "time stands still": Case(npz(t=_changed(_TIMES, 3, _TIMES[2])), "NR104"),
    "time of one trajectory jumps back": Case(npz(t=_changed(_EACH, (4, 7), 0.0)), "NR104"),
    "time not a number": Case(npz(t=_changed(_TIMES, 5, np.nan)), "NR104"),
    "time infinite": Case(npz(t=_changed(_TIMES, -1, np.inf)), "NR104"),
    "32 bits of a late time": Case(npz(t=(1e9 + _TIMES).astype(np.float32)), "NR104"),
    "complex positions": Case(npz(q=GOOD["q"] + 0j), "NR101"),
    "text for momenta": Case(npz(p=GOOD["p"].astype("U8")), "NR101"),
    "true and false for positions": Case(npz(q=GOOD["q"] > 0), "NR101"),
    "dates for times": Case(npz(t=np.arange(SHAPE[1]).astype("datetime64[s]")), "NR101"),
    "numbers with fractions for a mask": Case(npz(mask=np.full(SHAPE[:2], 0.5)), "NR101"),
    "objects for positions": Case(npz(q=np.array([{"x": 1}], dtype=object)), "NR108"),
    "no such file": Case(_nothing, "NR109"),
    "folder with the name of a file": Case(_folder, "NR109"),
    "unknown format": Case(_bytes("d.dat", b"1 2 3"), "NR110"),
    "empty file": Case(_bytes("d.npz", b""), "NR108"),
    "text called .npz": Case(_bytes("d.npz", b"q,p,t\n1,2,3\n"), "NR108"),
    "pickle called .npz": Case(_bytes("d.npz", _PICKLE), "NR108"),
    "archive cut short": Case(_damaged(npz(), _cut), "NR108"),
    "archive with a changed bit": Case(_damaged(npz(), _flipped), "NR108"),
    "archive without momenta": Case(npz(p=None), "NR107"),
    "velocities without masses": Case(npz(p=None, v=GOOD["p"]), "NR111"),
    "negative mass": Case(npz(p=None, v=GOOD["p"], mass=np.array([1.0, -1.0])), "NR112"),
    "masses of other bodies": Case(npz(p=None, v=GOOD["p"], mass=np.ones(3)), "NR112"),
    "metadata that are a list": Case(npz(metadata=np.array("[1]")), "NR108"),
    "metadata that are no JSON": Case(npz(metadata=np.array("{q")), "NR108"),
    "names of other coordinates": Case(npz(metadata=np.array('{"coordinates": ["x"]}')), "NR115"),
    "one name for two coordinates": Case(
        npz(metadata=np.array('{"coordinates": ["x", "x", "px", "py"]}')), "NR115"
    ),
    "zip bomb": Case(_bomb, "NR113"),
    "array larger than its file": Case(_huge_header, "NR108"),
    "member outside the archive": Case(_escaping, "NR114"),
    "line with a cell missing": Case(table(HEADER, *rows(), "0,0.8,1,2"), "NR117"),
    "word for a number": Case(table(HEADER, *rows(c3_2="none")), "NR105"),
    "empty cell": Case(table(HEADER, *rows(c3_4="")), "NR105"),
    "table without names": Case(table(*rows()), "NR107"),
    "table with a name twice": Case(table("t,q1,q1,p1,p2,x", *rows()), "NR117"),
    "table of names alone": Case(table(HEADER), "NR103"),
    "table without momenta": Case(table("trajectory,t,q1,q2,a,b", *rows()), "NR107"),
    "table with columns that do not go together": Case(table("trajectory,t,q1,q2,p1,p3", *rows()), "NR102"),
    "table with a column of masses": Case(table("mass,t,q1,q2,p1,p2", *rows()), "NR112"),
    "metadata with a number that is none": Case(npz(metadata=np.array('{"dt": NaN}')), "NR108"),
    "table out of order": Case(table(HEADER, *rows()[::-1]), "NR104"),
    "table that is no text": Case(_bytes("d.csv", b"\xff\xfe\x00t,q,p\n\x80"), "NR108"),
    "empty table": Case(_bytes("d.csv", b""), "NR117"),
    "HDF5 link to another file": Case(hdf5(_external_link), "NR114"),
    "HDF5 soft link": Case(hdf5(_soft_link), "NR114"),
    "HDF5 array of other files": Case(hdf5(_virtual), "NR114"),
    "HDF5 array in a raw file": Case(hdf5(_external_storage), "NR114"),
    "HDF5 group for an array": Case(hdf5(_group), "NR108"),
    "HDF5 text for an array": Case(hdf5(_text), "NR101"),
    "HDF5 array that was never written": Case(hdf5(_unwritten), "NR113"),
    "HDF5 array in a chunk far larger than it": Case(hdf5(_large_chunk), "NR113"),
    "HDF5 without momenta": Case(hdf5(_no_momenta), "NR107"),
    "HDF5 cut short": Case(_damaged(hdf5(lambda file, folder: None), _cut), "NR108"),
    "netCDF cut short": Case(_damaged(_netcdf(), _cut), "NR108"),
    "classic netCDF cut short": Case(_damaged(_netcdf(engine="scipy"), _cut), "NR108"),
    "netCDF with a link to another file": Case(_netcdf_with_link, "NR114"),
    "netCDF without times": Case(_netcdf(lambda data: data.drop_vars("t")), "NR107"),
    "zarr with a codec that unpickles": Case(_zarr(_pickling), "NR114"),
    "zarr with a description of a megabyte": Case(_zarr(_long_description), "NR114"),
    "zarr array in a chunk far larger than it": Case(_zarr_large_chunk, "NR113"),
    "zarr with a link": Case(_zarr(_linked), "NR114"),
    "zarr without positions": Case(_zarr(_without("q")), "NR107"),
    "zarr with a chunk cut short": Case(_zarr(_chunk_cut), "NR108"),
    "text called .bin": Case(_bytes("d.bin", b"hello" * 100), "NR108"),
    "simulation archive cut short": Case(_damaged(_archive(), lambda content: content[:200]), "NR108"),
    "body without mass": Case(_archive((1.0, 0.0)), "NR112"),
    "numbers of another machine": Case(_bytes("d.npz", struct.pack(">100d", *range(100))), "NR108"),
}


_MEASURE = (
    "import json,resource,subprocess,sys,time\n"
    "began=time.perf_counter()\n"
    "done=subprocess.run(sys.argv[1:],capture_output=True,text=True)\n"
    "seconds=time.perf_counter()-began\n"
    "peak=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
    "print(json.dumps([done.returncode,done.stderr.splitlines(),seconds,peak*1024/1e6]))\n"
)
"""Program of a small process in between: the peak memory of a child is at least the memory of its parent."""


def one_case(case: Case) -> dict[str, Any]:
    """Check one file. Return exit code, lines on standard error, seconds and memory (MB)."""
    with tempfile.TemporaryDirectory() as folder:
        path = case.write(Path(folder))
        program = [sys.executable, "-m", "noethers_razor.cli.main", "check", str(path), *case.flags]
        told = subprocess.run(
            [sys.executable, "-c", _MEASURE, *program], capture_output=True, text=True, check=True
        )
    code, lines, seconds, megabytes = json.loads(told.stdout)
    return {
        "exit_code": code,
        "lines": lines,
        "right": code == 3 and len(lines) == 1 and f" {case.code} " in lines[0],
        "seconds": seconds,
        "megabytes": megabytes,
    }


def main() -> None:
    options = parser("unusable files").parse_args()
    runs = {name: one_case(case) for name, case in CASES.items()}
    rows = [
        [
            name,
            CASES[name].code,
            "yes" if run["right"] else "NO: " + " / ".join(run["lines"])[:200],
            f"{run['seconds']:.2f}",
            f"{run['megabytes']:.0f}",
        ]
        for name, run in runs.items()
    ]
    right = sum(run["right"] for run in runs.values())
    write(
        options.out,
        "refusals",
        title=f"Unusable files: {right} of {len(runs)} are reported with the right code, in one line",
        command="python -m experiments.refusals",
        table=markdown(["file", "code", "reported with this code", "seconds", "MB"], rows),
        remarks=(
            f"The whole process takes at most {max(run['seconds'] for run in runs.values()):.2f} seconds "
            f"and {max(run['megabytes'] for run in runs.values()):.0f} MB of memory.\n"
        ),
        runs=runs,
        spread_of="Each file has one run.",
    )


if __name__ == "__main__":
    main()
