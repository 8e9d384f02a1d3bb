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
# # Your own data: how do I get from a table to a report?
#
# This notebook writes its own table of positions and *velocities*. The table has a gap and a mistake, as many
# tables have. For your own table, change the name of the file and the names of the columns. Leave out all
# calls of `write`, because they overwrite the file.

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
    """Write two attracting bodies of masses 1 and 2 in the plane, one row for each state."""
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
# ## Name the columns
#
# A `Layout` names the columns. Velocities need masses, because conserved quantities are functions of momenta.

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
# The error lists all problems of the numbers, each with its place and a remedy. On the command line,
# `noethers-razor check FILE` prints the same list. There are two remedies:
#
# * Delete the line from the file.
# * Set `split=5`. A row without numbers is then a missing state, and trajectories are cut there. They are
#   also cut where the time between two states is more than five times the usual step.
#
# The next cell shows the summary of the table without the mistake. In a script, use `print(data.summary())`.

# %%
write(table, damaged=False)
data = nr.load_trajectories(table, layout)
data

# %% [markdown]
# The summary warns of a gap. With `split=5` the table can be read as it was, with the gap and the mistake:

# %%
write(table, damaged=True)
data = nr.load_trajectories(table, nr.Layout(names, mass=layout.mass, split=5))
data

# %% [markdown]
# ## Fit the data and read the report
#
# On the command line these commands do the same:
#
#     noethers-razor convert bodies.csv --out d.npz --map trajectory=run --map t=time \
#         --map q=x1,y1,x2,y2 --map v=vx1,vy1,vx2,vy2 --mass 1,1,2,2 --split-at-gaps
#     noethers-razor fit d.npz --out run --seed 0

# %%
result = nr.fit(data, seed=0)
report = nr.find_symmetries(result)
report

# %% [markdown]
# These lines are the most important ones:
#
# | line | meaning |
# |---|---|
# | conserved quantities | number of quantities that model selection keeps |
# | algebra | Lie algebra of their Poisson brackets |
# | by the data | what the trajectories alone show: number of exactly conserved quantities |
# | exact to | the smallest relative rate of change that would have shown with 90 % |
# | trusted | number of learned quantities that the trajectories show to be exact |
# | -ELBO | minus the bound per transition; lower is better, so *none* should not be the lowest |
# | warning | what these data cannot decide |

# %%
print(report)

# %%
report.plot()

# %% [markdown]
# ## Predict
#
# The start is the first state of the data. The band shows two standard deviations of the posterior.

# %%
start = data.states[0, 0]
rollout = result.predict(start, np.linspace(0.0, 4.0, 41))
nr.plot.rollouts(rollout.t, rollout.mean[0], rollout.deviation[0], None, result.labels, columns=4)

# %% [markdown]
# ## Save the fit
#
# A run folder contains the fit, without pickle. `noethers-razor inspect run --html report.html` writes an
# HTML report.

# %%
path = result.save(folder / "run")
print(sorted(file.name for file in path.iterdir()))
print(nr.find_symmetries(nr.load_result(path)).formulas)
