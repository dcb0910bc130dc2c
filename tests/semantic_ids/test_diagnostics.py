import math

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from rclrec_mini.semantic_ids.diagnostics import diagnostics, perplexity, prefix_purity
from rclrec_mini.semantic_ids.quantization import Collisions, Quantization
from rclrec_mini.views import figures

CODES = torch.tensor([[0, 1], [0, 2], [0, 0], [2, 1]])
QUANTIZATION = Quantization(torch.zeros(4, 5), torch.zeros(2, 3, 5), CODES, torch.tensor([0.5, 0.25]))


def test_rows_by_hand() -> None:
    first, second = diagnostics(QUANTIZATION, CODES, Collisions(2, 1, (0, 1)), np.array([7, 7, 3, 3]))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert first == {
        "level": 1,
        "error": 0.5,
        "used": 2,
        "dead": 1,
        "utilisation": pytest.approx(2 / 3),
        "perplexity": pytest.approx(math.exp(entropy)),
        "prefixes": 2,
        "moved": 0,
        "purity": 0.75,
        "purity_by_chance": 0.75,
    }
    assert (second["prefixes"], second["moved"], second["dead"], second["purity"]) == (4, 1, 0, 1.0)


def test_without_categories() -> None:
    rows = diagnostics(QUANTIZATION, CODES, Collisions(0, 0, (0, 0)), np.full(4, -1))
    assert [row["purity"] for row in rows] == [None, None]


def test_perplexity() -> None:
    assert perplexity(np.array([5, 0, 5, 5])) == pytest.approx(3)
    assert perplexity(np.array([0, 7])) == pytest.approx(1)


def test_purity_equals_a_loop() -> None:
    rng = np.random.default_rng(0)
    prefix, category = rng.integers(0, 7, 101), rng.integers(-1, 5, 101)
    known = category >= 0
    agree = sum(np.bincount(category[known & (prefix == p)], minlength=5).max() for p in range(7))
    assert prefix_purity(prefix, category)[0] == pytest.approx(agree / known.sum())


@pytest.mark.parametrize(("category", "lines"), [(np.full(4, -1), 0), (np.array([7, 7, 3, 3]), 2)])
def test_figure(category: np.ndarray, lines: int) -> None:
    rows = diagnostics(QUANTIZATION, CODES, Collisions(0, 0, (0, 0)), category)
    figure = figures.semantic_ids(rows, n_codes=3)
    error, use, purity = figure.axes
    assert error.lines[0].get_ydata().tolist() == [0.5, 0.25]
    assert use.lines[0].get_ydata().tolist() == [2, 3]
    assert len(purity.lines) == lines
    plt.close(figure)
