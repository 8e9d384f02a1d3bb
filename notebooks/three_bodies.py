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
# # Three bodies: which quadratic quantities do they conserve?
#
# Three bodies attract each other in the plane. They conserve seven quadratic quantities:
#
# * two components of the total momentum;
# * the angular momentum;
# * three products of the components of the total momentum, px², px py and py²;
# * the angular momentum of the whole: the cross product of the centre of mass and the total momentum.
#
# The first three generate translations and rotations, the group SE(2). All seven close under the Poisson
# bracket.

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
# ## The algebra has seven dimensions
#
# Momenta commute, and the angular momentum rotates them: this is SE(2). It also rotates their products into
# each other. The angular momentum of the whole does the same, and it commutes with the angular momentum. The
# report calls this algebra nbody(2).

# %%
print(report.algebra, report.algebra_detail.invariants.as_json())

# %% [markdown]
# ## The generators
#
# Each panel shows the action of one generator on the bodies. Blue arrows move a body. Orange arrows change
# its momentum, which is grey.
#
# * A translation moves all bodies by the same amount.
# * A rotation turns positions and momenta.
# * A product of momenta is a translation. Its direction and speed depend on the total momentum.

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
# ## The flows of the generators
#
# The animation shows the orbit of this state under each generator. Along a true symmetry the true Hamiltonian
# is constant. The learned Hamiltonian is only nearly constant, because its average uses finite orbits and few
# samples. The second cell prints its change.

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
# The start is new to the fit. Dots are the truth.

# %%
test = system.simulate(seed=0, n_trajectories=3, n_steps=30, dt=0.3, stream="test")
rollout = result.predict(test.states[:, 0], test.t)
plot.paths({"three bodies, 30 steps": plot.bodies(rollout.mean[0])[0]}, plot.bodies(test.states[0])[0])
