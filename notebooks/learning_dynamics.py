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
# # Learning dynamics
#
# Noether's theorem for a network in training (Tanaka and Kunin 2021). The loss has symmetries: batch normalisation makes it
# blind to the length of the weights before it. Each has a charge, and training changes it in ways that can be told apart:
# which norm grows, at which learning rate a direction really moves, and whether something breaks the symmetry unseen.

# %%
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from mnist1d.data import get_dataset_args, make_dataset

from noethers_razor import learning_dynamics as nld
from noethers_razor import plot

data = make_dataset(get_dataset_args())
x, y = jnp.asarray(data["x"]), jnp.asarray(data["y"])


class Network(nn.Module):
    eps: float = 0.0

    @nn.compact
    def __call__(self, x):
        for width in (64, 64):
            x = nn.Dense(width)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=False, epsilon=self.eps)(x))
        return nn.Dense(10)(x)


def loss_of(net):
    def loss(params, batch):
        logits, _ = net.apply({"params": params}, batch[0], mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()

    return loss


# %% [markdown]
# ## Which symmetries are there?
#
# A generator is a field on some parameters, told by their paths. `per` is the axis that tells charges apart: neurons are the last
# of a kernel. A symmetry holds where no part of the gradient is along it.

# %%
generators = [
    nld.scale("Dense_0/kernel"),
    nld.scale("Dense_1/kernel"),
    nld.scale("Dense_2/kernel"),
    nld.translation("Dense_2/kernel", per=0),
]
params = Network().init(jax.random.key(0), x[:8])["params"]
for check in nld.check_symmetry(loss_of(Network()), params, (x, y), generators).values():
    print(check)

# %% [markdown]
# The last layer has no normalisation after it, so that its scale is no symmetry; but a softmax does not see a shift of all its
# inputs.
#
# ## Watch a training
#
# `track_noether` wraps an optimiser of optax and leaves its updates as they are, to the last bit. What it is, momentum and decay of
# each parameter, it finds out by trying it.


# %%
def train(optimizer, net, steps=2000, batch=64):
    """Parameters and the records of all steps."""
    loss = loss_of(net)

    def step(carry, key):
        params, state = carry
        some = jax.random.choice(key, len(y), (batch,))
        update, state = optimizer.update(jax.grad(loss)(params, (x[some], y[some])), state, params)
        return (optax.apply_updates(params, update), state), state.record

    params = net.init(jax.random.key(0), x[:8])["params"]
    keys = jax.random.split(jax.random.key(1), steps)
    (params, _), records = jax.lax.scan(step, (params, optimizer.init(params)), keys)
    return params, records


def heavy_ball(decay=5e-4, mask=None):
    return optax.chain(optax.add_decayed_weights(decay, mask), optax.sgd(0.1, 0.9))


symmetric = [generators[0], generators[1], generators[3]]
optimizer = nld.track_noether(heavy_ball(), symmetric)
params, records = train(optimizer, Network())
report = nld.noether_report(optimizer, records, params)
print(report)

# %% [markdown]
# The account of each step closes to rounding: the rate of a charge is the sum of its terms. *Dissipation* is friction, *ksb* what
# the kinetic energy does to the symmetry (it is not blind to scale: every step makes a norm larger), *decay* pulls back, and
# the *anomaly* is what the loss itself does: nothing, where it has the symmetry.

# %%
scales = {name: reading for name, reading in report.readings.items() if reading.generator.is_scale}
steps = scales[generators[0].name].steps
plot.charges(
    steps,
    {
        name: {
            "charge": one.charge.charge.mean(axis=1),
            **{k: v.mean(axis=1) for k, v in one.terms().items()},
        }
        for name, one in scales.items()
    },
)

# %% [markdown]
# ## Where norms go
#
# The learning rate of a direction is eta / |q|², and momentum and decay set |q|. Equation 17 of the paper assumes gradients that
# change slowly; those of mini-batches do not. With the autocorrelation of gradients as it is (R measured) theory meets the norms.

# %%
kinds = {"equation 17": "bernoulli", "R = 1": "white", "R measured": "autocorrelated"}
plot.norms(
    steps,
    {name: one.charge.square.mean(axis=1) for name, one in scales.items()},
    {
        name: {label: one.predict_norm(kind).mean(axis=1) for label, kind in kinds.items()}
        for name, one in scales.items()
    },
)

# %% [markdown]
# What momentum and decay amount to is RMSProp on the directions: its learning rate, what it keeps in a step, and its memory.

# %%
nld.equivalent_rmsprop(eta=0.1, beta=0.9, decay=5e-4)

# %% [markdown]
# ## What breaks it
#
# An eps that is not small, a mask that leaves decay out, clipping: all three train without complaint, and the report names them.

# %%
broken = {
    "eps of .1": (Network(eps=0.1), heavy_ball()),
    "a mask": (Network(), heavy_ball(mask=lambda p: {k: dict.fromkeys(p[k], k == "Dense_2") for k in p})),
    "clipping": (Network(), optax.chain(optax.clip_by_global_norm(0.5), heavy_ball())),
}
for name, (net, plain) in broken.items():
    optimizer = nld.track_noether(plain, symmetric[0])
    params, records = train(optimizer, net, steps=500)
    for finding in nld.noether_report(optimizer, records, params).findings:
        print(f"{name}: {finding}\n")
