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
# # U(n): which symmetry do n harmonic oscillators have?
#
# The energy of n equal oscillators does not change under any unitary transformation of the complex
# coordinates q + ip. So the symmetry group is U(n). Its n² generators are quadratic conserved quantities.
# This notebook finds them for n = 3.

# %%
import noethers_razor as nr
from noethers_razor import plot


def look(n, seed=0):
    """Simulate n oscillators and fit them. Return the system, the result and the report."""
    system = nr.systems.Oscillators(n=n)
    data = system.simulate(seed=seed, n_trajectories=200, n_steps=50)
    result = nr.fit(data, seed=seed)
    return system, result, nr.find_symmetries(result, truth=system)


system, result, report = look(3)
report

# %% [markdown]
# ## Spectrum and parallelness
#
# Top: all candidate quantities by the displacement that their flow causes. Blue quantities are in use. The
# razor has reduced the grey ones to almost zero. Bottom: parallelness, which is 1 if a direction lies in the
# true span.

# %%
report.plot()

# %% [markdown]
# ## The algebra
#
# Poisson brackets of the learned quantities stay in their span. Their invariants do not depend on the basis,
# and they identify the algebra.

# %%
algebra = report.algebra_detail
print(algebra.name, "| dimension", algebra.dimension, "| closed to", f"{100 * algebra.closure_defect:.2g} %")
algebra.invariants.as_json()

# %% [markdown]
# ## Formulas
#
# The formulas are a readable basis of the span. They have few terms, and their coefficients are rounded if
# the data allow it. `report.expressions()` returns them as SymPy expressions.

# %%
titles = [f"C{i + 1} = {text}" for i, text in enumerate(report.formulas)]
plot.generators(report.readable_forms, titles, report.readable_names)

# %%
report.expressions()[0]

# %% [markdown]
# ## The action of the generators
#
# The flow of each quantity moves the states of phase space. The arrows show this motion in the plane of the
# first oscillator, at about thirty states of the data. A quantity that does not move this oscillator has no
# arrows.

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
# In a live notebook, choose n with the slider. Each choice simulates and fits again, which takes up to a
# minute for large n. Without the package `ipywidgets`, call `look(4)`.

# %%
try:
    from ipywidgets import IntSlider, interact_manual
except ImportError:
    print("install ipywidgets for a slider, or call look(n)")
else:
    interact_manual(lambda n: print(look(n)[2]), n=IntSlider(2, 1, 5))
