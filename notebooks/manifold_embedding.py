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
# # Manifold embedding: how can a curve follow the data without folds?
#
# A decoder maps few latent coordinates to points of the data space. Vastola, Gershman and Rajan (2025) choose
# it by a functional J: the manifold is as large as possible where the data are dense. PCA is an exact case.
#
# Among all decoders J has no maximum, and the manifold folds. Two restrictions prevent this: a penalty on
# bending, and a density that is blurred at first.

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
# ## PCA is a special case
#
# The data are an arc with noise. With a normal density, a normal latent density and an affine decoder, the
# fit has the axis and the variance of PCA. The sign of the axis is arbitrary.

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
# Wiggles and folds have a large area, so J increases without limit. A fit without restrictions folds. Its J
# is *higher* than the J of the good fit below. The report warns of the folds.

# %%
free = VariationalManifoldEmbedding(1, degree=8, bending=0.0, anneal=(), random_state=0).fit(arc)
print(free.noether_report())

# %% [markdown]
# ## The remedy
#
# * **Bending.** A penalty on second derivatives. It is zero for affine maps, so PCA stays exact.
# * **Annealing.** The density is blurred first, and the blur decreases step by step. The manifold finds its
#   global shape before the details.

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
drawn(axes[1], free, "unrestricted")
drawn(axes[2], cured, "bending and annealing")

# %% [markdown]
# ## Symmetries of the density
#
# The density of a ring does not change under rotation. So the current j of a rotation has no divergence. A
# shift is not a symmetry of the ring, and its current has a divergence.

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
