"""The simulated shop: calibration, determinism, truth, knobs."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from rclrec_mini.data.relevance import relevance
from rclrec_mini.data.schema import CART, CLICK, INTERACTIONS, ITEMS, PURCHASE, TRUTH, USERS
from rclrec_mini.data.sequences import Sequences
from rclrec_mini.data.simulate import (
    Shop,
    ShopConfig,
    catalogue,
    preset,
    simulate,
    simulate_users,
    sized,
    write_prepared,
)
from rclrec_mini.data.table_hash import content_hash
from rclrec_mini.files import InputError, read_json

TINY = preset("tiny")


def columns(shop: Shop) -> dict[str, np.ndarray]:
    names = ("user", "item", "behavior", "timestamp", "position")
    return {n: shop.interactions[n].to_numpy() for n in names} | {"journey": shop.truth["journey"].to_numpy()}


def sequences(shop: Shop) -> Sequences:
    c = columns(shop)
    offsets = np.searchsorted(c["user"], np.arange(shop.users.num_rows + 1))
    return Sequences(c["item"], c["behavior"], c["timestamp"], offsets, shop.items.num_rows)


def before_purchases(shop: Shop, history: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Columns, rows of the purchases with a full history, and which of its events are of their journey."""
    c = columns(shop)
    rows = np.flatnonzero((c["behavior"] == PURCHASE) & (c["position"] >= history))
    window = rows[:, None] + np.arange(-history, 0)
    return c, rows, c["journey"][window] == c["journey"][rows][:, None]


@pytest.fixture(scope="module")
def shop() -> Shop:
    return simulate(TINY)


@pytest.fixture(scope="module")
def calibrated() -> Shop:
    """The mini preset with fewer users."""
    return simulate(preset("mini", users=997))


def test_tables_follow_the_contract(shop: Shop) -> None:
    assert shop.interactions.schema == INTERACTIONS
    assert (shop.items.schema, shop.users.schema, shop.truth.schema) == (ITEMS, USERS, TRUTH)
    c = columns(shop)
    assert shop.items["item"].to_pylist() == list(range(TINY.items))
    assert shop.users["user"].to_pylist() == list(range(TINY.users))
    assert np.array_equal(np.unique(c["user"]), np.arange(TINY.users))
    assert c["item"].min() >= 0 and c["item"].max() < TINY.items
    first = np.searchsorted(c["user"], np.arange(TINY.users))
    assert np.array_equal(c["position"], np.arange(len(c["user"])) - first[c["user"]])
    assert shop.truth["user"].equals(shop.interactions["user"])
    assert shop.truth["position"].equals(shop.interactions["position"])
    for name in ("category", "parent_category", "brand", "seller", "title", "price"):
        assert shop.items[name].null_count == 0
    parents_of = {(row["category"], row["parent_category"]) for row in shop.items.to_pylist()}
    assert len(parents_of) == TINY.leaves  # a tree: one parent a leaf


def test_time_rises_by_whole_seconds_within_the_period(shop: Shop) -> None:
    c = columns(shop)
    same_user = np.diff(c["user"]) == 0
    assert (np.diff(c["timestamp"])[same_user] >= 1).all()
    assert c["timestamp"].min() >= TINY.start
    assert c["timestamp"].max() < TINY.start + TINY.days * 86_400


def test_equal_seeds_give_equal_shops_and_others_do_not(shop: Shop) -> None:
    again, other = simulate(TINY), simulate(replace(TINY, seed=1))
    for name in ("interactions", "items", "users", "truth"):
        assert getattr(shop, name).equals(getattr(again, name))
    assert not shop.interactions.equals(other.interactions)
    assert not shop.items.equals(other.items)


@pytest.mark.parametrize("chunk", [1, 7, 101])
def test_chunks_do_not_change_the_rows(shop: Shop, chunk: int) -> None:
    config = replace(TINY, users=23)
    parts = list(simulate_users(config, catalogue(config), chunk=chunk))
    n = sum(part.interactions.num_rows for part in parts)
    for name in ("interactions", "truth", "users"):
        whole = getattr(shop, name).slice(0, 23 if name == "users" else n)  # more users change nothing either
        assert pa.concat_tables([getattr(part, name) for part in parts]).equals(whole)


def test_calibration_meets_the_design(calibrated: Shop) -> None:
    c = columns(calibrated)
    config = preset("mini", users=997)
    per_user = np.bincount(c["user"][c["behavior"] == PURCHASE], minlength=config.users)
    assert np.mean(c["behavior"] == PURCHASE) == pytest.approx(0.0095, rel=0.1)
    assert len(c["user"]) / config.users == pytest.approx(300, rel=0.05)
    assert per_user.mean() == pytest.approx(3, abs=0.3)
    assert np.mean(per_user >= 2) > 0.93
    assert np.mean(c["journey"] < 0) == pytest.approx(config.noise_share, abs=0.03)

    found = relevance(sequences(calibrated), calibrated.items, window=20).table.to_pylist()
    mean = {(row["attribute"], row["source"], row["behavior"]): row for row in found}
    assert mean["item", "history", "purchase"]["mean"] == pytest.approx(0.6, abs=0.05)
    assert mean["item", "history", "click"]["mean"] == pytest.approx(0.3, abs=0.05)
    for attribute in ("category", "brand", "seller"):
        for source in ("history", "excess"):
            click, cart, purchase = (mean[attribute, source, b] for b in ("click", "cart", "purchase"))
            assert purchase["mean"] > cart["mean"] > click["mean"]
            assert purchase["low"] > click["high"]  # the intervals do not even touch


def test_journeys_hold_one_need_and_purchases_follow_their_events(calibrated: Shop) -> None:
    c = columns(calibrated)
    leaf = calibrated.items["category"].combine_chunks().dictionary_encode().indices.to_numpy()[c["item"]]
    inside = c["journey"] >= 0
    key = c["user"][inside].astype(np.int64) << 32 | c["journey"][inside]
    _, journey = np.unique(key, return_inverse=True)
    assert len({*zip(journey, leaf[inside], strict=True)}) == journey.max() + 1  # one leaf category a journey
    bought = np.bincount(journey, c["behavior"][inside] == PURCHASE)
    assert bought.max() == 1
    assert np.mean(bought == 0) > 0.7  # most journeys never buy
    assert (c["journey"][c["behavior"] == PURCHASE] >= 0).all()

    place = np.flatnonzero(inside)
    purchase = np.full(journey.max() + 1, len(c["user"]))
    purchase[journey[c["behavior"][inside] == PURCHASE]] = place[c["behavior"][inside] == PURCHASE]
    earlier = place < purchase[journey]
    has = np.bincount(journey, earlier) > 0
    assert has[purchase < len(c["user"])].all()  # every purchase has events of its journey before it
    after = np.bincount(journey, place > purchase[journey])[bought == 1]
    assert after.max() <= 3 and 0.1 < np.mean(after > 0) < 0.4


def last_gap(shop: Shop) -> np.ndarray:
    _, _, related = before_purchases(shop, 80)
    related = related[related.any(axis=1)]
    return related[:, ::-1].argmax(axis=1)


@pytest.mark.parametrize("gap", [0, 5, 15])
def test_gap_is_the_distance_to_the_purchase(gap: int) -> None:
    found = last_gap(simulate(preset("mini", users=499, gap=gap)))
    if gap == 0:
        assert (found == 0).all()
    else:
        assert found.mean() == pytest.approx(gap, rel=0.2)


def test_selection_is_hard_by_default_and_easy_if_wanted(calibrated: Shop) -> None:
    _, _, hard = before_purchases(calibrated, 50)
    easy = simulate(preset("mini", users=499, gap=0, journeys_at_once=1, noise_share=0.1))
    _, _, easy = before_purchases(easy, 50)
    assert hard[:, -4:].mean() < 0.15  # precision of recent-4
    assert hard.mean() == pytest.approx(0.19, abs=0.03)  # precision of random-4
    assert easy[:, -4:].mean() > 0.9


def test_knobs_move_what_they_name() -> None:
    def measured(**changes: float) -> dict[str, float]:
        shop = simulate(preset("mini", users=499, **changes))
        c, rows, related = before_purchases(shop, 50)
        window = rows[:, None] + np.arange(-50, 0)
        seen = ((c["item"][window] == c["item"][rows][:, None]) & related).any(axis=1)
        clicks = np.flatnonzero((c["behavior"] == CLICK) & (c["position"] >= 20))[::7]
        back = c["item"][clicks[:, None] + np.arange(-20, 0)] == c["item"][clicks][:, None]
        return {
            "purchases": np.mean(c["behavior"] == PURCHASE),
            "noise": np.mean(c["journey"] < 0),
            "seen": seen.mean(),
            "revisits": back.any(axis=1).mean(),
            "related": related.mean(),
            "carts": np.mean(c["behavior"] == CART),
        }

    default = measured()
    assert measured(purchase_share=0.02)["purchases"] == pytest.approx(0.02, rel=0.15)
    assert measured(noise_share=0.1)["noise"] == pytest.approx(0.1, abs=0.02)
    assert measured(noise_share=0)["noise"] == 0
    assert measured(seen_share=1)["seen"] > 0.95
    assert measured(seen_share=0)["seen"] < 0.01  # a small shelf may have nothing else left
    assert default["seen"] == pytest.approx(0.75, abs=0.05)
    assert measured(revisit_rate=0.5)["revisits"] > default["revisits"] + 0.1
    assert measured(journeys_at_once=6)["related"] < default["related"] - 0.05
    assert measured(focus=1)["related"] < default["related"] - 0.03


@pytest.mark.parametrize(
    ("name", "value"),
    [("users", 0), ("items", 3), ("noise_share", 1.0), ("gap", -1), ("seen_share", 1.5), ("days", 0), ("focus", 0.5)],
)
def test_a_bad_knob_is_named(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"^{name}: found {value}, expected"):
        ShopConfig(**{name: value})


def test_more_events_than_the_period_has_room_for_are_named() -> None:
    with pytest.raises(InputError, match="days: found 1, expected 3 or more"):
        ShopConfig(events_per_user=1_250, days=1)


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(InputError, match="preset huge: expected one of tiny, mini, full"):
        preset("huge")


def test_sized_reaches_the_rows() -> None:
    config = sized(TINY, rows=20_011)
    assert simulate(config).interactions.num_rows == pytest.approx(20_011, rel=0.03)
    with pytest.raises(InputError, match="rows: found 0, expected at least 1"):
        sized(TINY, rows=0)


def test_prepared_folder_reads_back(tmp_path, shop: Shop) -> None:
    manifest = write_prepared(TINY, tmp_path / "shop")
    assert manifest == read_json(tmp_path / "shop" / "manifest.json")
    assert manifest["source"] == "simulated-shop"
    assert manifest["counts"] == {"users": 211, "items": 307, "interactions": shop.interactions.num_rows}
    assert sum(manifest["behaviors"].values()) == pytest.approx(1)
    assert manifest["config"]["gap"] == 10
    read, made = Sequences.load(tmp_path / "shop"), sequences(shop)
    for name in ("item", "behavior", "timestamp", "offsets"):
        assert np.array_equal(getattr(read, name), getattr(made, name))
    assert content_hash(tmp_path / "shop") == manifest["content_hash"]
    with pytest.raises(InputError, match="not empty"):
        write_prepared(TINY, tmp_path / "shop")
    other = write_prepared(replace(TINY, seed=3), tmp_path / "shop", overwrite=True)
    assert other["content_hash"] != manifest["content_hash"]


def test_a_failure_in_the_middle_leaves_nothing(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(folder: object) -> str:
        raise OSError("no room")

    monkeypatch.setattr("rclrec_mini.data.simulate.content_hash", broken)
    with pytest.raises(OSError, match="no room"):
        write_prepared(TINY, tmp_path / "shop")
    assert list(tmp_path.iterdir()) == []
