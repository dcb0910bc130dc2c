# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Pointing at the history
#
# Three of four purchases in our shop take an item that stands in the history, and a plain count of the history beats
# every model that only generates. So a model should be able to *copy*, cheaply. This chapter gives it a second way to
# say an item: point at the events where it stands. That part is ours, not the paper's. After it you can
#
# 1. write the mixture of pointing and generating down, and work it out by hand;
# 2. say why softmax attention cannot count, and show that a count is one special pointer;
# 3. search the catalogue's trie by the mixture, exactly;
# 4. say what pointing costs, what it brings on four logs, and what it does not.
#
# You need the history of a purchase as [Figure 1(c)](03_figure_1c.ipynb) shows it; codes, trie and beam search are
# explained where they are used. It runs in about 20 seconds on two cores. Toys are made up; numbers of *the shop* come
# from the simulated shop; the last table comes from result files of full runs, and says of each log what it is.

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

# %%
import itertools
import os
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch.testing import assert_close

from rclrec_mini.views import explorables

FAST = bool(os.environ.get("RCLREC_FAST"))  # fewer users, for tests

# %% [markdown]
# ## The mixture
#
# RCLRec already has a distribution $p$ over the $T$ events of a history ({cite}`rclrec`, eq. 3); it serves to [pick
# the curriculum](08_curriculum.ipynb). Let such a $p$ do more. With a gate $g$ between 0 and 1, the likelihood of an
# item $i$ is
#
# $$
# P(i) = g \sum_{t=1}^{T} p_t \mathbb{1}[i_t = i] + (1 - g) P_{\text{gen}}(i)
# $$
#
# The sum adds up the mass of *all* events of the item. Reading comprehension calls it attention-sum reading
# {cite}`attentionsum`; the gate came with the pointer-generator {cite}`pointergenerator`; RepeatNet
# {cite}`repeatnet` used both for shops.
#
# ## By hand
#
# Three events, `a b a`, and a catalogue of three items. Generation likes `c`, which the history lacks:

# %%
history = ["a", "b", "a"]
p = [0.5, 0.3, 0.2]
g, generated = 0.8, {"a": 0.1, "b": 0.1, "c": 0.8}

# %%
P = {}
for item, likelihood in generated.items():
    copied = sum(p[t] for t in range(3) if history[t] == item)
    P[item] = g * copied + (1 - g) * likelihood
{item: round(mass, 2) for item, mass in P.items()}

# %% [markdown]
# The three add up to 1. The library keeps $\log (g\, p_t)$ and $\log (1 - g)$ in a `Pointing`, for $G$ targets of each
# of $B$ samples, and `mix` is the formula above. We ask it for three targets at once:

# %%
from rclrec_mini.models.pointer import Pointing

masses = g * torch.tensor([p, p, p])  # (G, T), the same p for each
pointing = Pointing(
    masses.log()[None], torch.tensor([[1 - g] * 3]).log()
)
same = torch.tensor(
    [[[h == item for h in history] for item in generated]]
)
log_generated = torch.tensor([list(generated.values())]).log()  # (B, G)
found = pointing.mix(log_generated, same).exp()
assert_close(found, torch.tensor([list(P.values())]))
found

# %% tags=["remove-cell"]
np.testing.assert_allclose(list(P.values()), [0.58, 0.26, 0.16])

# %% [markdown]
# Training maximises $\log P$ of the item that came, or a bound of it, of which [below](#soft-or-hard-likelihood). No
# event is chosen, so the gradient reaches every $p_t$ without a straight-through trick.
#
# ## Attention averages, and cannot count
#
# Why does the model not copy by itself? Its encoder and decoder are made of softmax attention, and the weights of a
# softmax add up to 1. Take a user who clicked one item, and another who clicked it forty times. Whatever the weights
# are, the average of forty equal values is that value.
#
# A [backbone](06_backbone.ipynb) with random weights shows it. The catalogue has 27 items, all words of three codes out
# of three:

# %%
from rclrec_mini.data.sequences import Sequences
from rclrec_mini.models.backbone import Backbone, BackboneConfig
from rclrec_mini.models.rclrec import RCLRec

words = list(itertools.product(range(3), repeat=3))
codes = torch.tensor(words)  # (N, L), N = 27, L = 3
sizes = BackboneConfig(
    levels=3, codes=3, d=16, heads=2, encoder_layers=2,
    decoder_layers=1, ffn=32, dropout=0.0, causal=True,
)  # fmt: skip
torch.manual_seed(0)
backbone = Backbone(sizes)
for parameter in backbone.parameters():  # far from its start
    torch.nn.init.normal_(parameter, std=0.5)


# %%
def log_of(*users: list[int], target: int = 0) -> Sequences:
    """Clicks of some users, an hour apart, and a purchase."""
    lists = [[*items, target] for items in users]
    lengths = [len(items) for items in lists]
    behavior = [b for n in lengths for b in [0] * (n - 1) + [3]]
    return Sequences(
        item=np.concatenate(lists).astype(np.int32),
        behavior=np.array(behavior, np.int8),
        timestamp=np.concatenate([np.arange(n) for n in lengths])
        * 3600,
        offsets=np.cumsum([0, *lengths]),
        n_items=len(codes),
    )


# %% [markdown]
# Item 7 once, and forty times:

# %%
log = log_of([7], [7] * 40)
batch = log.batch(log.offsets[1:] - 1, max_history=50)
generator = RCLRec(backbone=backbone, codes=codes).eval()
with torch.inference_mode():
    states = generator.encode(batch)[:, -1]  # (B, d)
    nll = generator.terms(batch)[0]["target"]
(states[0] - states[1]).abs().max(), nll

# %% [markdown]
# The states are the same, and so is the likelihood of every next item. No training can change that: it holds for any
# weights. Attention sees *proportions*, two thirds of this and one third of that, never *how often*.
#
# A pointer with random weights does see it, because we tell it. The score of an event is a small network of what one
# can count: how often its item, and each prefix of its code, occurs under each behaviour (as $\log(1 + n)$, plain and
# with decay); its age in events and in days, as a few exponentials; its behaviour and the target's. One more slot in
# the same softmax means "none of these", and holds $1 - g$:

# %%
from rclrec_mini.models.pointer import Pointer, PointerConfig

torch.manual_seed(0)
pointer = Pointer(config=PointerConfig(), codes=codes, behaviors=4)
with torch.inference_mode():
    gate = 1 - pointer.next(batch).log_rest.exp()  # (B, 1)
gate.flatten()

# %% tags=["remove-cell"]
assert_close(states[0], states[1], atol=1e-5, rtol=1e-5)
assert_close(nll[0], nll[1], atol=1e-5, rtol=1e-5)
assert abs(gate[0] - gate[1]) > 0.1
with torch.inference_mode():  # every item as the target
    for item in range(27):
        asked = replace(batch, target_item=torch.full((2,), item))
        assert_close(
            *generator.terms(asked)[0]["target"], atol=1e-4, rtol=1e-4
        )

# %% [markdown]
# So the gate follows the history: more to point at, and less is left for *none of these*. The first toy again, now
# with a weight for each event, to which its $p$ is proportional. Add and remove events and move the weights, first
# with a gate that stays where it is set, then with *g follows*:

# %%
explorables.pointer(history, p, generated, g=g)

# %% [markdown]
# *From the start, add `a` until $P(c)$ is below 0.1. How many does it take when g follows, and why is no number enough
# when g stays?* (Four. A gate that stays leaves $P(c)$ at $(1 - g) \cdot 0.8 = 0.16$, however often `a` was looked
# at.)

# %% tags=["remove-cell"]
none = sum(p) * 10 * (1 - g) / g  # in the view's weights, 10 p
of_c = [none / (10 + none + 2 * n) * generated["c"] for n in range(5)]
np.testing.assert_allclose(of_c[0], P["c"])
assert of_c[4] < 0.1 < of_c[3]

# %% [markdown]
# ## A count is a pointer
#
# *Frequency with decay* gives item $i$ the score $\sum_t w_{b_t}\, 2^{-a_t / h}\, \mathbb{1}[i_t = i]$: a weight for
# each behaviour, halved every $h$ events of age $a_t$. Choose as scores of a pointer
#
# $$
# s_t = \log w_{b_t} - \frac{a_t}{h} \log 2, \quad p_t = \frac{e^{s_t}}{\sum_j e^{s_j}},
# $$
#
# and $\sum_t p_t\, \mathbb{1}[i_t = i]$ *is* that count, but for one factor a user, which no ranking sees. On the
# simulated shop, where the library has fitted the count on validation targets:

# %%
from rclrec_mini.experiments.materials import Materials
from rclrec_mini.experiments.shared import shop

data, ids = shop("tiny" if FAST else "mini")
materials = Materials.load(data, ids)
sequences, split = materials.sequences, materials.split

# %%
from rclrec_mini.evaluation.heuristics import FrequencyDecay

count = FrequencyDecay.fit(sequences, split)
count.config.weights, count.config.half_life, count.config.unit

# %%
rows = split.test
batch = sequences.batch(rows, 50)
weights = torch.tensor(count.config.weights)
age = torch.arange(batch.mask.shape[1] - 1, -1, -1)
score = weights[
    batch.behavior
].log() - age / count.config.half_life * np.log(2)
score = score.masked_fill(~batch.mask, float("-inf"))
p = score.softmax(-1)  # (B, T)


# %%
def mass_of_items(p: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
    """sum_t p_t [i_t = i] of every item: (B, T) -> (B, N)"""
    empty = torch.zeros(len(p), sequences.n_items)
    return empty.scatter_add(1, item, p)


mass = mass_of_items(p, batch.item)
counted = torch.from_numpy(
    count.scores(sequences, rows).toarray()
).float()
assert_close(mass, counted / counted.sum(1, keepdim=True))
mass.shape

# %% tags=["remove-cell"]
assert count.config.unit == "events"
assert FAST or count.config.weights == (1.0, 2.0, 2.0, 0.0)

# %% [markdown]
# So a pointer contains the count, and training can only start from there. What must not be lost is the *sum*. Point at
# the best single event instead, and rank items by $\max_t p_t$:

# %%
from rclrec_mini.evaluation.heuristics import Popularity
from rclrec_mini.evaluation.metrics import evaluate_rankings

bought = sequences.item[rows]
popularity = Popularity.fit(sequences, split)


def metrics_of(mass: torch.Tensor) -> dict[str, np.ndarray]:
    """Metrics of ranking by mass, short lists filled up."""
    values, items = mass.sort(dim=1, descending=True, stable=True)
    items = torch.where(values > 0, items, -1)[:, :10].numpy()
    return evaluate_rankings(popularity.fill(items), bought)


# %%
largest = torch.zeros_like(mass).scatter_reduce(
    1, batch.item, p, "amax"
)
scores = {
    "sum of p": metrics_of(mass),
    "largest p": metrics_of(largest),
}


def table_of(scores: dict[str, dict[str, np.ndarray]]) -> pd.DataFrame:
    """Means in per cent."""
    names = ("recall@10", "ndcg@10")
    rows = {
        a: {m: 100 * s[m].mean() for m in names}
        for a, s in scores.items()
    }
    return pd.DataFrame(rows).T.round(1)


table_of(scores)

# %% tags=["remove-cell"]
ndcg = table_of(scores)["ndcg@10"]
assert ndcg["largest p"] < 0.7 * ndcg["sum of p"]
if not FAST:
    np.testing.assert_allclose(ndcg, [49.0, 31.2], atol=0.5)

# %% [markdown]
# The same scores, and a third of NDCG@10 is gone: the largest $p_t$ of an item tells of its best visit, and visits no
# longer add up.
#
# ## Training it in seconds
#
# The pointer's network may do better than fixed weights. It is small enough to train here, alone: no encoder, no
# generation, only the purchases whose item is in the history, and $-\log \sum_t p_t\, \mathbb{1}[i_t = i]$ as the loss.

# %%
purchases = materials.purchases()
window, exists = sequences.window(purchases, 50)
again = sequences.item[window] == sequences.item[purchases][:, None]
repeated = purchases[(again & exists).any(1)]
len(purchases), len(repeated)

# %%
torch.manual_seed(0)
pointer = Pointer(
    config=PointerConfig(), codes=materials.catalog.codes, behaviors=4
)
sum(parameter.numel() for parameter in pointer.parameters())

# %%
from rclrec_mini.data.sequences import bucketed_batches

optimizer = torch.optim.Adam(pointer.parameters(), lr=3e-3)
settings = {"batch_size": 64, "max_history": 50}
for epoch in range(4):
    for some in bucketed_batches(
        sequences, repeated, **settings, seed=epoch
    ):
        sample = sequences.batch(some, 50)
        log_p = pointer.next(sample).log_p()[:, 0]  # (B, T)
        same = sample.item == sample.target_item[:, None]
        loss = -log_p.masked_fill(~same, -30.0).logsumexp(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

# %%
with torch.inference_mode():
    pointings = [
        pointer.next(sequences.batch(some, 50))
        for some in np.array_split(rows, 12)
    ]
columns = [one.log_p()[:, 0].exp() for one in pointings]
width = batch.mask.shape[1]
p = torch.cat(
    [
        torch.nn.functional.pad(c, (width - c.shape[1], 0))
        for c in columns
    ]
)
learned = mass_of_items(p, batch.item)
scores = {
    "count": scores["sum of p"],
    "pointer alone": metrics_of(learned),
}
table_of(scores)

# %%
from rclrec_mini.evaluation.metrics import paired_test

test = paired_test(
    scores["pointer alone"]["ndcg@10"], scores["count"]["ndcg@10"]
)
low, high = 100 * test.low, 100 * test.high
gain = 100 * test.difference
f"NDCG@10: {gain:+.1f} points [{low:+.1f}, {high:+.1f}]"

# %% tags=["remove-cell"]
assert_close(p.sum(1), torch.ones(len(p)))
if not FAST:
    assert test.low > 0.01 and test.difference < 0.03
    assert 2_500 < len(purchases) < 3_200

# %% [markdown]
# Four passes over a few thousand purchases, and the count is beaten. (This is one seed; the interval is over users.)
#
# What has it learned? Here is one test user, event by event, and the same masses added up by item. Of the users for
# whom both give the bought item a place among the first three, we show the one where the two differ most.

# %%
place = torch.from_numpy(bought)[:, None]
of_count, of_pointer = (
    m.gather(1, place)[:, 0] for m in (mass, learned)
)
in_both = ((mass >= of_count[:, None]).sum(1) <= 3) & (
    (learned >= of_pointer[:, None]).sum(1) <= 3
)
user = int(((of_pointer - of_count) * in_both).argmax())
best = learned[user].topk(6).indices
labels = [f"item {i}" + " (bought)" * (i == bought[user]) for i in best]

# %% mystnb={"image": {"alt": "Left: p over 50 events, high on those of the bought item alone; right: that item has 0.9 of the pointer's mass, 0.2 of the count's"}}
from rclrec_mini.views.curricula import pointed_at

own = (batch.item[user] == bought[user]).numpy()
pointed_at(
    p[user].numpy(),
    batch.behavior[user].numpy(),
    own,
    {
        "pointer": learned[user, best].numpy(),
        "count": mass[user, best].numpy(),
    },
    labels,
)

# %% [markdown]
# Orange events are of the item that was bought. The pointer puts nearly all mass on the item that came back again and
# again and was put in the cart twice. The count adds up much the same visits, one by one, and spreads its mass.
#
# ## The whole mixture, and its search
#
# Now both parts together, on the catalogue of 27 items. `RCLRec` takes a pointer; its likelihood is then the mixture.
# With brute force: ask for every item as the target.

# %%
torch.manual_seed(1)
pointer = Pointer(
    config=PointerConfig(hard=False), codes=codes, behaviors=4
)
model = RCLRec(backbone=backbone, codes=codes, pointer=pointer).eval()
rng = np.random.default_rng(0)
log = log_of(*(rng.integers(0, 27, 12).tolist() for _ in range(200)))
batch = log.batch(log.offsets[1:] - 1, max_history=50)
len(batch), batch.item.shape


# %%
@torch.inference_mode()
def likelihoods(model: RCLRec) -> torch.Tensor:
    """P of every item, one after the other: (B, N)"""
    asked = [
        replace(batch, target_item=torch.full((len(batch),), item))
        for item in range(len(codes))
    ]
    return torch.stack(
        [-model.terms(a)[0]["target"] for a in asked], 1
    ).exp()


P_gen, P = likelihoods(generator), likelihoods(model)
P.sum(1).min(), P.sum(1).max()

# %% [markdown]
# It is a distribution over the catalogue. And it is the formula:

# %%
with torch.inference_mode():
    pointing = pointer.next(batch)
copy, rest = pointing.log_copy[:, 0].exp(), pointing.log_rest.exp()
copied = torch.zeros(len(batch), 27).scatter_add(1, batch.item, copy)
assert_close(P, copied + rest * P_gen)

# %% tags=["remove-cell"]
assert_close(P.sum(1), torch.ones(len(P)), atol=1e-4, rtol=0)

# %% [markdown]
# The catalogue of a shop is too large for brute force, so [beam search](07_beam_search.ipynb) walks down the trie of
# codes and keeps the best $W$ nodes of each level. What is the mass of a node, an unfinished word $c$? The sum of $P$
# over all items below it, and that splits in the same way:
#
# $$
# \begin{aligned}
# P(c) ={}& g \sum_t p_t\, \mathbb{1}[z_t \text{ begins with } c] \\
# &+ (1 - g)\, P_{\text{gen}}(c)
# \end{aligned}
# $$
#
# Both terms are there for the taking: the first from the codes of the history, the second from the tokens decoded so
# far. For the first code:

# %%
first_code = torch.nn.functional.one_hot(
    codes[:, 0], 3
).float()  # (N, 3)
below = P @ first_code  # the sum over items
begins = (
    codes[batch.item, 0, None] == torch.arange(3)
).float()  # (B, T, 3)
node = (copy[..., None] * begins).sum(1) + rest * (P_gen @ first_code)
assert_close(node, below)
node[0]

# %% [markdown]
# The mass never grows on the way down, so a beam that is wide enough loses nothing. Against the brute force:

# %%
from rclrec_mini.decoding.beam_search import beam_search
from rclrec_mini.semantic_ids.catalog import Catalog

catalog = Catalog(codes, n_codes=3)
items, log_P = beam_search(model, batch, catalog, beams=27, k=27)
assert_close(log_P.exp(), P.gather(1, items))
assert (log_P.diff(dim=1) <= 0).all()

# %% [markdown]
# ### What goes wrong: search first, copy afterwards
#
# One could let generation search, and add what the pointer says to the items that it found. With three beams, how often
# is the best item of the mixture in the list?

# %%
best = P.argmax(1, keepdim=True)
lists = {
    "the mixture searches": beam_search(
        model, batch, catalog, beams=3, k=3
    )[0],
    "generation searches": beam_search(
        generator, batch, catalog, beams=3, k=3
    )[0],
}
kept = {
    name: (one == best).any(1).float().mean()
    for name, one in lists.items()
}
{name: round(share.item(), 2) for name, share in kept.items()}

# %% tags=["remove-cell"]
assert kept["the mixture searches"] > 0.9
assert kept["generation searches"] < 0.3

# %% [markdown]
# Three of four best items are lost: what generation did not write, no later sum can bring back. (Three beams are few,
# and the mixture's own search misses some items, too; with 27 it missed none.)
#
# ## Soft or hard likelihood
#
# For a purchase of an item of the history there are two ways to have said it, and the mixture gives credit to both. The
# *hard* likelihood, `hard=True` and the library's default in training, does as if an item of the history were always
# copied and any other always generated. For `a`, `b` and `c` of the first toy:

# %%
log_generated = torch.tensor([[0.1, 0.1, 0.8]]).log().requires_grad_()
masses = 0.8 * torch.tensor([[0.5, 0.3, 0.2]] * 3)
pointing = Pointing(masses.log()[None], torch.tensor([[0.2] * 3]).log())
same = torch.tensor([[[1, 0, 1], [0, 1, 0], [0, 0, 0]]]).bool()
rows_of_toy = {}
for name, hard in {"soft": False, "hard": True}.items():
    log_P = pointing.mix(log_generated, same, hard=hard)
    (gradient,) = torch.autograd.grad(log_P.sum(), log_generated)
    rows_of_toy[name] = [
        *log_P.exp()[0].tolist(),
        *gradient[0].tolist(),
    ]
columns = [
    f"{what} {item}"
    for what in ("P", "to generation")
    for item in "abc"
]
pd.DataFrame(rows_of_toy, index=columns).T.round(3)

# %% tags=["remove-cell"]
np.testing.assert_allclose(
    rows_of_toy["soft"][:3], [0.58, 0.26, 0.16], atol=1e-6
)
np.testing.assert_allclose(
    rows_of_toy["hard"][:3], [0.56, 0.24, 0.16], atol=1e-6
)
np.testing.assert_allclose(
    rows_of_toy["soft"][3:], [0.02 / 0.58, 0.02 / 0.26, 1], atol=1e-6
)
np.testing.assert_allclose(
    rows_of_toy["hard"][3:], [0, 0, 1], atol=1e-6
)

# %% [markdown]
# Hard is never above soft. The last three columns are the share of each target that generation learns from: with the
# hard one it spends itself on new items alone. Ranking always uses the soft mixture.
#
# ## What it costs
#
# Softmax attention looks at pairs of events, and so does the pointer: each target asks each event before it. The same
# backbone with and without it, in turns on one core of a CPU (`benchmarks/pointer.py`; stage one takes 8 histories of
# 50 events a step, stage two 64, the search ranks 256 users):

# %%
from rclrec_mini.views.committed import committed, estimates

measured = committed("pointer_mini")
pd.DataFrame(
    {
        what: {
            "without, ms": one["plain_ms"],
            "with, ms": one["pointer_ms"],
            "times": round(one["ratio"][1], 2),
        }
        for what, one in measured["work"].items()
    }
).T.round({"without, ms": 0, "with, ms": 0})

# %% tags=["remove-cell"]
times = {what: one["ratio"] for what, one in measured["work"].items()}
assert times["stage one"][2] < 1.3 and times["beam search"][2] < 1.2
assert 1.2 < times["stage one"][1] < 1.3
assert 1.08 < times["stage two"][1] < 1.12
assert 1.14 < times["beam search"][1] < 1.16
batches = measured["config"]["batch_size"], measured["threads"]
assert batches == (None, 1) and measured["config"]["device"] == "cpu"

# %% [markdown]
# It costs most in stage one, where every event is a target: a quarter of a step. Where only the purchase is one, it
# costs a tenth of a step, and 15% of a search.
#
# ## Four logs
#
# The full model, encoder, decoder and pointer together, trained in both stages with three seeds and the same settings
# for every log (`rclrec reproduce pointing --preset mini --unsearched`). *The first row is the simulated shop; the
# other three are real logs:* the first 100,001 rows of Taobao's UserBehavior, Alibaba's contest of 2014 with brands
# as items, and the first 9,999 rows of IJCAI-15. This page reads the result files, as it cannot pass the rows on.

# %%
LOGS = {
    "simulated shop": "simulated_shop",
    "UserBehavior": "userbehavior",
    "Tmall 2014": "tmall2014_brands",
    "IJCAI-15": "ijcai15",
}
results = {log: committed(f"pointing/{LOGS[log]}") for log in LOGS}


def percent(
    result: dict, method: str, metric: str = "ndcg@10"
) -> float:
    """A mean of a result file in per cent."""
    return (
        100 * (result["rows"] | result["naive"])[method][metric]["mean"]
    )


# %%
tables = {}
for log, result in results.items():
    both = result["rows"] | result["naive"]
    lines = {
        "count": both["frequency with decay"],
        "pointing": both["pointing"],
    }
    tables[f"{log}, {result['targets']:,} users"] = estimates(lines)
pd.concat(tables)

# %% [markdown]
# Differences of NDCG@10 to the count, paired user by user, with 95% intervals:

# %% mystnb={"image": {"alt": "NDCG@10 of pointing minus the count: +1.6 in the shop, +5.7 on UserBehavior, 0 on Tmall 2014, +1.8 with a wide interval on IJCAI-15"}}
from rclrec_mini.views.style import INK, PALETTE

blue, orange, *_ = PALETTE
figure, axis = plt.subplots(figsize=(7, 2.4), layout="constrained")
for place, (log, result) in enumerate(results.items()):
    gain = result["rows"]["pointing"]["to_count"]["ndcg@10"]
    mean, low, high = (
        100 * gain[k] for k in ("difference", "low", "high")
    )
    color = orange if log == "simulated shop" else blue
    error = [[mean - low], [high - mean]]
    axis.errorbar(
        mean, place, xerr=error, fmt="o", color=color, capsize=4
    )
axis.axvline(0, color=INK, linewidth=0.8)
axis.set_yticks(range(4), list(results))
axis.set_ylim(3.5, -0.5)
axis.set(xlabel="pointing minus count, NDCG@10 (points)")
plt.show()

# %% [markdown]
# Pointing beats the count on the shop and clearly on UserBehavior. On Tmall 2014 it is a tie: the log has days and no
# hours, the order of its file tells most, and *most recent items* stands at the same height
# ([why](14_tables.ipynb#what-a-log-of-days-can-tell)). IJCAI-15 has 62 buyers here and says nothing either
# way.
#
# ### Seen and unseen
#
# Where does the gain come from? Split the purchases by whether their item stands in the history:

# %%
METHODS = ("frequency with decay", "item co-occurrence", "pointing")
lines = {}
for log in ("simulated shop", "UserBehavior"):
    both = results[log]["rows"] | results[log]["naive"]
    for method in METHODS:
        lines[log, method] = {
            part: round(
                100 * both[method][part]["recall@10"]["mean"], 1
            )
            for part in ("seen", "unseen")
        }
pd.DataFrame(lines).T

# %% [markdown]
# All of it comes from the seen ones. Of new items the model finds next to none, and plain co-occurrence finds more on
# both logs: ten places are soon filled with items of the history, and the generator, small and trained for minutes, has
# little to set against them.
#
# That also humbles the generator. On the shop the pointer alone, trained above in seconds, reaches what the full
# model reaches in minutes. And what stands beside the pointer hardly matters. On UserBehavior, two of the
# paper's baselines with and without one:

# %%
beside = committed("table1/userbehavior")["rows"]
names = ("SASRec", "SASRec, pointer", "MBGen", "MBGen, pointer")
estimates({name: beside[name] for name in (*names, "pointing (ours)")})

# %% [markdown]
# What does a curriculum add on top of pointing? Differences to pointing without
# a prefix, paired user by user:

# %%
rows_of_shop = results["simulated shop"]["rows"]
against = {
    name.removeprefix("pointing, "): row["against"]
    for name, row in rows_of_shop.items()
    if name != "pointing"
}
estimates(against)

# %% [markdown]
# One helps: the oracle, which is told the truth of the simulated shop, and so knows what no model can know; it helps
# nearly as much if the decoder reads the categories of its events alone. The four events that the pointer itself points
# at are right about half of the time, which is hardly enough to move the list. Others gain a third of a point of NDCG,
# the last four events as much as any, and lose most of it again where pointing is trained at the same rate. What these
# rows try, and how far it leads, tells [the chapter on the tables](14_tables.ipynb).

# %% tags=["remove-cell"]
shop_result, taobao = results["simulated shop"], results["UserBehavior"]
COUNT = "frequency with decay"
for result, method, numbers in (
    (shop_result, "pointing", (67.4, 50.7)),
    (shop_result, COUNT, (65.7, 49.0)),
    (taobao, "pointing", (53.4, 40.1)),
    (taobao, COUNT, (53.3, 34.5)),
):
    found = [
        percent(result, method, m) for m in ("recall@10", "ndcg@10")
    ]
    np.testing.assert_allclose(found, numbers, atol=0.05)
to_count = {
    log: result["rows"]["pointing"]["to_count"]["ndcg@10"]
    for log, result in results.items()
}
assert to_count["simulated shop"]["low"] > 0.01
assert to_count["UserBehavior"]["low"] > 0.04
for log in ("Tmall 2014", "IJCAI-15"):
    assert to_count[log]["low"] < 0 < to_count[log]["high"]
tmall = results["Tmall 2014"]
recent, pointed = (
    percent(tmall, m) for m in ("most recent items", "pointing")
)
assert abs(recent - pointed) < 0.1
assert results["IJCAI-15"]["targets"] == 62
for result in (shop_result, taobao):
    parts = {n: (result["rows"] | result["naive"])[n] for n in METHODS}
    unseen = {
        n: 100 * p["unseen"]["recall@10"]["mean"]
        for n, p in parts.items()
    }
    assert unseen["pointing"] < 0.5 < unseen["item co-occurrence"]
    assert unseen[COUNT] == 0
    seen = {n: p["seen"]["recall@10"]["mean"] for n, p in parts.items()}
    assert seen["pointing"] == max(seen.values())
assert 2 < shop_result["rows"]["pointing"]["seconds"] / 60 < 8
assert FAST or scores["pointer alone"]["ndcg@10"].mean() > 0.505
for name, row in shop_result["rows"].items():
    if "oracle-k" in name:
        assert row["against"]["ndcg@10"]["low"] > 0.01
    elif name != "pointing":
        assert abs(row["against"]["ndcg@10"]["difference"]) < 0.004
level = {name: 100 * beside[name]["ndcg@10"]["mean"] for name in names}
assert level["SASRec, pointer"] > 38 > 10 > level["SASRec"]
assert level["MBGen, pointer"] > 38 > 15 > level["MBGen"]
assert (
    abs(100 * beside["pointing (ours)"]["ndcg@10"]["mean"] - 40.0)
    < 0.05
)
assert shop_result["rows"]["pointing"]["seeds"] == [0, 1, 2]
own = shop_result["rows"]["pointing, pointer's top-k"]["journey"]
assert 0.45 < own["precision"]["mean"] < 0.6

# %% [markdown]
# ## Exercises
#
# 1. *The last items seen, newest first,* is a pointer as well. Which scores make it so? Check the order for a user of
#    the shop against the library's `most_recent`.
# 2. Let $m_t$ be the softmax over the $T$ events and "none of these", as in the text, and $P$ the soft mixture. Derive
#    the gradient of $-\log P(i)$ by the score of event $t$, and check it with autograd.
#
# <details>
# <summary>Solution of 1</summary>
#
# ```python
# age = torch.arange(49, -1, -1.0)  # of the events, oldest first
# p = (-2 * np.log(2) * age).softmax(-1)  # a half-life of half an event
# newest_outweighs = p[-1] > p[:-1].sum()
# ```
#
# Every event weighs four times as much as the one before it, and so more than all older ones together
# ($1 > \frac14 + \frac1{16} + \dots$). The sum over an item's events then orders items by their last one.
#
# </details>
#
# <details>
# <summary>Solution of 2</summary>
#
# Write $P(i) = \sum_s m_s c_s$ with $c_s = 1$ for events of the item, 0 for other events, and $P_{\text{gen}}(i)$ for
# "none". With $\partial m_s / \partial s_t = m_s (\mathbb{1}[s = t] - m_t)$,
#
# $$
# \frac{\partial (-\log P)}{\partial s_t} = m_t - \frac{m_t c_t}{P(i)}.
# $$
#
# The second term is how likely it is, given the answer, that the answer came from slot $t$. The score of an event of
# the item is pulled up, that of any other event pushed down, all of them at once: no event has to be *selected* to
# learn.
#
# ```python
# score = torch.randn(8, dtype=torch.float64, requires_grad=True)  # 7 + none
# c = torch.tensor([1.0, 0, 0, 1, 0, 0, 0, 0.2], dtype=torch.float64)
# m = score.softmax(-1)
# (gradient,) = torch.autograd.grad(-(m * c).sum().log(), score)
# assert_close(gradient, m - m * c / (m * c).sum())
# ```
#
# </details>

# %% tags=["remove-cell"]
from rclrec_mini.evaluation.heuristics import most_recent

age = torch.arange(49, -1, -1.0)
p = (-2 * np.log(2) * age).softmax(-1)
newest_outweighs = p[-1] > p[:-1].sum()
assert newest_outweighs
row = rows[:1]
one = sequences.batch(row, 50)
mass = torch.zeros(sequences.n_items).double()
p = p.double()[-one.mask.shape[1] :] * one.mask[0]
ranked = (
    mass.scatter_add(0, one.item[0], p).sort(descending=True).indices
)
expected = most_recent(popularity=popularity).rank(sequences, row, 5)[0]
assert ranked[:5].tolist() == expected.tolist()

torch.manual_seed(0)
score = torch.randn(8, dtype=torch.float64, requires_grad=True)
c = torch.tensor([1.0, 0, 0, 1, 0, 0, 0, 0.2], dtype=torch.float64)
m = score.softmax(-1)
(gradient,) = torch.autograd.grad(-(m * c).sum().log(), score)
assert_close(gradient, m - m * c / (m * c).sum())
assert (gradient[c == 1] < 0).all() and (
    gradient[:7][c[:7] == 0] > 0
).all()
member = torch.tensor(
    [[[True, False, False, True, False, False, False]]]
)
mixed = Pointing(m[:-1].log()[None, None], m[-1:].log()[None]).mix(
    torch.tensor([[0.2]], dtype=torch.float64).log(), member
)
assert_close(mixed.exp()[0, 0], (m * c).sum())

# %% [markdown]
# ## What you can do now
#
# 1. Write the mixture down. *With $g = 0.5$, what are $P(a)$, $P(b)$ and $P(c)$ of the first toy?* (0.4, 0.2, 0.4)
# 2. Say why attention cannot count. *Which scores make a pointer the count with a half-life of eight events?*
# 3. Search the trie by the mixture. *What is the mass of the root?*
# 4. Say what pointing costs, and what it brings. *Why is it dearest in stage one? On which purchases does it gain, and
#    which does it still miss?*

# %% tags=["remove-cell"]
half = [
    0.5 * copy_ + 0.5 * gen
    for copy_, gen in ((0.7, 0.1), (0.3, 0.1), (0, 0.8))
]
np.testing.assert_allclose(half, [0.4, 0.2, 0.4])
