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
# # Your own data
#
# From a table to the answer sheet. This notebook makes its own table, of positions and *velocities* with a gap and a
# mistake in it, as tables are; put the name of yours instead and go on.

# %%
import csv
import tempfile
from pathlib import Path

import numpy as np

import noethers_razor as nr

folder = Path(tempfile.mkdtemp())
table = folder / "bodies.csv"
MASSES = (1.0, 2.0)


def write(path, damaged):
    """Two attracting bodies of masses 1 and 2 in the plane, one row a state: run, time, positions, velocities."""
    system = nr.systems.NBody(n_bodies=2, dim=2, masses=MASSES)
    data = system.simulate(seed=5, n_trajectories=100, n_steps=40, noise=0.003)
    velocities = data.p / np.repeat(MASSES, 2)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["run", "time", "x1", "y1", "x2", "y2", "vx1", "vy1", "vx2", "vy2"])
        for run in range(data.count):
            for k, time in enumerate(data.t):
                if run == 3 and 10 <= k < 30:
                    continue  # a gap
                values = [*data.q[run, k], *velocities[run, k]]
                if damaged and run == 7 and k == 12:
                    values[2] = float("nan")  # a mistake
                rows.writerow([run, time, *values])


write(table, damaged=True)
print(table.read_text()[:200])

# %% [markdown]
# ## Say where things are
#
# A `Layout` names the columns. Velocities need masses: what is conserved is said in momenta.

# %%
names = {
    "trajectory": "run",
    "t": "time",
    "q": ("x1", "y1", "x2", "y2"),
    "v": ("vx1", "vy1", "vx2", "vy2"),
}
layout = nr.Layout(names, mass=(1.0, 1.0, 2.0, 2.0))
try:
    nr.load_trajectories(table, layout)
except nr.DataError as error:
    print(error)

# %% [markdown]
# What is wrong with the numbers is told all at once, with place and what to do; `noethers-razor check FILE` says the same on the
# command line. Delete that line from your file, or take rows without numbers as states that are missing, and cut trajectories
# there: `split=5`, which also cuts where the time between states is more than five usual steps. Before that, see what the
# mended table looks like. In a script, `print(data.summary())`.

# %%
write(table, damaged=False)
data = nr.load_trajectories(table, layout)
data

# %% [markdown]
# The summary warns of what makes data hard to learn from. Here a gap: split there. The same, from the table as it was:

# %%
write(table, damaged=True)
data = nr.load_trajectories(table, nr.Layout(names, mass=layout.mass, split=5))
data

# %% [markdown]
# ## Fit, and read
#
# The same on the command line:
#
#     noethers-razor convert bodies.csv --out d.npz --map trajectory=run --map t=time \
#         --map q=x1,y1,x2,y2 --map v=vx1,vy1,vx2,vy2 --mass 1,1,2,2 --split-at-gaps
#     noethers-razor fit d.npz --out run --seed 0

# %%
result = nr.fit(data, seed=0)
report = nr.find_symmetries(result)
report

# %% [markdown]
# How to read it:
#
# * *conserved quantities* is how many the evidence keeps; *algebra* which group they generate.
# * *along the data* compares how much each varies along a trajectory with the noise: about 1 or less is constant.
# * *trusted* counts what passes at a false-discovery rate of 5 %.
# * *-ELBO*: the fit with symmetry should be no worse than without; where it is, the sheet warns.
# * Warnings say what these data cannot tell. Take them seriously.

# %%
print(report)

# %%
report.plot()

# %% [markdown]
# ## Predict

# %%
start = data.states[0, 0]
rollout = result.predict(start, np.linspace(0.0, 4.0, 41))
nr.plot.rollouts(rollout.t, rollout.mean[0], rollout.deviation[0], None, result.labels, columns=4)

# %% [markdown]
# ## Keep it
#
# A run folder holds the fit, without pickle; `noethers-razor inspect run --html page.html` makes a page of it.

# %%
path = result.save(folder / "run")
print(sorted(file.name for file in path.iterdir()))
print(nr.find_symmetries(nr.load_result(path)).formulas)
