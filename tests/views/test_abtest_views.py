import numpy as np
import pandas as pd

from rclrec_mini.views.abtest import aa_histogram, foretold, gains, lifts, offline_online, peeking, power_curves, worth


def test_a_histogram_counts_what_lies_below_5_in_100():
    p = np.array([0.01, 0.04, 0.2, 0.95])
    axes = aa_histogram({"users": p, "visits": p[1:]}).axes
    assert [axis.get_title() for axis in axes] == ["users\n50.0% below 0.05", "visits\n33.3% below 0.05"]
    assert [bar.get_height() for bar in axes[0].patches][:5] == [2, 0, 0, 0, 1]


def test_power_has_lines_by_formula_and_dots_as_played():
    users = np.array([100.0, 1000.0])
    (axis,) = power_curves(users, {"plain": users / 2000, "CUPED": users / 1500}, {"plain": {300.0: 0.2}}).axes
    np.testing.assert_allclose(axis.lines[0].get_xydata(), [[100, 0.05], [1000, 0.5]])
    np.testing.assert_allclose(axis.lines[1].get_xydata(), [[300, 0.2]])
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["plain", "CUPED"]


def test_peeking_is_shown_in_per_cent_by_looks():
    (axis,) = peeking([1, 5], {"stops": [0.05, 0.14], "valid": [0.01, 0.02]}).axes
    np.testing.assert_allclose(axis.lines[0].get_xydata(), [[1, 5], [5, 14]])
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "5"]


def test_gains_are_bars_in_per_cent_by_row():
    (axis,) = gains(pd.DataFrame({"from slates": [0.2, 0.1], "lasting": [0.1, 0.05]}, index=["count", "recent"])).axes
    assert [bar.get_height() for bar in axis.patches] == [20, 10, 10, 5]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["count", "recent"]


def test_lifts_stand_from_top_to_bottom_as_given():
    one = {"orders": {"lift": 0.02, "low": 0.01, "high": 0.04}, "revenue": {"lift": -0.01, "low": -0.02, "high": 0.0}}
    axes = lifts({"a": one, "b": one}, titles=["orders", "revenue"]).axes
    assert [axis.get_title() for axis in axes] == ["orders", "revenue"]
    np.testing.assert_allclose(axes[1].lines[0].get_xydata(), [[-1, 1], [-1, 0]])
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["a", "b"]


def test_each_arm_stands_at_its_metric_and_its_lift():
    """More arms than there are colours and markers."""
    names = "abcdefghijklm"
    offline = {"recall@10": {name: {"mean": i / 20, "low": 0.0, "high": 0.7} for i, name in enumerate(names)}}
    online = {name: {"lift": i / 100, "low": -0.1, "high": 0.2} for i, name in enumerate(names)}
    figure = offline_online(offline, online, ylabel="lift")
    points = [container.lines[0].get_xydata()[0] for container in figure.axes[0].containers]
    np.testing.assert_allclose(points, [[5 * i, i] for i in range(13)], atol=1e-9)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(names)


def test_the_tables_of_a_report_are_in_per_cent():
    one = {"lift": 0.021, "low": 0.016, "high": 0.026}
    arm = {"lift": {"orders": one, "lasting_orders": {"lift": -0.1, "low": -0.2, "high": 0.0}}}
    arm |= {
        "test": {"orders": {"plain": {"lift": 0.05, "low": 0.0, "high": 0.1}}},
        "called": {"orders": {"plain": 0.125}},
    }
    worse = arm | {"lift": {**arm["lift"], "orders": {"lift": -0.021, "low": -0.03, "high": -0.01}}}
    report = {"arms": {"tiger": {}, "markov": worse, "count": arm}}
    table = worth(report)
    assert table.index.tolist() == ["count", "markov"]
    assert table.columns.tolist() == ["orders", "lasting orders", "one test", "called (%)"]
    assert table.loc["count"].tolist() == ["+2.1 ± 0.5", "-10.0 ± 10.0", "+5.0 ± 5.0", "12"]
    agreed = {"correlation": 0.5, "low": 0.2, "high": 0.9, "best": 0.25}
    other = {"recall@10": agreed | {"correlation": -0.5}}
    report |= {"agreement": {"orders": {"recall@10": agreed}, "revenue": other, "lasting_orders": other}}
    report |= {"reversals": {"orders": {"recall@10": [["a", "b"]]}}}
    assert foretold(report).loc["recall@10"].tolist() == ["0.50 [0.20, 0.90]", "-0.50 [0.20, 0.90]", 1]
