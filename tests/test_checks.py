import math
import pickle
from dataclasses import replace

import pytest

from rclrec_mini.checks import FieldError
from rclrec_mini.data.prepare_config import PrepareConfig
from rclrec_mini.data.shop_config import ShopConfig
from rclrec_mini.experiments.methods import METHODS, RCLRecConfig
from rclrec_mini.models.backbone import BackboneConfig
from rclrec_mini.models.rclrec import LossConfig
from rclrec_mini.semantic_ids.item_features import FeatureConfig
from rclrec_mini.semantic_ids.residual_kmeans import ResidualKMeansConfig
from rclrec_mini.semantic_ids.rqvae import RQVAEConfig
from rclrec_mini.semantic_ids.tokenize import TokenizeConfig
from rclrec_mini.training.schedule import TrainConfig

WRONG = [
    (RCLRecConfig, "k", 0, "1..6"),
    (RCLRecConfig, "k", -1, "1..6"),
    (RCLRecConfig, "k", 60, "1..6"),
    (RCLRecConfig, "tau", 0.0, "more than 0"),
    (RCLRecConfig, "tau", math.nan, "more than 0"),
    (RCLRecConfig, "prefix_share", 1.1, "0..1"),
    (RCLRecConfig, "user_buckets", 0, "1 or more"),
    (LossConfig, "lambda_qual", -0.1, "0 or more"),
    (BackboneConfig, "heads", 7, "a divisor of d, 256"),
    (BackboneConfig, "heads", 0, "1 or more"),
    (BackboneConfig, "d", 0, "1 or more"),
    (BackboneConfig, "dropout", 1.0, "0 to below 1"),
    (BackboneConfig, "dropout", -0.1, "0 to below 1"),
    (TrainConfig, "seed", -1, "0..9223372036854775807"),
    (TrainConfig, "seed", 2**63, "0..9223372036854775807"),
    (TrainConfig, "lr", math.inf, "more than 0"),
    (TrainConfig, "devices", 2, "1 without strategy ddp"),
    (TrainConfig, "max_steps", 0, "1 or more"),
    (ShopConfig, "seed", -1, "0..9223372036854775807"),
    (ShopConfig, "items", 59, "60 or more"),
    (FeatureConfig, "brand", -1.0, "0 or more"),
    (FeatureConfig, "dimensions", 0, "1 or more"),
    (ResidualKMeansConfig, "codes", 40_000, "1..32768"),
    (ResidualKMeansConfig, "device", "abacus", "one of this machine"),
    (RQVAEConfig, "learning_rate", 0.0, "more than 0"),
]


@pytest.mark.parametrize(("kind", "field", "value", "words"), WRONG)
def test_a_wrong_field_is_named(kind, field, value, words):
    with pytest.raises(FieldError) as error:
        kind(**{field: value})
    assert error.value.field == field
    assert str(error.value).startswith(f"{field}: found {value!r}, expected {words}")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_checks_its_sizes(method):
    config = METHODS[method].config()
    backbone = getattr(config, "backbone", config)
    for wrong in ({"d": 0}, {"heads": 3, "d": 22}, {"dropout": 1.5}, {"max_history": 0}):
        if not wrong.keys() <= vars(backbone).keys():  # a language model is another kind of network
            continue
        with pytest.raises(FieldError, match=f"^{next(iter(wrong))}: "):
            replace(backbone, **wrong)
    if method != "tiger" and hasattr(backbone, "behaviors"):  # TIGER reads none
        with pytest.raises(FieldError, match="behaviors: found 3, expected 4 or more: click, favorite, cart, purchase"):
            few = replace(backbone, behaviors=3)
            replace(config, backbone=few)


def test_a_selector_is_one_of_those_there_are():
    with pytest.raises(FieldError, match="selector: found 'orcale', expected one of rcpm, counting, pointer, recent"):
        RCLRecConfig(selector="orcale")


def test_a_refusal_comes_back_from_another_process():
    error = pickle.loads(pickle.dumps(FieldError("beams", "found 3, expected 10")))
    assert (error.field, error.words, str(error)) == ("beams", "found 3, expected 10", "beams: found 3, expected 10")


def test_a_field_that_contradicts_another():
    with pytest.raises(FieldError, match="balanced: found True, expected false with method rqvae"):
        TokenizeConfig(method="rqvae", codebooks=ResidualKMeansConfig(balanced=True))
    with pytest.raises(FieldError, match=r"k: found 4, expected 1\.\.3"):
        RCLRecConfig(backbone=BackboneConfig(max_prefix=3))
    with pytest.raises(FieldError, match="within_day: found funnel for table"):
        PrepareConfig(source="table", log=("a.csv",), out="x", within_day="funnel")
