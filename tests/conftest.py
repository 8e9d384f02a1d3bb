"""Precision as fixtures, compilation and processors: float64 where asked, and no silent promotion.

Strict promotion cannot hold for the whole session: the optimiser's own arithmetic (optax) mixes
integers and floats. The lower rooms ask for it with ``pytestmark``.
"""

import os
from pathlib import Path

# Before JAX is loaded, which reads it then: programs of quick tests take longer to compile than to run.
os.environ["XLA_FLAGS"] = " ".join(
    [
        "--xla_backend_optimization_level=0",
        "--xla_cpu_use_fusion_emitters=false",
        os.environ.get("XLA_FLAGS", ""),
    ]
)

# A worker has one processor, see below.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import jax
import pytest


def pytest_configure():
    """Each worker keeps to a processor of its own: two that share both get in each other's way."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        own = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {own[int(worker.removeprefix("gw")) % len(own)]})


LONG = (
    "systems",
    "conserved",
    "manifold_embedding",
    "learning_dynamics",
    "cli",
    "functions",
    "expansion",
    "views",
    "fit_briefly",
    "symmetry",
    "selection",
    "saved",
    "html_report",
    "journal",
)
"""Files that take longest: they begin, so that no worker waits for the other at the end."""


def pytest_collection_modifyitems(items):
    order = {f"test_{name}": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONG)))


COMPILED = Path(__file__).parents[1] / ".pytest_cache" / "compiled"
"""Programs that tests have compiled, shared by workers and by runs."""


@pytest.fixture(scope="session", autouse=True)
def _compiled_once():
    """Each program is compiled once, through JAX's cache on disk."""
    jax.config.update("jax_compilation_cache_dir", str(COMPILED))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    # With a size limit JAX locks the cache, so that no worker reads what another one is still writing.
    jax.config.update("jax_compilation_cache_max_size", 2**31)


@pytest.fixture
def x64():
    """float64 arithmetic for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def strict():
    """A float32 array that meets a float64 one is an error, not a convenience."""
    with jax.numpy_dtype_promotion("strict"):
        yield
