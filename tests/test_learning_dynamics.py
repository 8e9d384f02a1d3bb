"""Charges of networks in training: identities to rounding, laws of norms, and what breaks them."""

from functools import cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

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
SAMPLES, INPUTS, WIDTH, CLASSES = 256, 12, 8, 5


def below(value, limit, what):
    """Prints what was measured, and asserts that it is small."""
    print(f"{what}: {value:.2g} (at most {limit:g})")
    assert value <= limit, what


class Normalised(nn.Module):
    """Batch normalisation, without parameters of its own, before each rectifier."""

    eps: float = 0.0
    dtype: type = jnp.float64

    @nn.compact
    def __call__(self, x):
        for width in (WIDTH, WIDTH):
            x = nn.Dense(width, param_dtype=self.dtype)(x)
            x = nn.relu((x - x.mean(0)) / jnp.sqrt(x.var(0) + self.eps))
        return nn.Dense(CLASSES, param_dtype=self.dtype)(x)


class Plain(nn.Module):
    """Rectifiers, and linear layers after them."""

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


def trained(net, optimizer, steps, size=None):
    """(parameters, records) after steps on mini-batches of a size, or on the whole batch."""
    x, y = batch_of(getattr(net, "dtype", jnp.float64))
    params = net.init(jax.random.key(1), x[:4])["params"]
    loss = loss_of(net)

    def step(carry, n):
        params, state = carry
        some = jax.random.choice(jax.random.key(n), SAMPLES, (size,)) if size else jnp.arange(SAMPLES)
        update, state = optimizer.update(jax.grad(loss)(params, (x[some], y[some])), state, params)
        return (optax.apply_updates(params, update), state), getattr(state, "record", 0)

    start = params, optimizer.init(params)
    (params, _), records = jax.jit(partial(jax.lax.scan, step))(start, jnp.arange(steps))
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
    # Between two linear layers any turn may be undone by the next.
    rotation("Dense_2/kernel", SKEW) + rotation("Dense_3/kernel", SKEW, axis=0),
    linear("Dense_2/kernel", np.diag(np.arange(WIDTH)))
    + linear("Dense_3/kernel", -np.diag(np.arange(WIDTH)), axis=0),
]


@pytest.mark.parametrize("beta", [0.0, 0.9])
@pytest.mark.parametrize("size", [None, 32])
def test_the_account_of_every_generator_closes_to_rounding(beta, size):
    for net, generators in ((Normalised(), ON_NORMALISED), (Plain(), ON_PLAIN)):
        report = report_of(net, heavy_ball(0.05, beta, 1e-3), generators, 200, size)
        for name, reading in report.readings.items():
            below(reading.residual().max(), 1e-12, f"residual of {name}, beta {beta}, batch {size}")
            if name != "any":
                below(np.median(reading.anomaly()), 1e-12, f"anomaly of {name}")
        assert not report.findings or report.findings[0].startswith("any: the loss does not have")


def test_the_account_closes_with_schedules_nesterov_and_steps_left_out():
    rate = optax.warmup_cosine_decay_schedule(0.0, 0.1, 20, 200)
    for optimizer in (optax.sgd(rate, 0.9), optax.sgd(0.05, 0.9, nesterov=True)):
        reading = report_of(Normalised(), optimizer, HIDDEN, 200, 32, every=7).readings[HIDDEN[0].name]
        assert reading.steps.tolist() == list(range(0, 200, 7))
        below(reading.residual().max(), 1e-12, "residual, every seventh step")
        with pytest.raises(UsageError, match="nothing is predicted where a step is not one learning rate"):
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
    # c' = (1 + beta - eta k) c - beta c_before: two roots, no data.
    x, y = batch_of()
    eta, beta, decay, steps = 0.1, 0.9, 1e-3, 2000
    optimizer = heavy_ball(eta, beta, decay)
    weights = jnp.asarray(np.random.default_rng(3).normal(size=(INPUTS, CLASSES)))

    def loss(w):
        return optax.softmax_cross_entropy_with_integer_labels(x @ w, y).mean()

    def step(carry, _):
        w, state = carry
        update, state = optimizer.update(jax.grad(loss)(w), state, w)
        return (w + update, state), w.sum(axis=1)

    _, sums = jax.jit(partial(jax.lax.scan, step, length=steps))((weights, optimizer.init(weights)))
    roots = np.roots([1.0, -(1 + beta - eta * decay), beta])
    first, second = sums[0], (1 - eta * decay) * sums[0]
    other = (second - roots[0] * first) / (roots[1] - roots[0])
    n = np.arange(steps)[:, None]
    exact = (first - other) * roots[0] ** n + other * roots[1] ** n
    below(float(np.abs(sums - exact).max() / np.abs(sums).max()), 1e-11, "sums over 2000 steps")


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
    # One direction, turned steadily: the case that it assumes; mini-batches are the one that it does not.
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
    # Until steps overshoot; what R measures holds then too.
    report = report_of(Normalised(), heavy_ball(0.01, 0.9, 1e-3), HIDDEN[0], 300)
    (reading,) = report.readings.values()
    for kind in ("bernoulli", "autocorrelated"):
        error = np.median(reading.predict_norm(kind)[-1] / reading.charge.square[-1] - 1)
        below(abs(error), 0.05, f"r^2, {kind}, all data, 300 steps")


def test_the_factor_of_the_momentum_is_that_of_the_autocorrelation():
    # R by its definition, lag by lag, and R |g|^2 = |v'|^2 - beta^2 |v|^2.
    beta, draw = 0.9, np.random.default_rng(6)
    for smooth in (0.0, 0.5, 0.95):
        g = np.zeros((20_000, 4))
        for n in range(1, len(g)):
            g[n] = smooth * g[n - 1] + draw.normal(size=4)
        v = np.zeros_like(g)
        for n in range(1, len(g)):
            v[n] = beta * v[n - 1] - g[n]
        squares = np.sum(v * v, axis=1)
        measured = np.mean(squares[1:] - beta**2 * squares[:-1]) / np.mean(np.sum(g * g, axis=1))
        exact = (1 + beta * smooth) / (1 - beta * smooth)
        print(smooth, measured, correlation_factor(g, beta), exact)
        np.testing.assert_allclose(measured, correlation_factor(g, beta), rtol=0.01)
        np.testing.assert_allclose(measured, exact, rtol=0.1)


def test_a_stationary_direction_turns_at_the_rate_of_theory():
    # Regression on a normalised weight, nothing but noise in the targets.
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
    # The first norm is what the first mean stands for; later ones only enter as |g|^2 |q|^2.
    start = eta / rates[0]
    squares = np.full(3000, start)
    predicted = predict_norm(squares, ghat / squares, ghat, eta=eta, beta=beta, decay=decay, kind="bernoulli")
    below(float(np.abs(eta / predicted / rates - 1).max()), 1e-10, "learning rates")
    assert same.memory == pytest.approx((1 - beta) / (4 * decay * eta))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize(
    "optimizer", [heavy_ball(0.05, 0.9, 1e-3), optax.sgd(0.1), optax.adam(1e-2), optax.rmsprop(1e-2)]
)
def test_updates_keep_their_last_bit(optimizer, every, dtype):
    net = Normalised(dtype=dtype)
    free, _ = trained(net, optimizer, 100, 32)
    watched, _ = trained(net, track_noether(optimizer, HIDDEN, every), 100, 32)
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
    with pytest.raises(UsageError, match="only norms can be held"):
        freeze_norm(optax.sgd(0.1), translation("Dense_2/bias"))


BROKEN = {
    "eps": (Normalised(eps=0.1), heavy_ball(0.05, 0.9, 1e-3), "the loss does not have this symmetry"),
    "mask": (
        Normalised(),
        heavy_ball(0.05, 0.9, 1e-3, lambda p: {k: dict.fromkeys(p[k], k == "Dense_2") for k in p}),
        "no decay reaches it, while other parameters are decayed",
    ),
    "clip": (
        Normalised(),
        optax.chain(optax.clip(0.01), heavy_ball(0.05, 0.9, 1e-3)),
        "something else than gradient and decay reached the momentum: clipping",
    ),
    "global clip": (
        Normalised(),
        optax.chain(optax.clip_by_global_norm(0.2), heavy_ball(0.05, 0.9, 1e-3)),
        "something else than gradient and decay reached the momentum: clipping",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_what_breaks_a_symmetry_is_named(name, dtype):
    net, optimizer, finding = BROKEN[name]
    report = report_of(net.clone(dtype=dtype), optimizer, HIDDEN[0], 200, 32)
    assert len(report.findings) == 1
    assert finding in report.findings[0]
    assert f"warning: {report.findings[0]}" in str(report)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_nothing_is_named_where_nothing_is_broken(dtype):
    report = report_of(Normalised(dtype=dtype), heavy_ball(0.05, 0.9, 1e-3), HIDDEN, 200, 32)
    assert report.findings == []
    assert report._repr_html_().count("<") > 5


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
    # Kinematics: the charge is what moves the norm.
    square = reading.charge.square
    np.testing.assert_allclose(
        np.diff(square, axis=0), (2 * reading.charge.charge + reading.charge.step)[:-1], rtol=1e-9, atol=1e-14
    )
    with pytest.raises(UsageError, match="not heavy-ball momentum with its momentum in an optax trace"):
        reading.predict_norm()
    assert "no heavy ball" in str(report)


WRONG = {
    "missing": (scale("Dense_9/kernel"), r"no parameter Dense_9/kernel; there are Dense_0/bias"),
    "ambiguous": (scale("kernel"), "several end so"),
    "axis": (scale("Dense_0/bias", per=1), r"Dense_0/bias has shape \(8,\); there is no axis \[1\]"),
    "parts": (scale("Dense_0/kernel", "Dense_2/bias"), "unequal numbers of charges"),
    "matrix": (
        linear("Dense_0/kernel", np.eye(3)),
        r"matrix of shape \(3, 3\) on axis -1 of shape \(12, 8\)",
    ),
    "field": (custom("odd", ["Dense_0/bias"], lambda q: {}), "odd: its field gives"),
    "shape": (
        custom("odd", ["Dense_0/bias"], lambda q: {"Dense_0/bias": jnp.ones(2)}),
        "its field gives",
    ),
    "none": ([], "no generators"),
    "twice": ([scale("Dense_0/kernel"), scale("Dense_0/kernel", per=0)], "generators of one name"),
}


@pytest.mark.parametrize("name", WRONG)
def test_generators_that_do_not_fit_are_refused_in_one_line(name):
    generators, said = WRONG[name]
    params = Normalised().init(jax.random.key(1), batch_of()[0])["params"]
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
    with pytest.raises(UsageError, match="not skew"):
        rotation("w", np.eye(3))
    with pytest.raises(UsageError, match="expected a square one"):
        linear("w", np.ones((2, 3)))
    with pytest.raises(UsageError, match="both move w"):
        scale("w") + translation("w")
    with pytest.raises(UsageError, match="without decay norms only grow"):
        equivalent_rmsprop(0.1, 0.9, 0.0)
    with pytest.raises(UsageError, match="expected a learning rate above 0"):
        angle_per_step(0.1, 1.0, 0.1)
    with pytest.raises(UsageError, match="kind 'guess'; expected one of exact"):
        predict_norm([1.0], [1.0], [1.0], eta=0.1, beta=0.9, decay=0.0, kind="guess")
    with pytest.raises(UsageError, match="for all"):
        predict_norm([1.0], [1.0, 2.0], [1.0], eta=0.1, beta=0.9, decay=0.0)
    with pytest.raises(UsageError, match="give a scale generator"):
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
