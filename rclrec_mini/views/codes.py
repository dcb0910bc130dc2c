"""The book's drawings of semantic ids: residuals in the plane, codes in use, and the trie that beam search walks."""

from collections.abc import Collection, Sequence
from itertools import pairwise

from matplotlib.figure import Figure
from torch import Tensor

from rclrec_mini.semantic_ids.catalog import Catalog
from rclrec_mini.views.style import INK, PALETTE, colors, subplots


def residual_levels(vectors: Tensor, codebooks: Tensor, codes: Tensor) -> Figure:
    """What each level of a residual quantiser sees: points of the plane, coloured by their code, and the code vectors.

    Args:
        vectors: of the items (N, 2); they are numbered.
        codebooks: of the levels (L, V, 2).
        codes: of the items (N, L).
    """
    levels, n_codes = codebooks.shape[:2]
    figure, panels = subplots(1, levels, figsize=(4 * levels, 3.4), squeeze=False)
    palette, residual = colors(n_codes), vectors
    for level, axes in enumerate(panels[0]):
        chosen = codebooks[level, codes[:, level]]
        for point, center in zip(residual.tolist(), chosen.tolist(), strict=True):
            axes.plot(*zip(point, center, strict=True), color=INK, linewidth=0.8, zorder=1)
        for code, color in enumerate(palette):
            here = (codes[:, level] == code).nonzero()[:, 0]
            axes.scatter(*residual[here].T.tolist(), color=[color], marker="os^Dv<>p"[code % 8], s=36, zorder=2)
            axes.scatter(*codebooks[level, code].tolist(), color=[color], marker="X", s=110, label=f"code {code}")
        shown: dict[tuple, list[str]] = {}
        for item, point in enumerate(residual.tolist()):
            shown.setdefault(tuple(round(x, 3) for x in point), []).append(str(item))
        for point, items in shown.items():
            axes.annotate(", ".join(items), point, xytext=(6, 5), textcoords="offset points", fontsize=9)
        axes.set(title=f"Level {level + 1}: {'items' if level == 0 else 'what is left'}", aspect="equal")
        axes.margins(0.25)
        residual = residual - chosen
    panels[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def codes_in_use(curves: dict[str, Sequence[tuple[int, float]]], *, n_codes: int) -> Figure:
    """Perplexity of the codes while a quantiser trains.

    Args:
        curves: under each label, pairs of a step and the perplexity then.
        n_codes: V, the most it can be.
    """
    figure, axes = subplots(figsize=(7, 3.2))
    axes.axhline(n_codes, color=INK, linestyle=":", label="all codes alike")
    for i, ((label, curve), color) in enumerate(zip(curves.items(), PALETTE, strict=False)):
        axes.plot(*zip(*curve, strict=True), color=color, marker="os^D"[i % 4], markersize=4, label=label)
    axes.set(xlabel="step", ylabel="perplexity of the codes", ylim=(0, 1.08 * n_codes))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def trie(
    catalog: Catalog,
    *,
    notes: Sequence[Sequence[str]] | None = None,
    kept: Sequence[Collection[int]] | None = None,
    words: Sequence[str] | None = None,
) -> Figure:
    """The prefix trie, root on top: a node for each prefix, its token beside its edge, the item under each leaf.

    Args:
        catalog: a small one.
        notes: text for the nodes of depth 0..L, as far as given; a leaf's stands under its item.
        words: names of the tokens, which are shown in place of their numbers.
        kept: nodes of depth 0..L, as far as given, that are drawn filled, with the edges that lead to them.
    """
    blue, orange, *_ = PALETTE
    figure, axes = subplots(figsize=(max(6.0, 0.95 * len(catalog)), 1.0 + 1.1 * catalog.levels))
    place = [float(leaf) for leaf in range(len(catalog))]  # x of the nodes of this depth
    where = [place]
    for offsets in reversed(catalog.child_offsets):
        start = offsets.tolist()
        place = [sum(place[a:b]) / (b - a) for a, b in pairwise(start)]
        where.insert(0, place)
    kept, names = kept or [], words or [str(token) for token in range(catalog.n_codes)]
    side = [[1] * len(xs) for xs in where]  # of its parent on which a node lies, for the text beside it
    for depth, xs in enumerate(where):
        filled = kept[depth] if depth < len(kept) else ()
        if depth:
            start = catalog.child_offsets[depth - 1].tolist()
            for parent, (a, b) in enumerate(pairwise(start)):
                for node in range(a, b):
                    line = {"color": orange, "linewidth": 2.2} if node in filled else {"color": INK, "linewidth": 1}
                    x = (where[depth - 1][parent], xs[node])
                    axes.plot(x, (1 - depth, -depth), zorder=1, **line)
                    side[depth][node] = -1 if x[1] < x[0] else 1
                    axes.annotate(
                        names[int(catalog.child_tokens[depth - 1][node])], (0.35 * x[0] + 0.65 * x[1], 0.35 - depth),
                        xytext=(6 * side[depth][node], 0), textcoords="offset points", fontsize=9,
                        ha="right" if side[depth][node] < 0 else "left",
                    )  # fmt: skip
        for node, x in enumerate(xs):
            axes.plot(x, -depth, "o", color=orange if node in filled else blue, markersize=9, zorder=2)
            lines = [f"item {int(catalog.leaf_items[node])}"] if depth == catalog.levels else []
            if notes and depth < len(notes) and notes[depth][node]:
                lines.append(notes[depth][node])
            under = depth == catalog.levels
            if lines:
                outward = side[depth][node]
                axes.annotate(
                    "\n".join(lines), (x, -depth), xytext=(0, -10) if under else (8 * outward, 4),
                    textcoords="offset points", va="top" if under else "bottom", fontsize=9,
                    ha="center" if under else "right" if outward < 0 else "left",
                )  # fmt: skip
    axes.set(ylim=(-catalog.levels - 0.55, 0.35), xlim=(-0.6, len(catalog) - 0.4))
    axes.set_axis_off()
    return figure
