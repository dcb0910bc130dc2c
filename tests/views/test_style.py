import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from rclrec_mini.views import style

LIGHT, DARK = "#ffffff", "#14181e"  # grounds of the book's two themes


def luminance(color: str) -> float:
    channels = np.array(to_rgb(color))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(a: str, b: str) -> float:
    low, high = sorted([luminance(a), luminance(b)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("ground", [LIGHT, DARK])
def test_text_and_colors_stand_out_from_both_grounds(ground):
    assert contrast(style.INK, ground) > 4
    assert all(contrast(color, ground) > 3 for color in style.PALETTE)


def test_colors_begin_again_where_there_are_more():
    n = len(style.PALETTE)
    assert style.colors(n + 1)[-1] == style.colors(1)[0] == to_rgb(style.PALETTE[0])


def test_a_figure_has_the_ground_of_its_page(tmp_path):
    figure, axis = plt.subplots()
    axis.plot([0, 1])
    figure.savefig(tmp_path / "figure.png")
    plt.close(figure)
    assert plt.imread(tmp_path / "figure.png")[0, 0, 3] == 0
