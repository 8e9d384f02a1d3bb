# %% [markdown]
# # First look: one oscillator
# What the razor finds in one oscillator, and why the mean weights mislead.

# %%
import numpy as np

import noethers_razor as nr
from noethers_razor import plot

system = nr.systems.Oscillators(n=1)
data = system.simulate(seed=0, n_trajectories=40, n_steps=20)
result = nr.fit(data, conserved=5, seed=0)
report = nr.find_symmetries(result, truth=system)
print(report)

# %% [markdown]
# The bound along training: without symmetry, jointly with it, and the control that goes on without.

# %%
plot.training(result.history)

# %% [markdown]
# Rollouts from unseen states, with two posterior deviations.

# %%
test = system.simulate(seed=0, n_trajectories=5, n_steps=40, stream="test")
rollout = result.predict(test.states[:, 0], test.t)
print("mean squared error", np.mean((rollout.mean - test.states) ** 2))
plot.rollouts(rollout.t, rollout.mean[0], rollout.deviation[0], test.states[0], result.coordinates)
