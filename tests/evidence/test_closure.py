"""Tests of closure under brackets, and of quantities that friction leaves unchanged."""

import numpy as np
import pytest

from experiments.controls import followed
from noethers_razor.data.frame import fit_frame
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.data.trajectories import Trajectories
from noethers_razor.evidence.answer import answer_with_field
from noethers_razor.evidence.closure import is_closed, open_part
from noethers_razor.mechanics.quadratic_form import embed, second_moment, stack_forms
from noethers_razor.systems import NBody, Oscillators

STATES = np.random.default_rng(0).normal(size=(400, 4))


def quantities(*names):
    """Return quantities of two equal oscillators, of displacement 1 on the states."""
    truth = Oscillators(n=2).conserved()
    form, linear = stack_forms({name: truth[name] for name in names})
    size = np.linalg.norm(embed(form, linear, second_moment(STATES)), axis=1)
    return form / size[:, None, None], linear / size[:, None]


def test_algebras_are_closed_and_parts_of_them_need_not_be():
    names = list(Oscillators(n=2).conserved())
    energies = [name for name in names if name.startswith("H")]
    rotations = [name for name in names if name not in energies]
    assert open_part(*quantities(*names), STATES) < 1e-12
    assert is_closed(*quantities(*energies), STATES)
    assert is_closed(*quantities(*names[:1]), STATES)
    assert not is_closed(*quantities(*energies, rotations[0]), STATES)
    assert not is_closed(*quantities(*rotations), STATES)


def test_closure_does_not_depend_on_units():
    system = NBody(n_bodies=3, dim=2)
    states = system.simulate(0, n_trajectories=20, n_steps=10).observed()
    form, linear = stack_forms(system.conserved())
    for own in (states, 10 * states):
        size = np.linalg.norm(embed(form, linear, second_moment(own)), axis=1)
        assert open_part(form / size[:, None, None], linear / size[:, None], own) < 1e-9


@pytest.mark.parametrize(("rates", "count"), [((0.0, 0.05), 1), ((0.05, 0.05), 0)])
def test_friction_leaves_the_energy_of_what_it_does_not_brake(rates, count):
    # The frequencies differ, so only the two energies are candidates.
    def field(t, x):
        return np.concatenate([x[:, 2:], -x[:, :2] * [1.0, 1.69] - np.array(rates) * x[:, 2:]], axis=1)

    draw = np.random.default_rng(0)
    times = 0.2 * np.arange(41)
    states = followed(field, draw.normal(size=(60, 4)), times)
    states = states + 0.01 * draw.normal(size=states.shape)
    data = Trajectories(q=states[..., :2], p=states[..., 2:], t=times)
    frame = fit_frame(data.observed(), data.transitions())
    found = answer_with_field(FrameTrajectories.of(frame, data), frame)
    assert found.diagnosis.departure == "friction"
    assert found.count == count
