"""One look for all figures: colours that survive colour blindness, and a ground that is the page's, light or dark.

Text and lines are of a grey that stands out from white and from the book's dark ground alike (4 to 1 at least), so
that one picture serves both. Importing a module of views sets it, in notebooks also twice the resolution.
"""

import sys
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure

# the hues of seaborn's "colorblind", 3 to 1 on both grounds: blue, orange, green, vermilion, purple, sky, brown
PALETTE = ("#0a84c6", "#c77c02", "#029e73", "#d55e00", "#c46ab4", "#3a9bd9", "#a9744a")
INK = "#7b7b7b"  # text, axes: 4.2 to 1 on both
FAINT = "#7b7b7b55"  # grids, and what stands behind
MARKS = "oDs*"  # of click, favorite, cart, purchase

STYLE = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "savefig.transparent": True,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "figure.dpi": 100,
}


def colors(n: int) -> list[tuple[float, float, float]]:
    """The first n colours of the palette; from the start again where there are more."""
    return list(sns.color_palette(PALETTE, n))


def subplots(rows: int = 1, columns: int = 1, **how: Any) -> tuple[Figure, Any]:
    """As plt.subplots, for a figure that is handed on: a notebook shows it where it is returned, and not once more."""
    figure, axes = plt.subplots(rows, columns, layout="constrained", **how)
    plt.close(figure)
    return figure, axes


def use() -> None:
    """Set the look for all figures that are drawn from now on."""
    mpl.rcParams.update(STYLE)
    sns.set_palette(PALETTE)
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("retina")
