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
# # First look: what does a learned symmetry improve?
#
# The data are 28 noisy transitions of a harmonic oscillator. This notebook compares three models:
#
# * *none*: a Hamiltonian without symmetry;
# * *learned*: a Hamiltonian with a learned conserved quantity;
# * *oracle*: a Hamiltonian with the true conserved quantity.
#
# The learned symmetry improves the evidence and the prediction. It gains almost as much as the true one.

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
# Each fit maximises the ELBO, a lower bound on the log evidence log p(data). The bound has two terms:
#
# 1. How well the posterior explains the data.
# 2. Minus the divergence of the posterior from its prior.
#
# A symmetry leaves fewer functions to choose from. The posterior then stays closer to its prior. A true
# symmetry explains the data as well as before, so the bound increases. Nobody has to name the symmetry in
# advance.

# %%
families = {
    "none": nr.NoSymmetry(),
    "learned": nr.Quadratic(3),
    "oracle": nr.KnownQuadratic.of(system.conserved()),
}
fits = {name: nr.fit(data, seed=1, conserved=family) for name, family in families.items()}
plot.convergence({name: result.history for name, result in fits.items()})

# %% [markdown]
# Lower is better. All fits begin without symmetry. The curves separate where the quantities join the
# training.

# %%
for name, result in fits.items():
    print(f"{name:8s} -ELBO {-result.elbo:.3f} nats per transition")

# %% [markdown]
# ## The report
#
# The report answers four questions:
#
# * How many quantities are in use?
# * Which Lie algebra do their brackets form?
# * How much do they vary along the trajectories, in units of the noise?
# * How far are they from the true ones? Only a simulation knows these.

# %%
report = nr.find_symmetries(fits["learned"], truth=system)
report

# %%
report.plot()

# %% [markdown]
# ## Do not use the mean weights
#
# A posterior over weights is a posterior over functions. The mean of these functions is not the network at
# the mean weights. The panels show the level sets of four Hamiltonians:
#
# 1. The fit without symmetry at its mean weights. One would look at this network after ordinary training.
# 2. The same fit, averaged over posterior samples: `result.hamiltonian`.
# 3. The fit with the learned quantity, averaged over posterior samples and over the orbits of this quantity.
# 4. The truth.
#
# The first panel does not show the oscillator. The average of the same posterior does.

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
# ## Prediction and its uncertainty
#
# The starts are new to all fits. Each model predicts twenty steps.

# %%
test = system.simulate(seed=1, n_trajectories=50, n_steps=20, stream="test")
predictions = {name: result.predict(test.states[:, 0], test.t) for name, result in fits.items()}
for name, rollout in predictions.items():
    print(f"{name:8s} mean squared error {np.mean((rollout.mean - test.states) ** 2):.4f}")
rollout = predictions["learned"]
plot.rollouts(rollout.t, rollout.mean[0], rollout.deviation[0], test.states[0], learned.labels)

# %% [markdown]
# Do the intervals contain the truth as often as their level says? On the diagonal they do. Above it they are
# too wide, below it too narrow.

# %%
levels = np.linspace(0.1, 0.95, 9)
plot.calibration(levels, {name: p.coverage(test.states, levels) for name, p in predictions.items()})
