from rclrec_mini.views.compared import two_logs


def test_a_method_of_both_logs_is_a_point_with_its_name():
    rows = {"one": {"A": 10.0, "B": 20.0, "count": 30.0}, "two": {"A": 5.0, "count": 40.0, "C": 1.0}}
    (axis,) = two_logs(rows, naive=("count",)).axes
    assert [text.get_text() for text in axis.texts] == ["A", "count"]
    assert [line.get_xydata().tolist() for line in axis.lines] == [[[10.0, 5.0]], [[30.0, 40.0]]]
    assert axis.get_xlabel().startswith("one") and axis.get_ylabel().startswith("two")
