# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # First look: one oscillator
#
# Twenty-eight noisy transitions of a harmonic oscillator, three models: a Hamiltonian without symmetry, one whose
# conserved quantity is learned, one that is given the true quantity. What does the razor cut, and what does a
# fit know that its mean weights do not?

# %%
import jax
import numpy as np

import noethers_razor as nr
from noethers_razor import plot

system = nr.systems.Oscillators(n=1)
data = system.simulate(seed=1, n_trajectories=7, n_steps=4, noise=0.03)
data

# %% [markdown]
# ## Three models, one bound
#
# Each fit maximises a lower bound of the log evidence, log p(data): the data are explained well (first term) by a
# posterior that need not be far from its prior (second term). Symmetry leaves fewer functions to choose from, so
# that the second term is smaller; if it is a true one, the first is no worse. Nobody has to say which.

# %%
families = {
    "none": nr.NoSymmetry(),
    "learned": nr.Quadratic(3),
    "oracle": nr.KnownQuadratic.of(system.conserved()),
}
fits = {name: nr.fit(data, seed=1, conserved=family) for name, family in families.items()}
plot.convergence({name: result.history for name, result in fits.items()})

# %% [markdown]
# Lower is better. Where the curve of *learned* begins to leave that of *none*, the quantities join.

# %%
for name, result in fits.items():
    print(f"{name:8s} -ELBO {-result.elbo:.3f} nats per transition")

# %% [markdown]
# ## The answer sheet
#
# How many quantities are in use, which algebra they close to, how much they vary along the data in units of the
# noise, how far they are from the truth (which only a simulation knows).

# %%
report = nr.find_symmetries(fits["learned"], truth=system)
report

# %%
report.plot()

# %% [markdown]
# ## Why the mean weights mislead
#
# A posterior over weights is a posterior over functions, and the mean of the functions is not the function of the
# mean. The first two panels are of the same fit, the one without symmetry: the network at the mean weights, which is what one
# would look at after ordinary training, and the average over posterior samples, `result.hamiltonian`. The third averages
# over the orbits of the learned quantity as well.

# %%
none, learned = fits["none"], fits["learned"]
plane = plot.section(np.array([[-2.2, -2.2], [2.2, 2.2]]), 0, 1)
mean_weights = [none.params[f"posterior/{i}/mean"] for i in range(none.model.layers)]
at_mean = none.model.network.apply(mean_weights, none.frame.into(plane.states).astype("float32"))
energies = {
    "none, at the mean weights": np.asarray(at_mean),
    "none, posterior mean": none.hamiltonian(plane.states),
    "learned, posterior mean": learned.hamiltonian(plane.states),
    "truth": np.asarray(jax.vmap(jax.vmap(system.hamiltonian))(plane.states)),
}
plot.level_sets(energies, plane, data=data.observed())

# %% [markdown]
# ## Prediction, with its spread
#
# States that no fit has seen, twenty steps ahead.

# %%
test = system.simulate(seed=1, n_trajectories=50, n_steps=20, stream="test")
predictions = {name: result.predict(test.states[:, 0], test.t) for name, result in fits.items()}
for name, rollout in predictions.items():
    print(f"{name:8s} mean squared error {np.mean((rollout.mean - test.states) ** 2):.4f}")
rollout = predictions["learned"]
plot.rollouts(rollout.t, rollout.mean[0], rollout.deviation[0], test.states[0], learned.labels)

# %% [markdown]
# Do intervals say what they promise? On the diagonal they do; below it they are too narrow.

# %%
levels = np.linspace(0.1, 0.95, 9)
plot.calibration(levels, {name: p.coverage(test.states, levels) for name, p in predictions.items()})
