"""A journal of a long computation: what each of its calls has given, on disk, so that it can be gone on with.

A fit depends on data, settings and seed alone, and nearly all its time goes into few calls: trainings and
estimates. The journal numbers them and keeps the outcome of those that have ended, and the state of the one
that has not. Gone on with, a fit runs from its beginning, finds what it has done, and ends as it would have.
Every record is a folder that appears whole, with a checksum of each file.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout

from noethers_razor.errors import RunFolderError, UsageError
from noethers_razor.storage.run_folder import MANIFEST, read_folder, write_folder

SECONDS = 10.0
"""Between two records of a training that goes on."""
_ARRAYS, _DOCUMENT, _JOB = "state.npz", "state.json", "job"
NOTES = "notes"
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What file systems without locks say."""
_KEPT = 2
"""Records of a call that has not ended: should the newest be damaged, there is one before it."""


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Record(NamedTuple):
    """What is known of a call: arrays by name, a JSON value, and whether the call had ended."""

    arrays: Mapping[str, np.ndarray]
    document: dict[str, Any]
    ended: bool


def fingerprint(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of arrays and their names."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {value.shape} {value.dtype.str}".encode())
        total.update(value.tobytes())
    return total.hexdigest()


class Journal:
    """Records of the calls of one computation in a folder.

    Args:
        folder: made when the computation begins; one that holds records is gone on with, see `begin`.
        seconds: between two records of a call that goes on; 0 keeps each.
        tell: for what a user should know of: records that are damaged or not of this computation.
        notes: JSON values that are kept beside the records, in the folder `NOTES`.
        claimed: folder that no other fit may write into meanwhile, that of the journal by default.
    Raises:
        UsageError: when the folder is a file.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        seconds: float = SECONDS,
        tell: Callable[[str], None] = _tell,
        notes: Mapping[str, Any] | None = None,
        claimed: str | os.PathLike[str] | None = None,
    ) -> None:
        self.folder, self.seconds, self.tell, self._notes = Path(folder), seconds, tell, notes
        self._calls, self._job = 0, ""
        self._whole: Journal | None = None
        self._claimed = self.folder if claimed is None else Path(claimed)
        # The system gives a lock up when its process ends, however it ends; a file instead of one would
        # outlive a process that was killed. It lies beside the folder, which may be replaced as a whole.
        beside = self._claimed.resolve().parent / f".{self._claimed.name}.lock"
        self._lock = FileLock(beside, timeout=0, thread_local=False, fallback_to_soft=False)
        if self.folder.is_file():
            raise UsageError(f"{self.folder} is a file; expected a folder for checkpoints")

    def part(self, name: str) -> Journal:
        """The journal of a part of the computation, in a folder below."""
        part = Journal(self.folder / name, self.seconds, self.tell)
        part._whole, part._lock, part._claimed = self, self._lock, self._claimed
        return part

    def make(self) -> None:
        """The folder, and the notes in it: from now on there is something to go on with."""
        if self._whole is not None:
            self._whole.make()
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._notes is not None and not (self.folder / NOTES).is_dir():
            write_folder(self.folder / NOTES, documents={f"{NOTES}.json": dict(self._notes)})

    def __enter__(self) -> Journal:
        """Claim the folder; claims of one journal, and of its parts, lie within each other.

        Raises:
            UsageError: when another fit has claimed it.
            OSError: when no file can be written beside it.
        """
        path = Path(self._lock.lock_file)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            raise UsageError(
                f"another fit is writing into {self._claimed}; wait for it, or choose another folder"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            self.tell(f"{self._claimed} cannot be locked: see to it that no other fit writes there")
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock.lock_counter == 1:
            # Nobody waits for the file: who finds it locked is refused.
            with contextlib.suppress(OSError):
                Path(self._lock.lock_file).unlink()
        self._lock.release()

    def clear(self) -> None:
        """Remove all records, and the folder if nothing else is in it."""
        for path in self.folder.glob("*"):
            if (path / MANIFEST).is_file() or path.name.startswith("."):
                shutil.rmtree(path, ignore_errors=True)
            elif path.is_dir():
                Journal(path, tell=self.tell).clear()
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def begin(self, job: dict[str, Any], circumstances: dict[str, Any] | None = None) -> None:
        """Say what the computation depends on, as JSON values by name.

        Args:
            circumstances: what its last digits may depend on besides: told where it differs.
        Raises:
            UsageError: when the folder holds records of another one; says what differs.
            OSError: when the folder cannot be made.
        """
        self.make()
        self._calls, job = 0, json.loads(json.dumps(job))
        self._job = hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()
        for left in self.folder.glob(".*"):
            # What a record that was not finished has left.
            shutil.rmtree(left, ignore_errors=True)
        home = self.folder / _JOB
        try:
            kept = read_folder(home, document=_DOCUMENT)[1] if home.is_dir() else None
            known, before = (None, None) if kept is None else (kept["job"], kept["circumstances"])
        except RunFolderError as error:
            # What it depends on is also in every record.
            self.tell(f"{error}; written anew")
            shutil.rmtree(home, ignore_errors=True)
            known = before = None
        if known is None:
            write_folder(home, documents={_DOCUMENT: {"job": job, "circumstances": circumstances or {}}})
            return
        if before != (circumstances or {}):
            self.tell(f"begun under {before}, going on under {circumstances}: last digits may differ")
        differing = sorted(name for name in job.keys() | known.keys() if job.get(name) != known.get(name))
        if differing:
            name = differing[0]
            raise UsageError(
                f"{self.folder} holds checkpoints of another fit: {', '.join(differing)} differ "
                f"({name}: {_short(known.get(name))} there, {_short(job.get(name))} here); "
                "go on with the same data and settings, or begin anew elsewhere"
            )

    def call(self, name: str, inputs: Mapping[str, np.ndarray]) -> Call:
        """The next call of the computation: named, with all that its outcome depends on."""
        self._calls += 1
        about = {"job": self._job, "name": name, "inputs": fingerprint(inputs)}
        return Call(self, f"{self._calls:04d}", about)

    def records_of(self, number: str) -> list[Path]:
        """Folders of the records of a call, the newest first: that of its end sorts last by name."""
        return sorted(self.folder.glob(f"{number}-*"), reverse=True)

    def write(self, path: Path, arrays: Mapping[str, np.ndarray], document: dict[str, Any]) -> bool:
        """Write a record; a disk that is full or read-only costs the record and not the computation."""
        try:
            write_folder(path, arrays={_ARRAYS: arrays}, documents={_DOCUMENT: document})
        except (OSError, UsageError) as error:
            reason = getattr(error, "strerror", None) or error
            self.tell(f"{path}: no checkpoint written ({reason}); going on without")
            return False
        return True

    def read(self, path: Path, about: dict[str, Any]) -> Record | None:
        """A verified record, or None, told, where it is damaged or of other inputs."""
        try:
            arrays, document = read_folder(path, arrays=_ARRAYS, document=_DOCUMENT)
        except RunFolderError as error:
            self.tell(f"checkpoint damaged, going on from the one before: {error}")
            return None
        if document.get("about") != about:
            self.tell(f"{path}: a checkpoint of other numbers; doing this part again")
            return None
        return Record(arrays, document["own"], path.name.endswith(Call.END))

    def forget(self, number: str, keep: int) -> None:
        """Remove all but the newest records of a call."""
        for path in self.records_of(number)[keep:]:
            shutil.rmtree(path, ignore_errors=True)


class Call:
    """One call of a computation and its records: ``0003-000004`` the fourth, ``0003-end`` the last."""

    END = "end"

    def __init__(self, journal: Journal, number: str, about: dict[str, Any]) -> None:
        self._journal, self._number, self._about = journal, number, about
        self._written = time.monotonic()
        self._count = 0

    def found(self) -> Record | None:
        """The newest record that is whole and of these inputs; others are told and removed."""
        journal = self._journal
        for path in journal.records_of(self._number):
            record = journal.read(path, self._about)
            if record is not None:
                self._count = 0 if record.ended else int(path.name.partition("-")[2])
                return record
            shutil.rmtree(path, ignore_errors=True)
        return None

    @property
    def due(self) -> bool:
        """Whether the state is to be kept again."""
        return time.monotonic() - self._written >= self._journal.seconds

    def keep(self, arrays: Mapping[str, np.ndarray], own: dict[str, Any], *, ended: bool = False) -> None:
        """Record the state, or the outcome."""
        self._count += 1
        name = self.END if ended else f"{self._count:06d}"
        path = self._journal.folder / f"{self._number}-{name}"
        if self._journal.write(path, arrays, {"about": self._about, "own": own}):
            self._journal.forget(self._number, 1 if ended else _KEPT)
        self._written = time.monotonic()


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
