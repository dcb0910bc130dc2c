"""Every method of the comparison: its config, and how its model is made for either stage of training.

A method is known by the name of its config in `METHODS`. Stage one trains `first(config, materials)`, stage two
`second(config, materials, trained)`, which for all but RCLRec and what is built on it is the same model.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from torch import nn

from rclrec_mini.checks import check, positive, within
from rclrec_mini.data.prepared import read_table
from rclrec_mini.data.schema import BEHAVIORS as BEHAVIOR_NAMES
from rclrec_mini.experiments.materials import Materials
from rclrec_mini.files import InputError
from rclrec_mini.models.backbone import Backbone, BackboneConfig
from rclrec_mini.models.baselines.bert4rec import BERT4Rec, BERT4RecConfig
from rclrec_mini.models.baselines.gear import GEAR, GEARConfig
from rclrec_mini.models.baselines.hstu import HSTU, HSTUConfig
from rclrec_mini.models.baselines.mbgen import MBGen, MBGenConfig
from rclrec_mini.models.baselines.pbat import PBAT, PBATConfig
from rclrec_mini.models.baselines.sasrec import SASRec, SASRecConfig
from rclrec_mini.models.baselines.tiger import TIGER, TIGERConfig, collision_catalog
from rclrec_mini.models.curriculum import RCPM, OracleK, RandomK, RecentK, Sometimes, user_profiles
from rclrec_mini.models.language_model import LanguageModel, LanguageModelConfig, from_folder, from_scratch
from rclrec_mini.models.pointer import PointedK, Pointer, PointerConfig
from rclrec_mini.models.rclrec import LossConfig, RCLRec
from rclrec_mini.models.sizes import check_behaviors, check_sizes

Selector = Literal["rcpm", "counting", "pointer", "recent", "random", "oracle", "none"]
SELECTORS: tuple[Selector, ...] = get_args(Selector)


@dataclass(frozen=True)
class RCLRecConfig:
    """RCLRec and its ablations. Defaults are the paper's where it gives them."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    # none: the ablation w/o RCPM; ours: counting, RCPM that is told counts, and pointer, the events that p points at.
    # mini's --finetune.lr is for prefixes that are new to the decoder: with none, or prefix_share, take 3e-4
    selector: Selector = "rcpm"
    k: int = 4  # events of the curriculum
    tau: float = 0.5  # temperature of p
    user_buckets: int = 2000  # user ids are hashed into as many
    loss: LossConfig = field(default_factory=LossConfig)
    prefix_levels: int | None = None  # ours: codes of each event that the curriculum tells, its category; None: all
    prefix_share: float = 0.0  # ours: share of pre-training samples that also see a random prefix
    pointer: bool = False  # ours: also point at the history, see models/pointer.py
    pointing: PointerConfig = field(default_factory=PointerConfig)  # read with pointer alone

    def __post_init__(self) -> None:
        check_sizes(self)
        check_behaviors(self.backbone)
        within(self, 1, self.backbone.max_prefix, "k")
        within(self, 0, 1, "prefix_share")
        check(self, selector=(self.selector in SELECTORS, f"one of {', '.join(SELECTORS)}"))
        if self.prefix_levels is not None:
            within(self, 1, self.backbone.levels, "prefix_levels")
        positive(self, "tau")


@dataclass(frozen=True)
class PointingConfig(RCLRecConfig):
    """Ours: the backbone with a pointer, and without a curriculum unless one is asked for."""

    selector: Selector = "none"
    pointer: bool = True


def check_codes(backbone: BackboneConfig, materials: Materials) -> None:
    """Raises InputError unless ids and backbone agree."""
    catalog = materials.catalog
    if (catalog.levels, catalog.n_codes) != (backbone.levels, backbone.codes):
        raise InputError(
            f"model.backbone: found {backbone.levels} levels of {backbone.codes} codes, expected the catalogue's: "
            f"--model.backbone.levels {catalog.levels} --model.backbone.codes {catalog.n_codes}"
        )


def pretraining_rclrec(config: RCLRecConfig, materials: Materials) -> RCLRec:
    """The backbone alone, or with random prefixes for practice.

    Raises:
        InputError: ids and backbone disagree.
    """
    check_codes(config.backbone, materials)
    selector = Sometimes(RandomK(k=config.k), share=config.prefix_share) if config.prefix_share else None
    codes, sizes = materials.catalog.codes, config.backbone
    backbone, pointer = Backbone(sizes), None
    if config.pointer:
        pointer = Pointer(config=config.pointing, codes=codes, behaviors=sizes.behaviors, d=sizes.d)
    return RCLRec(backbone=backbone, codes=codes, selector=selector, pointer=pointer)


def finetuning_rclrec(config: RCLRecConfig, materials: Materials, trained: RCLRec) -> RCLRec:
    """The backbone behind its selector, and a frozen copy for the quality-aware loss.

    Raises:
        InputError: the oracle is asked for where the truth is not known, or the pointer's choice where there is none.
    """
    backbone = trained.backbone
    selector = build_selector(config, materials, trained)
    return RCLRec(
        backbone=backbone,
        codes=materials.catalog.codes,
        selector=selector,
        loss=config.loss,
        reference=backbone if config.loss.lambda_qual and selector is not None else None,
        journey=materials.journey,
        pointer=trained.pointer,
        prefix_levels=config.prefix_levels,
    )


def build_selector(config: RCLRecConfig, materials: Materials, trained: RCLRec) -> nn.Module | None:
    """The selector that the config names, see models/curriculum.py and models/pointer.py."""
    k = config.k
    if config.selector == "pointer":
        if trained.pointer is None:
            raise InputError("selector: found pointer without a pointer, expected --model.pointer")
        return PointedK(k=k, pointer=trained.pointer)
    if config.selector == "oracle":
        if materials.journey is None:
            raise InputError(f"{materials.folder}: truth.parquet not found, the oracle needs a simulated shop")
        return OracleK(k=k, journey=materials.journey)
    if config.selector in ("rcpm", "counting"):
        sizes = config.backbone
        profiles = user_profiles(
            n_users=materials.sequences.n_users, buckets=config.user_buckets, demographics=materials.profiles
        )
        return RCPM(
            d=sizes.d, k=k, tau=config.tau, max_history=sizes.max_history, profiles=profiles,
            behavior_embedding=trained.backbone.behavior_embedding,
            codes=materials.catalog.codes if config.selector == "counting" else None,
        )  # fmt: skip
    return {"recent": RecentK(k=k), "random": RandomK(k=k), "none": None}[config.selector]


def _rclrec_of_first(config: RCLRecConfig) -> RCLRecConfig:
    read = RCLRecConfig(backbone=config.backbone, prefix_share=config.prefix_share, pointer=config.pointer)
    if config.prefix_share:
        read = replace(read, k=config.k)
    if config.pointer:
        read = replace(read, pointing=config.pointing)
    return read


def _same(config: Any) -> Any:
    return config


def _go_on(config: Any, materials: Materials, trained: nn.Module) -> nn.Module:
    return trained


TARGET, BEHAVIORS, TIME, USER = "target's behaviour", "behaviours", "time", "user"  # what a method may be told


@dataclass(frozen=True)
class Method:
    """How the models of a method are made."""

    title: str  # as the paper writes it
    config: type  # of its model
    first: Callable[[Any, Materials], nn.Module]  # of stage one, with fresh weights
    second: Callable[[Any, Materials, nn.Module], nn.Module] = _go_on  # of stage two, from that of stage one
    of_first: Callable[[Any], Any] = _same  # the config with what stage one does not use at its default
    told: tuple[str, ...] = ()  # besides the items of the history in their order


def _pointer(config: SASRecConfig | MBGenConfig, materials: Materials) -> Pointer | None:
    """A baseline's pointer, where it is given one."""
    if not config.pointer:
        return None
    return Pointer(config=PointerConfig(), codes=materials.catalog.codes, behaviors=BackboneConfig.behaviors)


def _sasrec(config: SASRecConfig, materials: Materials) -> SASRec:
    return SASRec(config=config, n_items=materials.sequences.n_items, pointer=_pointer(config, materials))


def _tiger(config: TIGERConfig, materials: Materials) -> TIGER:
    check_codes(config.backbone, materials)
    return TIGER(config=config, codes=collision_catalog(materials.catalog).codes)


def _mbgen(config: MBGenConfig, materials: Materials) -> MBGen:
    check_codes(config.backbone, materials)
    return MBGen(config=config, codes=materials.catalog.codes, pointer=_pointer(config, materials))


def _language_model(config: LanguageModelConfig, materials: Materials) -> LanguageModel:
    make = from_folder if config.llm else from_scratch
    return make(config, read_table(materials.folder, "items")["title"].to_pylist(), BEHAVIOR_NAMES)


METHODS = {
    "sasrec": Method("SASRec", SASRecConfig, _sasrec),
    "bert4rec": Method("BERT4Rec", BERT4RecConfig, lambda c, m: BERT4Rec(config=c, n_items=m.sequences.n_items)),
    "pbat": Method(
        "PBAT",
        PBATConfig,
        lambda c, m: PBAT(config=c, n_items=m.sequences.n_items, n_users=m.sequences.n_users),
        told=(TARGET, BEHAVIORS, USER),
    ),
    "hstu": Method(
        "HSTU", HSTUConfig, lambda c, m: HSTU(config=c, n_items=m.sequences.n_items), told=(BEHAVIORS, TIME)
    ),
    "tiger": Method("TIGER", TIGERConfig, _tiger, told=(USER,)),
    "mbgen": Method("MBGen", MBGenConfig, _mbgen, told=(TARGET, BEHAVIORS, USER)),
    "gear": Method(
        "GEAR", GEARConfig, lambda c, m: GEAR(config=c, n_items=m.sequences.n_items), told=(TARGET, BEHAVIORS, TIME)
    ),
    "rclrec": Method(
        "RCLRec", RCLRecConfig, pretraining_rclrec, finetuning_rclrec, _rclrec_of_first, told=(TARGET, BEHAVIORS, USER)
    ),
    "pointing": Method(
        "pointing (ours)",
        PointingConfig,
        pretraining_rclrec,
        finetuning_rclrec,
        _rclrec_of_first,
        told=(TARGET, BEHAVIORS, TIME),
    ),
    "llm": Method("language model", LanguageModelConfig, _language_model, told=(TARGET, BEHAVIORS)),
}


def method_name(config: Any) -> str:
    """The name of the method that a model's config belongs to."""
    return next(name for name, method in METHODS.items() if method.config is type(config))
