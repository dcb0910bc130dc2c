import numpy as np

from rclrec_mini.views.curricula import gain_by_precision, gains, step_and_slope


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
