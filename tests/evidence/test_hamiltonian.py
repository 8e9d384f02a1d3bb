"""Tests of the evidence of symmetries: true ones, false ones, and units of features, which do not matter."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.threshold import candidates
from noethers_razor.data.frame import fit_frame
from noethers_razor.data.frame_trajectories import FrameTrajectories
from noethers_razor.evidence.hamiltonian import LinearHamiltonian, nested_evidence
from noethers_razor.evidence.regression import log_evidence
from noethers_razor.evidence.windows import windows_of
from noethers_razor.mechanics.phase_space import symplectic_form
from noethers_razor.numerics.polynomials import monomials
from noethers_razor.systems import Oscillators

NOISE = 0.01


@functools.cache
def prepared(*frequencies):
    """Return trajectories of two oscillators in their frame, with known noise, and their windows."""
    system = Oscillators(n=2, frequencies=frequencies)
    data = system.simulate(1, n_trajectories=60, n_steps=40, noise=NOISE)
    frame = fit_frame(data.observed(), data.transitions())
    root = NOISE * frame.matrix
    trajectories = FrameTrajectories.of(frame, data)._replace(noise=root @ root.T)
    return trajectories, windows_of(trajectories)


def features(x):
    return monomials(x, 3)


def model_of(trajectories, windows, features=features):
    return LinearHamiltonian.of(features, trajectories, windows, np.sqrt(np.diag(trajectories.noise)))


def gradients_of(trajectories, count):
    form, linear, _ = candidates(trajectories, count)
    return np.einsum("kij,nj->nki", form, trajectories.states) + linear


@pytest.mark.parametrize(("frequencies", "true"), [((1.0, 1.0), 4), ((1.0, 1.1), 2)])
def test_true_quantities_cost_little_and_the_first_false_one_much(frequencies, true):
    trajectories, windows = prepared(*frequencies)
    found = nested_evidence(model_of(trajectories, windows), gradients_of(trajectories, 5))
    steps = np.diff([one.log_evidence for one in found])
    assert steps[0] > 50 and steps[1:true].min() > -10
    assert steps[true] < -50


def test_a_bracket_form_is_the_mean_square_of_the_bracket():
    trajectories, windows = prepared(1.0, 1.1)
    model = model_of(trajectories, windows)
    gradients = gradients_of(trajectories, 3)
    weights = np.random.default_rng(0).normal(size=len(model.products.cross))
    # {C, H} = grad C . J grad H, and the fields of the model are J grad phi.
    field = np.einsum("d,ndm->nm", weights, model.fields)
    for k, form in enumerate(model.brackets(gradients)):
        size = np.sqrt(np.mean(np.sum(gradients[:, k] ** 2, axis=-1)))
        bracket = np.sum(gradients[:, k] * field, axis=-1) / size
        np.testing.assert_allclose(weights @ form @ weights, np.mean(bracket**2), rtol=1e-10)
    linear = model_of(trajectories, windows, lambda x: x)
    size = np.linalg.norm(linear.fields[0], axis=1)
    np.testing.assert_allclose(linear.fields[0] / size[:, None], symplectic_form(4).T, atol=1e-12)


def test_units_of_features_do_not_matter(x64):
    trajectories, windows = prepared(1.0, 1.1)
    unit = jnp.asarray(10.0 ** np.linspace(-4, 4, 34))
    gradients = gradients_of(trajectories, 2)
    values = []
    for by in (features, lambda x: unit * features(x)):
        model = model_of(trajectories, windows, by)
        precision = np.eye(34) + 1e3 * model.brackets(gradients).sum(axis=0)
        values.append(log_evidence(model.products, jnp.asarray(precision), jnp.asarray(1.5)))
    np.testing.assert_allclose(*values, rtol=1e-9)
