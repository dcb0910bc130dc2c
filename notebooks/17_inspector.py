# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Curricula you can touch
#
# The chapters before tell of curricula in means over thousands of users. Here you take one user, see which events a
# model chose and what came of it, change something, and see it again. The model is in this page: it runs in your
# browser, with no server and no network. After this chapter you can
#
# 1. read a curriculum: the history, its relevances, the chosen events, and the list that follows from them;
# 2. find a user whose purchase the curriculum finds and one whom it misleads, and say why;
# 3. ask what if, by changing a history;
# 4. have the view on a model of your own, and link it to Python.
#
# You need [the curriculum](08_curriculum.ipynb), and for one of the three models [the pointer](12_pointer.ipynb). It
# runs in ten seconds on two cores once its models are trained; three of their six stages are those of other chapters,
# and the rest takes five minutes. **All data are the simulated shop's.**

# %% tags=["remove-cell"]
import importlib.util
import subprocess
import sys
from pathlib import Path

# the repository's address, if it has one; `make repository` writes it
REPOSITORY = ""

if importlib.util.find_spec("rclrec_mini") is None:
    if Path("../rclrec_mini").is_dir():
        sys.path.insert(0, str(Path("..").resolve()))
    elif REPOSITORY:  # in Colab; takes a minute
        pip = [sys.executable, "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, f"git+{REPOSITORY}"], check=True)
    else:
        raise ModuleNotFoundError(
            "rclrec_mini is missing: run `pip install .` in a copy of its repository"
        )

# %% tags=["remove-cell"]
if importlib.util.find_spec("anywidget") is None:  # as in Colab
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "anywidget"], check=True)

# %%
import os

import pandas as pd

from rclrec_mini import views
from rclrec_mini.data.schema import CART
from rclrec_mini.experiments.materials import Materials
from rclrec_mini.experiments.shared import lesson, shop, stage_two
from rclrec_mini.experiments.tables import GENTLE, REPAIRED

FAST = bool(os.environ.get("RCLREC_FAST"))  # hardly any training

# %% [markdown]
# ## Three models
#
# The paper's, to the letter. Ours with all repairs: prefixes are seen in pre-training, their tokens weigh less in the
# loss, and the selector is told counts and shown in training which events resemble the target. And the model that
# points, with the events that it points at as its curriculum.

# %%
materials = Materials.load(*shop("tiny" if FAST else "mini"))
configs = {
    "literal": lesson(fast=FAST),
    "repaired": lesson(
        fast=FAST, selector="counting", prefix_share=0.5, loss=REPAIRED
    ),
    "pointing": lesson(
        "pointing", fast=FAST, selector="pointer", loss=GENTLE
    ),
}
models = {
    name: stage_two(config, materials)[0]
    for name, config in configs.items()
}

# %% [markdown]
# ## The view
#
# `views.Inspector` takes models and their data. Its `page()` is the view as HTML, which you see here:

# %%
inspector = views.Inspector(
    models,
    materials,
    titles={"literal": "to the letter"},
    model="repaired",
)
inspector.page()

# %% tags=["remove-cell"]
import json

written = json.dumps(inspector.exported, separators=(",", ":"))
assert len(written) < 2_500_000  # bytes that a page loads

# %% [markdown]
# From top to bottom:
#
# - **Who, and by what.** 200 test users, each before the last purchase. *Show* keeps those who fit. Below it: which
#   model, which selector, how many events it takes, and the temperature of $p$.
# - **The verdict**, and why: what the chosen events are, and what the lists then hold.
# - **The history**, oldest event first, a column each. The bar is $p_t$, blue where the event was chosen; the numbers
#   are the order of the curriculum, the last stands next to the purchase. The mark is the behaviour. An orange line
#   says that the event truly led to the purchase, which only a simulated shop can tell, and a small diamond that it
#   is of the very item. Point at an event to see what it is of.
# - **The event that is in focus**, and what you may do to it: another behaviour, another time, away with it. You may
#   put an item in, empty the cart, and take everything back.
# - **The curriculum** as the decoder reads it, with the codes that it writes. Codes that begin as those of the
#   purchase do are filled.
# - **Two lists**: the ten best items without a curriculum and with it, joined by lines. The purchase is red. Below,
#   the log-likelihood of the purchase, and the gain over the frozen $\theta_0$ against the margin $m$, as [the
#   quality-aware loss](10_quality_loss.ipynb) has them. That loss knows generation alone, so where a model also points
#   the bar is of what it generates, and $\ln P$ above it of all. A model that was trained without that loss keeps no
#   $\theta_0$; its bar is the change against itself without a curriculum.
#
# *Link to this view* puts all of it into the page's address, edits as well.
#
# ## Two finds
#
# The same answers are had from Python. For each user and each model: does the list hold the purchase without the
# curriculum, and with it? How many of the chosen events are right?


# %%
def holds(answer: dict, side: str, item: int) -> bool:
    """Whether one of the two lists has the item."""
    return any(one["item"] == item for one in answer[side]["top"])


def looked_at(model: str) -> pd.DataFrame:
    """All users of the view by one model as it was trained."""
    rows = []
    for person in inspector.exported["users"]:
        answer = inspector.answer(user=person["user"], model=model)
        bought = person["target"]["item"]
        with_it, without = (answer[s] for s in ("with", "without"))
        right = [person["journey"][t] for t in answer["selected"]]
        rows.append({
            "user": person["user"],
            "without": holds(answer, "without", bought),
            "with": holds(answer, "with", bought),
            "change": with_it["target"] - without["target"],
            "right": sum(right),
        })  # fmt: skip
    return pd.DataFrame(rows)


# %%
tables = {model: looked_at(model) for model in models}


def summary(table: pd.DataFrame) -> dict[str, float]:
    """How often the curriculum brings the purchase, or loses it."""
    found = table[table["with"] & ~table["without"]]
    lost = table[table["without"] & ~table["with"]]
    return {
        "found": len(found),
        "misled": len(lost),
        "right of 4, found": found["right"].mean(),
        "right of 4, misled": lost["right"].mean(),
        "right of 4, all": table["right"].mean(),
    }


pd.DataFrame({m: summary(t) for m, t in tables.items()}).T.round(1)

# %% [markdown]
# Look at the repaired model first. Where its curriculum brings a purchase into the ten, nearly all of the chosen events
# are right; where it throws one out, nearly all are wrong. It does both about equally often, and so its list is no
# better than without. To the letter the chosen events are hardly ever right, so what this curriculum finds it finds by
# luck. It does not harm much either: fine-tuned at a high rate, the decoder has learned to [do without what it is
# told](14_tables.ipynb#the-rate-decides), and fewer lists gain or lose their purchase than by the repaired model. The
# pointing model has the item from its history already, and its curriculum changes next to nothing.
#
# Now the two clearest of the repaired model, the largest change in $\ln P$ either way. In the book, a click opens the
# user in the view above; in JupyterLab, set `inspector.user`:

# %%
from IPython.display import HTML

seen = tables["repaired"]
found = seen[seen["with"] & ~seen["without"]].query("right == 4")
lost = seen[seen["without"] & ~seen["with"]].query("right == 0")
finds = {}
if len(found) and len(lost):
    finds["found"] = found.loc[found["change"].idxmax()]
    finds["misled"] = lost.loc[lost["change"].idxmin()]
HTML(
    "<br>".join(
        f'<a href="#inspector?user={one.user}&model=repaired">'
        f"user {one.user}</a>: {name}, ln P {one.change:+.1f}, "
        f"{one.right} of 4 chosen events are right"
        for name, one in finds.items()
    )
)

# %% [markdown]
# Open the first. All chosen events stand over orange lines. They are visits of things of the purchase's own category,
# and their codes begin as its codes do. The history holds other things besides, and without a curriculum the list
# mixes them all. With it the decoder goes on in the words that it has just read: the list fills with that category, and
# the purchase is among them.
#
# Open the second. No chosen event stands over an orange line. This user has come back to something of another category,
# amid more events of that category than of the purchase's, and counts are all that the selector goes by. The list fills
# with its like, and the purchase is pushed out. Set *selector* to *oracle*, and it is back.

# %% tags=["remove-cell"]
if not FAST:
    shares = {m: summary(t) for m, t in tables.items()}
    repaired, literal = shares["repaired"], shares["literal"]
    assert repaired["right of 4, found"] > 3.3
    assert repaired["right of 4, misled"] < 1
    assert abs(repaired["found"] - repaired["misled"]) <= 6
    changed = {m: n["found"] + n["misled"] for m, n in shares.items()}
    assert changed["literal"] < changed["repaired"]
    assert literal["right of 4, found"] < 1.5
    assert literal["right of 4, all"] < 1
    assert changed["pointing"] < 12
    category = inspector.exported["items"]["category"]
    codes = materials.catalog.codes
    for name, one in finds.items():
        asked = {"user": int(one.user), "model": "repaired"}
        answer = inspector.answer(**asked)
        items = [e["item"] for e in inspector.original(int(one.user))]
        chosen = {items[t] for t in answer["selected"]}
        bought = inspector.question(**asked)["target"]
        kinds = pd.Series([category[i] for i in items]).value_counts()
        own = {
            side: sum(
                category[x["item"]] == category[bought]
                for x in answer[side]["top"]
            )
            for side in ("with", "without")
        }
        alike = (codes[list(chosen), 0] == codes[bought, 0]).float()
        if name == "found":
            assert {category[i] for i in chosen} == {category[bought]}
            assert own["with"] > own["without"] and alike.mean() > 0.5
        else:
            others = [kinds[category[i]] for i in chosen]
            assert category[bought] not in {category[i] for i in chosen}
            assert max(others) > kinds.get(category[bought], 0)
            assert own["with"] < own["without"]
            oracle = inspector.answer(**asked, selector="oracle")
            assert holds(oracle, "with", bought)

# %% [markdown]
# ## In JupyterLab and Colab
#
# There, `inspector` itself is a widget, the same view with Python behind it. What you do in the one is known to the
# other: `inspector.user`, `.model`, `.selector`, `.k`, `.tau` and `.history` can be read and set, and `.selected` and
# `.top10` follow. With `engine="kernel"` Python answers in place of the page, which is what you want for a large
# model. In Colab run the first cells of this notebook, which install what is missing, and then these. Colab shows
# widgets like this one after `output.enable_custom_widget_manager()`, with the `output` of `google.colab`. It is called
# for you when a view is made; where a widget's place stays empty, call it yourself and run the cell again.

# %%
inspector.user, inspector.k = int(inspector.users[3]), 2
inspector.selected, inspector.top10[0]["title"]

# %% [markdown]
# It is an ipywidgets widget like any other, so `link` ties it to other widgets. Run this in a notebook; here in the
# book a live widget would have no Python to talk to, and so the next two outputs are not shown:

# %% tags=["remove-output"]
from ipywidgets import IntSlider, VBox, link

slider = IntSlider(min=0, max=6, description="k")
link((inspector, "k"), (slider, "value"))
VBox([slider, inspector])

# %% [markdown]
# And `interact` makes controls for a function of your own, here for how far down the temperature spreads $p$:

# %% tags=["remove-output"]
from ipywidgets import interact


@interact(tau=(0.05, 2.0, 0.05))
def spread(tau: float = 0.5) -> str:
    """The largest p, for the user in the view."""
    p = inspector.answer(model="repaired", tau=tau)["p"]
    return f"user {inspector.user}: {max(p):.2f} at most"


# %% [markdown]
# Your own run and your own data take one line, `views.Inspector("runs/rclrec", "runs/shop")`, and `rclrec export
# --run runs/rclrec --data runs/shop --out export.json` writes what such a page computes from.

# %% tags=["remove-cell"]
assert slider.value == inspector.k == 2
slider.value = 3
assert inspector.k == 3 and len(inspector.selected) == 3
assert spread(0.05).split()[2] > spread(2.0).split()[2]

# %% [markdown]
# ## Exercises
#
# 1. How many of those whom the curriculum misleads does the oracle bring back, to the letter and repaired? What does
#    the difference say?
# 2. *What if nothing had been put in the cart?* Of the users who had the purchase in the cart: how much less likely
#    does each model find it without the cart events? Which model reads the cart most?
#
# <details>
# <summary>Solution of 1</summary>
#
# ```python
# bought = {p["user"]: p["target"]["item"] for p in inspector.exported["users"]}
# brought_back = {}
# for model in ("literal", "repaired"):
#     table = tables[model]
#     lost = table[table["without"] & ~table["with"]]["user"]
#     brought_back[model] = [
#         holds(inspector.answer(user=u, model=model, k=4, selector="oracle"), "with", bought[u])
#         for u in lost
#     ]
# {model: (sum(back), len(back)) for model, back in brought_back.items()}
# ```
#
# Repaired, all or nearly all of them: its decoder knows what to do with a right prefix. To the letter it is few users,
# and hangs on the training: once we saw all eight of them back, another time four of seven. That decoder has learned
# from prefixes that were mostly wrong, and a right one does not always help it.
#
# </details>
#
# <details>
# <summary>Solution of 2</summary>
#
# ```python
# changes = {model: [] for model in models}
# for user, item in bought.items():
#     history = inspector.original(user)
#     rest = [event for event in history if event["behavior"] != CART]
#     if not any(e["item"] == item and e["behavior"] == CART for e in history):
#         continue
#     for model in models:
#         before, after = (
#             inspector.answer(user=user, model=model, k=4, history=h)["with"]["target"]
#             for h in (history, rest)
#         )
#         changes[model].append(after - before)
# pd.DataFrame(changes).mean().round(2)
# ```
#
# The pointing model, by about 1 in $\ln P$, so that the purchase is nearly three times less likely; repaired it is
# little more than half as much, and to the letter less again. The pointer's network is told the counts of each
# behaviour apart and so learns what a cart event is worth; in the states of an encoder it is one event in fifty.
#
# </details>

# %% tags=["remove-cell"]
bought = {
    p["user"]: p["target"]["item"] for p in inspector.exported["users"]
}
brought_back = {}
for model in ("literal", "repaired"):
    table = tables[model]
    lost = table[table["without"] & ~table["with"]]["user"]
    brought_back[model] = [
        holds(
            inspector.answer(
                user=u, model=model, k=4, selector="oracle"
            ),
            "with",
            bought[u],
        )
        for u in lost
    ]
changes = {model: [] for model in models}
for user, item in bought.items():
    history = inspector.original(user)
    rest = [event for event in history if event["behavior"] != CART]
    if not any(
        e["item"] == item and e["behavior"] == CART for e in history
    ):
        continue
    for model in models:
        before, after = (
            inspector.answer(user=user, model=model, k=4, history=h)
            for h in (history, rest)
        )
        change = after["with"]["target"] - before["with"]["target"]
        changes[model].append(change)
if not FAST:
    back = {m: sum(b) / len(b) for m, b in brought_back.items()}
    assert back["repaired"] > 0.8 and back["literal"] > 0.3
    mean = pd.DataFrame(changes).mean()
    assert -1.5 < mean["pointing"] < -0.8
    assert mean["pointing"] < mean["repaired"] < mean["literal"] < 0
    assert 0.4 < mean["repaired"] / mean["pointing"] < 0.7

# %% [markdown]
# ## What you can do now
#
# 1. Read a curriculum. *Which of the chosen events stands next to the purchase, and what do the filled codes say?*
# 2. Tell a user whom it helps from one whom it misleads. *What do the orange lines have to do with it?*
# 3. Ask what if. *What becomes of the list when the cart events are gone, and what when they are moved to the front?*
# 4. Have the view on your own model. *Who answers with `engine="page"`, and who with `"kernel"`?*
