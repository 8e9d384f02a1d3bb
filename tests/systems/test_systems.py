"""Every registered system: its named quantities are conserved, and its simulation is correct."""

import dataclasses
import functools
import itertools
import json
import subprocess
import sys
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from noethers_razor import systems
from noethers_razor.errors import UsageError
from noethers_razor.mechanics.phase_space import hamiltonian_field, symplectic_form
from noethers_razor.mechanics.quadratic_form import quadratic_value
from noethers_razor.systems import (
    SYSTEMS,
    CentralForce,
    HenonHeiles,
    Kepler,
    NBody,
    Oscillators,
    Pendulum,
    System,
    Toda,
    build,
    named_stream,
    system_class,
)

MOVED_AND_WIDER = {"widen": 3.0, "move": 1.0}
ANISOTROPIC = (1.0, 2**0.5, np.pi / 2)
INSTANCES = {
    **{name: build(name) for name in SYSTEMS},
    "anisotropic": Oscillators(n=3, frequencies=ANISOTROPIC),
    "mixed": Oscillators(n=3, frequencies=(1.0, 1.0, 2.0)),
    "space": NBody(n_bodies=2, dim=3, masses=(1.0, 3.0)),
    "line": NBody(n_bodies=4, dim=1, softening=0.5),
    "hyperspace": NBody(n_bodies=2, dim=4),
    "ellipses in space": Kepler(dim=3, eccentricity=0.8),
    "cubic in space": CentralForce(dim=3, power=3.0),
}


@pytest.fixture(params=list(INSTANCES))
def system(request):
    return INSTANCES[request.param]


def states_of(system, count=4):
    return system.initial_states(jax.random.key(0), count)


def value_of(quantity):
    form, linear = jnp.asarray(quantity.form)[None], jnp.asarray(quantity.linear)[None]
    return lambda x: quadratic_value(form, linear, x)[0]


def all_conserved(system):
    return {**system.integrals(), **{name: value_of(form) for name, form in system.conserved().items()}}


def stacked(values):
    """Return functions of one state as one function with a vector of values, so that JAX compiles once."""
    values = list(values)
    return lambda x: jnp.stack([value(x) for value in values])


def values_of(values, states):
    return np.asarray(jax.jit(jax.vmap(stacked(values)))(states))


def gradients_of(values, states):
    return np.asarray(jax.jit(jax.vmap(jax.jacrev(stacked(values))))(states))


def test_conserved_quantities_commute_with_the_energy(system, x64):
    for name, quantity in system.conserved().items():
        dim = 2 * system.dof
        assert quantity.form.shape == (dim, dim), name
        assert quantity.linear.shape == (dim,), name
        np.testing.assert_array_equal(quantity.form, quantity.form.T)
    named = all_conserved(system)
    x = states_of(system)
    gradients = gradients_of(named.values(), x)
    force = gradients[:, list(named).index("H")]
    bracket = np.einsum("bti,ij,bj->tb", gradients, symplectic_form(2 * system.dof), force)
    scale = np.linalg.norm(gradients, axis=2).T * np.linalg.norm(force, axis=1)
    for name, own, size in zip(named, bracket, scale, strict=True):
        # The bracket is a sum of 2 n products that cancel. Only rounding is left.
        np.testing.assert_array_less(np.abs(own), 1e-13 * size + 1e-300, err_msg=name)


INDEPENDENT = {
    "oscillators": 5,
    "nbody": 5,
    "kepler": 3,
    "ellipses in space": 5,
    "central_force": 2,
    "toda": 3,
    "henon_heiles": 1,
    "pendulum": 1,
}
"""Number of functionally independent integrals; at most 2 n - 1 for n degrees of freedom."""


@pytest.mark.parametrize("name", list(INDEPENDENT))
def test_integrals_are_as_many_as_known(name, x64):
    system = INSTANCES[name]
    x = states_of(system)
    gradients = gradients_of(system.integrals().values(), x)
    gradients = gradients / np.linalg.norm(gradients, axis=2, keepdims=True)
    values = np.linalg.svd(gradients, compute_uv=False)
    assert ((values > 1e-10).sum(axis=1) == INDEPENDENT[name]).all()


def test_conserved_quantities_are_a_basis(system):
    dim = 2 * system.dof
    rows = [np.append(c.form.ravel(), c.linear) for c in system.conserved().values()]
    assert np.linalg.matrix_rank(np.reshape(rows, (len(rows), dim * (dim + 1)))) == len(rows)


def test_brackets_stay_in_the_span(system):
    # Poisson: the bracket of two conserved quantities is conserved. Therefore a complete list is closed.
    named, form = list(system.conserved().values()), symplectic_form(2 * system.dof)
    rows = np.array([np.append(c.form.ravel(), c.linear) for c in named])
    for (a, linear_a), (b, linear_b) in itertools.combinations(named, 2):
        # {C, D} = (A x + a) J (B x + b), up to a constant.
        product = a @ form @ b - b @ form @ a
        row = np.append(product.ravel(), a @ form @ linear_b - b @ form @ linear_a)
        rest = row - rows.T @ np.linalg.lstsq(rows.T, row, rcond=None)[0]
        np.testing.assert_allclose(rest, 0.0, atol=1e-12)


@functools.cache
def simulated(name):
    """Return a real simulation. Compilation of the solver takes seconds, so each system is solved once."""
    return build(name).simulate(3, n_trajectories=3, n_steps=5)


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_simulation_conserves_what_it_should(name, x64):
    system, data = build(name), simulated(name)
    states = jnp.asarray(data.states)
    assert states.shape == (3, 6, 2 * system.dof)
    paths = values_of(all_conserved(system).values(), states.reshape(-1, 2 * system.dof)).T
    for path in paths.reshape(len(paths), 3, 6):
        scale = np.abs(path).max()
        # The relative energy error that simulations guarantee.
        np.testing.assert_allclose(path, np.broadcast_to(path[:, :1], path.shape), atol=1e-8 * scale)


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_simulation_follows_the_field(name, x64):
    data = simulated(name)
    field = jax.jit(hamiltonian_field(build(name).hamiltonian))
    solution = scipy.integrate.solve_ivp(
        lambda _, x: np.asarray(field(jnp.asarray(x))),
        (0.0, data.t[-1]),
        data.states[0, 0],
        t_eval=data.t,
        method="DOP853",
        rtol=1e-10,
        atol=1e-10,
    )
    # The solvers have tolerances of at most 1e-10 in a step, and take a few dozen steps.
    np.testing.assert_allclose(data.states[0], solution.y.T, atol=1e-7)
    assert np.abs(data.states[0, -1] - data.states[0, 0]).max() > 0.01


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_same_seed_same_data(name):
    again = build(name).simulate(3, n_trajectories=3, n_steps=5)
    np.testing.assert_array_equal(again.states, simulated(name).states)
    assert again.digest == simulated(name).digest


@pytest.fixture
def at_rest(monkeypatch):
    """Replace the solver: every state of a trajectory is its initial state."""

    def rest(self, start, times):
        path = jnp.broadcast_to(start[:, None], (start.shape[0], times.shape[0], start.shape[1]))
        return path, jnp.ones(path.shape[:2])

    monkeypatch.setattr(System, "_solve", rest)


def test_streams_share_no_initial_state(system, at_rest):
    def starts(seed, stream):
        return system.simulate(seed, n_trajectories=50, n_steps=1, stream=stream).states[:, 0]

    train = starts(0, "train")
    for other in (starts(0, "test"), starts(1, "train")):
        distance = np.linalg.norm(train[:, None] - other[None], axis=-1)
        assert distance.min() > 1e-6


def test_noise_has_the_deviation_asked_for(at_rest):
    system = Oscillators(n=2)
    clean, noisy = (system.simulate(0, n_trajectories=50, n_steps=20, noise=s) for s in (0.0, 0.05))
    error = noisy.states - clean.states
    assert abs(error.std() / 0.05 - 1) < 5 / np.sqrt(2 * error.size)
    assert abs(error.mean()) < 5 * 0.05 / np.sqrt(error.size)
    # A key that is used twice would give the same numbers in the same order, for any shapes.
    start = clean.states[:, 0].ravel()
    assert abs(np.corrcoef(start, error.ravel()[: start.size])[0, 1]) < 5 / np.sqrt(start.size)


def test_data_say_where_they_come_from(system, at_rest):
    data = system.simulate(7, n_trajectories=1, n_steps=2, dt=0.5, noise=0.01, stream="test")
    np.testing.assert_allclose(data.t, [0.0, 0.5, 1.0])
    metadata = json.loads(json.dumps(data.metadata))
    assert metadata["seed"] == 7
    assert metadata["stream"] == "test"
    assert metadata["noise"] == 0.01
    assert len(set(metadata["coordinates"])) == 2 * system.dof
    # The metadata are enough to build the system again.
    again = build(metadata["system"]["name"], **metadata["system"]["parameters"])
    assert again == system
    assert isinstance(again, System)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"n_trajectories": 0}, "n_trajectories = 0; expected a positive number"),
        ({"n_steps": 0}, "n_steps = 0; expected a positive number"),
        ({"dt": 0.0}, r"dt = 0\.0; expected a positive number"),
        ({"dt": np.inf}, "dt = inf; expected a positive number"),
        ({"noise": -0.1}, r"noise = -0\.1; expected 0 or a positive number"),
        ({"noise": np.nan}, "noise = nan; expected 0 or a positive number"),
        ({"widen": 0.0}, r"widen = 0\.0; expected a positive number"),
    ],
)
def test_simulation_settings_out_of_range_are_refused(setting, message):
    with pytest.raises(UsageError, match=f"^{message}$"):
        Oscillators(n=1).simulate(0, **setting)


def test_infinite_moves_are_refused():
    with pytest.raises(UsageError, match="move = inf; expected a finite number"):
        Oscillators(n=1).simulate(0, move=np.inf)


def test_moved_and_wider_starts_change_positions_only(system, at_rest):
    usual, other = (system.simulate(0, n_trajectories=5, n_steps=1, **kw) for kw in ({}, MOVED_AND_WIDER))
    np.testing.assert_allclose(other.q, 3.0 * usual.q + 1.0)
    np.testing.assert_array_equal(other.p, usual.p)
    assert other.metadata["widen"] == 3.0
    assert other.metadata["move"] == 1.0


@dataclasses.dataclass(frozen=True)
class Leaking(System):
    """A system whose energy function is not the one that generates its motion."""

    name = "leaking"

    @property
    def dof(self):
        return 1

    def hamiltonian(self, x):
        # The second term changes the energy but not its gradient.
        return 0.5 * jnp.sum(x**2) + 1e-6 * jax.lax.stop_gradient(x[0])

    def initial_states(self, key, count):
        return jax.random.normal(key, (count, 2), jnp.float64)

    def conserved(self):
        return {}


def test_simulation_that_loses_energy_is_refused():
    with pytest.raises(UsageError, match=r"leaking: relative energy error .* expected below 1e-08"):
        Leaking().simulate(0, n_trajectories=1, n_steps=2)


def test_named_streams_differ_in_name_and_seed():
    data = {
        tuple(np.asarray(jax.random.key_data(named_stream(seed, name))).tolist())
        for seed in range(5)
        for name in ("train", "test", "noise")
    }
    assert len(data) == 15
    # Every recorded result depends on the key of a name. It must not change between versions.
    expected = jax.random.fold_in(jax.random.key(2), zlib.crc32(b"train"))
    assert named_stream(2, "train") == expected


def test_equal_frequencies_make_the_unitary_group():
    for n in (1, 2, 4):
        assert len(Oscillators(n=n).conserved()) == n**2
    assert set(Oscillators(n=2).conserved()) == {"H1", "H2", "R12", "F12"}


def test_unequal_frequencies_leave_the_single_energies():
    assert set(Oscillators(n=3, frequencies=ANISOTROPIC).conserved()) == {"H1", "H2", "H3"}


def test_mixed_frequencies_rotate_equal_oscillators_only():
    named = set(Oscillators(n=3, frequencies=(1, 1, 2)).conserved())
    assert named == {"H1", "H2", "H3", "R12", "F12"}


def test_kepler_starts_are_ellipses_run_counter_clockwise(x64):
    system = Kepler(eccentricity=0.4)
    x = np.asarray(system.initial_states(jax.random.key(1), 500))
    named = system.integrals()
    integrals = dict(zip(named, values_of(named.values(), x).T, strict=True))
    eccentricity = np.hypot(integrals["Ax"], integrals["Ay"])
    assert eccentricity.max() < 0.4
    # The squared eccentricity is uniform, so that the median is .4 / sqrt(2).
    assert abs(np.median(eccentricity) - 0.4 / 2**0.5) < 0.03
    axis = -0.5 / integrals["H"]
    assert 0.7 < axis.min() < 0.75 < 1.25 < axis.max() < 1.3
    assert (integrals["Lxy"] > 0).all()
    angle = np.arctan2(integrals["Ay"], integrals["Ax"])
    assert abs(np.exp(1j * angle).mean()) < 0.15


def test_kepler_orbits_of_space_have_any_orientation(x64):
    x = np.asarray(Kepler(dim=3).initial_states(jax.random.key(1), 2000))
    momentum = np.cross(x[:, :3], x[:, 3:])
    momentum /= np.linalg.norm(momentum, axis=1, keepdims=True)
    np.testing.assert_allclose(momentum.T @ momentum / 2000, np.eye(3) / 3, atol=0.03)
    assert np.abs(momentum.mean(axis=0)).max() < 0.05


def test_henon_heiles_starts_in_the_well(x64):
    system = HenonHeiles()
    x = system.initial_states(jax.random.key(1), 1000)
    energy = np.asarray(jax.vmap(system.hamiltonian)(x))
    assert 0.08 <= energy.min() < 0.085
    assert 0.155 < energy.max() <= 0.16
    # Below the energy of escape the well is the triangle with corners (0, 1) and (+-sqrt 3 / 2, -1/2).
    assert np.linalg.norm(np.asarray(x)[:, :2], axis=1).max() < 1.0


def test_pendulums_swing(x64):
    system = Pendulum(amplitude=2.0)
    x = system.initial_states(jax.random.key(1), 1000)
    energy = np.asarray(jax.vmap(system.hamiltonian)(x))
    assert energy.max() <= -np.cos(2.0) + 1e-12
    assert np.abs(np.asarray(x)[:, 0]).max() <= 2.0
    assert 400 < (np.asarray(x)[:, 1] > 0).sum() < 600
    tiny = np.asarray(Pendulum(amplitude=1e-7).initial_states(jax.random.key(1), 1000))
    assert (tiny[:, 1] != 0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Kepler(dim=4), "kepler in dimension 4; expected 2 or 3"),
        (lambda: Kepler(eccentricity=0.95), r"eccentricity = 0\.95; expected 0 to \.9"),
        (lambda: CentralForce(dim=1), "central_force in dimension 1; expected 2 or 3"),
        (lambda: CentralForce(power=-1.0), r"power = -1\.0; expected a positive number"),
        (lambda: CentralForce(power=2.0), "power = 2 is the isotropic oscillator; use system oscillators"),
        (lambda: HenonHeiles(highest=0.2), r"energies from 0\.08 to 0\.2; expected 0 < lowest"),
        (lambda: Pendulum(amplitude=4.0), r"amplitude = 4\.0; expected 0 to 3\.1 radian"),
        (lambda: Toda(spread=0.0), r"spread = 0\.0; expected a positive number"),
    ],
)
def test_impossible_parameters_of_single_systems_are_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_oscillator_quantities_are_the_textbook_ones(x64):
    named = Oscillators(n=2).conserved()
    q1, q2, p1, p2 = x = np.array([0.3, -1.1, 0.7, 2.0])
    expected = {
        "H1": (q1**2 + p1**2) / 2,
        "H2": (q2**2 + p2**2) / 2,
        "R12": q1 * p2 - q2 * p1,
        "F12": q1 * q2 + p1 * p2,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(value_of(named[name])(jnp.asarray(x)), value, rtol=1e-14)


def test_oscillators_have_the_energy_of_their_frequencies(x64):
    q1, q2, p1, p2 = x = np.array([0.3, -1.1, 0.7, 2.0])
    expected = 1.5 * (q1**2 + p1**2) / 2 + 2.5 * (q2**2 + p2**2) / 2
    energy = Oscillators(n=2, frequencies=(1.5, 2.5)).hamiltonian(jnp.asarray(x))
    np.testing.assert_allclose(energy, expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n": 0}, "n = 0 oscillators; expected at least 1"),
        ({"n": 2, "frequencies": (1.0,)}, r"frequencies = \(1\.0,\); expected 2 positive numbers"),
        ({"n": 1, "frequencies": (-1.0,)}, "expected 1 positive numbers"),
        ({"n": 1, "frequencies": (float("nan"),)}, "expected 1 positive numbers"),
        ({"n": 1, "frequencies": (float("inf"),)}, "expected 1 positive numbers"),
    ],
)
def test_impossible_oscillators_are_refused(parameters, message):
    with pytest.raises(UsageError, match=message):
        Oscillators(**parameters)


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_names_may_be_written_with_either_dash(name):
    assert system_class(name.upper().replace("_", "-")) is system_class(name)
    assert system_class(name).name == name
    assert getattr(systems, system_class(name).__name__) is system_class(name)


def test_flags_fill_the_fields_that_claim_them():
    assert build("oscillators", {"n": 4, "dim": None}) == Oscillators(n=4)
    assert build("oscillators", {"n": 2}, frequencies=[1.0, 2.0]) == Oscillators(2, (1.0, 2.0))


def test_exports_follow_from_the_registry(monkeypatch):
    classes = {where.partition(":")[2] for where in SYSTEMS.values()}
    assert classes | {"System", "named_stream", "build", "SYSTEMS"} <= set(systems.__all__)
    assert all(hasattr(systems, name) for name in systems.__all__)
    monkeypatch.setitem(SYSTEMS, "another", f"{__name__}:Leaking")
    assert systems.Leaking.name == "leaking"


def test_importing_the_package_does_not_import_jax():
    program = "import sys, noethers_razor.systems; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match=r"unknown system 'pendulums'; expected one of .*oscillators"):
        build("pendulums")
    with pytest.raises(UsageError, match=r"system oscillators has no flag --dim; its flags are n"):
        build("oscillators", {"dim": 2})
    with pytest.raises(
        UsageError, match=r"system oscillators has no parameter mass; its parameters are n, frequencies"
    ):
        build("oscillators", mass=1.0)
    with pytest.raises(AttributeError, match="has no attribute 'Pendulums'"):
        systems.Pendulums  # noqa: B018
