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
# # Manifold embedding
#
# Dimensionality reduction as an optimum (Vastola, Gershman, Rajan 2025): a decoder from few latent coordinates to the data, made as
# large as the density of the data allows. PCA is an exact case. The functional has a problem, and this shows its cure.

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import spearmanr
from sklearn.decomposition import PCA

from noethers_razor.manifold_embedding import VariationalManifoldEmbedding

rng = np.random.default_rng(0)
angle = rng.uniform(0, 1.5 * np.pi, 1000)
arc = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1) + 0.1 * rng.normal(size=(1000, 3))

# %% [markdown]
# ## PCA is a case of it
#
# An affine decoder of a normal density and a normal latent density has PCA's axes and variances.

# %%
affine = VariationalManifoldEmbedding(
    1, density="gaussian", latent="normal", basis="affine", anneal=(), bending=0.0
).fit(arc)
print("axis", affine.params_["weights"][:, 0] * affine.scale_)
print("PCA ", PCA(1).fit(arc).components_[0] * arc.dot(PCA(1).fit(arc).components_[0]).std())
print(affine.noether_report())

# %% [markdown]
# ## The problem
#
# Among all functions there is no best one: wiggles and folds have much area. With nothing against them, a fit folds, and its objective J is
# *higher* than that of the good one below. The report says so.

# %%
free = VariationalManifoldEmbedding(1, degree=8, bending=0.0, anneal=(), random_state=0).fit(arc)
print(free.noether_report())

# %% [markdown]
# ## The cure
#
# Bending costs, which leaves affine maps alone; and the density starts blurred, so that the manifold finds its way before it is held by detail.

# %%
cured = VariationalManifoldEmbedding(1, degree=8, random_state=0).fit(arc)
print(cured.noether_report())


# %%
def drawn(ax, fit, title):
    image = fit.inverse_transform(np.linspace(-1, 1, 500)[:, None])
    ax.plot(arc[:, 0], arc[:, 1], ".", color="0.75", ms=3)
    ax.plot(image[:, 0], image[:, 1], color="#0072b2", lw=1.5)
    order = abs(spearmanr(angle, fit.transform(arc)[:, 0])[0])
    ax.set(title=f"{title}: Spearman {order:.3f}", aspect="equal", xlabel="$x_1$", ylabel="$x_2$")


figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
drawn(axes[0], affine, "PCA")
drawn(axes[1], free, "neither")
drawn(axes[2], cured, "bending and annealing")

# %% [markdown]
# ## Symmetries of the density
#
# A ring looks the same from all sides. Then the angular current of an embedding has no divergence; a shift is no symmetry, and its current has.

# %%
import jax.numpy as jnp

turned = rng.uniform(0, 2 * np.pi, 1000)
ring = (1 + 0.1 * rng.normal(size=1000))[:, None] * np.stack([np.cos(turned), np.sin(turned)], axis=1)


def log_density(x):
    return -((jnp.linalg.norm(x) - 1) ** 2) / (2 * 0.1**2)


circle = VariationalManifoldEmbedding(1, density=log_density, latent="circle", basis="fourier", degree=3).fit(
    ring
)
print(circle.noether_report({"rotation": lambda x: jnp.stack([-x[1], x[0]]), "shift": lambda x: jnp.ones(2)}))
