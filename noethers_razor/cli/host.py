"""Settings of JAX and NumPy that a program makes before it loads them."""

from __future__ import annotations

import os
from pathlib import Path


def prepare() -> None:
    """Keep compiled programs in the user's cache folder, and make each processor a device of JAX.

    Linear algebra of NumPy keeps to one thread.

    Training splits a step over these devices, see `inference.training.processors`. Environment variables
    that are already set are kept.
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(home) / "noethers_razor" / "jax"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    # The matrices of the answer are small: threads of NumPy's linear algebra would wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if "host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(_processors()))


def _processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
