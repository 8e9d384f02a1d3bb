"""A journal on disk of the calls of a long computation, so that the computation can be resumed.

A fit depends on data, settings and seed only. Nearly all its time goes into a few calls: trainings and
estimates. The journal numbers these calls. It keeps the outcome of every call that has ended, and the state
of the call that is running. A resumed fit runs from its beginning and takes these outcomes from the journal.
It ends with the same result as a fit without interruption. A record is a folder with a checksum of each file.
It is written completely before it gets its name.
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
"""Seconds between two records of a running training."""
NOTES = "notes"
"""Folder of the notes, next to the records."""
_ARRAYS = "state.npz"
"""File of the arrays in a record."""
_DOCUMENT = "state.json"
"""File of the JSON value in a record."""
_JOB = "job"
"""Folder of the job description: all inputs of the computation."""
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Error numbers of file systems without locks."""
_KEPT = 2
"""Number of records of a running call. If the newest is corrupted, the one before it is used."""


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Record(NamedTuple):
    """The record of a call.

    Args:
        arrays: arrays by name.
        document: JSON value.
        ended: whether the call had ended.
    """

    arrays: Mapping[str, np.ndarray]
    document: dict[str, Any]
    ended: bool


def fingerprint(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 digest of arrays and their names, shapes and types."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {value.shape} {value.dtype.str}".encode())
        total.update(value.tobytes())
    return total.hexdigest()


class Journal:
    """Records of the calls of one computation, in a folder.

    Args:
        folder: folder of the records, created when the computation begins. If it already holds records, the
            computation is resumed, see `begin`.
        seconds: time in seconds between two records of a running call; 0 writes every record.
        tell: function that receives messages for the user, for example about corrupted records.
        notes: JSON values by name, written next to the records in the folder `NOTES`.
        claimed: folder that no other fit may write into at the same time; by default ``folder``.
    Raises:
        UsageError: if ``folder`` is a file.
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
        # The system releases a lock when its process ends, even if it is killed; a mere file would remain.
        # The lock file lies next to the folder, because the folder may be replaced as a whole.
        beside = self._claimed.resolve().parent / f".{self._claimed.name}.lock"
        self._lock = FileLock(beside, timeout=0, thread_local=False, fallback_to_soft=False)
        if self.folder.is_file():
            raise UsageError(f"{self.folder} is a file; expected a folder for checkpoints")

    def part(self, name: str) -> Journal:
        """Return the journal of a part of the computation, in the subfolder ``name``."""
        part = Journal(self.folder / name, self.seconds, self.tell)
        part._whole, part._lock, part._claimed = self, self._lock, self._claimed
        return part

    def make(self) -> None:
        """Create the folder with its notes. From then on the computation can be resumed."""
        if self._whole is not None:
            self._whole.make()
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._notes is not None and not (self.folder / NOTES).is_dir():
            write_folder(self.folder / NOTES, documents={f"{NOTES}.json": dict(self._notes)})

    def __enter__(self) -> Journal:
        """Claim the folder. A journal and its parts can claim it repeatedly, in nested ``with`` statements.

        Raises:
            UsageError: if another fit has claimed it.
            OSError: if no lock file can be written next to it.
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
            self.tell(f"{self._claimed} cannot be locked; make sure that no other fit writes there")
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock.lock_counter == 1:
            # No process waits for the lock, so the file can be removed before the release.
            with contextlib.suppress(OSError):
                Path(self._lock.lock_file).unlink()
        self._lock.release()

    def clear(self) -> None:
        """Remove all records, and the folder if it is then empty."""
        for path in self.folder.glob("*"):
            if (path / MANIFEST).is_file() or path.name.startswith("."):
                shutil.rmtree(path, ignore_errors=True)
            elif path.is_dir():
                Journal(path, tell=self.tell).clear()
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def begin(self, job: dict[str, Any], circumstances: dict[str, Any] | None = None) -> None:
        """Begin or resume the computation.

        Args:
            job: all inputs of the computation, as JSON values by name.
            circumstances: JSON values that may change the last digits, such as the number of devices. A
                difference is reported to the user.
        Raises:
            UsageError: if the folder holds records of another job. The message names the differences.
            OSError: if the folder cannot be created.
        """
        self.make()
        self._calls, job = 0, json.loads(json.dumps(job))
        self._job = hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()
        for left in self.folder.glob(".*"):
            # Temporary folders of records that were not finished.
            shutil.rmtree(left, ignore_errors=True)
        home = self.folder / _JOB
        try:
            kept = read_folder(home, document=_DOCUMENT)[1] if home.is_dir() else None
            known, before = (None, None) if kept is None else (kept["job"], kept["circumstances"])
        except RunFolderError as error:
            # It is not needed to resume: every record holds a digest of its job.
            self.tell(f"job description unreadable, writing it again: {error}")
            shutil.rmtree(home, ignore_errors=True)
            known = before = None
        if known is None:
            write_folder(home, documents={_DOCUMENT: {"job": job, "circumstances": circumstances or {}}})
            return
        if before != (circumstances or {}):
            self.tell(f"begun with {before}, resumed with {circumstances}: last digits may differ")
        differing = sorted(name for name in job.keys() | known.keys() if job.get(name) != known.get(name))
        if differing:
            name = differing[0]
            raise UsageError(
                f"{self.folder} holds checkpoints of another fit: {', '.join(differing)} differ "
                f"({name}: {_short(known.get(name))} there, {_short(job.get(name))} here); "
                "resume with the same data and settings, or choose another folder"
            )

    def call(self, name: str, inputs: Mapping[str, np.ndarray]) -> Call:
        """Return the next call of the computation.

        Args:
            name: name of the call.
            inputs: all arrays that its outcome depends on, by name.
        """
        self._calls += 1
        about = {"job": self._job, "name": name, "inputs": fingerprint(inputs)}
        return Call(self, f"{self._calls:04d}", about)

    def records_of(self, number: str) -> list[Path]:
        """Return the folders of the records of a call, newest first."""
        # The name of the final record, "end", sorts after all numbers.
        return sorted(self.folder.glob(f"{number}-*"), reverse=True)

    def write(self, path: Path, arrays: Mapping[str, np.ndarray], document: dict[str, Any]) -> bool:
        """Write a record, and return whether it was written.

        If the disk is full or read-only, only the record is lost. The computation continues.
        """
        try:
            write_folder(path, arrays={_ARRAYS: arrays}, documents={_DOCUMENT: document})
        except (OSError, UsageError) as error:
            reason = getattr(error, "strerror", None) or error
            self.tell(f"{path}: no checkpoint written ({reason}); the fit continues without it")
            return False
        return True

    def read(self, path: Path, about: dict[str, Any]) -> Record | None:
        """Return a verified record. If it is corrupted or has other inputs, report that and return None."""
        try:
            arrays, document = read_folder(path, arrays=_ARRAYS, document=_DOCUMENT)
        except RunFolderError as error:
            self.tell(f"checkpoint corrupted, trying the one before it: {error}")
            return None
        if document.get("about") != about:
            self.tell(f"{path}: checkpoint of other inputs; computing this part again")
            return None
        return Record(arrays, document["own"], path.name.endswith(Call.END))

    def forget(self, number: str, keep: int) -> None:
        """Remove all records of a call except the newest ``keep``."""
        for path in self.records_of(number)[keep:]:
            shutil.rmtree(path, ignore_errors=True)


class Call:
    """One call of a computation and its records.

    For the third call ``0003-000004`` is the fourth record and ``0003-end`` the outcome.
    """

    END = "end"

    def __init__(self, journal: Journal, number: str, about: dict[str, Any]) -> None:
        self._journal, self._number, self._about = journal, number, about
        self._written = time.monotonic()
        self._count = 0

    def found(self) -> Record | None:
        """Return the newest intact record of these inputs, or None. Report and remove unusable records."""
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
        """Whether it is time for the next record."""
        return time.monotonic() - self._written >= self._journal.seconds

    def keep(self, arrays: Mapping[str, np.ndarray], own: dict[str, Any], *, ended: bool = False) -> None:
        """Write a record of the state, or of the outcome if the call has ended.

        Args:
            arrays: arrays by name.
            own: JSON value.
            ended: whether this is the outcome.
        """
        self._count += 1
        name = self.END if ended else f"{self._count:06d}"
        path = self._journal.folder / f"{self._number}-{name}"
        if self._journal.write(path, arrays, {"about": self._about, "own": own}):
            self._journal.forget(self._number, 1 if ended else _KEPT)
        self._written = time.monotonic()


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
