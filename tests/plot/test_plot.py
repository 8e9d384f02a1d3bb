"""Tests that figures contain their data. Their look is not tested."""

import numpy as np
from PIL import Image

from noethers_razor import plot
from noethers_razor.inference.history import Row
from noethers_razor.inference.selection import Select
from noethers_razor.inference.training import Rates
from noethers_razor.plot.training import _phase


def test_spectrum_has_a_stem_for_each_value_and_bars_for_parallelness(tmp_path):
    values = np.array([1.0, 0.5, 0.0])
    figure = plot.spectrum(values, 2, np.array([1.0, 0.9, 0.1]))
    upper, lower = figure.axes
    heights = upper.collections[1].get_offsets()[:, 1]
    np.testing.assert_allclose(heights[:2], values[:2])
    np.testing.assert_allclose([bar.get_height() for bar in lower.patches], [1.0, 0.9, 0.1])
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_generators_share_one_scale():
    quantities = [(np.eye(2), np.zeros(2)), (-3 * np.eye(2), np.zeros(2))]
    figure = plot.generators(quantities, ["a", "b"], ["q", "p"])
    images = [ax.images[0] for ax in figure.axes if ax.images]
    assert {image.get_clim() for image in images} == {(-3.0, 3.0)}


def test_linear_parts_stand_beside_the_matrices():
    quantities = [(np.eye(2), np.array([0.0, 5.0])), (-3 * np.eye(2), np.zeros(2))]
    figure = plot.generators(quantities, ["a", "b"], ["q", "p"])
    images = [ax.images[0] for ax in figure.axes if ax.images]
    assert images[0].get_array().shape == (2, 4)
    np.testing.assert_array_equal(images[0].get_array()[:, 3], [0.0, 5.0])
    assert {image.get_clim() for image in images} == {(-5.0, 5.0)}


def test_rollouts_draw_every_coordinate():
    t, path = np.arange(5.0), np.random.default_rng(0).normal(size=(5, 4))
    figure = plot.rollouts(t, path, 0.1 + 0 * path, path, ["q1", "q2", "p1", "p2"])
    drawn = [ax for ax in figure.axes if ax.lines]
    assert len(drawn) == 4
    np.testing.assert_allclose(drawn[2].lines[0].get_ydata(), path[:, 2])


def test_level_sets_lie_on_the_plane_through_the_data():
    states = np.array([[0.0, -1.0, 5.0, 0.0], [2.0, 1.0, 7.0, 0.0]])
    plane = plot.section(states, 0, 2, points=11)
    np.testing.assert_allclose([plane.across[0], plane.across[-1], plane.up[0]], [-0.2, 2.2, 4.8])
    assert (plane.states[..., 1] == 0).all()
    np.testing.assert_allclose(plane.states[3, 4, [0, 2]], [plane.across[4], plane.up[3]])
    values = plane.states[..., 0] ** 2 + plane.states[..., 2]
    figure = plot.level_sets({"a": values, "b": 3 * values, "still": 0 * values}, plane, ("q1", "p1"))
    first, second, still = figure.axes
    lines = [next(c for c in ax.collections) for ax in (first, second)]
    np.testing.assert_allclose(3 * lines[0].levels, lines[1].levels)
    for path, level in zip(lines[0].get_paths(), lines[0].levels, strict=True):
        # Between grid lines a contour is straight, but the function is not linear.
        np.testing.assert_allclose(path.vertices[:, 0] ** 2 + path.vertices[:, 1], level, atol=0.02)
    assert not still.collections


def test_arrows_of_each_kind_have_the_same_longest_length():
    # In these units positions are far larger than momenta, as in metres.
    state = np.array([0.0, 0.0, 2e9, 1e9, 5.0, 0.0, -5.0, 0.0])
    rotation = np.array([0.0, 0.0, -1e9, 2e9, 0.0, 5.0, 0.0, -5.0])
    fields = {name: plot.body_arrows(state, size * rotation) for name, size in (("a", 1.0), ("b", 1e3))}
    figure = plot.arrows(fields, labels=("x", "y"), equal=True)
    small, large = ([np.hypot(q.U, q.V) for q in ax.collections] for ax in figure.axes)
    for one, other in zip(small, large, strict=True):
        np.testing.assert_allclose(one, other)
    # Two momenta, the body that the rotation moves (the other is at the origin), and two rates of momenta.
    assert [len(kind) for kind in small] == [2, 1, 2]
    np.testing.assert_allclose(small[1].max(), small[2].max())
    position, momentum = plot.bodies(state)
    np.testing.assert_array_equal(position, [[0, 0], [2e9, 1e9]])
    np.testing.assert_array_equal(momentum, [[5, 0], [-5, 0]])
    assert plot.bodies(np.zeros((5, 18)), dim=3)[0].shape == (5, 3, 2)


def test_what_is_nothing_beside_the_rest_is_not_drawn():
    states = np.random.default_rng(0).normal(size=(30, 4)) * [1.0, 1e6, 1.0, 1e-6]
    field = np.zeros((30, 4))
    field[:, 1], field[:, 0] = 1e6, 1e-12
    first, second = (plot.plane_arrows(states, field, i) for i in range(2))
    assert not first[0].vectors.any()
    np.testing.assert_array_equal(second[0].vectors, np.tile([1e6, 0.0], (30, 1)))
    np.testing.assert_array_equal(second[0].points, states[:, [1, 3]])
    still, moving = plot.arrows({"still": first, "moving": second}).axes
    assert not still.collections and len(moving.collections[0].U) == 30
    state = np.array([0.0, 0.0, 2.0, 1.0, 0.5, 0.0, -0.5, 0.0])
    translation = np.array([1.0, 0.0, 1.0, 0.0, 1e-15, 0.0, 0.0, 0.0])
    (ax,) = plot.arrows({"px": plot.body_arrows(state, translation)}).axes
    assert [q.get_label() for q in ax.collections] == ["momentum", "moves the body"]


def test_points_that_are_no_numbers_are_left_out():
    points, vectors = np.array([[0.0, 0.0], [np.nan, 1.0], [1.0, 2.0]]), np.ones((3, 2))
    (ax,) = plot.arrows({"a": [plot.Arrows(points, vectors)]}).axes
    assert len(ax.collections[0].U) == 2
    assert not plot.arrows({"none": [plot.Arrows(np.zeros((0, 2)), np.zeros((0, 2)))]}).axes[0].collections
    assert plot.arrows({}).axes


def test_a_flow_is_saved_as_gif_and_html(tmp_path):
    tau = np.linspace(0, 1, 3)
    path = np.stack([np.cos(tau), np.sin(tau)], axis=-1)[:, None]
    animation = plot.flow({"a": path, "b": 2 * path}, tau)
    animation.save(tmp_path / "flow.gif", writer="pillow")
    with Image.open(tmp_path / "flow.gif") as picture:
        assert picture.n_frames == 3
    line = animation._fig.axes[1].lines[0]
    np.testing.assert_allclose(line.get_xydata(), 2 * path[:, 0])
    text = animation.to_jshtml()
    assert text.count("data:image/png;base64") == 3
    assert "http://" not in text.replace("http://www.w3.org", "")


def test_paths_and_calibration_hold_what_they_are_given():
    path = np.arange(12.0).reshape(3, 2, 2)
    (ax,) = plot.paths({"rollout": path}, path + 1).axes
    np.testing.assert_array_equal(ax.lines[2].get_xydata(), path[:, 1])
    np.testing.assert_array_equal(ax.lines[3].get_xydata(), path[:, 1] + 1)
    levels = np.array([0.5, 0.9])
    (ax,) = plot.calibration(levels, {"all": np.array([0.4, 0.8])}).axes
    np.testing.assert_array_equal(ax.lines[1].get_xydata(), [[0.5, 0.4], [0.9, 0.8]])


def test_convergence_leaves_out_controls_and_sets_that_were_asked_about():
    def rows(*stages):
        return [Row(s, step, -float(step), 0.0, 0.0, 0.1, 0, 0.0) for s in stages for step in (10, 20)]

    figure = plot.convergence(
        {
            "none": rows("without symmetry", "control"),
            "learned": rows("without symmetry", "joint", "control", "selection 1 none"),
            "brief": rows("without symmetry"),
        }
    )
    lines = {line.get_label(): line.get_xdata().tolist() for line in figure.axes[0].lines}
    assert lines == {"none": [10, 20, 30, 40], "learned": [10, 20, 30, 40], "brief": [10, 20]}


def test_notebooks_show_a_figure_without_pyplot():
    figure = plot.calibration(np.array([0.5]), {})
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_control_is_drawn_beside_the_joint_stage():
    def rows(stage):
        return [Row(stage, step, -1.0, -1.0, 0.0, 0.1, 0, 0.0) for step in (10, 20)]

    figure = plot.training(
        rows("without symmetry") + rows("joint") + rows("control") + rows("selection 2 least defect 4")
    )
    starts = [line.get_xdata()[0] for line in figure.axes[0].lines]
    assert starts == [10, 30, 30, 50]


def test_every_round_of_model_selection_starts_where_the_last_one_ends():
    stages = ["joint", *(f"selection {k} none" for k in range(1, 13))]
    figure = plot.training([Row(stage, 10, -1.0, -1.0, 0.0, 0.1, 0, 0.0) for stage in stages])
    starts = [line.get_xdata()[0] for line in figure.axes[0].lines]
    assert starts == [10 * (k + 1) for k in range(13)]


def test_curves_draw_every_series():
    values = {f"method {k}": np.full((2, 3), 1.0 + k) for k in range(6)}
    figure = plot.curves({"noise": (np.array([0.1, 1.0]), values)}, "MSE")
    assert [line.get_label() for line in figure.axes[0].lines] == list(values)


def test_curves_draw_medians_between_their_ranges():
    values = {"none": np.array([[1.0, 3.0, 2.0], [4.0, 6.0, 5.0]]), "learned": np.full((2, 3), 0.5)}
    figure = plot.curves(
        {"noise": (np.array([0.1, 1.0]), values), "count": (np.array([1, 2]), values)}, "MSE"
    )
    first, second = figure.axes
    np.testing.assert_allclose(first.lines[0].get_ydata(), [2.0, 5.0])
    assert [line.get_label() for line in first.lines] == ["none", "learned"]
    band = first.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == 1.0
    assert band.max() == 6.0
    assert second.get_xlabel() == "count"


def test_stages_of_model_selection_follow_each_other():
    """The stage itself gives the names, so that the test notices a new name."""
    name = Select(1, Rates(0.1, 0.1, 0.1)).name
    stages = ["without symmetry", "joint", f"{name} 1 largest 3", f"{name} 2 none", "judgement 2 none"]
    assert [_phase(stage) for stage in stages] == [0, 1, 2, 3, 3]
