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
# # Kepler: can a network learn a conserved quantity that is not quadratic?
#
# A planet conserves its angular momentum, which is quadratic. It also conserves the Laplace-Runge-Lenz
# vector, which points to the perihelion. This vector contains 1/r, so it is not quadratic.
#
# The family `Neural()` learns non-quadratic quantities in addition to quadratic ones. On these data it finds
# all conserved quantities.

# %%
from noethers_razor.cli import host

# Use all processors and keep compiled programs. This must come before JAX is loaded.
host.prepare()

import jax
import numpy as np

import noethers_razor as nr
from noethers_razor import plot

system = nr.systems.Kepler()
data = system.simulate(seed=1, n_trajectories=50, n_steps=50, noise=0.01)
# The defaults are 6000 steps and 64 transitions. Smaller numbers keep the notebook below three minutes.
config = nr.FitConfig.of(steps=1200, batch=32)
result = nr.fit(data, seed=1, conserved=nr.Neural(), config=config)
report = nr.find_symmetries(result, truth=system)
report

# %% [markdown]
# In two dimensions, three conserved quantities are independent: H and two others. The angular momentum L and
# both components of the vector are functions of these three. The report states
#
# * how many learned quantities are independent of each other and of H;
# * the angle of each true quantity to the learned ones.

# %%
print(report)

# %% [markdown]
# ## Level sets over phase space
#
# `report.combinations` selects the quantities in use. They have no preferred basis, because every function of
# them is conserved too. So a learned quantity need not look like a true one. The angles in the report compare
# spans of gradients.
#
# The panels show the learned and the true quantities on the plane of qx and py. The other coordinates are
# zero there, and so is Ay.

# %%
plane = plot.section(data.observed(), 0, 3, at=np.zeros(4))
near = np.linalg.norm(plane.states[..., :2], axis=-1) < 0.3
learned = result.conserved(plane.states) @ report.combinations
panels = {f"learned C{k + 1}": np.where(near, np.nan, learned[..., k]) for k in range(report.used)}
integrals = {
    name: np.asarray(jax.vmap(jax.vmap(system.integrals()[name]))(plane.states)) for name in ("Lxy", "Ax")
}
panels |= {f"true {name}": np.where(near, np.nan, value) for name, value in integrals.items()}
plot.level_sets(panels, plane, ("qx", "py"))

# %% [markdown]
# ## Along new trajectories
#
# How much does each quantity vary along trajectories that the fit has not seen? The unit is its standard
# deviation over the held-out states of the data.
#
# A network is reliable only where there are data. The worst trajectory comes closer to the centre than any of
# the data.

# %%
test = system.simulate(seed=1, n_trajectories=50, n_steps=50, stream="test")
values = result.conserved(test.states) @ report.combinations
spread = (result.conserved(result.states) @ report.combinations).std(axis=0)
share = values.std(axis=1) / spread
nearest = np.linalg.norm(test.states[..., :2], axis=-1).min(axis=1)
for k in range(report.used):
    median, worst = np.median(share[:, k]), share[:, k].argmax()
    print(
        f"C{k + 1} varies by {median:.3f} of its spread (median), "
        f"at most {share[worst, k]:.2f}: r down to {nearest[worst]:.2f}"
    )
print(f"the data come as near as {np.linalg.norm(data.observed()[:, :2], axis=1).min():.2f}")
