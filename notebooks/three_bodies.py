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
# # Three bodies: SE(2) and what completes it
#
# Three bodies that attract each other in the plane conserve momentum and angular momentum: translations and rotations, the
# group SE(2). As quadratic quantities there are more: the three products of the two total momenta, and the angular momentum of
# the whole, its centre of mass times total momentum, by itself. These seven close under the bracket.

# %%
import tempfile

import numpy as np
from IPython.display import Image

import noethers_razor as nr
from noethers_razor import plot

system = nr.systems.NBody(n_bodies=3, dim=2)
data = system.simulate(seed=0, n_trajectories=200, n_steps=50, dt=0.3)
data

# %%
result = nr.fit(data, seed=0)
report = nr.find_symmetries(result, truth=system)
report

# %%
report.plot()

# %% [markdown]
# ## Seven dimensions
#
# Momenta commute and angular momentum turns them: SE(2). It turns their products px², px py, py² into each other, and so does the
# angular momentum of the whole, which commutes with it. The sheet names what that makes.

# %%
print(report.algebra, report.algebra_detail.invariants.as_json())

# %% [markdown]
# ## Each generator on the bodies
#
# Blue: where it moves a body; orange: how it changes the body's momentum (grey). A translation moves all alike, a rotation turns
# positions and momenta, a product of momenta is a translation whose speed depends on how fast the whole moves.

# %%
state = data.states[3, 0]
titles = [f"C{i + 1} = {text}" for i, text in enumerate(report.formulas)]
fields = report.generators(state)
plot.arrows(
    {title: plot.body_arrows(state, field) for title, field in zip(titles, fields, strict=True)},
    labels=("x", "y"),
    equal=True,
)

# %% [markdown]
# ## Their flows
#
# The orbit of this state under each generator. Along a true symmetry the Hamiltonian is constant. The average over orbits, of
# finite length and few samples, makes the learned one nearly so; below, by how much it changes.

# %%
tau = np.linspace(0.0, 2.0, 25)
paths = report.flow(state, tau)
animation = plot.flow(
    {title: plot.bodies(path)[0] for title, path in zip(titles, paths, strict=True)},
    tau,
    labels=("x", "y"),
    equal=True,
)
with tempfile.TemporaryDirectory() as folder:
    animation.save(f"{folder}/flow.gif", writer="pillow")
    picture = Image(f"{folder}/flow.gif")
picture

# %%
energies = result.hamiltonian(paths)
spread = result.hamiltonian(result.states).std()
for title, energy in zip(titles, energies, strict=True):
    print(f"{np.ptp(energy) / spread:.1e} of the spread of H along {title[:40]}")

# %% [markdown]
# ## Prediction
#
# Unseen starts; dots are the truth.

# %%
test = system.simulate(seed=0, n_trajectories=3, n_steps=30, dt=0.3, stream="test")
rollout = result.predict(test.states[:, 0], test.t)
plot.paths({"three bodies, 30 steps": plot.bodies(rollout.mean[0])[0]}, plot.bodies(test.states[0])[0])
