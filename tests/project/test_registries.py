"""A system, a reader and a family are one file and one registry line each, and the command line has them."""

import json
import sys
import textwrap

import numpy as np
import pytest

from noethers_razor.cli import main as program
from noethers_razor.conserved import FAMILIES
from noethers_razor.data.readers import READERS
from noethers_razor.systems import SYSTEMS, build
from tests.brief import FLAGS

SYSTEM = '''
"""Free particles on a line."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from noethers_razor.mechanics.quadratic_form import QuadraticForm
from noethers_razor.systems.base import System


@dataclasses.dataclass(frozen=True)
class Free(System):
    """n free particles; initial states are standard normal."""

    n: int = dataclasses.field(default=1, metadata={"flag": "n"})
    name = "free"

    @property
    def dof(self):
        return self.n

    def hamiltonian(self, x):
        return 0.5 * jnp.sum(x[self.n :] ** 2)

    def initial_states(self, key, count):
        return jax.random.normal(key, (count, 2 * self.n), jnp.float64)

    def conserved(self):
        unit = np.eye(2 * self.n)
        zero = np.zeros((2 * self.n, 2 * self.n))
        return {f"p{i + 1}": QuadraticForm(zero, unit[self.n + i]) for i in range(self.n)}
'''
READER = '''
"""States as lines of numbers, trajectories apart by blank lines: t, positions, momenta."""

import numpy as np

from noethers_razor.data.trajectories import Trajectories


def read_lines(path, layout):
    blocks = [np.array([line.split() for line in part.splitlines()], float)
              for part in path.read_text().strip().split("\\n\\n")]
    n = (blocks[0].shape[1] - 1) // 2
    pieces = [(block[:, 0], block[:, 1 : 1 + n], block[:, 1 + n :]) for block in blocks]
    return Trajectories.of_pieces(pieces, {}, str(path))
'''
FAMILY = '''
"""Linear conserved quantities, with a flag of their own."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from noethers_razor.conserved.base import Family, Proposal, flagged
from noethers_razor.conserved.quadratic import QuadraticBlock


class LinearBlock(QuadraticBlock):
    """Quantities b'x: the form stays zero."""

    def symmetric(self, params):
        return 0.0 * params["form"], params["linear"]


@dataclasses.dataclass(frozen=True)
class Linear(Family):
    """All momenta and positions, as far as the flag says."""

    share: float = flagged(0.5, "share", "Share of the coordinates, the last, that are tried.")
    size: int = 0
    name = "linear"
    start = "proposal"

    @property
    def blocks(self):
        return (LinearBlock(self.size),)

    def fitted_to(self, frame, coordinates=()):
        return dataclasses.replace(self, size=max(1, round(self.share * frame.dim)))

    def settings(self):
        return dataclasses.asdict(self)

    @classmethod
    def restored(cls, settings, params):
        return cls(**settings)

    def init(self, key, dim):
        return {"form": jnp.zeros((self.size, dim, dim)), "linear": jnp.eye(dim)[-self.size :]}

    def propose(self, data, key, answer=None):
        params = self.init(key, data.states.shape[1])
        return Proposal(params, np.ones(self.size))
'''


@pytest.fixture
def registered(tmp_path, monkeypatch):
    """The three files, each with its line in a registry."""
    for name, text in (("toy_system", SYSTEM), ("toy_reader", READER), ("toy_family", FAMILY)):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(tmp_path)
    from toy_reader import read_lines

    monkeypatch.setitem(SYSTEMS, "free", "toy_system:Free")
    monkeypatch.setitem(READERS, ".lines", read_lines)
    monkeypatch.setitem(FAMILIES, "linear", "toy_family:Linear")
    yield
    for name in ("toy_system", "toy_reader", "toy_family"):
        sys.modules.pop(name, None)


@pytest.fixture
def run(monkeypatch, capsys):
    monkeypatch.setattr(program.host, "prepare", lambda: None)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["noethers-razor", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            program.main()
        out, err = capsys.readouterr()
        assert ended.value.code == 0, err
        return out

    return call


def test_a_toy_of_each_works_on_the_command_line(registered, run, tmp_path):
    words = ["--n", "2", "--n-trajectories", "24", "--n-steps", "6", "--seed", "1"]
    run("simulate", "free", "--out", tmp_path / "d.npz", *words)
    data = build("free", {"n": 2}).simulate(1, n_trajectories=24, n_steps=6)
    lines = [
        "\n".join(" ".join(map(repr, map(float, (t, *x)))) for t, x in zip(data.t, states, strict=True))
        for states in data.states
    ]
    (tmp_path / "d.lines").write_text("\n\n".join(lines))
    assert "24 trajectories" in run("check", tmp_path / "d.lines")
    assert "--share" in run("fit", "--help-all")
    fitted = ["--family", "linear", "--share", "0.25", "--seed", "1", "--no-selection", *FLAGS]
    run("fit", tmp_path / "d.lines", "--out", tmp_path / "r", *fitted)
    report = json.loads(run("inspect", tmp_path / "r", "--truth", "free", "--n", "2", "--json"))
    assert report["rank"] == 1
    record = json.loads((tmp_path / "r" / "run.json").read_text())
    assert record["family"] == {
        "name": "linear",
        "settings": {"share": 0.25, "size": 1},
        "names": ["form", "linear"],
    }
    with np.load(tmp_path / "d.npz") as archive:
        np.testing.assert_allclose(archive["q"], data.q)
