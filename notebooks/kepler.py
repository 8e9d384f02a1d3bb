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
# # Neural conserved quantities: Kepler
#
# A planet conserves more than quadratic forms can say: besides angular momentum the Laplace-Runge-Lenz vector, which
# points to perihelion, and has 1/r in it. `Neural()` learns functions, beside forms.

# %%
from noethers_razor.cli import host

host.prepare()  # before JAX is loaded: steps split over the processors, compiled programs kept

import jax
import numpy as np

import noethers_razor as nr
from noethers_razor import plot

system = nr.systems.Kepler()
data = system.simulate(seed=1, n_trajectories=50, n_steps=50, noise=0.01)
# Fewer and smaller steps than the defaults, 6000 of 64 transitions, so that the notebook takes less than three minutes.
config = nr.FitConfig.of(steps=1200, batch=32)
result = nr.fit(data, seed=1, conserved=nr.Neural(), config=config)
report = nr.find_symmetries(result, truth=system)
report

# %% [markdown]
# In two dimensions three integrals are independent, H among them: two besides H, of which L and both components of the
# vector are functions. The sheet says how many of the learned ones are independent, and how far the true ones are from them.

# %%
print(report)

# %% [markdown]
# ## Level sets over phase space
#
# `report.combinations` are the quantities in use. They have no preferred basis: any function of them is conserved too. What can be compared with the truth is their
# span of gradients, which is what the angles in the sheet do. Here their values, and the true ones, on a plane
# through the data: qx and py, where the others are zero (and so is Ay).

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
# ## Along unseen orbits
#
# How much does each vary along trajectories that no fit has seen, in units of its spread over the data? Orbits that come
# closer to the centre than any of the data are where functions, unlike forms, are not known: look at the worst.

# %%
test = system.simulate(seed=1, n_trajectories=50, n_steps=50, stream="test")
values = result.conserved(test.states) @ report.combinations
spread = (result.conserved(result.states) @ report.combinations).std(axis=0)
share = values.std(axis=1) / spread
nearest = np.linalg.norm(test.states[..., :2], axis=-1).min(axis=1)
for k in range(report.used):
    median, worst = np.median(share[:, k]), share[:, k].argmax()
    print(
        f"C{k + 1} varies by {median:.3f} of its spread (median), at most {share[worst, k]:.2f}: r down to {nearest[worst]:.2f}"
    )
print(f"the data come as near as {np.linalg.norm(data.observed()[:, :2], axis=1).min():.2f}")
