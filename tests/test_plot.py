"""Figures hold what they are given; how they look was judged by eye."""

import numpy as np

from noethers_razor import plot
from noethers_razor.history import Row


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


def test_contours_shift_each_panel_to_its_minimum():
    axis = np.linspace(-1, 1, 11)
    energy = axis[:, None] ** 2 + axis**2
    figure = plot.contours({"a": energy, "b": energy + 100}, 1.0)
    first, second = (next(c.levels for c in ax.collections) for ax in figure.axes)
    np.testing.assert_allclose(first, second)


def test_control_is_drawn_beside_the_joint_stage():
    def rows(stage):
        return [Row(stage, step, -1.0, -1.0, 0.0, 0.1, 0, 0.0) for step in (10, 20)]

    figure = plot.training(
        rows("without symmetry") + rows("joint") + rows("control") + rows("judgement 2 least defect 4")
    )
    starts = [line.get_xdata()[0] for line in figure.axes[0].lines]
    assert starts == [10, 30, 30, 50]


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
