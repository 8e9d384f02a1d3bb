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
# # U(n): n harmonic oscillators
#
# n equal oscillators have more symmetry than meets the eye: every unitary mixing of the complex coordinates q + ip
# leaves the energy as it is. The group is U(n), and its n² generators are quadratic conserved quantities.

# %%
import noethers_razor as nr
from noethers_razor import plot


def look(n, seed=0):
    """Simulate n oscillators, fit, and tell what was found."""
    system = nr.systems.Oscillators(n=n)
    data = system.simulate(seed=seed, n_trajectories=200, n_steps=50)
    result = nr.fit(data, seed=seed)
    return system, result, nr.find_symmetries(result, truth=system)


system, result, report = look(3)
report

# %% [markdown]
# ## Spectrum and parallelness
#
# Every quantity that was looked for, by the displacement that its flow causes. What the razor has cut is at the right;
# below, how nearly each direction lies in the true span.

# %%
report.plot()

# %% [markdown]
# ## The algebra
#
# Poisson brackets of the learned quantities stay in their span; which algebra they make is read from invariants
# that no choice of basis changes.

# %%
algebra = report.algebra_detail
print(algebra.name, "| dimension", algebra.dimension, "| closed to", f"{100 * algebra.closure_defect:.2g} %")
algebra.invariants.as_json()

# %% [markdown]
# ## Formulas
#
# A readable basis of the span: sparse, with rounded coefficients where the data allow it. `report.expressions()` gives
# them to SymPy.

# %%
titles = [f"C{i + 1} = {text}" for i, text in enumerate(report.formulas)]
plot.generators(report.readable_forms, titles, report.readable_names)

# %%
report.expressions()[0]

# %% [markdown]
# ## What the generators do
#
# Each quantity moves the states of phase space: here, the arrows in the plane of the first oscillator, at thirty states of the
# data. Quantities that do not touch it have no arrow.

# %%
states = result.states[:: max(1, len(result.states) // 30)]
fields = report.generators(states)
plot.arrows(
    {title: plot.plane_arrows(states, field, 0) for title, field in zip(titles, fields, strict=True)},
    labels=("q1", "p1"),
    columns=3,
)

# %% [markdown]
# ## Another n
#
# In a live notebook, choose; each choice simulates and fits anew (up to a minute for large n). Without the
# package `ipywidgets`, call `look(4)`.

# %%
try:
    from ipywidgets import IntSlider, interact_manual
except ImportError:
    print("install ipywidgets for a slider, or call look(n)")
else:
    interact_manual(lambda n: print(look(n)[2]), n=IntSlider(2, 1, 5))
