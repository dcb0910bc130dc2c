import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from rclrec_mini.data.relevance import TABLE
from rclrec_mini.views.figures import calibration, differences, journeys, precision_by_gap, relevance_by_behavior


def test_relevance_by_behavior_draws_each_mean_with_its_interval():
    rows = [
        {"attribute": "category", "behavior": "click", "source": "history", "mean": 0.2, "low": 0.1, "high": 0.3},
        {"attribute": "category", "behavior": "purchase", "source": "history", "mean": 0.5, "low": 0.4, "high": 0.6},
        {"attribute": "seller", "behavior": "cart", "source": "own shuffled", "mean": 0.25, "low": None, "high": None},
    ]
    figure = relevance_by_behavior(pa.Table.from_pylist(rows, schema=TABLE), window=7, title="a shop")
    category, brand, seller = figure.axes
    mark, _, (bar,) = category.containers[0].lines
    assert mark.get_xydata()[:, 1].tolist() == [0.2, 0.5]
    assert mark.get_xydata()[:, 0].round().tolist() == [0, 3]  # click is first in the funnel, purchase last
    assert [segment[:, 1].tolist() for segment in bar.get_segments()] == [
        pytest.approx([0.1, 0.3]),
        pytest.approx([0.4, 0.6]),
    ]
    assert seller.containers[1].lines[0].get_xydata()[:, 1].tolist() == [0.25]
    assert len(brand.containers[0].lines[0].get_xydata()) == 0
    assert figure.legends[0].get_texts()[0].get_text() == "last 7 events"


def test_differences_put_an_attribute_on_its_line():
    columns = {"mean": [0.2, -0.1], "low": [0.1, None], "high": [0.3, None]}
    rows = pd.DataFrame(columns, index=["brand", "item"])
    (axis,) = differences({"a shop": rows, "another": rows[:1]}).axes
    first, second = (container.lines[0].get_xydata() for container in axis.containers)
    assert first[:, 0].tolist() == [0.2, -0.1]
    assert first[:, 1].round().tolist() == [1, 3]
    assert second[0, 1] > first[0, 1]  # below the first, not over it
    (bar,) = axis.containers[0].lines[2]
    assert bar.get_segments()[0][:, 0].tolist() == pytest.approx([0.1, 0.3])


def test_journeys_end_at_the_purchase():
    journey = np.array([4, -1, 7, 4, -1, 7, 9, 7])
    behavior = np.array([0, 0, 0, 1, 0, 2, 0, 3])
    (axis,) = journeys(journey, behavior, target=7, before=6, recent=2).axes
    lines = [line.get_xdata().tolist() for line in axis.lines if line.get_marker() == "None"]
    assert lines == [[-6, -3], [-5, -2, 0], [-4], [-1]]  # idle, 7, 4, 9; the event at -7 is left out
    stars = [line.get_xydata().tolist() for line in axis.lines if line.get_marker() == "*" and len(line.get_xdata())]
    assert stars == [[[0, 1]]]
    assert {line.get_color() for line in axis.lines[:5]} == {"grey"}


def test_calibration_is_relative_to_the_target():
    rows = [
        {"what": "purchases", "target": 0.01, "mean": 0.012},
        {"what": "seen", "target": 0.5, "mean": 0.4, "low": 0.3, "high": 0.5},
    ]
    (axis,) = calibration(rows).axes
    assert axis.containers[0].lines[0].get_xdata().tolist() == pytest.approx([1.2, 0.8])
    assert [label.get_text() for label in axis.get_yticklabels()] == ["purchases: 0.012 for 0.01", "seen: 0.4 for 0.5"]
    low, high = axis.get_xlim()
    assert low < 0.8 and high > 1.2


def test_precision_by_gap_sorts_its_lines():
    rows = [{"gap": gap, "journeys": 3, "recent": 1 / gap, "random": 0.2} for gap in (5, 2)]
    recent, random = precision_by_gap(rows).axes[0].lines
    assert recent.get_xydata().tolist() == [[2, 0.5], [5, 0.2]]
    assert random.get_ydata().tolist() == [0.2, 0.2]
