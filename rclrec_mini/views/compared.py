"""Methods on one log against the same methods on another."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from rclrec_mini.views.style import FAINT, INK, PALETTE


def two_logs(rows: dict[str, dict[str, float]], *, naive: tuple[str, ...] = ()) -> Figure:
    """A point a method at its metric on two logs, its name beside it; only methods that both have.

    Args:
        rows: under each log's name and each method's name the metric, in per cent; two logs.
        naive: methods that need no training, drawn as grey squares.
    """
    (x_name, x), (y_name, y) = rows.items()
    figure, axis = plt.subplots(figsize=(7, 4.4), layout="constrained")
    for name in (name for name in x if name in y):
        color, mark = (INK, "s") if name in naive else (PALETTE[0], "o")
        axis.plot(x[name], y[name], mark, color=color)
        axis.annotate(name, (x[name], y[name]), (6, 4), textcoords="offset points", color=color, fontsize=9)
    axis.grid(color=FAINT, linewidth=0.5)
    axis.set(xlabel=f"{x_name}, NDCG@10 (%)", ylabel=f"{y_name}, NDCG@10 (%)", xlim=(0, None), ylim=(0, None))
    axis.margins(0.12)
    axis.spines[["top", "right"]].set_visible(False)
    plt.close(figure)
    return figure
