import numpy as np
from matplotlib.colors import to_rgba

from rclrec_mini.views.pointing import pointed_at
from rclrec_mini.views.style import INK, PALETTE


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
