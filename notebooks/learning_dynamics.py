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
# # Learning dynamics: what changes the charges of a network in training?
#
# Noether's theorem also holds for a network in training (Tanaka and Kunin 2021). The loss has symmetries. For
# example, batch normalisation makes the loss independent of the length of the weights before it. Each
# symmetry has a charge.
#
# Several effects change a charge during training. This notebook separates them and shows
#
# * which norm grows;
# * at which rate a direction really learns;
# * whether something breaks a symmetry.

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
# ## Which symmetries does the loss have?
#
# A generator xi is a vector field on some parameters, which it names by their paths. There is one charge for
# each index of the axis `per`. For `scale` this is the last axis of a kernel, so each neuron has a charge.
#
# A symmetry holds if the gradient g of the loss has no component along xi.

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
# No normalisation follows the last layer, so its scale is not a symmetry. But a softmax does not change if
# all its inputs shift by the same amount.
#
# ## Track a training
#
# `track_noether` wraps an optax optimiser. The updates stay the same, bit for bit. A few trial steps identify
# the momentum and the decay of each parameter.


# %%
def train(optimizer, net, steps=2000, batch=64):
    """Train a network. Return its parameters and the records of all steps."""
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
# In each step the change of a charge is the sum of four terms, up to rounding:
#
# * *dissipation*: the friction of momentum;
# * *ksb*, kinetic symmetry breaking: the kinetic energy depends on scale, so every step makes a norm larger;
# * *decay*: weight decay makes a norm smaller;
# * *anomaly*: the effect of the loss itself. It is zero if the loss has the symmetry.

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
# ## The theory of norms
#
# A direction of weights q learns at the rate eta / |q|². Momentum and decay determine |q|. The factor R in
# the theory depends on the autocorrelation of the gradients:
#
# * Equation 17 of the paper assumes gradients that change slowly.
# * R = 1 assumes gradients without autocorrelation.
# * *R measured* takes the autocorrelation from the training.
#
# The gradients of mini-batches change fast. So equation 17 is far from the measured norms, and the measured R
# predicts them.

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
# For the directions, momentum with decay is equivalent to RMSProp. The cell gives its learning rate, the
# factor `rho` of its running average, and its memory in steps.

# %%
nld.equivalent_rmsprop(eta=0.1, beta=0.9, decay=5e-4)

# %% [markdown]
# ## What breaks the symmetry?
#
# Three settings break the symmetry or the theory: a large eps in the normalisation, a mask that excludes
# weights from decay, and clipping. Training raises no error in any of these cases. The report names each of
# them.

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
