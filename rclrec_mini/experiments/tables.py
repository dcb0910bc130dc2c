"""What stands in each table: its rows, each a method and what differs from the method's preset."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rclrec_mini.checks import FieldError
from rclrec_mini.experiments.decoding import DecodingConfig
from rclrec_mini.experiments.methods import BEHAVIORS, METHODS, TARGET, TIME, RCLRecConfig
from rclrec_mini.experiments.post_train import PostTrainConfig
from rclrec_mini.models.rclrec import LossConfig
from rclrec_mini.post_training.rere import ReReConfig, RewardConfig
from rclrec_mini.post_training.sdpo import SDPOConfig


@dataclass(frozen=True)
class Row:
    """One row of a table: its method and what differs from the method's preset."""

    method: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    base: str | None = None  # the row whose weights it goes on from, or only reads
    post: PostTrainConfig | None = None  # how it goes on, see experiments/post_train.py
    decoding: DecodingConfig = field(default_factory=DecodingConfig)  # how it finds lists, see experiments/decoding.py

    @property
    def judged(self) -> bool:
        """Whether it asks the row JUDGE for scores."""
        objective = getattr(self.post, "objective", None)
        rewarded = isinstance(objective, ReReConfig) and objective.reward.collaborative > 0
        return rewarded or self.decoding.method == "d3"

    @property
    def needs(self) -> tuple[str, ...]:
        """The rows without which it cannot be had."""
        return tuple(name for name in (self.base, JUDGE if self.judged else None) if name)


GENTLE = LossConfig(prefix_loss=0.1)
REPAIRED = LossConfig(prefix_loss=0.1, supervision=1.0)
FOR_UNSEEN = replace(REPAIRED, unseen=True)
BASE, PRACTISED_BASE = "w/o RCPM", "prefixes in pre-training, w/o RCPM"
POINTED, CATEGORIES = "pointing", "pointing, categories of counting"


def rclrec(**changes: Any) -> Row:
    return Row("rclrec", changes)


def pointing(**changes: Any) -> Row:
    return Row("pointing", changes)


TABLE2 = {
    "RCLRec": rclrec(),
    BASE: rclrec(selector="none"),
    "recent-k": rclrec(selector="recent"),
    "w/o quality-aware loss": rclrec(loss=LossConfig(lambda_qual=0.0)),
    # ours, beside the paper's
    "random-k": rclrec(selector="random"),
    "oracle-k": rclrec(selector="oracle"),
    "prefix loss 0.1": rclrec(loss=GENTLE),
    "supervision": rclrec(loss=LossConfig(supervision=1.0)),
    "prefixes in pre-training": rclrec(prefix_share=0.5),
    "all repairs": rclrec(loss=REPAIRED, prefix_share=0.5),
    "supervision, counting": rclrec(loss=LossConfig(supervision=1.0), selector="counting"),
    "all repairs, counting": rclrec(loss=REPAIRED, prefix_share=0.5, selector="counting"),
    PRACTISED_BASE: rclrec(selector="none", prefix_share=0.5),
}
POINTING = {  # table 2 over the pointing backbone
    POINTED: pointing(),
    "pointing, RCPM": pointing(selector="rcpm"),
    "pointing, recent-k": pointing(selector="recent"),
    "pointing, random-k": pointing(selector="random"),
    "pointing, oracle-k": pointing(selector="oracle", loss=GENTLE),
    "pointing, counting": pointing(selector="counting", loss=REPAIRED),
    "pointing, pointer's top-k": pointing(selector="pointer", loss=GENTLE),
    # towards targets that are not in the history: select for them alone, or tell categories (code prefixes)
    "pointing, counting for unseen targets": pointing(selector="counting", loss=FOR_UNSEEN),
    CATEGORIES: pointing(selector="counting", loss=FOR_UNSEEN, prefix_levels=2),
    "pointing, categories of pointer's top-k": pointing(selector="pointer", loss=GENTLE, prefix_levels=2),
    "pointing, categories of oracle-k": pointing(selector="oracle", loss=GENTLE, prefix_levels=2),
}
LENGTHS = {  # Figure 3: names by k, of the paper's curriculum and of the best one over the pointing backbone
    name: {k: name if k == RCLRecConfig.k else f"{name}, k = {k}" for k in range(1, 7)}
    for name in ("RCLRec", CATEGORIES)
}
REWARDS = {
    "rule alone": RewardConfig(ranking=0.0),
    "ranking alone": RewardConfig(rule=0.0),
    "without the gate": RewardConfig(gate=False),
    "semantic": RewardConfig(rule=0.0, ranking=0.0, semantic=1.0),
    "collaborative": RewardConfig(rule=0.0, ranking=0.0, collaborative=1.0),
}
OBJECTIVES: dict[str, ReReConfig | SDPOConfig] = {  # after supervised training, each from the same weights
    "ReRe": ReReConfig(),
    **{f"ReRe, {name}": ReReConfig(reward=reward) for name, reward in REWARDS.items()},
    "ReRe, target added": ReReConfig(add_target=True),
    "ReRe, groups with signal": ReReConfig(dynamic=True),
    "ReRe, mean alone": ReReConfig(std=False),
    "ReRe, sampling": ReReConfig(sampling="sample"),
    "ReRe, without replacement": ReReConfig(sampling="gumbel"),
    "S-DPO, random": SDPOConfig(),
    "S-DPO, popular": SDPOConfig(source="popular"),
    "S-DPO, beam": SDPOConfig(source="beam"),
    "DPO, random": SDPOConfig(negatives=1),
}
FEW, ALL_EVENTS = ("ReRe", "ReRe, semantic", "S-DPO, random", "S-DPO, beam"), "ReRe, all next items"
STARTS = {POINTED: POINTING[POINTED]} | {name: TABLE2[name] for name in ("RCLRec", BASE)}  # of post-training
JUDGE = "SASRec"
LANGUAGE_MODEL = METHODS["llm"].title
DECODINGS = {
    "constrained policy": DecodingConfig(method="d3", alpha=0.0),
    "D3": DecodingConfig(method="d3"),
    "BigRec": DecodingConfig(method="bigrec"),
    "BigRec, re-weighed": DecodingConfig(method="bigrec", popularity=1.0, related=10.0),
}
# for long prompts; at 3e-4 both objectives lose points on validation
FEW_STEPS = replace(PostTrainConfig().training, max_steps=100, batch_size=16, evaluate_every=50, lr=3e-5)

TAUGHT = ("sasrec", "mbgen")  # ours: baselines that are also had with a pointer
COUNT = "frequency with decay"  # a plain count of the history, which every model has to beat
TOLD = "oracle-k"  # is told the truth: no method can be compared with it

COMPARED = tuple(name for name in METHODS if name != "llm")  # the rows of table1
METRICS = ("recall@5", "recall@10", "ndcg@5", "ndcg@10")
PAPER: dict[str, tuple[str, dict[str, tuple[float, ...]]]] = {  # METRICS in per cent, arXiv version
    "table1": (
        "Tmall (the paper, Table 1)",
        {
            "SASRec": (39.36, 44.79, 30.66, 32.72),
            "BERT4Rec": (40.47, 45.18, 31.39, 33.25),
            "PBAT": (40.21, 45.58, 31.16, 33.47),
            "HSTU": (40.63, 45.67, 31.60, 33.79),
            "TIGER": (42.61, 45.92, 32.96, 35.47),
            "MBGen": (44.10, 47.57, 35.14, 37.94),
            "GEAR": (44.43, 47.36, 35.24, 37.10),
            "RCLRec": (49.78, 52.37, 40.36, 42.48),
        },
    ),
    "table2": (
        "an industrial data set (the paper, Table 2)",
        {
            "RCLRec": (26.21, 29.62, 20.80, 21.91),
            "w/o RCPM": (23.61, 26.78, 18.83, 19.89),
            "recent-k": (24.57, 27.91, 19.37, 20.49),
            "w/o quality-aware loss": (25.55, 28.73, 20.15, 21.13),
        },
    ),
    "figure3": (
        "an industrial data set (the paper, Table 2; its Figure 3 prints no numbers)",
        {"w/o RCPM": (23.61, 26.78, 18.83, 19.89), "RCLRec": (26.21, 29.62, 20.80, 21.91)},
    ),
}


def base_of(row: Row) -> str:
    """The row without a prefix that has the stage one of a row of table2, figure3 or pointing."""
    if row.method == "pointing":
        return POINTED
    return PRACTISED_BASE if row.changes.get("prefix_share") else BASE


def rere_rows() -> dict[str, Row]:
    """Supervised models, what goes on from them (all ablations from RCLRec), SASRec and TIGER; a language model."""
    rows = STARTS | {METHODS[name].title: Row(name) for name in ("sasrec", "tiger")}
    for base, start in STARTS.items():
        for name in OBJECTIVES if base == "RCLRec" else FEW:
            post = PostTrainConfig(objective=OBJECTIVES[name])
            rows[f"{base}, {name}"] = replace(start, base=base, post=post)
        everything = PostTrainConfig(objective=OBJECTIVES["ReRe"], targets="all")
        rows[f"{base}, {ALL_EVENTS}"] = replace(start, base=base, post=everything)
    rows[LANGUAGE_MODEL] = Row("llm")
    for name in ("ReRe", "S-DPO, beam"):
        post = PostTrainConfig(objective=OBJECTIVES[name], training=FEW_STEPS)
        rows[f"{LANGUAGE_MODEL}, {name}"] = Row("llm", base=LANGUAGE_MODEL, post=post)
    for name, decoding in DECODINGS.items():
        rows[f"{LANGUAGE_MODEL}, {name}"] = Row("llm", base=LANGUAGE_MODEL, decoding=decoding)
    return rows


def with_needed(rows: Mapping[str, Row], names: Iterable[str]) -> dict[str, Row]:
    """The named ones of a table's rows and those that they need, in the table's order; all where none is named.

    Raises:
        FieldError: the table has no such row.
    """
    wanted = set(names or rows)
    for name in wanted - set(rows):
        raise FieldError("only", f"found {name!r}, expected rows of the table: {'; '.join(rows)}")
    while more := {needed for name in wanted for needed in rows[name].needs} - wanted:
        wanted |= more
    return {name: row for name, row in rows.items() if name in wanted}


def told(row: Row) -> list[str]:
    """What a row is told besides the items of the history in their order."""
    pointed = (TARGET, BEHAVIORS, TIME) if row.changes.get("pointer") else ()
    return list(dict.fromkeys((*METHODS[row.method].told, *pointed)))


def rows_of(table: str, methods: Iterable[str] = COMPARED) -> dict[str, Row]:
    """The rows of `table1`, `table2`, `figure3`, `pointing` or `rere`; table1 has one for each of `methods`, and
    one more of those that may be taught to point."""
    if table == "table1":
        plain = {METHODS[name].title: Row(name) for name in methods}
        taught = [name for name in methods if name in TAUGHT]
        return plain | {f"{METHODS[name].title}, pointer": Row(name, {"pointer": True}) for name in taught}
    if table == "rere":
        return rere_rows()
    if table == "figure3":
        known = TABLE2 | POINTING
        return {name: known[name] for name in (BASE, POINTED)} | {
            name: replace(known[kind], changes={**known[kind].changes, "k": k})
            for kind, names in LENGTHS.items()
            for k, name in names.items()
        }
    return {"table2": TABLE2, "pointing": POINTING}[table]


def by_length(rows: Mapping[str, Any]) -> dict[str, dict[int, Any]]:
    """What is told of figure3's rows, by curriculum and k; under 0 the row without one."""
    known = rows_of("figure3")
    found = {
        kind: {k: rows[name] for k, name in {0: base_of(known[kind]), **names}.items() if name in rows}
        for kind, names in LENGTHS.items()
    }
    return {kind: those for kind, those in found.items() if max(those, default=0) > 0}
