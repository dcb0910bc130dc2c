import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from rclrec_mini.data.prepared import checksums
from rclrec_mini.data.schema import ITEMS
from rclrec_mini.data.sequences import Sequences, split_of
from rclrec_mini.data.simulate import preset, write_prepared
from rclrec_mini.files import InputError, read_json, write_json
from rclrec_mini.semantic_ids.catalog import Catalog
from rclrec_mini.semantic_ids.item_features import FeatureConfig, item_vectors
from rclrec_mini.semantic_ids.residual_kmeans import ResidualKMeansConfig
from rclrec_mini.semantic_ids.rqvae import RQVAEConfig
from rclrec_mini.semantic_ids.tokenize import CollapsedCodebook, TokenizeConfig, tokenize

CONFIG = TokenizeConfig(
    features=FeatureConfig(dimensions=13),
    codebooks=ResidualKMeansConfig(levels=3, codes=11, iterations=5),
    rqvae=RQVAEConfig(latent=7, hidden=17, steps=20, batch_size=61),
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop") / "data"
    write_prepared(preset("tiny", users=53), folder)
    return folder


@pytest.mark.parametrize("method", ["rkmeans", "rqvae"])
def test_every_item_gets_an_id(shop, tmp_path, method: str) -> None:
    config = replace(CONFIG, method=method)
    made = tokenize(shop, config, tmp_path / "ids", progress=False)
    again = tokenize(shop, config, tmp_path / "again", progress=False)
    manifest = read_json(shop / "manifest.json")
    loaded = Catalog.load(tmp_path / "ids")
    assert loaded.data_hash == manifest["content_hash"]
    assert len(loaded) == manifest["counts"]["items"] and loaded.levels == 3 and loaded.n_codes == 11
    assert torch.equal(loaded.codes, made.codes) and torch.equal(again.codes, made.codes)
    report = read_json(tmp_path / "ids" / "diagnostics.json")
    assert report["config"]["method"] == method and report["items"] == len(loaded)
    assert [row["level"] for row in report["levels"]] == [1, 2, 3]
    assert report["collisions"]["moved"] == sum(report["collisions"]["moved_by_level"])
    assert report["levels"][0]["purity"] > report["levels"][0]["purity_by_chance"]


def test_features_are_counted_in_training_events_alone(shop, tmp_path, monkeypatch) -> None:
    seen = []

    def spy(items, sequences, train_event, *args, **kwargs):
        seen.append(train_event)
        return item_vectors(items, sequences, train_event, *args, **kwargs)

    monkeypatch.setattr("rclrec_mini.semantic_ids.tokenize.item_vectors", spy)
    tokenize(shop, CONFIG, tmp_path / "ids", progress=False)
    expected = split_of(shop, Sequences.load(shop)).train_event
    assert not expected.all() and np.array_equal(seen, [expected])


def test_output_is_not_replaced_unasked(shop, tmp_path) -> None:
    (tmp_path / "ids").mkdir()
    (tmp_path / "ids" / "mine").write_text("kept")
    with pytest.raises(InputError, match="not empty"):
        tokenize(shop, CONFIG, tmp_path / "ids", progress=False)
    with pytest.raises(InputError, match="ids: found no set of semantic ids"):
        tokenize(shop, CONFIG, tmp_path / "ids", overwrite=True, progress=False)
    (tmp_path / "ids" / "mine").unlink()
    tokenize(shop, CONFIG, tmp_path / "ids", progress=False)
    tokenize(shop, CONFIG, tmp_path / "ids", overwrite=True, progress=False)
    assert {path.name for path in (tmp_path / "ids").iterdir()} == {
        "catalog.json",
        "codes.safetensors",
        "diagnostics.json",
    }


@pytest.mark.parametrize("out", [".", "ids", ".."])
def test_the_data_set_is_never_overwritten(shop, tmp_path, out) -> None:
    with pytest.raises(InputError, match="found the input"):
        tokenize(shop, CONFIG, shop / out if out != ".." else shop.parent, overwrite=True, progress=False)
    assert (shop / "manifest.json").exists() and not (shop / "ids").exists()


def test_too_few_codes_leave_nothing_behind(shop, tmp_path) -> None:
    config = replace(CONFIG, codebooks=ResidualKMeansConfig(levels=2, codes=3))
    with pytest.raises(InputError, match="room for 9 items"):
        tokenize(shop, config, tmp_path / "ids", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_collapsed_level_is_not_silent(shop, tmp_path) -> None:
    items = pq.read_table(shop / "items.parquet")
    same = items.set_column(2, "category", [["one"] * len(items)]).cast(ITEMS)
    folder = shutil.copytree(shop, tmp_path / "data")
    pq.write_table(same, folder / "items.parquet")
    write_json(folder / "manifest.json", read_json(folder / "manifest.json") | {"checksums": checksums(folder)})
    only_category = FeatureConfig(brand=0, seller=0, title=0, price=0, cooccurrence=0)
    config = TokenizeConfig(features=only_category, codebooks=ResidualKMeansConfig(levels=4, codes=97, iterations=3))
    with pytest.warns(CollapsedCodebook, match=r"perplexity .* at level 4, of 97 possible"):
        tokenize(folder, config, tmp_path / "ids", progress=False)
