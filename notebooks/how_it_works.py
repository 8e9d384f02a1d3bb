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
# # How it works: what does the bound measure?
#
# A fit maximises a lower bound on the log evidence, the ELBO. This notebook shows the bound in three ways:
#
# 1. a case where the bound is exact;
# 2. the terms of the bound for a Hamiltonian;
# 3. the effect of the number S of orbit samples.
#
# Model and posterior are ordinary NumPyro functions.

# %%
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import TraceMeanField_ELBO

import noethers_razor as nr
from noethers_razor.inference.problem import to_batch
from noethers_razor.model import posterior
from noethers_razor.model.elbo import OrbitSampling

# %% [markdown]
# ## A case where the bound is exact
#
# Linear regression y = X w + noise with a normal prior has a normal posterior. Its log evidence has a closed
# form.
#
# The posterior of a layer in this package is a matrix normal M + L_row E L_colᵀ, with standard normal E. The
# exact posterior of this regression has this form. The prior variance is the one that maximises the bound.
# For D weights it is (|M|² + |L_row|² |L_col|²) / D. So nobody has to set it.

# %%
rng = np.random.default_rng(0)
points, features, deviation = 40, 3, 0.1
design = rng.normal(size=(points, features))
target = design @ [1.0, -2.0, 0.5] + deviation * rng.normal(size=points)


def exact_posterior(variance):
    """Return mean and covariance of the weights for a prior of this variance."""
    precision = design.T @ design / deviation**2 + np.eye(features) / variance
    covariance = np.linalg.inv(precision)
    return covariance @ design.T @ target / deviation**2, covariance


def evidence(variance):
    """Return log p(y), nats."""
    covariance = deviation**2 * np.eye(points) + variance * design @ design.T
    return -0.5 * (
        target @ np.linalg.solve(covariance, target) + np.linalg.slogdet(2 * np.pi * covariance)[1]
    )


variance = 1.0
for _ in range(200):
    mean, covariance = exact_posterior(variance)
    variance = (np.trace(covariance) + mean @ mean) / features

# %%
root = np.linalg.cholesky(covariance)
layer = posterior.layer_posterior(
    jnp.asarray(mean[None]),
    jnp.zeros((1, 1)),
    jnp.asarray(np.tril(root, -1) + np.diag(np.log(np.diag(root)))),
)


def model():
    """Define the weights, with the empirical prior, and the targets around X w."""
    weights = numpyro.sample("weights", posterior.empirical_prior(layer))
    numpyro.sample(
        "y", dist.Normal(jnp.asarray(design) @ weights[0], deviation).to_event(1), obs=jnp.asarray(target)
    )


def guide():
    """Define the posterior."""
    numpyro.sample("weights", layer)


for samples in (100, 10_000):
    bound = -TraceMeanField_ELBO(num_particles=samples).loss(jax.random.key(0), {}, model, guide)
    print(f"ELBO with {samples:6d} draws {float(bound):.3f}")
print(f"log evidence           {evidence(variance):.3f}")

# %% [markdown]
# Here the bound equals the evidence, up to the error of the draws. For any other posterior it is lower.
#
# The evidence also depends on the prior variance. A prior that is too narrow excludes the true weights. A
# prior that is too wide includes too many others: this is Occam's razor. The closed form gives the maximum.

# %%
for factor in (0.1, 1.0, 10.0, 100.0):
    print(f"prior variance {factor * variance:8.3f}: log evidence {evidence(factor * variance):.3f}")

# %% [markdown]
# ## The bound of a Hamiltonian, term by term
#
# The model has three parts:
#
# * the weights of each layer, with a matrix-normal posterior;
# * flow times, drawn from a fixed law;
# * transitions, normal around the flow of the orbit-averaged Hamiltonian.
#
# The cell lists the parameters and samples of the posterior. Each layer has a mean and two factors.

# %%
system = nr.systems.Oscillators(n=2)
data = system.simulate(seed=0, n_trajectories=50, n_steps=20, noise=0.03)
fits = {"none": nr.fit(data, seed=0, conserved=nr.NoSymmetry()), "learned": nr.fit(data, seed=0)}
learned = fits["learned"]
batch = to_batch(learned.frame, data.select(slice(0, 40)).transitions(), learned.config.dtype)
sites = numpyro.handlers.trace(
    numpyro.handlers.seed(numpyro.handlers.substitute(learned.model.guide, learned.params), 0)
).get_trace(batch)
for name, site in sites.items():
    print(f"{site['type']:7s} {name:24s} {tuple(np.shape(site['value']))}")

# %% [markdown]
# Minus the bound per transition is a sum of two terms:
#
# * nll: the negative log likelihood of a transition, averaged over the posterior;
# * KL: the divergence of the posterior from the prior, divided by the number of transitions.
#
# Symmetry decreases the second term.

# %%
print("          -ELBO =    nll +     KL")
for name, result in fits.items():
    key = jax.random.key(1)
    whole = float(result.model.negative_elbo(result.params, key, batch, 8))
    divergence = float(result.model.divergence(result.params)) / result.model.likelihood.total
    print(f"{name:8s} {whole:7.3f}   {whole - divergence:7.3f}  {divergence:7.3f}")

# %% [markdown]
# ## The effect of S
#
# S samples inside the likelihood estimate the average over an orbit. The bound is valid for every S. With few
# samples the estimate varies, and this acts as additional noise. So the bound increases with S, and so does
# the cost of a step.

# %%
# Each S is a program of its own, compiled once.
numbers, bounds = (1, 2, 4, 8, 16, 32), []
for samples in numbers:
    other = dataclasses.replace(
        learned.model,
        orbits=OrbitSampling(samples, learned.config.orbits.measure, learned.config.orbits.sampling),
    )
    bound = jax.jit(lambda params, key, other=other: other.negative_elbo(params, key, batch, 4))
    bounds.append([float(bound(learned.params, jax.random.key(i))) for i in range(8)])
for samples, values in zip(numbers, bounds, strict=True):
    print(f"S = {samples:2d}: -ELBO {np.mean(values):.3f}, spread over draws {np.std(values):.3f}")
