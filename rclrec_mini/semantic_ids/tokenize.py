"""The whole step for a prepared data set: item vectors, codes, unique tuples, catalogue, diagnostics."""

import time
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import rclrec_mini
from rclrec_mini.checks import check
from rclrec_mini.data.prepared import data_hash, numbered, read_table
from rclrec_mini.data.sequences import Sequences, split_of
from rclrec_mini.files import check_output, whole_folder, write_json
from rclrec_mini.semantic_ids.catalog import IDS, Catalog
from rclrec_mini.semantic_ids.diagnostics import diagnostics
from rclrec_mini.semantic_ids.item_features import FeatureConfig, item_vectors
from rclrec_mini.semantic_ids.quantization import unique_codes
from rclrec_mini.semantic_ids.residual_kmeans import ResidualKMeansConfig, residual_kmeans
from rclrec_mini.semantic_ids.rqvae import RQVAEConfig, rqvae

COLLAPSED = 0.05  # a level is reported when its perplexity is below this share of what N items and V codes allow


@dataclass(frozen=True)
class TokenizeConfig:
    method: Literal["rkmeans", "rqvae"] = "rkmeans"
    """Residual k-means, or an RQ-VAE that starts from it."""
    features: FeatureConfig = field(default_factory=FeatureConfig)
    codebooks: ResidualKMeansConfig = field(default_factory=ResidualKMeansConfig)
    """Levels, codes, seed and device of either method."""
    rqvae: RQVAEConfig = field(default_factory=RQVAEConfig)
    """Read with method rqvae only."""

    def __post_init__(self) -> None:
        if self.method == "rqvae":
            check(self.codebooks, balanced=(not self.codebooks.balanced, "false with method rqvae"))


class CollapsedCodebook(UserWarning):
    """A level tells hardly any items apart."""


def tokenize(
    data_folder: Path | str,
    config: TokenizeConfig,
    out: Path | str,
    *,
    overwrite: bool = False,
    progress: bool = True,
) -> Catalog:
    """Give every item of a prepared data set its semantic id, and write catalogue and diagnostics.json to `out`.

    Co-occurrence is counted in the training events of the data set's split only. diagnostics.json holds the config,
    the version, the seconds it took, how many tuples collided and were moved, and the rows of
    `diagnostics.diagnostics`. A level that collapsed raises the warning CollapsedCodebook.

    Raises:
        InputError: the data set is missing or damaged, a knob is out of range, there are more items than tuples, or
            `out` is not empty while `overwrite` is false.
    """
    started = time.perf_counter()
    data_folder, out = Path(data_folder), Path(out)
    check_output(out, IDS, inputs=[data_folder], overwrite=overwrite)
    sequences = Sequences.load(data_folder)
    items = read_table(data_folder, "items")
    train_event, seed = split_of(data_folder, sequences).train_event, config.codebooks.seed
    vectors = item_vectors(items, sequences, train_event, config.features, seed=seed, progress=progress)
    if config.method == "rqvae":
        quantization = rqvae(vectors, config.rqvae, config.codebooks, progress=progress)
    else:
        quantization = residual_kmeans(vectors, config.codebooks, progress=progress)
    codes, collisions = unique_codes(quantization)
    rows = diagnostics(quantization, codes, collisions, numbered(items["category"]), seed=seed)
    _warn_of_collapse(rows, n_items=len(codes), n_codes=config.codebooks.codes)
    catalog = Catalog(codes.cpu(), n_codes=config.codebooks.codes, data_hash=data_hash(data_folder))
    with whole_folder(out, IDS, inputs=[data_folder], overwrite=overwrite) as partial:
        catalog.write(partial)
        report = {
            "version": rclrec_mini.__version__,
            "config": asdict(config),
            "items": len(codes),
            "seconds": round(time.perf_counter() - started, 3),
            "collisions": asdict(collisions),
            "levels": rows,
        }
        write_json(partial / "diagnostics.json", report)
    return catalog


def _warn_of_collapse(rows: list[dict[str, Any]], *, n_items: int, n_codes: int) -> None:
    room = min(n_items, n_codes)
    collapsed = [row for row in rows if row["perplexity"] < COLLAPSED * room]
    if collapsed:
        found = ", ".join(f"{row['perplexity']:.1f} at level {row['level']}" for row in collapsed)
        message = f"codebooks collapsed: perplexity {found}, of {room} possible; try fewer or balanced codes"
        warnings.warn(message, CollapsedCodebook, stacklevel=3)
