import numpy as np
from matplotlib.colors import to_rgba

from rclrec_mini.views.curricula import curriculum, gain_by_precision, gains, pointed_at, step_and_slope
from rclrec_mini.views.style import INK, PALETTE


def test_curriculum_marks_what_is_selected_and_what_is_true():
    p, behavior = np.array([0.1, 0.2, 0.4, 0.2, 0.1]), np.array([0, 0, 3, 2, 0])
    truth = np.array([True, False, True, False, False])
    (axis,) = curriculum(p, behavior, np.array([1, 2]), truth).axes
    lines = {line.get_label(): line.get_xydata() for line in axis.lines}
    assert lines["in the curriculum"].tolist() == [[4, 0.2], [3, 0.4]]
    assert lines["truly led to the purchase"].tolist() == [[5, 0], [3, 0]]
    assert lines["purchase"].tolist() == [[3, 0.4]]


def test_events_stand_by_their_age_and_items_by_their_mass():
    p, behavior = np.array([0.1, 0.2, 0.7]), np.array([0, 2, 0])
    items = {"pointer": np.array([0.8, 0.2]), "count": np.array([0.5, 0.3])}
    figure = pointed_at(p, behavior, np.array([True, False, True]), items, ["item 7 (bought)", "item 5"])
    left, right = figure.axes
    clicks, favorites, carts, _ = left.collections[1:]
    assert clicks.get_offsets().tolist() == [[3, 0.1], [1, 0.7]]
    assert carts.get_offsets().tolist() == [[2, 0.2]]
    assert len(favorites.get_offsets()) == 0
    orange = PALETTE[1]
    assert left.collections[0].get_color().tolist() == [list(to_rgba(c)) for c in (orange, INK, orange)]
    assert [bar.get_width() for bar in right.patches] == [0.8, 0.2, 0.5, 0.3]
    assert [text.get_text() for text in right.get_yticklabels()] == ["item 7 (bought)", "item 5"]
    pointer, count = right.containers
    assert all(a.get_y() < b.get_y() for a, b in zip(pointer, count, strict=True))


def test_gain_by_precision_draws_points_and_selectors():
    points = [
        {"precision": 0.2, "difference": -0.03, "low": -0.05, "high": -0.01},
        {"precision": 0.7, "difference": 0.02, "low": 0.01, "high": 0.03},
    ]
    (axis,) = gain_by_precision({"a": points, "b": points[:1]}, {"recent": 0.11}, metric="Recall@10").axes
    _, a, b, recent = axis.lines
    np.testing.assert_allclose(a.get_xydata(), [[0.2, -3.0], [0.7, 2.0]])
    np.testing.assert_allclose(b.get_xydata(), [[0.2, -3.0]])
    assert set(recent.get_xdata()) == {0.11} and axis.texts[0].get_text().strip() == "recent"
    assert "Recall@10" in axis.get_ylabel()


def test_step_and_slope_draws_what_there_is():
    lines = {"hard": {"value": [0, 0, 1]}, "soft": {"value": [0.0, 0.5, 0.7], "slope": [0.2, 0.3, 0.1]}}
    left, right = step_and_slope([1, 2, 3], lines, xlabel="score").axes
    assert [line.get_label() for line in left.lines] == ["hard", "soft"]
    assert [line.get_ydata().tolist() for line in right.lines] == [[0.2, 0.3, 0.1]]


def test_gains_are_shares_of_each_curriculum():
    (axis,) = gains({"a": np.array([-9.0, 0.05, 0.05, 2.0]), "b": np.array([1.0])}, margin=0.1).axes
    a, b = (patch for patch in axis.patches if hasattr(patch, "get_data"))
    assert a.get_data().values.sum() == 1 and a.get_data().values.max() == 0.5 and a.get_data().values[0] == 0.25
    assert b.get_data().values.max() == 1
