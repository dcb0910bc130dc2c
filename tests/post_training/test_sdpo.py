"""The loss by hand, and where negatives come from."""

import math

import pytest
import torch
from seven_items import ITEMS

from rclrec_mini.files import InputError
from rclrec_mini.post_training.policy import token_log_probs
from rclrec_mini.post_training.sdpo import SDPO, SDPOConfig

POPULARITY = torch.tensor([0, 1000, 0, 0, 1000, 0, 1000])


def test_the_loss_by_hand(model, batch, catalog, monkeypatch):
    stage = SDPO(policy=model, catalog=catalog, config=SDPOConfig(beta=0.7), popularity=POPULARITY)
    assert stage(batch)["loss"].item() == pytest.approx(math.log(4))  # three negatives, nothing learned yet
    with torch.no_grad():
        weight = model.backbone.token_embedding.weight
        weight += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    negatives = torch.stack([batch.target_item + 1, batch.target_item + 2, batch.target_item + 3], 1) % ITEMS
    monkeypatch.setattr(stage, "negatives", lambda _: negatives)
    expected = 0.0
    for b, target in enumerate(batch.target_item.tolist()):
        f = {}
        for item in (target, *negatives[b].tolist()):
            items = torch.tensor([[item]]).expand(len(batch), 1)
            new, old = (token_log_probs(m, batch, catalog, items)[b].sum().item() for m in (model, stage.reference))
            f[item] = 0.7 * (new - old)
        odds = sum(math.exp(f[n] - f[target]) for n in negatives[b].tolist())
        expected -= math.log(1 / (1 + odds)) / len(batch)  # log sigmoid(-log odds)
    assert stage(batch)["loss"].item() == pytest.approx(expected)


@pytest.mark.parametrize("source", ["random", "popular", "beam"])
def test_negatives_are_distinct_and_never_the_target(model, batch, catalog, source):
    config = SDPOConfig(negatives=3, source=source)
    stage = SDPO(policy=model, catalog=catalog, config=config, popularity=POPULARITY)
    for seed in range(20):
        torch.manual_seed(seed)
        negatives = stage.negatives(batch)
        assert negatives.shape == (len(batch), 3) and not (negatives == batch.target_item[:, None]).any()
        assert all(len(set(row)) == 3 for row in negatives.tolist())


def test_popular_negatives_are_popular(model, batch, catalog):
    config = SDPOConfig(negatives=2, source="popular")
    stage = SDPO(policy=model, catalog=catalog, config=config, popularity=POPULARITY)
    torch.manual_seed(0)
    drawn = torch.cat([stage.negatives(batch) for _ in range(50)])
    assert torch.isin(drawn, torch.tensor([1, 4, 6])).float().mean() > 0.9


def test_a_step_prefers_the_target(model, batch, catalog):
    stage = SDPO(policy=model, catalog=catalog, config=SDPOConfig(source="beam"), popularity=POPULARITY)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.001)
    stage(batch)["loss"].backward()
    optimizer.step()
    after = stage(batch)
    assert after["loss"] < math.log(4) and after["margin"] > 0


def test_the_catalogue_follows_the_policy_to_its_device(model, catalog):
    stage = SDPO(policy=model, catalog=catalog, config=SDPOConfig(), popularity=POPULARITY).to("meta")
    assert stage.catalog.device == stage.policy.codes.device == torch.device("meta")


def test_more_negatives_than_items_are_refused(model, catalog):
    with pytest.raises(InputError, match="negatives: found 7, expected fewer than the 7 items"):
        SDPO(policy=model, catalog=catalog, config=SDPOConfig(negatives=7), popularity=POPULARITY)
