"""Settings of JAX that a program makes before it loads JAX."""

from __future__ import annotations

import os
from pathlib import Path


def prepare() -> None:
    """Keep compiled programs in the user's cache folder, and make each processor a device of JAX.

    Training splits a step over these devices, see `inference.training.processors`. Environment variables
    that are already set are kept.
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(home) / "noethers_razor" / "jax"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    if "host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(_processors()))


def _processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
