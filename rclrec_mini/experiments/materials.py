"""What every experiment on a data set shares: its sequences, their split, its semantic ids, and any truth. Where there
is no data set, the simulated shop is one."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rclrec_mini.data.prepared import data_hash, read_manifest, read_table
from rclrec_mini.data.schema import PURCHASE
from rclrec_mini.data.sequences import Sequences, Split, split_of
from rclrec_mini.data.shop_config import ShopConfig
from rclrec_mini.data.simulate import write_prepared
from rclrec_mini.files import InputError
from rclrec_mini.semantic_ids.catalog import Catalog
from rclrec_mini.semantic_ids.residual_kmeans import ResidualKMeansConfig
from rclrec_mini.semantic_ids.tokenize import TokenizeConfig, tokenize


@dataclass(frozen=True)
class Materials:
    """A data set made ready. `journey` (N,) is the truth of a simulated shop, else None."""

    folder: Path
    sequences: Sequences
    split: Split
    catalog: Catalog
    profiles: Tensor  # x_u but for the user's number: age range and gender as category numbers (U, 2)
    journey: Tensor | None
    data_hash: str

    @classmethod
    def load(cls, data: Path | str, ids: Path | str) -> "Materials":
        """Read a prepared data set, split as its manifest says, and the catalogue made from it.

        Raises:
            InputError: a file is missing or damaged, or the ids were made from other data.
        """
        data = Path(data)
        sequences = Sequences.load(data)
        expected, catalog = data_hash(data), Catalog.load(ids)
        if catalog.data_hash != expected:
            raise InputError(
                f"{ids}: data_hash is {catalog.data_hash!r}, expected {expected!r}, the content_hash of {data}: "
                "made from other data"
            )
        truth = "truth.parquet"
        told = (data / truth).exists() or truth in read_manifest(data)["checksums"]
        journey = read_table(data, "truth")["journey"].to_numpy().astype(np.int64) if told else None
        return cls(
            folder=data,
            sequences=sequences,
            split=split_of(data, sequences),
            catalog=catalog,
            profiles=_demographics(data),
            journey=None if journey is None else torch.from_numpy(journey),
            data_hash=expected,
        )

    def label(self) -> str:
        """What results from these data must be called."""
        return read_manifest(self.folder)["source"].replace("simulated-shop", "the simulated shop")

    def purchases(self) -> np.ndarray:
        """Rows of the training purchases, the samples of fine-tuning."""
        rows = self.split.train
        return rows[self.sequences.behavior[rows] == PURCHASE]

    def validation(self, n: int) -> np.ndarray:
        """n validation targets, the same for every method (0: all)."""
        rows = self.split.validation
        return np.sort(np.random.default_rng(0).permutation(rows)[:n]) if n else rows


def simulated(shop: ShopConfig, data: Path, *, progress: bool = False) -> Path:
    """The folder `data` with the simulated shop, made unless it is there."""
    if not data.exists():
        write_prepared(shop, data, progress=progress)
    return data


def balanced_ids(data: Path, ids: Path, *, codes: int, progress: bool = False) -> Path:
    """The folder `ids` with balanced ids of `data`'s items, of `codes` codes a level, made unless it is there."""
    if not ids.exists():
        codebooks = ResidualKMeansConfig(codes=codes, balanced=True)
        tokenize(data, TokenizeConfig(codebooks=codebooks), ids, progress=progress)
    return ids


def _demographics(data: Path) -> Tensor:
    """Age range and gender as category numbers (U, 2); unknown is a category too."""
    table = read_table(data, "users")
    columns = []
    for name in ("age_range", "gender"):
        values = table[name].to_numpy(zero_copy_only=False).astype(str)
        columns.append(np.unique(values, return_inverse=True)[1])
    return torch.from_numpy(np.stack(columns, axis=1))
