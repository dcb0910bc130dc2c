import torch
from matplotlib.colors import to_rgb

from rclrec_mini.semantic_ids.catalog import Catalog
from rclrec_mini.views import codes

TUPLES = torch.tensor([[2, 0], [0, 1], [0, 0], [2, 2], [1, 1]])


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_each_level_shows_its_residuals_and_names_equal_ones_together():
    vectors = torch.tensor([[0.0, 1.0], [0.0, -1.0], [5.0, 1.0], [5.0, -1.0]])
    codebooks = torch.tensor([[[0.0, 0.0], [5.0, 0.0]], [[0.0, 1.0], [0.0, -1.0]]])
    picture = codes.residual_levels(vectors, codebooks, torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]))
    first, second = picture.axes
    assert texts(first) == ["0", "1", "2", "3"] and texts(second) == ["0, 2", "1, 3"]


def test_a_curve_for_each_start():
    (axes,) = codes.codes_in_use({"a": [(1, 2.0), (2, 3.0)], "b": [(1, 1.0), (2, 1.0)]}, n_codes=4).axes
    assert axes.get_legend_handles_labels()[1] == ["all codes alike", "a", "b"]
    assert axes.lines[1].get_ydata().tolist() == [2.0, 3.0]


def test_the_trie_has_its_nodes_tokens_and_items():
    catalog = Catalog(TUPLES, n_codes=3)
    (axes,) = codes.trie(catalog, notes=[["root"], ["a", "", "c"]], kept=[[0], [2]]).axes
    words = texts(axes)
    assert {"root", "a", "c"} <= set(words)
    assert [word for word in words if word.startswith("item")] == [f"item {i}" for i in (2, 1, 4, 0, 3)]
    assert sum(word in "012" for word in words) == 3 + 5
    named = texts(codes.trie(catalog, words=["red", "wool", "coat"]).axes[0])
    assert sum(word in ("red", "wool", "coat") for word in named) == 3 + 5
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert len(dots) == 1 + 3 + 5
    assert len({to_rgb(dot.get_color()) for dot in dots}) == 2
