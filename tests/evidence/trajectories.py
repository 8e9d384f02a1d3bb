"""Trajectories of systems in their frame, with the noise that the data show."""

from noethers_razor.data.frame import fit_frame
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.mechanics.quadratic_form import embed, second_moment, stack_forms


def in_frame(data):
    """Trajectories of data units in their frame."""
    return FrameTrajectories.of(fit_frame(data.observed(), data.transitions()), data)


def simulated(system, seed, noise, count=60, steps=50):
    """Simulated trajectories of a system, in the frame."""
    return in_frame(system.simulate(seed, n_trajectories=count, n_steps=steps, noise=noise))


def simulated_with_truth(system, seed, noise, count=60):
    """Simulated trajectories, and embedded vectors of the conserved quantities of the system."""
    data = system.simulate(seed, n_trajectories=count, n_steps=50, noise=noise)
    frame, trajectories = fit_frame(data.observed(), data.transitions()), in_frame(data)
    forms = frame.quadratic_into(*stack_forms(system.conserved()))
    return trajectories, embed(*forms, second_moment(trajectories.states))
