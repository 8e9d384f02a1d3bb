"""Tests of the linearised flow against exact and differenced flows."""

import numpy as np
import scipy.linalg

from noethers_razor.evidence.linearised_flow import LinearisedFlow, Segments
from noethers_razor.systems import build
from tests.evidence.trajectories import simulated

MATRIX = np.array([[0.0, 0.1, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0], [-1.0, 0.2, 0.0, 0.0], [0.2, -1.4, 0.0, -0.1]])


def segments(most=20):
    return Segments.of(simulated(build("henon_heiles"), 0, 0.01, count=20), most)


def follow(field, start=None):
    own = segments()
    return LinearisedFlow.of_field(own, own.states[:, 0] if start is None else start, field)


def test_paths_and_their_derivatives_are_those_of_a_linear_field():
    flow = follow(lambda x: x @ MATRIX.T)
    for k, time in enumerate((flow.node_times - flow.node_times[:, :1])[0]):
        turn = scipy.linalg.expm(MATRIX * time)
        np.testing.assert_allclose(flow.by_start[:, k], np.tile(turn, (len(flow.nodes), 1, 1)), atol=2e-4)
        np.testing.assert_allclose(flow.nodes[:, k], flow.nodes[:, 0] @ turn.T, atol=2e-5)


def bent(x):
    return np.stack([x[:, 2], x[:, 3], -x[:, 0] - x[:, 0] ** 2, -x[:, 1] - x[:, 0] * x[:, 1]], axis=1)


def push(x):
    return np.stack([np.sin(x[:, 1]), x[:, 0] * x[:, 3], -x[:, 2], 0.3 + 0 * x[:, 0]], axis=1)


def test_changes_are_those_of_a_field_that_is_added():
    flow, size = follow(bent), 1e-5
    fields = push(flow.nodes.reshape(-1, 4)).reshape(*flow.nodes.shape)[:, :, None]
    more, less = (follow(lambda x, s=s: bent(x) + s * push(x)).path for s in (size, -size))
    np.testing.assert_allclose(flow.changes(fields)[..., 0], (more - less) / (2 * size), rtol=2e-3, atol=1e-3)


def test_starts_explain_nothing_of_rows_and_residuals():
    flow = follow(bent)
    fields = push(flow.nodes.reshape(-1, 4)).reshape(*flow.nodes.shape)[:, :, None]
    white = np.matmul(flow.segments.unit, flow.by_start[:, ::2]).reshape(len(flow.nodes), -1, 4)
    for columns in (flow.rows(fields), flow.residual()[..., None]):
        assert (
            np.abs(np.swapaxes(white, 1, 2) @ columns).max()
            < 1e-7 * np.abs(columns).max() * np.abs(white).max() * 40
        )


def test_a_better_start_leaves_a_smaller_residual():
    own = segments()
    shaken = own.states[:, 0] + 0.05 * np.random.default_rng(0).normal(size=own.states[:, 0].shape)
    flow = follow(bent, shaken)

    def off(one):
        return np.sum((one.path - one.segments.states) ** 2, axis=(1, 2))

    assert np.all(off(follow(bent, flow.next_start())) < off(flow))


def test_segments_are_spread_over_trajectories():
    trajectories = simulated(build("henon_heiles"), 0, 0.01, count=20)
    every, few = Segments.of(trajectories, 10**6), segments(20)
    assert len(np.unique(few.trajectory)) == 20 and len(few.time) == 20
    assert every.free == every.states[:, 1:].size
    np.testing.assert_array_equal(every.states, trajectories.states[every.number])
