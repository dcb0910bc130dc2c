# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From Recall to revenue
#
# The paper ends with a number that no reader can repeat: in an online test of eight days RCLRec brought 2.09% more
# revenue and 1.86% more orders than TIGER {cite}`rclrec`. In a shop whose truth we know the test can be repeated, and
# one can learn what such a number needs to be believed. After this chapter you can
#
# 1. follow one visit from the slate to the order, and say what the order replaced;
# 2. deal users to arms, and work out a lift with its interval;
# 3. put a test itself to the test;
# 4. say how many users it takes to see 2%, and what a pre-period and fat tails change;
# 5. recognise peeking, and read an interval that survives it;
# 6. say what each method is worth in orders and revenue, and where offline metrics mislead;
# 7. estimate what a ranking would have sold without showing it.
#
# You need [the simulated shop](04_simulate.ipynb), [the baselines](13_baselines.ipynb) and [the
# tables](14_tables.ipynb). It runs in about two minutes on two cores, plus one for the training that it shares with
# other chapters. **All numbers come from the simulated shop**: they teach how to measure, and say nothing about
# people.

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
import os

import numpy as np
import pandas as pd
from scipy import stats

FAST = bool(os.environ.get("RCLREC_FAST"))  # a tiny shop, few tests

# %% [markdown]
# ## One visit by hand
#
# The shop's users go on after the last day of its log, as they would have: they click, and now and then a journey
# ends in a purchase. New is that each visit shows a *slate* of ten items. What a visitor does with it is a model of
# choice, and its knobs are ours. The visitor looks at slot $i$ (from 0) with probability
#
# $$
# P(\text{slot } i \text{ looked at}) = (1 + i)^{-\eta}
# $$ (ab-examined)
#
# and every item $a$ has a utility, which follows from the truth about the user:
#
# $$
# \begin{aligned}
# u(a) &= \max_j w_j + \text{taste} - \text{price}, \\
# w_j &= \text{need}_j + \text{liked}_j + \text{shelf}_j
# \end{aligned}
# $$ (ab-utility)
#
# The maximum is over the open journeys $j$ that look for an item of $a$'s category, 0 if there is none. The price
# counts by its distance from what the user tends to pay. Of the items looked at and of *nothing at all*, whose
# utility is a constant, the visitor takes the one with the largest $u(a) + g(a)$, where $g$ is Gumbel noise. That is
# a conditional logit {cite}`mcfadden`, with the sum over the items looked at:
#
# $$
# P(\text{click } a) = \frac{e^{u(a)}}{e^{u_0} + \sum_{b} e^{u(b)}}
# $$ (ab-choice)
#
# A click becomes an order with a logistic probability, which is higher for a liked item and a journey that was going
# to buy. Here are eight days of the shop, and everybody's first visit with a slate from the *count*, the naive
# ranking by frequency with decay:

# %%
from rclrec_mini.data.sequences import Sequences, split_last_purchase
from rclrec_mini.data.shop_config import preset
from rclrec_mini.data.shop_future import simulate_future
from rclrec_mini.data.simulate import catalogue
from rclrec_mini.experiments.shared import shop
from rclrec_mini.online.arms import naive
from rclrec_mini.online.choice import ChoiceConfig, ChoiceModel
from rclrec_mini.online.play import Play, lists

size = "tiny" if FAST else "mini"
config, (data, ids) = preset(size), shop(size)
log, items = Sequences.load(data), catalogue(config)
split = split_last_purchase(log)
USERS = 4_000 if FAST else 20_000
future = simulate_future(config, items, users=USERS, days=8)

visitors = ChoiceModel(ChoiceConfig(), items, future)
world = Play(visitors)  # nobody has come yet
visit = next(world.rounds())  # everybody's first
slates = lists(naive("count", log, split), world, visit)
choices = visitors.choose(visit, slates, world.met)
clicked, ordered = choices.slot >= 0, choices.order
pd.Series(
    {
        "first visits": len(visit),
        "clicks": clicked.sum(),
        "orders": ordered.sum(),
    }
)

# %% [markdown]
# We take one visitor who ordered something, and who would have bought in one of the coming days anyway. Which
# journeys are open, and which items of the slate are for them:

# %%
from rclrec_mini.data.simulated_items import (
    BY_LEAF_AND_BRAND,
    BY_LEAF_AND_SELLER,
)

of, met = future.visit_person[visit], choices.journey
row = np.where(met >= 0, future.bought_row[of, met], -1)
v = np.flatnonzero((row >= 0) & (choices.slot >= 1))[0]
user, slate = of[v], slates[v]

now = future.visit_axis[visit[v]]
begun, over = future.begin[user] <= now, future.end[user] < now
j = np.flatnonzero(begun & ~over)  # open journeys, (J,)
liked, bought = future.liked[user, j], future.bought[user, j]
need = items.leaf[liked][:, None] == items.leaf[slate]  # (J, 10)
likes = liked[:, None] == slate
likes |= future.buys[user, j][:, None] & (bought[:, None] == slate)
group, kept = items.shelves.group, future.shelf[user, j][:, None]
shelf = (group[BY_LEAF_AND_BRAND][slate] == kept) | (
    group[BY_LEAF_AND_SELLER][slate] == kept
)

# %% [markdown]
# Equations {eq}`ab-utility` and {eq}`ab-examined`:

# %%
knobs = visitors.config
wanted = need * (knobs.need + knobs.liked * likes + knobs.shelf * shelf)
taste = np.isin(items.leaf[slate], future.tastes[user])
apart = items.price_level[slate] - future.price_level[user]
u = wanted.max(0) + knobs.taste * taste - knobs.price * abs(apart)
chance = (1 + np.arange(10.0)) ** -knobs.eta
pd.DataFrame(
    {
        "item": slate,
        "needed": need.any(0),
        "liked": (need & likes).any(0),
        "u": u,
        "looked at": chance,
    }
).round(2)

# %% [markdown]
# The noise is looked up by user, visit and item, so two arms that show the same item to the same visitor get the same
# answer: *common random numbers*. The last row is doing nothing:

# %%
from rclrec_mini.data.counter_random import uniform
from rclrec_mini.online.choice import EXAMINED, NOISE

key, N = visitors.key[[user]], len(items.leaf)
looks = uniform(key, EXAMINED, np.arange(10)) < chance
lot = uniform(key, NOISE, np.append(slate, N))
gumbel = -np.log(-np.log(lot))
total = np.append(np.where(looks, u, -np.inf), knobs.outside) + gumbel
pd.DataFrame(
    {
        "u": np.append(u, knobs.outside),
        "g": gumbel,
        "u + g": total,
    },
    index=[*(str(item) for item in slate), "nothing"],
).round(2)

# %%
slot = total.argmax()
p = np.exp(u[slot]) / (np.exp(knobs.outside) + np.exp(u[looks]).sum())
assert slot == choices.slot[v]
f"clicks on {slate[slot]}, which had a probability of {p:.4f}"

# %% [markdown]
# The click became an order. It meets the need of a journey that was about to buy, so its own purchase does not take
# place:

# %%
today = future.day[future.visit_row[visit[v]]]
pd.Series(
    {
        "ordered": slate[slot],
        "would have bought": future.item[row[v]],
        "days later": future.day[row[v]] - today,
    }
)

# %% [markdown]
# This order is worth nothing: the shop would have had it anyway. An order from a slate is
#
# - *cannibalised*, if it cancels a purchase of the test's days;
# - *pulled forward*, if it cancels one that would have come after them;
# - *incremental* otherwise.

# %% tags=["remove-cell"]
utility, journey = visitors.utilities(
    visit[v : v + 1], slate[None], world.met
)
assert np.allclose(utility[0], u)
assert journey[0, slot] == met[v] and choices.order[v]
assert need.any(0)[slot]
assert np.allclose(chance, visitors.chance(10))

# %% [markdown]
# ## A small world
#
# Now everybody is shown slates for eight days, once by each of several arms, in as many copies of the world; what was
# clicked and ordered is in the history of the next visit. This is what nobody can do outside of a simulation: *the
# same* users under every arm {cite}`rubin`.

# %%
from rclrec_mini.online.arms import ModelArm
from rclrec_mini.online.outcomes import stack
from rclrec_mini.online.play import play

arms = {
    name: naive(name, log, split)
    for name in ("nothing", "popularity", "recent", "count")
}
if not FAST:  # the model that points, from chapter 12
    from rclrec_mini.evaluation.ranking import catalog_of
    from rclrec_mini.experiments.materials import Materials
    from rclrec_mini.experiments.shared import lesson, stage_two

    materials = Materials.load(data, ids)
    model, _ = stage_two(lesson("pointing"), materials)
    arms["pointing"] = ModelArm(
        model.eval(),
        catalog_of(model, materials.catalog),
        n_users=log.n_users,
    )

played, first = [], {}
for name, arm in arms.items():
    its, first[name] = play(arm, visitors)
    played.append(its.outcomes(name, {}))
outcomes = stack(played)

# %% [markdown]
# Per 1,000 users, who come 1,350 times in the eight days:

# %%
KINDS = ["cannibalised", "pulled_forward", "incremental"]
means = pd.DataFrame(
    {
        name: 1000 * outcomes.of(name).mean(axis=1)
        for name in ("clicks", "orders", "slate_orders", *KINDS)
    },
    index=outcomes.arms,
)
means.rename(columns=lambda name: name.replace("_", " ")).round(1)

# %% [markdown]
# On every day
#
# $$
# \begin{aligned}
# \text{orders} = {} & \text{organic} - \text{cancelled} \\
#   & + \text{from slates}
# \end{aligned}
# $$ (ab-orders)
#
# ### What goes wrong: counting what the slates have sold
#
# A dashboard shows the orders that came from slates, because that is what it can count. An advertiser pays by it, and
# the paper's *advertising revenue* may well be of this kind. Three ways to say what an arm has brought, as shares of
# the orders without any recommendation:

# %% mystnb={"image": {"alt": "Bars of what each arm brings: orders counted from slates are the highest, the true gain in the test's days is lower, and what lasts is lowest, less than two thirds of the first"}}
from rclrec_mini.views import abtest

base = means.loc["nothing", "orders"]
gains = pd.DataFrame(
    {
        "from slates": means["slate_orders"],
        "in the test's days": means["orders"] - base,
        "lasting": means["incremental"],
    }
).drop("nothing")
abtest.gains(gains / base)

# %% [markdown]
# Of the count's orders from slates one in six would have come in the same days, and one in four a little later, after
# the test. Only the rest lasts. **An A/B test sees the middle bar.** It is more honest than a dashboard, and still
# flatters whoever makes people buy sooner; a longer test flatters less.

# %% tags=["remove-cell"]
kinds = means.loc["count", KINDS]
assert np.isclose(kinds.sum(), means.loc["count", "slate_orders"])
later = means["slate_orders"] - means["cannibalised"]
assert np.allclose(means["orders"] - base, later)
if not FAST:
    assert (gains["from slates"] > gains["in the test's days"]).all()
    assert (gains["in the test's days"] > gains["lasting"]).all()
    share = kinds / kinds.sum()
    assert 1 / 7 < share["cannibalised"] < 1 / 5
    assert 2 / 9 < share["pulled_forward"] < 2 / 7
    assert 1300 < 1000 * outcomes.of("visits").mean() < 1400

# %% [markdown]
# ## A test
#
# A real shop has one world. It deals its users to arms by a hash of the user and of the test's name, the *salt*, and
# sees of each user what they did under their own arm. A quarter of the users in each arm, as in the paper:

# %%
from rclrec_mini.online.buckets import buckets

arm = buckets(outcomes.users, salt="first test", shares=(0.25, 0.25))
pd.Series(arm).value_counts().sort_index()  # -1: in neither

# %% [markdown]
# With means $\bar y_T$, $\bar y_C$ over the users of the two arms, the *lift* is a ratio, and the delta method
# {cite}`deltamethod` gives its variance:
#
# $$
# \begin{aligned}
# \hat\delta &= \frac{\bar y_T}{\bar y_C} - 1, \\
# \operatorname{var} \hat\delta &\approx \frac{1}{\bar y_C^2}
#   \Bigl( \frac{s_T^2}{n_T} + (1 + \hat\delta)^2 \frac{s_C^2}{n_C} \Bigr)
# \end{aligned}
# $$ (ab-lift)
#
# The count against popularity, by hand, by the library and by resampling users:

# %%
from rclrec_mini.online.lift import bootstrap, compare, paired

orders = dict(zip(outcomes.arms, outcomes.of("orders"), strict=True))
treated = orders["count"][arm == 1]
control = orders["popularity"][arm == 0]
ratio = treated.mean() / control.mean()
variance = treated.var(ddof=1) / len(treated)
variance += ratio**2 * control.var(ddof=1) / len(control)
std = np.sqrt(variance) / control.mean()

by_library = compare(treated, control)
assert np.isclose(by_library.lift, ratio - 1)
assert np.isclose(by_library.std, std)
found = {
    "delta method": by_library,
    "bootstrap": bootstrap(treated, control, resamples=500),
    "the truth": paired(orders["count"], orders["popularity"]),
}
columns = ["lift", "low", "high", "p_value"]
lifts = pd.DataFrame({name: vars(one) for name, one in found.items()})
lifts.T[columns].round(3)

# %% [markdown]
# *The truth* compares each user under one arm with the same user under the other. Its interval speaks of other users
# like these, and is several times narrower: most of what makes users differ is in both worlds, and falls out.
#
# **CUPED** {cite}`cuped` takes out what the time before the test foretells. With $x$ from the 30 days before,
#
# $$
# \begin{aligned}
# y' &= y - \theta (x - \bar x), \\
# \theta &= \operatorname{cov}(x, y) / \operatorname{var}(x), \\
# \operatorname{var}(y') &= (1 - \rho^2) \operatorname{var}(y)
# \end{aligned}
# $$ (ab-cuped)

# %%
from rclrec_mini.online.lift import cuped

before = np.stack(
    [
        outcomes.events_before,
        outcomes.orders_before,
        outcomes.revenue_before,
    ],
    axis=1,
).astype(float)
y = orders["count"]
rho = {
    "events before": np.corrcoef(before[:, 0], y)[0, 1],
    "orders before": np.corrcoef(before[:, 1], y)[0, 1],
    "all three": np.sqrt(1 - cuped(y, before).var() / y.var()),
}
pd.Series(rho).round(2)

# %% [markdown]
# In this shop hardly anything: the variance falls by a hundredth or two. Its users are alike, they differ in how many
# events they have by a fifth at most. Who bought lately even buys a little *less*, for a journey has just ended.
# People differ far more. If each user has a rate of their own, of mean 1 and standard deviation $\sigma$, orders of
# eight days and of the thirty before are alike by


# %%
def alike(sigma: float, *, users: int = 200_000) -> float:
    """Correlation of the orders of 8 and of 30 days."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(1 / sigma**2, sigma**2, users)
    y, x = rng.poisson(0.17 * rate), rng.poisson(0.64 * rate)
    return np.corrcoef(x, y)[0, 1]


of_sigma = pd.Series({s: alike(s) for s in (0.1, 0.5, 1, 2, 4)})
of_sigma.rename("correlation").rename_axis("sigma").round(2)

# %% [markdown]
# With $\sigma = 2$ and a correlation of 0.55 CUPED saves 30% of the users. **What CUPED is worth is a property of the
# people, not of the method.**

# %% tags=["remove-cell"]
assert found["the truth"].std < by_library.std / 2
boot = found["bootstrap"]
assert abs(boot.low - by_library.low) < 0.35 * by_library.std
assert of_sigma.is_monotonic_increasing
assert 0.5 < of_sigma[2] < 0.6 and 0.25 < of_sigma[2] ** 2 < 0.35
if not FAST:
    assert 0.08 < rho["all three"] < 0.16 and rho["orders before"] < 0
    held = by_library.low < found["the truth"].lift < by_library.high
    assert held

# %% [markdown]
# ## A test of the test
#
# Before a test is believed it is run on nothing: both arms are the same, an *A/A test*. An honest test calls a
# difference in five of 100. We deal the same users anew by 1,000 salts:

# %% mystnb={"image": {"alt": "Three histograms of p-values of A/A tests: for orders and for revenue they are flat, and about five in 100 lie below 0.05; for the best of three metrics, without correction, the first bar is more than twice too high"}}
SALTS = 100 if FAST else 1000
revenue = dict(zip(outcomes.arms, outcomes.of("revenue"), strict=True))
clicks = dict(zip(outcomes.arms, outcomes.of("clicks"), strict=True))
metrics = {
    "orders": orders["count"],
    "revenue": revenue["count"],
    "clicks": clicks["count"],
}
p_values = {name: [] for name in metrics}
for i in range(SALTS):
    dealt = buckets(
        outcomes.users, salt=f"A/A {i}", shares=(0.25, 0.25)
    )
    for name, y in metrics.items():
        p = compare(y[dealt == 1], y[dealt == 0]).p_value
        p_values[name].append(p)
least = np.min(list(p_values.values()), axis=0)
shown = {name: p_values[name] for name in ("orders", "revenue")}
abtest.aa_histogram({**shown, "the best of three": least})

# %% [markdown]
# Five in 100, up to the noise of 1,000 tests (0.7 points). But who looks at orders, revenue and clicks and reports
# the best of the three finds something much more often. **Holm's correction** {cite}`holm` for several metrics:
# multiply the smallest p-value by their number $m$, the next by $m - 1$, and so on, and let none be smaller than the
# one before.

# %%
from rclrec_mini.online.lift import holm

corrected = [
    holm(three).min() for three in zip(*p_values.values(), strict=True)
]
pd.Series(
    {
        **{
            name: np.mean(np.array(p) < 0.05)
            for name, p in shown.items()
        },
        "the best of three": np.mean(least < 0.05),
        "after Holm": np.mean(np.array(corrected) < 0.05),
    }
).round(3)

# %% tags=["remove-cell"]
noise = 3.5 * np.sqrt(0.05 * 0.95 / SALTS)
for name, p in p_values.items():
    assert abs(np.mean(np.array(p) < 0.05) - 0.05) < noise, name
assert np.mean(least < 0.05) > np.mean(np.array(corrected) < 0.05)
assert np.mean(np.array(corrected) < 0.05) < 0.05 + noise
if not FAST:
    assert 0.09 < np.mean(least < 0.05) < 0.15

# %% [markdown]
# ## How many users
#
# Let cv be the standard deviation of a user's orders over their mean. To see a lift $\delta$ at level $1 - \alpha$
# with probability $1 - \beta$ it takes, in each arm,
#
# $$
# \begin{aligned}
# n = {} & 2\, \text{cv}^2 (1 - \rho^2)\, (1 + \delta)^2 / \delta^2 \\
#   & \times (z_{1 - \alpha / 2} + z_{1 - \beta})^2
# \end{aligned}
# $$ (ab-users)

# %%
from rclrec_mini.online.power import Tail, users_needed, variation

fat = Tail(sigma=1.0)  # what a user spends, times a lognormal
cv = {
    "orders": variation(orders["count"]),
    "revenue": variation(revenue["count"]),
}
cv["revenue, fat tail"] = fat.variation(cv["revenue"])
needed = pd.DataFrame({"cv": cv})
for lift in (0.1, 0.02, 0.01):
    needed[f"{lift:+.0%}"] = [
        f"{users_needed(one, lift):,.0f}" for one in cv.values()
    ]
needed.round({"cv": 2})

# %% [markdown]
# Hundreds of thousands in each arm for 2%, and four times as many for half of that. Orders are 0 for most users and 1
# for some, which is what makes cv large; revenue adds that prices differ. In many shops a few users spend a fortune:
# with a lognormal factor on what each spends the number triples. The formula against tests that are played, whose
# users are drawn from this shop:

# %% mystnb={"image": {"alt": "Power rises with users in each arm on three curves, orders first, then revenue, then revenue with a fat tail; dots of played tests lie on the curves; 80 per cent needs a quarter, half and one and a half million users"}}
from rclrec_mini.online.power import power_of, simulated_power

users = np.geomspace(10_000, 2_000_000, 60)
formula = {name: power_of(c, 0.02, users) for name, c in cv.items()}
sizes = (20_000,) if FAST else (50_000, 150_000, 300_000)
TESTS = 40 if FAST else 150
outcome = {"orders": orders["count"], "revenue": revenue["count"]}
tested = {
    name: {n: simulated_power(y, 0.02, n, tests=TESTS) for n in sizes}
    for name, y in outcome.items()
}
abtest.power_curves(users, formula, tested)

# %% [markdown]
# Our 20,000 users, 5,000 in each arm, see a lift of 2% in one test of 15, hardly more often than one that is not
# there.
#
# Some tails no formula covers. With a Pareto tail of exponent 2 or less the variance is infinite, and an interval
# from the users of today tells nothing of the one who comes tomorrow:

# %%
pareto = {
    a: Tail(pareto=a).variation(cv["revenue"]) for a in (3, 2.2, 2)
}
pd.Series(pareto, name="cv").rename_axis("exponent").round(1)

# %% [markdown]
# ### What interval could the paper have had?
#
# The paper gives no interval and no number of users. If its users spread as ours do, with a quarter of all users in
# each arm:

# %%
from rclrec_mini.online.power import Bucket

published = {
    "orders": Bucket(lift=0.0186),
    "revenue": Bucket(lift=0.0209),
}
intervals = pd.DataFrame(
    {
        f"{n / 1e6:.0f} million users": {
            name: "[{:+.1%}, {:+.1%}]".format(
                *one.interval(n, cv[name])
            )
            for name, one in published.items()
        }
        for n in (1e6, 1e7, 1e8)
    }
)
intervals

# %% [markdown]
# From a million users on both lifts are beyond chance; with ten the first digit is sure. A platform of that kind has
# them. With fat tails it would take more: that is why a paper should say how many there were.

# %% tags=["remove-cell"]
if not FAST:
    assert 2.2e5 < users_needed(cv["orders"], 0.02) < 2.6e5
    assert 4.2e5 < users_needed(cv["revenue"], 0.02) < 5.2e5
    fatter = users_needed(cv["revenue, fat tail"], 0.02)
    assert 2.5 < fatter / users_needed(cv["revenue"], 0.02) < 3.2
    for name, by_size in tested.items():
        for n, share in by_size.items():
            expected = power_of(cv[name], 0.02, n)
            assert abs(share - expected) < 0.14, (name, n)
    assert 0.05 < power_of(cv["orders"], 0.02, 5_000) < 0.08
    for name, one in published.items():
        assert one.interval(1e6, cv[name])[0] > 0
assert np.isinf(pareto[2]) and np.isfinite(pareto[2.2])

# %% [markdown]
# ## Looking before it ends
#
# A test of four weeks is looked at every morning, and stopped when it is significant. Each look has a chance of five
# in 100 to mislead. Together they have more, though not the sum, for most of what is seen today was seen yesterday
# {cite}`armitage`.
#
# An interval that may be looked at as often as one likes has to be wider. The mixture sequential ratio test
# {cite}`robbins,johari` asks how much likelier the estimate $\hat\delta$ of variance $V$ is if the true lift is drawn
# from $\mathcal N(0, \tau^2)$ than if it is 0:
#
# $$
# \begin{aligned}
# r &= \frac{V}{V + \tau^2}, \\
# \Lambda &= \sqrt{r}\, \exp\Bigl( \frac{(1 - r)\, \hat\delta^2}{2 V} \Bigr), \\
# p &= \min_{\text{looks so far}} 1 / \Lambda
# \end{aligned}
# $$ (ab-msprt)
#
# Without an effect $\Lambda$ stays 1 on average, whatever it was before, so it ever reaches 20 in five of 100 tests
# at most.

# %% mystnb={"image": {"alt": "Share of A/A tests that are called by number of looks: stopping at the first significant one rises from 5 to about 32 per cent at 50 looks, the always-valid one stays below 2"}}
from rclrec_mini.online.sequential import calls

LOOKS = (1, 2, 5, 10, 20, 50)
rng = np.random.default_rng(0)
by_looks = [
    calls(rng.standard_normal((2_000 if FAST else 20_000, n)))
    for n in LOOKS
]
abtest.peeking(
    LOOKS,
    {
        "stops at the first significant look": [
            one.peeking for one in by_looks
        ],
        "looks once, at the end": [one.at_the_end for one in by_looks],
        "always valid": [one.always_valid for one in by_looks],
    },
)

# %% tags=["remove-cell"]
peeked = dict(zip(LOOKS, by_looks, strict=True))
assert abs(peeked[5].peeking - 0.142) < (0.03 if FAST else 0.01)
assert abs(peeked[50].peeking - 0.32) < (0.04 if FAST else 0.015)
assert all(one.always_valid < 0.02 for one in by_looks)

# %% [markdown]
# The price: at the end the always-valid interval is 1.55 times as wide, which is 2.4 times the users. Try it. A test
# of 28 days; you choose the true effect, how many users come a day, and how often you look. The circle marks where
# one who peeks would have stopped, the diamond where the always-valid interval leaves out 0. With an effect of 0,
# walk through the tests: one in four fools somebody.

# %%
abtest.running_test(cv=2.4, users=10_000, looks=28, test=6)

# %% [markdown]
# Two things to see. Who stops early not only calls too often: what they report is *too large*, for they stop where
# chance helps most. And with few users a day nearly every called effect is an exaggeration, peeked at or not.

# %% [markdown]
# ## What the methods are worth
#
# The same at full size: 60,000 users, eight days, TIGER as the control as in the paper. One command plays it and
# writes the report that is read here (`benchmarks/results/abtest/`):
#
# ```
# rclrec abtest --data runs/shop --out runs/abtest --control tiger \
#   --arms tiger=runs/tiger rclrec=runs/rclrec ... count nothing
# ```
#
# In per cent over TIGER. The first three columns compare each user with the same user under TIGER; *lasting orders*
# leave out those that were pulled forward. *One test* is what a test with 15,000 users in each arm happened to see of
# the orders, and *called* says how many of 200 such tests were significant. *backbone* is RCLRec without a
# curriculum, *repaired* RCLRec with all our repairs, *pointing* our model that points, *pointing_topk* with a
# curriculum besides:

# %%
from rclrec_mini.views.committed import committed

report = committed("abtest/report")
worth = abtest.worth(report)
worth

# %% mystnb={"image": {"alt": "Lifts over TIGER with intervals: the pointing models and the count are a little above 0 in orders, revenue and lasting orders, recent and co-occurrence at 0, all others below: trained ones by two per cent or so, Markov by five, popularity by twelve, no recommendation by 13.5"}}
abtest.lifts(
    {name: report["arms"][name]["lift"] for name in worth.index},
    titles=["orders", "revenue", "lasting_orders"],
)

# %% [markdown]
# **RCLRec to the letter loses 2.7% of the orders**, where the paper found 1.9% more. Its backbone without a curriculum
# loses 2.3%, and with all our repairs it is 2%: a curriculum moves the list, and hardly what it sells. (At a [tenth of
# its rate of fine-tuning](14_tables.ipynb#the-rate-decides) RCLRec lost 6.5%; an earlier edition of this page said so.)
# The models that point and the count are the best, 0.7 to 0.9% above TIGER, and their intervals hardly leave out 0;
# after Holm's correction for thirteen arms that of *pointing* holds it. These are one seed of each model, and intervals
# over users, not over trainings.
#
# **That they pass TIGER hangs on one knob of ours**: how much likelier people click on, and buy, what they like best
# already. No log told us where to set it. Orders from slates at the first visits of 10,449 users, against TIGER's, with
# that knob as set, halved and at zero (`benchmarks/results/abtest/knobs.json`):

# %%
variants = committed("abtest/knobs")["variants"]
some = ["pointing", "pointing_topk", "count", "sasrec", "mbgen"]
pd.DataFrame(
    {
        title: {
            name: f"{100 * variants[key]['lift'][name]['orders']:+.1f}%"
            for name in some
        }
        for title, key in {
            "as set": "as set",
            "halved": "liked x 0.5",
            "zero": "liked x 0",
        }.items()
    }
)

# %% tags=["remove-cell"]
turned = [
    {name: lift["orders"] for name, lift in variant["lift"].items()}
    for variant in variants.values()
]
for name in ("mbgen", "repaired", "backbone", "sasrec", "rclrec"):
    assert all(orders[name] < 0 for orders in turned)
halved, zero = (
    {n: variants[key]["lift"][n]["orders"] for n in some}
    for key in ("liked x 0.5", "liked x 0")
)
assert all(0 <= halved[n] < 0.01 for n in some[:2])
assert halved["count"] < 0 and max(zero.values()) < 0

# %% [markdown]
# Halved, the models that point are about level with TIGER and the count is below it; at zero all of them are. What
# holds at every setting of every knob is that TIGER sells more than each trained model that does not point.
#
# How little the gain is, too! The pointing model has 15 points more Recall@10 than TIGER, and they are worth one order
# in 140. TIGER itself is worth 16% to a shop that had recommended nothing.
#
# And a test of this shop's size could not have told. With 15,000 users in each arm the pointing model's gain is
# called by four or five tests in 100, as often as a difference that is not there; 2% less is missed by nine in ten.
# The column *one test* is nearly worthless: it puts SASRec at -11% and the count below TIGER. Who looks on each of
# the eight days would also call 20 of 100 tests of TIGER against itself; by the always-valid interval it is two.

# %% tags=["remove-cell"]
true = {
    name: {k: 100 * v["lift"] for k, v in found["lift"].items()}
    for name, found in report["arms"].items()
    if "lift" in found
}
total = {name: one["orders"] for name, one in true.items()}
curricula = [round(total[n], 1) for n in ("rclrec", "backbone")]
assert curricula == [-2.7, -2.3] and round(total["repaired"]) == -2
best = ["pointing_topk", "count", "pointing"]
assert list(worth.index[:3]) == best
assert [round(total[name], 1) for name in best] == [0.9, 0.9, 0.7]
lows = [report["arms"][n]["lift"]["orders"]["low"] for n in best]
assert all(0 < low < 0.003 for low in lows)
p = [report["arms"][n]["lift"]["orders"]["p_value"] for n in true]
corrected = dict(zip(true, holm(p), strict=True))
assert corrected["pointing"] > 0.05
assert max(corrected["count"], corrected["pointing_topk"]) < 0.05
recalls = {
    name: 100 * one["mean"]
    for name, one in report["offline"]["recall@10"].items()
}
assert 15 <= recalls["pointing"] - recalls["tiger"] < 16
assert 135 < 100 / total["pointing"] < 145
assert round(100 * (1 / (1 + total["nothing"] / 100) - 1)) == 16
called = {
    name: found["called"]["orders"]["plain"]
    for name, found in report["arms"].items()
    if "called" in found
}
assert 0.03 < called["pointing"] < 0.065
assert 0.08 < called["repaired"] < 0.13
one = {
    name: 100 * found["test"]["orders"]["plain"]["lift"]
    for name, found in report["arms"].items()
    if "test" in found
}
assert round(one["sasrec"]) == -11 and one["count"] < 0
assert report["users"] == 60_000 and report["days"] == 8
aa = report["aa"]
assert round(100 * aa["orders"]["peeking"]) == 20
assert all(round(100 * aa[m]["always_valid"]) == 2 for m in aa)
assert all(abs(aa[m]["plain"] - 0.05) < 0.0207 for m in aa)

# %% [markdown]
# ## Does the offline order hold?
#
# Three offline metrics and the true lift in orders. *touched@10* is the share of a slate that the user touches in the
# next 20 events, if nothing is shown:

# %% mystnb={"image": {"alt": "Arms by three offline metrics and their true lift in orders, with intervals"}}
online = {
    name: found["lift"]["orders"]
    for name, found in report["arms"].items()
    if "lift" in found and name != "nothing"
}
online[report["control"]] = {"lift": 0, "low": 0, "high": 0}
shown = ("recall@10", "recall@10, unseen", "touched@10")
abtest.offline_online(
    {metric: report["offline"][metric] for metric in shown},
    online,
    ylabel="true lift in orders (%)",
)

# %%
abtest.foretold(report)

# %% [markdown]
# Recall@10 orders the arms well on the whole, with a rank correlation of 0.7, and is wrong where it matters: 14 of 78
# pairs are reversed beyond all intervals. MBGen, the backbone, and RCLRec with and without repairs have 3 to 9 points
# *more* Recall than TIGER and bring *less*. *recent*, the last ten items that somebody touched, has 20 points less than
# MBGen and brings more.
#
# Recall asks for one item, the next purchase. But several journeys are open when a user comes, most of which would
# never buy by themselves, and a slate of ten can serve all of them. *touched@10* asks for that, still without a test.
# It puts TIGER where the test does, above those four. But it puts TIGER, *recent* and co-occurrence, whose slates hold
# the most of what people touch next, above the count and the models that point, which sell more. It reverses eleven
# pairs, hardly fewer than Recall. **No pair is reversed by both.** Where the two agree, the test does not
# contradict them; where they do not, only a test can tell. But we thought of this metric after we had seen where
# Recall errs, in this very test: it is a guess for the next one.
#
# Two more sensible ideas fail here. Recall on *unseen* targets, which nobody would have found alone, orders the arms
# the wrong way round: SASRec is best at it, and sells less than all but RCLRec, Markov and popularity. What people
# order from a slate is mostly what they have looked at. And weights by how often orders are *incremental* change
# nothing: of orders of items that somebody had seen 66 in 100 are incremental, of the others, by few orders, 55. Who
# has seen an item would not always have bought it. The fear that offline metrics reward what would have come anyway
# is right, but the share of incremental orders is much the same in all good arms, from 56 to 64 in 100, and so it
# does not change their order.

# %% tags=["remove-cell"]
agreed, wrong = report["agreement"]["orders"], report["reversals"]
names = list(agreed)
assert round(agreed["recall@10"]["correlation"], 1) == 0.7
shows = [n for n in report["arms"] if n != "nothing"]
assert len(shows) * (len(shows) - 1) // 2 == 78
pairs = {m: {tuple(one) for one in wrong["orders"][m]} for m in names}
assert len(pairs["recall@10"]) == 14
for name in ("mbgen", "backbone", "repaired", "rclrec"):
    assert (name, "tiger") in pairs["recall@10"]
    assert 2.9 < recalls[name] - recalls["tiger"] < 9.5
    assert (name, "tiger") not in pairs["touched@10"]
assert ("mbgen", "recent") in pairs["recall@10"]
assert 20 < recalls["mbgen"] - recalls["recent"] < 21
best = ("pointing", "pointing_topk", "count")
assert {
    (other, name)
    for other in ("tiger", "recent", "cooccurrence")
    for name in best
} < pairs["touched@10"]
assert len(pairs["touched@10"]) == 11
for outcome in wrong.values():
    both = (map(tuple, outcome[m]) for m in ("recall@10", "touched@10"))
    assert not set.intersection(*map(set, both))
unseen = report["offline"]["recall@10, unseen"]
assert max(unseen, key=lambda n: unseen[n]["mean"]) == "sasrec"
assert agreed["recall@10, unseen"]["high"] < 0
weighed = agreed["recall@10, incremental"]["correlation"]
assert abs(weighed - agreed["recall@10"]["correlation"]) < 0.02
assert {k: round(100 * w) for k, w in report["weights"].items()} == {
    "seen": 66,
    "unseen": 55,
}
share = {
    n: one["per_user"]["incremental"] / one["per_user"]["slate_orders"]
    for n, one in report["arms"].items()
    if n not in ("nothing", "popularity")
}
assert min(share.values()) > 0.56 and max(share.values()) < 0.645

# %% [markdown]
# ## Without showing it
#
# A shop that has shown slates by chance can ask what another ranking would have sold. At first visits all arms see
# the same history. Take the union of their slates, $m$ items, and show ten of them in random order: every item has
# the probability $p = 1/m$ of every slot. With $\pi = 1$ where the ranking in question would have shown just this
# item at just this slot, else 0, and $r$ whether the slot's item was ordered,
#
# $$
# \hat V_{\text{IPS}} = \frac1n \sum_{i=1}^{n} \sum_{k=0}^{9} \frac{\pi_{ik}}{p_{ik}} r_{ik}
# $$ (ab-ips)
#
# is right on average, if what happens at a slot hangs on its item and place alone {cite}`horvitz`. *SNIPS* divides
# each slot's sum by the sum of its weights {cite}`snips`. The *doubly robust* estimate {cite}`doublyrobust` starts
# from a model $q$ of the reward and mends what it missed:
#
# $$
# \begin{aligned}
# \hat V_{\text{DR}} = {} & \frac1n \sum_{i, k} q^\pi_{ik} \\
#   & + \frac1n \sum_{i, k} \frac{\pi_{ik}}{p_{ik}} (r_{ik} - q_{ik})
# \end{aligned}
# $$ (ab-dr)
#
# The small world, the count, by hand:

# %%
from rclrec_mini.online.offline import estimates
from rclrec_mini.online.slates import log_slates

asked = [name for name in arms if name != "nothing"]
slate_log = log_slates(
    Play(visitors),
    [first[name] for name in asked],
    log,
)
its = asked.index("count")
match = slate_log.arms[its] == slate_log.shown  # (n, 10)
ordered = slate_log.order[:, None] & (
    slate_log.slot[:, None] == np.arange(10)
)
m = slate_log.size[:, None]  # 1 / p
by_hand = (match * m * ordered).sum(axis=1).mean()
assert np.isclose(by_hand, estimates(slate_log, its)["IPS"].value)
f"{1000 * by_hand:.1f} of 1,000 visits, m = {m.mean():.1f} on average"

# %% [markdown]
# Orders of 1,000 first visits, the truth (which only the simulation knows) and each estimate with its standard error,
# at full size:


# %%
def thousandths(found: dict) -> str:
    return f"{1000 * found['value']:.1f} ± {1000 * found['std']:.1f}"


pd.DataFrame(
    {
        name: {"truth": f"{1000 * found['truth']:.1f}"}
        | {k: thousandths(found[k]) for k in ("IPS", "SNIPS", "DR")}
        for name, found in report["off_policy"].items()
    }
).T

# %% [markdown]
# From everybody's first visit the standard error is a fifth to four tenths of what is estimated. That tells popularity
# from the rest, and no more; Markov comes out at six tenths of its truth. The three estimators do not differ: a reward
# that comes in one visit of a hundred leaves a model little to foretell, and the noise is in the few matches, each of
# which counts as often as the pool has items. **A log tells about a ranking as often as it happened to show what the
# ranking would.** An estimate from a log of this size does not take the place of a test. Nor is a slot's reward quite
# its own: of two good items in a slate one is clicked. Here most visitors click on nothing, so that this error is
# hidden by the noise.

# %% tags=["remove-cell"]
logged = report["off_policy"]
for kind in ("IPS", "SNIPS", "DR"):
    for name in set(shows) - {"popularity"}:
        found = logged[name][kind]
        assert 0.19 < found["std"] / found["value"] < 0.4, name
spread = [
    logged[n]["DR"]["std"] / logged[n]["IPS"]["std"] for n in shows
]
assert min(spread) > 0.98 and max(spread) < 1.02
assert logged["popularity"]["IPS"]["high"] < min(
    logged[n]["IPS"]["value"] for n in shows if n != "popularity"
)
far = logged["markov"]
assert round(far["IPS"]["value"] / far["truth"], 1) == 0.6

# %% [markdown]
# ## Exercises
#
# 1. A shop has 2 million users and wants to see 1% more orders with a power of 80%. Is a quarter of them in each arm
#    enough? A half?
# 2. Somebody insists on 28 looks. Which p-value must they ask for at every look so that only five of 100 A/A tests
#    are called?
#
# <details>
# <summary>Solution of 1</summary>
#
# ```python
# n = users_needed(cv["orders"], 0.01)
# n / 2_000_000
# ```
#
# It takes 0.94 million in each arm, 47% of all users: a quarter is not enough, a half just is. Few shops put all of
# their users into one test.
#
# </details>
#
# <details>
# <summary>Solution of 2</summary>
#
# ```python
# from rclrec_mini.online.sequential import paths
#
# z = paths(np.random.default_rng(1).standard_normal((100_000, 28)))
# most = np.abs(z).max(axis=1)
# 2 * stats.norm.sf(np.quantile(most, 0.95))
# ```
#
# About 0.006 instead of 0.05. The largest of 28 values of z exceeds 2.73 in five of 100 tests. This is Pocock's rule:
# it costs less width than the always-valid interval, and holds for 28 looks and not one more.
#
# </details>

# %% tags=["remove-cell"]
from rclrec_mini.online.sequential import paths

z = paths(
    np.random.default_rng(1).standard_normal(
        (5_000 if FAST else 100_000, 28)
    )
)
most = np.abs(z).max(axis=1)
pocock = np.quantile(most, 0.95)
assert abs(2 * stats.norm.sf(pocock) - 0.006) < 0.0015
assert abs(pocock - 2.73) < 0.07
n = users_needed(cv["orders"], 0.01)
assert np.isclose(
    n / users_needed(cv["orders"], 0.02), (1.01 / 1.02 * 2) ** 2
)
if not FAST:
    assert 0.25 < n / 2_000_000 < 0.5 and round(n / 1e6, 2) == 0.94

# %% [markdown]
# ## What you can do now
#
# 1. Follow a visit. *Which of the slate's orders would the shop have had anyway, and who notices?*
# 2. Work out a lift. *Why is the interval of the truth so much narrower than that of a test?*
# 3. Test a test. *What do 1,000 A/A tests have to look like?*
# 4. Plan one. *Which two numbers of a shop decide how many users it takes?*
# 5. Look early. *What does a peeker report too often, and too large?*
# 6. Judge an offline metric. *Which purchases does it count that nobody had to recommend?*
# 7. Ask a log. *What must the log have noted when it showed a slate, and what goes wrong when items compete?*
