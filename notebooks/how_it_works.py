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
# # How it works
#
# The bound term by term, a case where it is exact, and what the number S of orbit samples does, all in objects of NumPyro.

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
# Linear regression y = X w + noise with a normal prior has a normal posterior, and a log evidence in closed form.
# Our posterior of a layer, a matrix normal, holds it exactly. The prior's variance is the one that maximises the
# bound: (|M|² + |L_row|² |L_col|²) / D, in closed form, which is what removes a setting that nobody wants to make.

# %%
rng = np.random.default_rng(0)
points, features, deviation = 40, 3, 0.1
design = rng.normal(size=(points, features))
target = design @ [1.0, -2.0, 0.5] + deviation * rng.normal(size=points)


def exact_posterior(variance):
    """Mean and covariance of the weights for a prior of this variance."""
    precision = design.T @ design / deviation**2 + np.eye(features) / variance
    covariance = np.linalg.inv(precision)
    return covariance @ design.T @ target / deviation**2, covariance


def evidence(variance):
    """log p(y), nats."""
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
    """Weights from the empirical prior, targets around X w."""
    weights = numpyro.sample("weights", posterior.empirical_prior(layer))
    numpyro.sample(
        "y", dist.Normal(jnp.asarray(design) @ weights[0], deviation).to_event(1), obs=jnp.asarray(target)
    )


def guide():
    """The posterior."""
    numpyro.sample("weights", layer)


for samples in (100, 10_000):
    bound = -TraceMeanField_ELBO(num_particles=samples).loss(jax.random.key(0), {}, model, guide)
    print(f"ELBO with {samples:6d} draws {float(bound):.3f}")
print(f"log evidence           {evidence(variance):.3f}")

# %% [markdown]
# Away from the exact posterior the bound is below the evidence. And wider priors cost: Occam's razor at work, the evidence as a function
# of the prior's variance has a maximum, which is where the closed form puts it.

# %%
for factor in (0.1, 1.0, 10.0, 100.0):
    print(f"prior variance {factor * variance:8.3f}: log evidence {evidence(factor * variance):.3f}")

# %% [markdown]
# ## The bound of a Hamiltonian, term by term
#
# The weights of every layer are matrix normal; flow times are drawn from a fixed law; the transitions are normal around
# the flow of the orbit-averaged Hamiltonian.

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
# Minus the bound per transition is what the data cost given the posterior, plus the divergence of the posterior from the prior,
# shared by all transitions. Symmetry lowers the second.

# %%
print("          -ELBO =    nll +     KL")
for name, result in fits.items():
    key = jax.random.key(1)
    whole = float(result.model.negative_elbo(result.params, key, batch, 8))
    divergence = float(result.model.divergence(result.params)) / result.model.likelihood.total
    print(f"{name:8s} {whole:7.3f}   {whole - divergence:7.3f}  {divergence:7.3f}")

# %% [markdown]
# ## What S does
#
# The average over an orbit is taken from S samples inside the likelihood. Whatever S is the bound is one; the spread of the
# average acts like noise that the data have to pay for, so that the bound is lower the fewer samples there are. More cost time.

# %%
# Programs of different S are different: each is compiled once.
numbers, bounds = (1, 2, 4, 8, 16, 32), []
for samples in numbers:
    other = dataclasses.replace(
        learned.model, orbits=OrbitSampling(samples, learned.config.orbits.measure, learned.config.orbits.sampling)
    )
    bound = jax.jit(lambda params, key, other=other: other.negative_elbo(params, key, batch, 4))
    bounds.append([float(bound(learned.params, jax.random.key(i))) for i in range(8)])
for samples, values in zip(numbers, bounds, strict=True):
    print(f"S = {samples:2d}: -ELBO {np.mean(values):.3f}, spread over draws {np.std(values):.3f}")
