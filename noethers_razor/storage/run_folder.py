"""Run folders: folders of arrays, JSON and text with a SHA-256 manifest.

A folder is written under a temporary name and then renamed. Its checksums are verified when it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from noethers_razor.errors import RunFolderError, UsageError
from noethers_razor.storage.archives import require_safe_archive

MANIFEST = "manifest.json"
"""File that holds the SHA-256 checksum of every other file."""
CHECKPOINTS = "checkpoints"
"""Subfolder of an unfinished run."""


def require_free(folder: Path, *, overwrite: bool) -> None:
    """Raise an error if a folder cannot be written.

    Args:
        folder: target folder.
        overwrite: accept a folder that holds a run, which will be replaced.
    Raises:
        UsageError: if the target is a file or its parent does not exist. Also if it is not empty, unless it
            holds a run and ``overwrite`` is true.
    """
    if folder.is_file():
        raise UsageError(f"{folder} is a file; expected a folder to write a run into")
    if not folder.resolve().parent.is_dir():
        raise UsageError(f"folder {folder.resolve().parent} does not exist; create it first")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise UsageError(
            f"folder {folder} is not empty; choose another folder, or pass --overwrite "
            "(in Python overwrite=True)"
        )
    if not is_finished(folder) and not is_unfinished(folder):
        raise UsageError(f"folder {folder} is not a run folder and is not replaced; choose another folder")


def is_finished(folder: Path) -> bool:
    """Return whether a folder holds a finished run."""
    return (folder / MANIFEST).is_file()


def is_unfinished(folder: Path) -> bool:
    """Return whether a folder holds checkpoints of a run."""
    return (folder / CHECKPOINTS).is_dir()


def is_done(folder: Path) -> bool:
    """Return whether a folder holds a finished run and no checkpoints."""
    return is_finished(folder) and not is_unfinished(folder)


def find_run(folder: Path) -> Path:
    """Return the run folder that a path means: the folder itself, or the only run folder in it.

    Raises:
        RunFolderError: when there are several run folders in it, with their names.
    """
    if is_finished(folder) or is_unfinished(folder) or not folder.is_dir():
        return folder
    runs = [path for path in sorted(folder.iterdir()) if is_finished(path)]
    if len(runs) > 1:
        names = ", ".join(str(path) for path in runs)
        raise RunFolderError(f"{folder} holds {len(runs)} runs; choose one of {names}")
    return runs[0] if runs else folder


def require_target(folder: Path, *, overwrite: bool, resume: bool) -> None:
    """Raise an error if a fit can neither be written into a folder nor be resumed in it.

    Args:
        folder: folder of the run.
        overwrite: replace a run that is there.
        resume: resume an unfinished run that is there.
    Raises:
        UsageError: see `require_free`. Also if both options are given, if the folder holds an unfinished run
            and neither is given, or if the folder cannot be renamed.
    """
    if overwrite and resume:
        raise UsageError("--resume and --overwrite exclude each other; pass one of them")
    # A run folder gets its name by a rename. If that is impossible, report it before any training.
    if folder.is_symlink() or folder.resolve() == Path.cwd() or os.path.ismount(folder):
        raise UsageError(f"{folder} is a link, the current folder or a mount point; choose a folder in it")
    recover(folder)
    if is_unfinished(folder) and not (overwrite or resume):
        raise UsageError(
            f"folder {folder} holds an unfinished fit; pass --resume to continue it, "
            "or --overwrite to replace it"
        )
    if not resume or not (is_unfinished(folder) or is_finished(folder)):
        require_free(folder, overwrite=overwrite)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_folder(
    folder: str | os.PathLike[str],
    *,
    documents: Mapping[str, Any],
    arrays: Mapping[str, Mapping[str, np.ndarray]] = MappingProxyType({}),
    texts: Mapping[str, str] = MappingProxyType({}),
    overwrite: bool = False,
) -> Path:
    """Write arrays, JSON values and texts as one folder, which appears completely or not at all.

    Args:
        folder: target folder.
        documents: JSON values by file name.
        arrays: arrays by name, by file name (.npz).
        texts: texts by file name.
        overwrite: replace a run that is there.
    Returns:
        The target folder.
    Raises:
        UsageError: see `require_free`.
    """
    target = Path(folder)
    require_free(target, overwrite=overwrite)
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.resolve().parent))
    try:
        for name, group in arrays.items():
            np.savez(beside / name, allow_pickle=False, **dict(group))
        for name, value in documents.items():
            (beside / name).write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")
        for name, text in texts.items():
            (beside / name).write_text(text)
        manifest = {path.name: _digest(path) for path in sorted(beside.iterdir())}
        (beside / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        beside.chmod(0o755)
        _swap(beside, target)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return target


def recover(folder: Path) -> None:
    """Restore a run that an interrupted write has renamed, if ``folder`` does not exist."""
    beside = folder.resolve().parent
    if folder.exists() or not beside.is_dir():
        return
    for old in sorted(beside.glob(f".{folder.name}.old.*")):
        if is_finished(old) or is_unfinished(old):
            old.replace(folder)
            return


def _swap(new: Path, target: Path) -> None:
    """Rename a complete new folder to the target. An old run there is removed last."""
    if not target.is_dir():
        new.replace(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.resolve().parent))
    target.replace(old)
    new.replace(target)
    shutil.rmtree(old)


def read_folder(
    folder: str | os.PathLike[str], *, document: str, arrays: str | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return arrays and a JSON value of a folder, after verifying every file in its manifest.

    Args:
        folder: run folder.
        document: name of the .json file.
        arrays: name of the .npz file; None reads no arrays.
    Returns:
        Arrays by name (empty without ``arrays``) and the JSON value.
    Raises:
        RunFolderError: if the folder or a file is missing, or a file was changed.
    """
    source = Path(folder)
    if not source.is_dir():
        raise RunFolderError(f"{source} is not a run folder; expected a folder that a fit has written")
    try:
        manifest = json.loads((source / MANIFEST).read_text())
        named = {str(k): str(v) for k, v in manifest.items()}
    except (OSError, ValueError, AttributeError):
        raise RunFolderError(f"{source}: no readable {MANIFEST}; the run is incomplete, fit again") from None
    for name in (arrays, document):
        if name is not None and name not in named:
            raise RunFolderError(
                f"{source}: {MANIFEST} does not list {name}; the run is incomplete, fit again"
            )
    for name, digest in named.items():
        path = source / Path(name).name
        if path.is_symlink():
            raise RunFolderError(f"{path} is a link; expected a regular file")
        if not path.is_file():
            raise RunFolderError(f"{path} is missing; restore it or fit again")
        if _digest(path) != digest:
            raise RunFolderError(f"{path} differs from its checksum in {MANIFEST}; restore it or fit again")
    loaded = {}
    if arrays is not None:
        require_safe_archive(source / arrays)
        with np.load(source / arrays, allow_pickle=False) as archive:
            loaded = {name: archive[name] for name in archive.files}
    return loaded, json.loads((source / document).read_text())


def versions() -> dict[str, str]:
    """Return the versions of the packages that the results depend on, by name."""
    import importlib.metadata

    names = ("noethers_razor", "jax", "jaxlib", "flax", "numpyro", "optax", "numpy")
    return {name: importlib.metadata.version(name) for name in names}
