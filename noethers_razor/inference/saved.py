"""Run folders of fits: how a result is saved and loaded."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor.config import FitConfig, modern
from noethers_razor.conserved import family_class
from noethers_razor.data.frame import Frame
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.errors import RunFolderError, UsageError
from noethers_razor.inference.history import Row
from noethers_razor.inference.result import FitResult
from noethers_razor.model.elbo import build_model
from noethers_razor.model.parameters import conserved_of, precision
from noethers_razor.storage.run_folder import find_run, read_folder, versions, write_folder

FORMAT = 2
"""Version of the layout of a run folder."""
_MODEL_FILE = "model.npz"
_RUN_FILE = "run.json"
_TRAJECTORIES = {
    "states": "tracks/states",
    "trajectory": "tracks/track",
    "noise": "tracks/noise",
    "gradients": "tracks/slopes",
    "time": "tracks/time",
}
"""Fields of `FrameTrajectories` -> names in the archive, which are those of version 0.1."""
_GRADIENTS = "slopes"
"""Name of `FitResult.state_gradients` in the archive."""


def _record(result: FitResult) -> dict[str, Any]:
    model = result.model
    return {
        "format": FORMAT,
        "config": result.config.flat(),
        "seed": result.seed,
        "family": {
            "name": model.family.name,
            "settings": model.family.settings(),
            "names": list(model.conserved_names),
        },
        "substeps": model.likelihood.substeps,
        "transitions": model.likelihood.total,
        "step": result.step,
        "held_out": result.held_out,
        "frame_time": result.frame.time,
        "metrics": result.metrics,
        "evidence": result.evidence,
        "history": [dataclasses.asdict(row) for row in result.history],
        "data": result.metadata,
        "versions": versions(),
        "device": str(jax.devices()[0]),
    }


def save(
    result: FitResult,
    folder: str | os.PathLike[str],
    *,
    overwrite: bool,
    documents: Mapping[str, Any],
    texts: Mapping[str, str],
) -> Path:
    """Write a run folder, see `FitResult.save`.

    Raises:
        UsageError: when the folder cannot be used.
    """
    arrays = {f"params/{k}": np.asarray(v) for k, v in result.params.items()}
    arrays |= {
        "frame/centre": result.frame.centre,
        "frame/matrix": result.frame.matrix,
        "frame/noise_scale": result.frame.noise_scale,
        "moment": result.moment,
        "states": result.states,
    }
    if result.trajectories is not None:
        fields = result.trajectories._asdict()
        arrays |= {there: fields[name] for name, there in _TRAJECTORIES.items() if fields[name] is not None}
    if "state_gradients" in result.__dict__:
        arrays[_GRADIENTS] = result.state_gradients
    history = io.StringIO()
    writer = csv.DictWriter(history, [f.name for f in dataclasses.fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in result.history)
    return write_folder(
        folder,
        arrays={_MODEL_FILE: arrays},
        documents={_RUN_FILE: _record(result), "metrics.json": result.metrics, **documents},
        texts={"history.csv": history.getvalue(), **texts},
        overwrite=overwrite,
    )


def load_result(folder: str | os.PathLike[str]) -> FitResult:
    """Return a saved result.

    Args:
        folder: a run folder, or a folder with one run folder in it, such as that of a demo.
    Raises:
        RunFolderError: when the folder is incomplete, was changed, or is of another format, or when it has
            several run folders in it.
    """
    folder = find_run(Path(folder))
    arrays, record = read_folder(folder, arrays=_MODEL_FILE, document=_RUN_FILE)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        found = record.get("format") if isinstance(record, dict) else record
        raise RunFolderError(f"{folder}: run format {str(found)[:40]}; this version reads {FORMAT}")
    try:
        return _restored(arrays, record)
    except UsageError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunFolderError(
            f"{folder}: {_RUN_FILE} or {_MODEL_FILE} is not complete ({type(error).__name__}: {error}); "
            "restore the files or fit again"
        ) from None


def _restored(arrays: dict[str, np.ndarray], record: dict[str, Any]) -> FitResult:
    """The result in the arrays and the record of a run folder."""
    config = FitConfig.of(**modern(record["config"]))
    frame = Frame(
        arrays["frame/centre"], arrays["frame/matrix"], record["frame_time"], arrays["frame/noise_scale"]
    )
    with precision(config.dtype):
        params = {
            name.removeprefix("params/"): jnp.asarray(value)
            for name, value in arrays.items()
            if name.startswith("params/")
        }
        saved = record["family"]
        family = family_class(saved["name"]).restored(saved["settings"], conserved_of(params))
        # Of version 0.1; it is part of the family now.
        params.pop("conserved/shared/length", None)
        model = build_model(
            config,
            family,
            tuple(saved["names"]),
            frame,
            substeps=record["substeps"],
            total=record["transitions"],
        )
    known: dict[str, Any] = {name: arrays[there] for name, there in _TRAJECTORIES.items() if there in arrays}
    result = FitResult(
        model=model,
        params=params,
        frame=frame,
        config=config,
        seed=record["seed"],
        metrics=record["metrics"],
        evidence=record["evidence"],
        history=[Row(**row) for row in record["history"]],
        moment=arrays["moment"],
        states=arrays["states"],
        held_out=record["held_out"],
        trajectories=FrameTrajectories(**known) if known else None,
        step=record["step"],
        metadata=record["data"],
    )
    if _GRADIENTS in arrays:
        result.__dict__["state_gradients"] = arrays[_GRADIENTS]
    return result
