"""Still pictures for a page whose scripts are off: of one answer the timeline and what came of it, or any figure."""

from base64 import b64encode
from collections.abc import Mapping
from html import escape
from io import BytesIO
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from rclrec_mini.views.style import INK, PALETTE

WIDTH, HEIGHT, BAR = 740, 132, 70
CHOSEN, TRUE, BOUGHT = PALETTE[0], PALETTE[1], PALETTE[3]
MARKS = (  # of click, favorite, cart, purchase, as in js/dom.js
    (INK, '<circle r="4"/>'),
    (PALETTE[4], '<path d="M0-6 5 0 0 6-5 0Z"/>'),
    (PALETTE[2], '<rect x="-4.5" y="-4.5" width="9" height="9" rx="1"/>'),
    (BOUGHT, '<path d="M0-7 2-2 7-2 3 1 4 6 0 3-4 6-3 1-7-2-2-2Z"/>'),
)


def still(exported: Mapping[str, Any], question: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    """HTML of a figure: an SVG of the history with p, the chosen and the true events, and a sentence."""
    events, chosen = len(question["items"]), answer["selected"]
    step = WIDTH / (events + 1)
    p = answer["p"] or [float(t in chosen) for t in range(events)]
    largest = max([*p, 1e-9])
    columns = [
        _column(step * (t + 0.5), BAR * p[t] / largest, question["behaviors"][t], step,
                chosen=t in chosen, true=bool(question["journey"] and question["journey"][t]))
        for t in range(events)
    ]  # fmt: skip
    columns.append(_column(step * (events + 0.5), 0, 3, step, chosen=False, true=False))
    words = escape(caption(exported, question, answer))
    return (
        f'<figure class="rl-still"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{words}">'
        f"{''.join(columns)}</svg><figcaption>{words}</figcaption></figure>"
    )


def _column(x: float, height: float, behavior: int, step: float, *, chosen: bool, true: bool) -> str:
    hue, shape = MARKS[behavior if behavior < len(MARKS) else 0]
    width, opacity = 0.6 * step, 1 if chosen else 0.45
    bar = f'<rect x="{-width / 2:.1f}" y="{BAR + 8 - height:.1f}" width="{width:.1f}" height="{height:.1f}"'
    tick = f'<rect x="{-width / 2:.1f}" y="114" width="{width:.1f}" height="4" fill="{TRUE}"/>' if true else ""
    return (
        f'<g transform="translate({x:.1f} 0)">{bar} fill="{CHOSEN if chosen else INK}" opacity="{opacity}"/>'
        f'<g fill="{hue}" transform="translate(0 96)">{shape}</g>{tick}</g>'
    )


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
