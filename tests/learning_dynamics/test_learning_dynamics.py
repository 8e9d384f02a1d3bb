"""Tests of charges of networks in training: identities up to rounding, laws of norms, broken symmetries."""

import dataclasses
from functools import cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx, serialization

from noethers_razor import plot
from noethers_razor.errors import UsageError
from noethers_razor.learning_dynamics import (
    Generator,
    angle_per_step,
    check_symmetry,
    correlation_factor,
    custom,
    equivalent_rmsprop,
    freeze_norm,
    linear,
    noether_report,
    predict_norm,
    rescale,
    rotation,
    scale,
    track_noether,
    translation,
)

pytestmark = pytest.mark.usefixtures("x64")
SAMPLES = 256
INPUTS = 12
WIDTH = 8
CLASSES = 5


def below(value, limit, what):
    """Print a measured value, and assert that it is at most the limit."""
    print(f"{what}: {value:.2g} (at most {limit:g})")
    assert value <= limit, what


class Normalised(nn.Module):
    """A network with batch normalisation, without its own parameters, before each rectifier."""

    eps: float = 0.0
    dtype: type = jnp.float64

    @nn.compact
    def __call__(self, x):
        for width in (WIDTH, WIDTH):
            x = nn.Dense(width, param_dtype=self.dtype)(x)
            x = nn.relu((x - x.mean(0)) / jnp.sqrt(x.var(0) + self.eps))
        return nn.Dense(CLASSES, param_dtype=self.dtype)(x)


class Plain(nn.Module):
    """A network with two rectifiers, followed by two linear layers."""

    @nn.compact
    def __call__(self, x):
        for width in (WIDTH, WIDTH):
            x = nn.relu(nn.Dense(width, param_dtype=jnp.float64)(x))
        x = nn.Dense(WIDTH, param_dtype=jnp.float64, use_bias=False)(x)
        return nn.Dense(CLASSES, param_dtype=jnp.float64)(x)


@cache
def batch_of(dtype=jnp.float64):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(SAMPLES, INPUTS))
    y = np.argmax(x @ draw.normal(size=(INPUTS, CLASSES)) + draw.normal(size=(SAMPLES, CLASSES)), axis=1)
    return jnp.asarray(x, dtype), jnp.asarray(y)


def loss_of(net):
    def loss(params, batch):
        logits = net.apply({"params": params}, batch[0])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()

    return loss


def heavy_ball(eta, beta, decay, mask=None):
    return optax.chain(optax.add_decayed_weights(decay, mask), optax.sgd(eta, beta))


def trained(net, optimizer, steps, size=None, options=None):
    """Return parameters and records after steps on mini-batches of a size, or on the whole batch.

    Options are those of the compiler.
    """
    x, y = batch_of(getattr(net, "dtype", jnp.float64))
    params = net.init(jax.random.key(1), x[:4])["params"]
    loss = loss_of(net)

    def step(carry, n):
        params, state = carry
        some = jax.random.choice(jax.random.key(n), SAMPLES, (size,)) if size else jnp.arange(SAMPLES)
        update, state = optimizer.update(jax.grad(loss)(params, (x[some], y[some])), state, params)
        return (optax.apply_updates(params, update), state), getattr(state, "record", 0)

    start = params, optimizer.init(params)
    run = jax.jit(partial(jax.lax.scan, step), compiler_options=options)
    (params, _), records = run(start, jnp.arange(steps))
    return params, records


def report_of(net, optimizer, generators, steps, size=None, every=1):
    tracked = track_noether(optimizer, generators, every)
    params, records = trained(net, tracked, steps, size)
    return noether_report(tracked, records, params)


SKEW = np.triu(np.random.default_rng(2).normal(size=(WIDTH, WIDTH)), 1)
SKEW = SKEW - SKEW.T
STRETCH = np.diag(np.arange(WIDTH))
HIDDEN = scale("Dense_0/kernel"), scale("Dense_1/kernel", "Dense_1/bias")
ON_NORMALISED = [
    *HIDDEN,
    translation("Dense_0/bias", per=0),
    translation("Dense_2/kernel", per=0),
    translation("Dense_2/bias"),
    custom("any", ["Dense_0/kernel"], lambda q: {p: jnp.sin(leaf) * leaf[0] for p, leaf in q.items()}),
]
ON_PLAIN = [
    rescale(["Dense_0/kernel", "Dense_0/bias"], "Dense_1/kernel"),
    # The second of two linear layers can undo any rotation by the first.
    rotation("Dense_2/kernel", SKEW) + rotation("Dense_3/kernel", SKEW, axis=0),
    linear("Dense_2/kernel", np.diag(np.arange(WIDTH)))
    + linear("Dense_3/kernel", -np.diag(np.arange(WIDTH)), axis=0),
]


@pytest.mark.parametrize("beta", [pytest.param(0.0, marks=pytest.mark.slow), 0.9])
@pytest.mark.parametrize("size", [None, 32])
def test_the_account_of_every_generator_closes_to_rounding(beta, size):
    for net, generators in ((Normalised(), ON_NORMALISED), (Plain(), ON_PLAIN)):
        report = report_of(net, heavy_ball(0.05, beta, 1e-3), generators, 200, size)
        for name, reading in report.readings.items():
            below(reading.residual().max(), 1e-12, f"residual of {name}, beta {beta}, batch {size}")
            if name != "any":
                below(np.median(np.nan_to_num(reading.anomaly())), 1e-12, f"anomaly of {name}")
        named = [finding.partition(":")[0] for finding in report.findings]
        assert named == (["any"] if "any" in report.readings else [])


def test_the_account_closes_with_schedules_nesterov_and_steps_left_out():
    rate = optax.warmup_cosine_decay_schedule(0.0, 0.1, 20, 200)
    for optimizer in (optax.sgd(rate, 0.9), optax.sgd(0.05, 0.9, nesterov=True)):
        reading = report_of(Normalised(), optimizer, HIDDEN, 200, 32, every=7).readings[HIDDEN[0].name]
        assert reading.steps.tolist() == list(range(0, 200, 7))
        below(reading.residual().max(), 1e-12, "residual, every seventh step")
        with pytest.raises(UsageError, match="a step is not a constant learning rate times the momentum"):
            reading.predict_norm()


def test_what_is_measured_seldom_is_what_is_measured_always():
    often, seldom = (
        report_of(Normalised(), heavy_ball(0.05, 0.9, 1e-3), HIDDEN, 60, 32, every).readings[HIDDEN[0].name]
        for every in (1, 5)
    )
    for name, always in often.charge._asdict().items():
        np.testing.assert_allclose(getattr(seldom.charge, name), always[::5], rtol=1e-9, atol=1e-15)
    with pytest.raises(UsageError, match="needs every step"):
        seldom.predict_norm()


@pytest.mark.parametrize("size", [None, 32])
def test_squared_norms_follow_their_recursion(size):
    report = report_of(Normalised(), heavy_ball(0.05, 0.9, 1e-3), HIDDEN, 4000, size)
    for name, reading in report.readings.items():
        error = np.abs(reading.predict_norm("exact") / reading.charge.square - 1).max()
        below(error, 1e-12, f"r^2 of {name} over 4000 steps")


def test_a_translated_sum_has_a_closed_form():
    # c' = (1 + beta - eta k) c - beta c_before, with the numbers from trial steps. It has two roots.
    x, y = batch_of()
    tracked = track_noether(heavy_ball(0.1, 0.9, 1e-3), translation("w", per=0))
    params, steps = {"w": jnp.asarray(np.random.default_rng(3).normal(size=(INPUTS, CLASSES)))}, 2000

    def loss(p):
        return optax.softmax_cross_entropy_with_integer_labels(x @ p["w"], y).mean()

    def step(carry, _):
        params, state = carry
        update, state = tracked.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, update), state), (params["w"].sum(axis=1), state.record)

    start = params, tracked.init(params)
    _, (sums, records) = jax.jit(partial(jax.lax.scan, step, length=steps))(start)
    (reading,) = noether_report(tracked, records, params).readings.values()
    eta, beta, k = reading.eta(), reading.motion.beta, reading.k()
    roots = np.roots([1.0, -(1 + beta - eta * k), beta])
    other = ((1 - eta * k) * sums[0] - roots[0] * sums[0]) / (roots[1] - roots[0])
    n = np.arange(steps)[:, None]
    exact = (sums[0] - other) * roots[0] ** n + other * roots[1] ** n
    below(float(np.abs(sums - exact).max() / np.abs(sums).max()), 1e-11, "sums over 2000 steps")
    moved = eta * reading.charge.charge[:-1]
    below(float(np.abs(np.diff(sums, axis=0) - moved).max() / np.abs(moved).max()), 1e-11, "eta times charge")


def test_an_angular_momentum_decays_as_momentum_does():
    beta, steps = 0.9, 100
    tracked = track_noether(optax.sgd(0.01, beta), rotation("w", SKEW, axis=0))
    params = {"w": jnp.asarray(np.random.default_rng(4).normal(size=WIDTH))}
    state = tracked.init(params)
    momentum, ending = state.inner
    thrown = momentum._replace(trace={"w": jnp.asarray(np.random.default_rng(5).normal(size=WIDTH))})
    state = state._replace(inner=(thrown, ending))

    def step(carry, _):
        params, state = carry
        gradient = jax.grad(lambda p: jnp.sin(jnp.sum(p["w"] ** 2)))(params)
        update, state = tracked.update(gradient, state, params)
        return (optax.apply_updates(params, update), state), state.record

    _, records = jax.jit(partial(jax.lax.scan, step, length=steps))((params, state))
    charge = noether_report(tracked, records, params).readings["rotation w"].charge
    exact = charge.charge[0] * beta ** np.arange(steps)
    below(float(np.abs(charge.charge / exact - 1).max()), 1e-9, "A_n / A_0 beta^n - 1")


@pytest.mark.parametrize(
    ("beta", "size", "kind", "limit"),
    [
        (0.0, None, "bernoulli", 0.01),
        (0.0, 32, "white", 0.01),
        (0.9, 32, "white", 0.05),
        (0.9, 32, "autocorrelated", 0.01),
        (0.9, None, "autocorrelated", 0.01),
    ],
)
def test_norms_are_predicted_from_gradients(beta, size, kind, limit):
    eta, decay = 0.02, 1e-3
    report = report_of(Normalised(), heavy_ball(eta, beta, decay), HIDDEN, 3000, size)
    assert equivalent_rmsprop(eta, beta, decay).memory > 100
    for name, reading in report.readings.items():
        error = reading.predict_norm(kind)[-1] / reading.charge.square[-1] - 1
        below(float(np.abs(np.median(error))), limit, f"r^2 of {name}, {kind}, beta {beta}, batch {size}")


def test_equation_17_holds_for_gradients_that_change_slowly():
    # The direction turns steadily. Equation 17 assumes this; gradients of mini-batches are different.
    eta, beta, decay, steps = 1e-3, 0.9, 1e-2, 4000
    tracked = track_noether(heavy_ball(eta, beta, decay), scale("w", per=None))
    params = {"w": jnp.asarray([1.0, 0.0])}

    def step(carry, _):
        params, state = carry
        gradient = jax.grad(lambda p: 0.3 * jnp.arctan2(p["w"][1], p["w"][0]))(params)
        update, state = tracked.update(gradient, state, params)
        return (optax.apply_updates(params, update), state), state.record

    _, records = jax.jit(partial(jax.lax.scan, step, length=steps))((params, tracked.init(params)))
    reading = noether_report(tracked, records, params).readings["scale w"]
    for kind in ("bernoulli", "autocorrelated"):
        below(abs(reading.predict_norm(kind)[-1] / reading.charge.square[-1] - 1), 0.05, kind)
    assert reading.predict_norm("white")[-1] < 0.8 * reading.charge.square[-1]


def test_equation_17_holds_for_a_network_on_all_data_at_first():
    # It holds until steps overshoot. The measured R holds also afterwards.
    report = report_of(Normalised(), heavy_ball(0.01, 0.9, 1e-3), HIDDEN[0], 300)
    (reading,) = report.readings.values()
    for kind in ("bernoulli", "autocorrelated"):
        error = np.median(reading.predict_norm(kind)[-1] / reading.charge.square[-1] - 1)
        below(abs(error), 0.05, f"r^2, {kind}, all data, 300 steps")


@pytest.mark.parametrize("smooth", [0.0, 0.5, 0.95])
def test_the_momentum_knows_the_autocorrelation_of_gradients(smooth):
    # The gradients are an autoregressive process. By definition R = (1 + beta a) / (1 - beta a).
    beta, eta, draw = 0.9, 1e-3, np.random.default_rng(6)
    g = np.zeros((20_000, 4))
    for n in range(1, len(g)):
        g[n] = smooth * g[n - 1] + draw.normal(size=4)
    v = np.zeros_like(g)
    for n in range(1, len(g)):
        v[n] = beta * v[n - 1] - g[n]
    exact = (1 + beta * smooth) / (1 - beta * smooth)
    np.testing.assert_allclose(correlation_factor(g, beta), exact, rtol=0.1)
    # Without decay and with |ghat|^2 = |g|^2 r^2, r^4 grows by 2 R (eta / (1 - beta))^2 |ghat|^2 per step.
    gradient, step = np.sum(g * g, axis=1), eta**2 * np.sum(v * v, axis=1)
    square = np.ones(len(g))
    grown = {
        kind: predict_norm(square, gradient, step, eta=eta, beta=beta, decay=0.0, kind=kind)[-1] ** 2 - 1
        for kind in ("white", "autocorrelated")
    }
    print(smooth, grown["autocorrelated"] / grown["white"], exact)
    np.testing.assert_allclose(
        grown["autocorrelated"] / grown["white"], correlation_factor(g, beta), rtol=0.02
    )


def test_a_stationary_direction_turns_at_the_rate_of_theory():
    # Regression with a normalised weight and pure noise as targets.
    eta, beta, decay, steps, dim = 0.01, 0.9, 1e-2, 8000, 20
    tracked = track_noether(heavy_ball(eta, beta, decay), scale("w", per=None))
    params = {"w": jnp.asarray(np.random.default_rng(7).normal(size=dim))}

    def step(carry, n):
        params, state = carry
        x, y = jax.random.normal(jax.random.key(n), (9, dim))[:8], jax.random.normal(jax.random.key(-n), (8,))

        def loss(p):
            return jnp.mean((x @ p["w"] / jnp.linalg.norm(p["w"]) - y) ** 2)

        update, state = tracked.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, update), state), state.record

    start = params, tracked.init(params)
    _, records = jax.jit(partial(jax.lax.scan, step))(start, jnp.arange(1, steps + 1))
    report = noether_report(tracked, records, params)
    angle = report.readings["scale w"].angle(slice(steps // 2, None))
    below(abs(angle / angle_per_step(eta, beta, decay) - 1), 0.02, "angle per step")
    assert f"{angle_per_step(eta, beta, decay):.3g} in theory" in str(report)


def test_equation_17_is_rmsprop():
    eta, beta, decay = 0.1, 0.9, 5e-4
    same = equivalent_rmsprop(eta, beta, decay)
    ghat = np.random.default_rng(8).exponential(size=3000)
    mean, rates = 2.0, []
    for square in ghat:
        rates.append(same.learning_rate / np.sqrt(mean))
        mean = same.rho * mean + (1 - same.rho) * square
    # The first mean of squares fixes the first norm. Later norms enter only as |g|^2 |q|^2.
    start = eta / rates[0]
    squares = np.full(3000, start)
    predicted = predict_norm(squares, ghat / squares, ghat, eta=eta, beta=beta, decay=decay, kind="bernoulli")
    below(float(np.abs(eta / predicted / rates - 1).max()), 1e-10, "learning rates")
    assert same.memory == pytest.approx((1 - beta) / (4 * decay * eta))


@pytest.mark.parametrize(("dtype", "every"), [(jnp.float32, 1), (jnp.float64, 3)])
@pytest.mark.parametrize(
    "optimizer",
    [
        heavy_ball(0.05, 0.9, 1e-3),
        optax.sgd(0.1),
        pytest.param(optax.adam(1e-2), marks=pytest.mark.slow),
        pytest.param(optax.rmsprop(1e-2), marks=pytest.mark.slow),
    ],
)
def test_updates_keep_their_last_bit(optimizer, every, dtype):
    net = Normalised(dtype=dtype)
    # Only optimised programs round alike whatever stands next to the updates.
    optimised = {"xla_backend_optimization_level": 1}
    free, _ = trained(net, optimizer, 100, 32, optimised)
    watched, _ = trained(net, track_noether(optimizer, HIDDEN, every), 100, 32, optimised)
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), free, watched)))


def test_norms_are_held():
    optimizer = freeze_norm(heavy_ball(0.1, 0.9, 5e-4), [*HIDDEN, scale("Dense_2/kernel", per=None)])
    x, _ = batch_of()
    first = Normalised().init(jax.random.key(1), x[:4])["params"]
    last, _ = trained(Normalised(), optimizer, 300, 32)
    for one in (*HIDDEN, scale("Dense_2/kernel", per=None)):
        before, after = one.leaves(first), one.leaves(last)
        np.testing.assert_allclose(one.pairing(after, after), one.pairing(before, before), rtol=1e-12)
        assert max(jnp.abs(after[path] - before[path]).max() for path in after) > 0.01
    with pytest.raises(UsageError, match="only norms can be kept constant"):
        freeze_norm(optax.sgd(0.1), translation("Dense_2/bias"))


BROKEN = {
    "eps": (Normalised(eps=0.1), heavy_ball(0.05, 0.9, 1e-3), "the loss does not have this symmetry"),
    "mask": (
        Normalised(),
        heavy_ball(0.05, 0.9, 1e-3, lambda p: {k: dict.fromkeys(p[k], k == "Dense_2") for k in p}),
        "it has no decay, but other parameters have",
    ),
    "clip": (
        Normalised(),
        optax.chain(optax.clip(0.01), heavy_ball(0.05, 0.9, 1e-3)),
        "something other than gradient and decay changed the momentum. Check for clipping",
    ),
    "global clip": (
        Normalised(),
        optax.chain(optax.clip_by_global_norm(0.2), heavy_ball(0.05, 0.9, 1e-3)),
        "something other than gradient and decay changed the momentum. Check for clipping",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_a_symmetry_is_named(name):
    net, optimizer, finding = BROKEN[name]
    report = report_of(net.clone(dtype=jnp.float32), optimizer, HIDDEN[0], 200, 32)
    assert len(report.findings) == 1
    assert finding in report.findings[0]
    assert f"warning: {report.findings[0]}" in str(report)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_nothing_is_named_where_nothing_is_broken(dtype):
    report = report_of(Normalised(dtype=dtype), heavy_ball(0.05, 0.9, 1e-3), HIDDEN, 200, 32)
    assert report.findings == []
    assert "0 findings" in report._repr_html_()
    assert str(report).splitlines()[0] in report._repr_html_()


CHANGING = {
    "schedule": (heavy_ball(optax.cosine_decay_schedule(0.1, 3000), 0.9, 1e-3), None),
    "late schedule": (heavy_ball(optax.piecewise_constant_schedule(0.1, {100: 0.1}), 0.9, 1e-3), None),
    "clip after": (
        optax.chain(heavy_ball(0.1, 0.9, 1e-3), optax.clip(0.002)),
        "the step was not parallel to the momentum",
    ),
    "noise": (optax.chain(optax.clip(0.02), heavy_ball(0.1, 0.9, 1e-3)), "changed the momentum"),
    "plain descent, late": (
        optax.sgd(optax.piecewise_constant_schedule(0.1, {100: 0.1})),
        "since the first step",
    ),
    "nesterov": (optax.sgd(0.1, 0.9, nesterov=True), None),
    "decoupled": (optax.chain(optax.sgd(0.1, 0.9), optax.add_decayed_weights(-1e-3)), None),
}


@pytest.mark.parametrize("name", CHANGING)
def test_nothing_is_predicted_of_what_a_trial_does_not_show(name):
    optimizer, finding = CHANGING[name]
    report = report_of(Normalised(dtype=jnp.float32), optimizer, HIDDEN[0], 200, 32)
    (reading,) = report.readings.values()
    with pytest.raises(UsageError, match="a step is not a constant learning rate times the momentum"):
        reading.predict_norm("exact")
    assert [finding in one for one in report.findings] == [True] * bool(finding)


def test_learning_rates_are_measured():
    rate = optax.cosine_decay_schedule(0.1, 200)
    (reading,) = report_of(Normalised(), heavy_ball(rate, 0.9, 1e-3), HIDDEN[0], 200).readings.values()
    np.testing.assert_allclose(reading.rate(), [rate(n) for n in range(200)], rtol=1e-6)
    effective = reading.effective_rate()
    np.testing.assert_allclose(effective, reading.rate()[:, None] / reading.charge.square)
    # Norms approach the equilibrium of the theory and stay there.
    report = report_of(Normalised(), heavy_ball(0.05, 0.9, 5e-3), HIDDEN[0], 3000, 8)
    (reading,) = report.readings.values()
    theory = reading.equilibrium()
    assert theory.memory == pytest.approx(0.1 / (4 * 0.05 * 5e-3))
    np.testing.assert_allclose(
        np.median(reading.charge.square[-750:].mean(axis=0) / theory.square), 1.0, rtol=0.05
    )


def test_a_symmetry_broken_in_some_neurons_is_named_with_them():
    net, batch = Normalised(), batch_of()
    plain = loss_of(net)

    def loss(params, batch):
        return plain(params, batch) + 0.01 * jnp.sum(params["Dense_0"]["kernel"][:, 2:4] ** 2)

    tracked = track_noether(optax.sgd(0.05, 0.9), HIDDEN[0])
    params = net.init(jax.random.key(1), batch[0])["params"]

    def step(carry, _):
        params, state = carry
        update, state = tracked.update(jax.grad(loss)(params, batch), state, params)
        return (optax.apply_updates(params, update), state), state.record

    _, records = jax.jit(partial(jax.lax.scan, step, length=50))((params, tracked.init(params)))
    report = noether_report(tracked, records, params)
    (finding,) = report.findings
    assert "in 2 of 8 neurons (2, 3)" in finding
    assert not check_symmetry(loss, params, batch, HIDDEN[0])[HIDDEN[0].name].holds
    with pytest.raises(UsageError, match="does not have this symmetry"):
        report.readings[HIDDEN[0].name].predict_norm()


@pytest.mark.parametrize("size", [1e-5, 1e5])
def test_small_and_large_gradients_are_no_clipping(size):
    net = Normalised(dtype=jnp.float32)
    scaled = optax.chain(optax.scale(size), optax.add_decayed_weights(1e-3), optax.sgd(0.05, 0.9))
    assert "not heavy-ball momentum" in str(report_of(net, scaled, HIDDEN[0], 20, 32))
    x, y = batch_of(jnp.float32)
    params = net.init(jax.random.key(1), x[:4])["params"]
    tracked = track_noether(heavy_ball(0.05 / size, 0.9, 1e-3 * size), HIDDEN[0])

    def step(carry, _):
        params, state = carry
        gradient = jax.tree.map(lambda g: size * g, jax.grad(loss_of(net))(params, (x, y)))
        update, state = tracked.update(gradient, state, params)
        return (optax.apply_updates(params, update), state), state.record

    _, records = jax.jit(partial(jax.lax.scan, step, length=200))((params, tracked.init(params)))
    assert noether_report(tracked, records, params).findings == []


def by_part(params):
    return {name: dict.fromkeys(own, "fast" if name == "Dense_0" else "slow") for name, own in params.items()}


PARTS = {
    "momenta": optax.partition({"fast": heavy_ball(0.05, 0.9, 1e-3), "slow": optax.sgd(0.01, 0.5)}, by_part),
    "descent": optax.partition({"fast": optax.sgd(0.05), "slow": optax.sgd(0.01)}, by_part),
    "frozen": optax.partition({"fast": heavy_ball(0.05, 0.9, 1e-3), "slow": optax.set_to_zero()}, by_part),
    "accumulated": optax.MultiSteps(optax.sgd(0.05, 0.9), 2),
}


@pytest.mark.parametrize("name", PARTS)
def test_optimisers_of_parts_are_told_apart(name):
    report = report_of(Normalised(), PARTS[name], HIDDEN, 60, 32)
    first, second = (report.readings[one.name] for one in HIDDEN)
    if name == "accumulated":
        assert first.motion is second.motion is None
        return
    below(first.residual().max(), 1e-12, f"residual, {name}")
    assert first.eta() == 0.05
    assert first.motion.beta == (0.0 if name == "descent" else 0.9)
    if name == "frozen":
        assert second.motion is None
    else:
        assert second.eta() == 0.01
    assert np.isfinite(first.predict_norm()).all()


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "every"), [(jnp.bfloat16, 3), (jnp.float16, 1)])
def test_half_precision_is_tried_and_summed_in_more(dtype, every):
    net = Normalised(dtype=dtype)
    optimizer = optax.chain(
        optax.add_decayed_weights(1e-3), optax.sgd(0.03, 0.97, accumulator_dtype=jnp.float32)
    )
    report = report_of(net, optimizer, HIDDEN[0], 30, every=every)
    (reading,) = report.readings.values()
    assert (reading.motion.beta, reading.k()) == (0.97, 1e-3)
    assert reading.charge.square.dtype == np.float32
    assert "not heavy-ball momentum" not in str(report)
    params = net.init(jax.random.key(1), batch_of(dtype)[0])["params"]
    plain = loss_of(net)

    def loss(params, batch):
        return plain(params, batch) + 10 * jnp.sum(params["Dense_0"]["kernel"] ** 2)

    assert not check_symmetry(loss, params, batch_of(dtype), HIDDEN[0])[HIDDEN[0].name].holds
    assert report_of(net, optax.rmsprop(1e-2), HIDDEN[0], 3).readings[HIDDEN[0].name].motion is None


def test_networks_of_nnx_are_tracked_through_their_optimiser():
    class Layers(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(INPUTS, WIDTH, rngs=rngs, param_dtype=jnp.float64)
            self.last = nnx.Linear(WIDTH, CLASSES, rngs=rngs, param_dtype=jnp.float64)

        def __call__(self, x):
            x = self.first(x)
            return self.last(nnx.relu((x - x.mean(0)) / x.std(0)))

    net = Layers(nnx.Rngs(0))
    tracked = track_noether(heavy_ball(0.05, 0.9, 1e-3), scale("first/kernel"))
    optimizer = nnx.Optimizer(net, tracked, wrt=nnx.Param)
    x, y = batch_of()
    records = []
    for _ in range(5):
        gradient = nnx.grad(lambda net: optax.softmax_cross_entropy_with_integer_labels(net(x), y).mean())(
            net
        )
        optimizer.update(net, gradient)
        records.append(jax.tree.map(jnp.asarray, nnx.as_pure(optimizer.opt_state).record))
    report = noether_report(tracked, records, nnx.state(net, nnx.Param))
    (reading,) = report.readings.values()
    below(reading.residual().max(), 1e-12, "residual of an nnx network")
    assert report.findings == []


@pytest.mark.slow
def test_kernels_of_convolutions_and_trees_of_any_kind():
    class Images(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(4, (3, 3), param_dtype=jnp.float64)(x)
            x = nn.relu((x - x.mean((0, 1, 2))) / x.std((0, 1, 2)))
            x = nn.relu(nn.Conv(3, (3, 3), param_dtype=jnp.float64)(x))
            return nn.Conv(CLASSES, (3, 3), param_dtype=jnp.float64)(x).mean((1, 2))

    x = jnp.asarray(np.random.default_rng(9).normal(size=(16, 5, 5, 2)))
    batch = x, jnp.arange(16) % CLASSES
    params = Images().init(jax.random.key(0), x)["params"]
    generators = [
        scale("Conv_0/kernel"),
        scale("Conv_0/kernel", per=(3, 0)),
        rescale(["Conv_1/kernel", "Conv_1/bias"], "Conv_2/kernel"),
    ]
    generators[1] = dataclasses.replace(generators[1], name="by rows")
    found = check_symmetry(loss_of(Images()), params, batch, generators)
    assert [one.holds for one in found.values()] == [True, False, True]
    assert found["by rows"].share.shape == (4, 3)
    # Entries of lists and tuples have numbers as names.
    tree = [{"w": jnp.ones(3)}, (jnp.ones((2, 2)), jnp.zeros(1))]
    tracked = track_noether(optax.sgd(0.1), [scale("0/w", per=None), scale("1/0")])
    state = jax.jit(tracked.init)(tree)
    _, state = tracked.update(tree, state, tree)
    assert state.record.charges["scale 1/0"].square.shape == (2,)


def test_records_come_in_pieces_and_states_from_disk(tmp_path):
    net, (x, y) = Normalised(), batch_of()
    tracked = track_noether(heavy_ball(0.05, 0.9, 1e-3), HIDDEN[0])
    params = net.init(jax.random.key(1), x[:4])["params"]

    @jax.jit
    def epoch(carry):
        def step(carry, _):
            params, state = carry
            update, state = tracked.update(jax.grad(loss_of(net))(params, (x, y)), state, params)
            return (optax.apply_updates(params, update), state), state.record

        return jax.lax.scan(step, carry, length=10)

    carry, records = (params, tracked.init(params)), []
    for _ in range(3):
        carry, record = epoch(carry)
        records.append(record)
        # A checkpoint writes and reads the state like this.
        carry = serialization.from_bytes(carry, serialization.to_bytes(carry))
    reading = noether_report(tracked, records, params).readings[HIDDEN[0].name]
    assert reading.steps.tolist() == list(range(30))
    below(reading.residual().max(), 1e-12, "residual over pieces")
    late = noether_report(tracked, records[1:], params).readings[HIDDEN[0].name]
    with pytest.raises(UsageError, match="needs every step from the first one"):
        late.predict_norm("exact")
    one = noether_report(tracked, jax.tree.map(lambda leaf: leaf[-1], records[0]), params)
    assert one.readings[HIDDEN[0].name].charge.square.shape == (1, WIDTH)
    assert "1 steps" in str(one)


def test_charges_and_norms_are_drawn():
    report = report_of(Normalised(), heavy_ball(0.05, 0.9, 1e-3), HIDDEN, 40, 32)
    first, second = report.readings.values()
    terms = {
        name: {k: v.mean(axis=1) for k, v in one.terms().items()} for name, one in report.readings.items()
    }
    figure = plot.charges(first.steps, terms)
    assert [ax.get_title() for ax in figure.axes] == [HIDDEN[0].name, HIDDEN[1].name]
    assert len(figure.axes[0].lines) == 5
    squares = {name: one.charge.square.mean(axis=1) for name, one in report.readings.items()}
    predicted = {
        name: {"R measured": one.predict_norm().mean(axis=1)} for name, one in report.readings.items()
    }
    figure = plot.norms(second.steps, squares, predicted)
    assert [line.get_label() for line in figure.axes[1].lines] == ["R measured", "measured"]
    figure.canvas.draw()


def test_a_mask_that_leaves_out_a_part_is_named():
    optimizer = heavy_ball(0.05, 0.9, 1e-3, lambda p: jax.tree.map(lambda leaf: leaf.ndim > 1, p))
    (finding,) = report_of(Plain(), optimizer, ON_PLAIN[0], 100).findings
    assert "decay 0.001 on Dense_0/kernel, 0 on Dense_0/bias, 0.001 on Dense_1/kernel" in finding


def test_symmetries_are_checked_before_training():
    batch = batch_of()
    for net, generators in ((Normalised(), ON_NORMALISED), (Plain(), ON_PLAIN)):
        params = net.init(jax.random.key(1), batch[0])["params"]
        found = check_symmetry(loss_of(net), params, batch, generators)
        for name, one in found.items():
            assert one.holds == (name != "any"), str(one)
    params = Normalised(eps=0.1).init(jax.random.key(1), batch[0])["params"]
    assert "is broken" in str(
        check_symmetry(loss_of(Normalised(eps=0.1)), params, batch, HIDDEN[0])[HIDDEN[0].name]
    )
    with pytest.raises(UsageError, match="expected one number"):
        check_symmetry(lambda p, b: p["Dense_0"]["bias"], params, batch, HIDDEN)


@pytest.mark.parametrize("optimizer", [optax.adam(1e-2), optax.rmsprop(1e-2), optax.lion(1e-3)])
def test_of_other_optimisers_nothing_is_invented(optimizer):
    report = report_of(Normalised(), optimizer, HIDDEN, 50, 32)
    reading = report.readings[HIDDEN[0].name]
    assert reading.motion is None
    assert set(reading.terms()) == {"anomaly"}
    below(np.median(reading.anomaly()), 1e-12, "anomaly")
    # Kinematics: the change of the squared norm is twice the charge plus the squared step.
    square = reading.charge.square
    np.testing.assert_allclose(
        np.diff(square, axis=0), (2 * reading.charge.charge + reading.charge.step)[:-1], rtol=1e-9, atol=1e-14
    )
    with pytest.raises(UsageError, match="not heavy-ball momentum with its momentum in an optax trace"):
        reading.predict_norm()
    assert "not heavy-ball momentum (trial steps do not follow it)" in str(report)


WRONG = {
    "missing": (
        scale("Dense_9/kernel"),
        r"no parameter has the path Dense_9/kernel; the parameters are params/Dense_0/bias",
    ),
    "ambiguous": (scale("kernel"), "the end of several paths"),
    "axis": (
        scale("Dense_0/bias", per=1),
        r"Dense_0/bias has shape \(8,\); per = \[1\] are not different axes",
    ),
    "parts": (scale("Dense_0/kernel", "Dense_2/bias"), "different numbers of charges"),
    "matrix": (
        linear("Dense_0/kernel", np.eye(3)),
        r"matrix of shape \(3, 3\) does not fit axis -1 of the parameter, which has shape \(12, 8\)",
    ),
    "field": (custom("odd", ["Dense_0/bias"], lambda q: {}), "odd: its field returns"),
    "shape": (
        custom("odd", ["Dense_0/bias"], lambda q: {"Dense_0/bias": jnp.ones(2)}),
        "its field returns",
    ),
    "none": ([], "no generators"),
    "same": (scale("Dense_0/kernel", "params/Dense_0/kernel"), "name the same parameter"),
    "axes": (scale("Dense_0/kernel", per=(0, -2)), r"per = \[0, -2\] are not different axes of it"),
    "matrix axis": (linear("Dense_0/kernel", np.eye(8), axis=4), "does not fit axis 4 of the parameter"),
    "twice": (
        [scale("Dense_0/kernel"), scale("Dense_0/kernel", per=0)],
        "several generators have the name scale Dense_0/kernel",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_generators_that_do_not_fit_are_refused_in_one_line(name):
    generators, said = WRONG[name]
    params = {"params": Normalised().init(jax.random.key(1), batch_of()[0])["params"]}
    with pytest.raises(UsageError, match=said) as refused:
        track_noether(optax.sgd(0.1, 0.9), generators).init(params)
    assert "\n" not in str(refused.value)


def test_wrong_use_is_refused():
    params = {"w": jnp.ones(3)}
    tracked = track_noether(optax.sgd(0.1, 0.9), scale("w", per=None))
    state = tracked.init(params)
    with pytest.raises(UsageError, match="need the parameters"):
        tracked.update(params, state)
    with pytest.raises(UsageError, match="no step was measured"):
        noether_report(tracked, state.record, params)
    with pytest.raises(UsageError, match="no records of these generators"):
        noether_report(track_noether(optax.sgd(0.1), scale("v")), state.record, params)
    with pytest.raises(UsageError, match="every = 0"):
        track_noether(optax.sgd(0.1), scale("w"), every=0)
    with pytest.raises(UsageError, match="expected an optax optimiser"):
        track_noether(0.1, scale("w"))
    with pytest.raises(UsageError, match="needs the optimiser from track_noether"):
        noether_report(optax.sgd(0.1), state.record, params)
    with pytest.raises(UsageError, match="one array without a name"):
        track_noether(optax.sgd(0.1), scale("w")).init(jnp.ones(3))
    for wrong in ("x", 1.0, [0, "y"]):
        with pytest.raises(UsageError, match="expected an axis, a tuple of axes, or None"):
            scale("w", per=wrong)
    for wrong in ((), (["a", "b"],)):
        with pytest.raises(UsageError, match="expected paths of parameters"):
            scale(*wrong)
    with pytest.raises(UsageError, match="is rotated and cannot be in per = -1"):
        rotation("w", SKEW, axis=-1, per=-1)
    with pytest.raises(UsageError, match="not skew"):
        rotation("w", np.eye(3))
    with pytest.raises(UsageError, match="expected a square matrix"):
        linear("w", np.ones((2, 3)))
    with pytest.raises(UsageError, match="both move w"):
        scale("w") + translation("w")
    with pytest.raises(UsageError, match="this decay removes a norm within one step"):
        equivalent_rmsprop(1.0, 0.97, 0.01)
    with pytest.raises(UsageError, match="decay = 0; no RMSProp is equivalent, because norms only grow"):
        equivalent_rmsprop(0.1, 0.9, 0.0)
    with pytest.raises(UsageError, match="expected eta > 0, 0 <= beta < 1 and decay >= 0"):
        angle_per_step(0.1, 1.0, 0.1)
    with pytest.raises(UsageError, match="kind 'guess'; expected one of exact"):
        predict_norm([1.0], [1.0], [1.0], eta=0.1, beta=0.9, decay=0.0, kind="guess")
    with pytest.raises(UsageError, match=r"expected one shape \(T, ...\) for all"):
        predict_norm([1.0], [1.0, 2.0], [1.0], eta=0.1, beta=0.9, decay=0.0)
    with pytest.raises(UsageError, match="use a scale generator"):
        report_of(Normalised(), optax.sgd(0.1, 0.9), translation("Dense_2/bias"), 5).readings[
            "translation Dense_2/bias"
        ].predict_norm()


def test_records_are_kept_one_by_one_too():
    tracked = track_noether(optax.sgd(0.1, 0.9), scale("w", per=None))
    params, records = {"w": jnp.asarray([1.0, 2.0])}, []
    state = tracked.init(params)
    for n in range(4):
        update, state = tracked.update({"w": jnp.asarray([2.0, -1.0]) * n}, state, params)
        params = optax.apply_updates(params, update)
        records.append(state.record)
    reading = noether_report(tracked, records, params).readings["scale w"]
    assert reading.steps.tolist() == [0, 1, 2, 3]
    assert isinstance(reading.generator, Generator)
