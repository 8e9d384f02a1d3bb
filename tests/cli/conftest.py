"""One data file and one run, made by the program itself, for all tests of the command line and its views."""

import jax
import pytest

from noethers_razor.cli.main import cli
from tests.brief import FLAGS


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A folder with a data file `d.npz` of two oscillators and a run `r`."""
    folder = tmp_path_factory.mktemp("cli")
    jax.config.update("jax_disable_most_optimizations", True)
    words = ["simulate", "oscillators", "--n", "2", "--out", str(folder / "d.npz"), "--seed", "1"]
    words += ["--n-trajectories", "24", "--n-steps", "10", "--noise", "0.01"]
    cli(words, standalone_mode=False)
    words = ["fit", str(folder / "d.npz"), "--out", str(folder / "r"), "--conserved", "6", "--seed", "1"]
    cli([*words, "--no-selection", *FLAGS], standalone_mode=False)
    jax.config.update("jax_disable_most_optimizations", False)
    return folder
