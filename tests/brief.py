"""One tiny configuration and one data shape for all brief fits, so that each program is compiled once."""

import noethers_razor as nr
from noethers_razor.systems import Oscillators

TINY = nr.FitConfig.of(steps=40, chunk=20, width=8, depth=1, batch=16, orbit_samples=2)
FLAGS = ["--steps", "40", "--chunk", "20", "--width", "8", "--depth", "1", "--batch", "16"]
FLAGS += ["--orbit-samples", "2", "--quiet"]
"""The same on the command line."""
TWO = Oscillators(n=2)
"""The system of the saved run."""


def one_oscillator(seed=1):
    """Eight trajectories of six states of one oscillator."""
    return Oscillators(n=1).simulate(seed, n_trajectories=8, n_steps=5)


def two_oscillators(seed=1):
    """Twenty-four trajectories of eleven states of two oscillators, with noise .01."""
    return TWO.simulate(seed, n_trajectories=24, n_steps=10, noise=0.01)
