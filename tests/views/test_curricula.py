import numpy as np

from rclrec_mini.views.curricula import gain_by_precision


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
