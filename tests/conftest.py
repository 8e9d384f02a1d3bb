"""Settings that hold for every test."""

import jax
import pytest

# A float32 array that meets a float64 one is a mistake here, never a convenience.
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def x64():
    """float64 arithmetic for one test."""
    with jax.enable_x64(True):
        yield
