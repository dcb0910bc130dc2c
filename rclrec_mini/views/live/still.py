"""Still pictures for a page whose scripts are off: of one answer the timeline and what came of it, or any figure."""

from base64 import b64encode
from collections.abc import Mapping
from html import escape
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from rclrec_mini.data.schema import PURCHASE
from rclrec_mini.views.style import INK, MARKS, PALETTE, subplots

HUES = INK, PALETTE[4], PALETTE[2], PALETTE[3]  # of click, favorite, cart, purchase
CHOSEN, TRUE = PALETTE[:2]


def still(exported: Mapping[str, Any], question: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    """HTML of one answer: the history with p as bars, the chosen and the true events, and a sentence."""
    events, chosen = len(question["items"]), answer["selected"]
    p = answer["p"] or [float(t in chosen) for t in range(events)]
    kinds = np.array([*question["behaviors"], PURCHASE])
    led = np.flatnonzero(question["journey"] or [])
    most = max([*p, 1e-9])
    figure, axes = subplots(figsize=(8, 1.8))
    axes.bar(range(events), p, color=[CHOSEN if t in chosen else f"{INK}77" for t in range(events)])
    for kind, (hue, mark) in enumerate(zip(HUES, MARKS, strict=True)):
        places = np.flatnonzero(kinds == kind)
        axes.scatter(places, [-0.15 * most] * len(places), color=hue, marker=mark, s=24)
    axes.bar(led, -0.05 * most, bottom=-0.3 * most, color=TRUE)
    axes.set_axis_off()
    return picture(figure, caption(exported, question, answer))


def caption(exported: Mapping[str, Any], question: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    """What the picture shows, in two sentences."""
    target, chosen = question["target"], answer["selected"]
    titles = exported["items"].get("title")
    name = (titles and titles[target]) or f"item {target}"
    places = {}
    for side in ("with", "without"):
        items = [one["item"] for one in answer[side]["top"]]
        places[side] = f"at place {items.index(target) + 1}" if target in items else "outside the ten"
    led = ""
    if question["journey"]:
        led = f", of which {sum(question['journey'][t] for t in chosen)} truly led to the purchase (orange ticks)"
    return (
        f"User {question['user']} bought {name} after {len(question['items'])} events: bars are p, and the curriculum "
        f"takes the {len(chosen)} blue ones{led}. The model's list has the purchase {places['with']} with them and "
        f"{places['without']} without."
    )


def picture(figure: Figure, words: str) -> str:
    """HTML of a figure that matplotlib drew, and of the words that say what it shows."""
    file = BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "still"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    data = b64encode(file.getvalue()).decode()
    return (
        f'<figure class="rl-still"><img src="data:image/svg+xml;base64,{data}" alt="{escape(words)}">'
        f"<figcaption>{escape(words)}</figcaption></figure>"
    )
