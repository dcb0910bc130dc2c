"""The verbs that make and use models: train, evaluate, recommend, reproduce."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from rclrec_mini.checks import FieldError, at_least, check
from rclrec_mini.cli.flags import flag_of, parse, peek
from rclrec_mini.files import InputError, check_output_file, whole_file, write_json


def train(args: Sequence[str]) -> None:
    """Train a method in its two stages; a run that was stopped goes on when started again with the same flags."""
    import torch
    from tyro import MISSING
    from tyro.conf import arg

    from rclrec_mini.experiments.methods import METHODS
    from rclrec_mini.experiments.presets import MODELS
    from rclrec_mini.experiments.presets import preset as experiment_preset
    from rclrec_mini.experiments.run import ExperimentConfig, run_experiment
    from rclrec_mini.training.run_folder import first_process

    @dataclass(frozen=True)
    class Size:
        preset: Literal[tuple(MODELS)] | None = None
        method: Literal[tuple(METHODS)] = "rclrec"

    size = peek(train, Size, args)
    preset = size.preset or ("full" if torch.accelerator.is_available() else "mini")
    model = METHODS[size.method].config

    @dataclass(frozen=True, kw_only=True)
    class Train:
        preset: Literal[tuple(MODELS)] | None = None
        """full: the papers' sizes, for a GPU; mini: minutes on two cores, tiny: seconds, both for ids of 16 codes; the
        flags below change it; default: full where there is a GPU, else mini"""
        method: Literal[tuple(METHODS)] = "rclrec"
        """which method; its sizes are the flags that begin with model"""
        data: Path
        """the prepared data set, a folder"""
        ids: Path
        """its semantic ids, the folder that tokenize wrote"""
        out: Path
        """the folder of the run; must not exist, be empty, or hold this very run"""
        accelerator: Literal["auto", "cpu", "cuda", "mps"] | None = None
        """where to train; this and the next four hold for both stages, default: what each stage says"""
        devices: int | None = None
        """processes, one a device; more than one needs the strategy ddp"""
        strategy: Literal["auto", "ddp"] | None = None
        """how processes work together; ddp works on CPU too"""
        precision: Literal["32-true", "bf16-mixed"] | None = None
        """numbers of the forward pass"""
        logger: Literal["tensorboard"] | None = None
        """writes the log of both stages for TensorBoard too, which must be installed"""
        config: Annotated[ExperimentConfig[model], arg(name="")]

    default = Train(data=MISSING, ids=MISSING, out=MISSING, config=experiment_preset(preset, size.method))
    options = parse(train, Train, args, default=default)
    given = {name: getattr(options, name) for name in ("accelerator", "devices", "strategy", "precision", "logger")}
    given = {name: value for name, value in given.items() if value is not None}
    stages = {name: replace(getattr(options.config, name), **given) for name in ("pretrain", "finetune")}
    config = replace(options.config, **stages)
    if size.preset is None and preset == "mini" and first_process():
        print("no GPU found: training with --preset mini; --preset full takes the papers' sizes")
    run_experiment(config, options.data, options.ids, options.out)
    if first_process():
        print(f"{options.out}: trained, ready for rclrec evaluate --run {options.out} --data {options.data}")


def check_out_file(out: Path | None, kinds: Mapping[str, bytes], *, inputs: Iterable[Path | None]) -> None:
    """Raise InputError unless `out` is None or ends in one of `kinds`, which say how such a file begins, and may be
    written without loss of anything else."""
    if out is None:
        return
    if out.suffix not in kinds:
        raise FieldError("out", f"found {out}, expected a name that ends in {' or '.join(kinds)}")
    check_output_file(out, tuple(kinds.values()), inputs=filter(None, inputs))


def write_metrics(path: Path, result: dict[str, Any]) -> None:
    """The metrics of an evaluation as CSV, a line each; coverage has no interval."""
    columns = ("metric", "mean", "low", "high", "users")
    lines = [{"metric": name, **estimate} for name, estimate in result["metrics"].items()]
    lines += [{"metric": name, "mean": share} for name, share in result["coverage"].items()]
    with whole_file(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def evaluate(args: Sequence[str]) -> None:
    """Recall, NDCG and MRR of a run over the whole catalogue, with intervals over users, and its coverage."""
    from rclrec_mini.evaluation.metrics import CUTOFFS
    from rclrec_mini.experiments.decoding import DecodingConfig
    from rclrec_mini.experiments.run import evaluate_run

    @dataclass(frozen=True, kw_only=True)
    class Evaluate:
        run: Path
        """the folder that train wrote"""
        data: Path
        """the data set it was trained on, a folder"""
        split: Literal["validation", "test"] = "test"
        """which targets"""
        cutoffs: tuple[int, ...] = CUTOFFS
        """lengths of the lists that are judged"""
        beams: int | None = None
        """width of the beam search, at least the largest cutoff; default: 20, or that cutoff where it is larger"""
        decoding: DecodingConfig = field(default_factory=DecodingConfig)
        assistant: Path | None = None
        """the folder of a trained SASRec or alike, for --decoding.method d3 alone"""
        json: bool = False
        """print everything as JSON instead of a table"""
        out: Path | None = None
        """also write the result to this file, NAME.json (everything) or NAME.csv (the table); default: do not"""

    options = parse(evaluate, Evaluate, args)
    kinds = {".json": b'{\n  "run": ', ".csv": b"metric,mean,"}
    check_out_file(options.out, kinds, inputs=(options.run, options.data))
    taken = {name: getattr(options, name) for name in ("split", "beams", "cutoffs", "decoding", "assistant")}
    result = evaluate_run(options.run, options.data, **taken)
    if options.out is not None:
        (write_json if options.out.suffix == ".json" else write_metrics)(options.out, result)
    if options.json:
        print(json.dumps(result, indent=2, allow_nan=False))
        return
    print(f"{options.run}: {result['targets']:,} {options.split} purchases, means with 95% intervals")
    for name, estimate in result["metrics"].items():
        print(f"  {name:<10} {estimate['mean']:6.2%}  [{estimate['low']:6.2%}, {estimate['high']:6.2%}]")
    for name, share in result["coverage"].items():
        print(f"  {name:<12} {share:6.2%} of the catalogue")
    for name, share in result.get("recovery", {}).items():
        print(f"  journey {name:<10} {share:6.2%}")


def recommend(args: Sequence[str]) -> None:
    """What people would buy next, and the curriculum that the model put before it."""
    from rclrec_mini.experiments.answers import FORMATS
    from rclrec_mini.experiments.decoding import DecodingConfig
    from rclrec_mini.experiments.recommend import recommend as run
    from rclrec_mini.experiments.recommend import write_recommendations

    @dataclass(frozen=True, kw_only=True)
    class Recommend:
        run: Path
        """the folder that train wrote"""
        data: Path
        """the data set it was trained on, a folder"""
        users: tuple[str, ...] = ()
        """raw ids of users, as in the log; this or one of the next three"""
        users_file: Path | None = None
        """a text file with the raw id of a user on each line"""
        all_users: bool = False
        """everybody in the data"""
        history: Path | None = None
        """events of somebody who is not in the data: CSV with a header, or JSON lines (.jsonl), of item (raw id),
        behavior and timestamp (seconds UTC); the model, which never saw this person, lends the place of a user"""
        k: int = 10
        """items for each"""
        beams: int = 20
        """width of the beam search"""
        decoding: DecodingConfig = field(default_factory=DecodingConfig)
        assistant: Path | None = None
        """the folder of a trained SASRec or alike, for --decoding.method d3 alone"""
        exclude_seen: bool = False
        """leave out the items that are in the person's history"""
        json: bool = False
        """print everything as JSON instead of a table"""
        out: Path | None = None
        """write to this file instead, NAME.parquet, NAME.csv or NAME.jsonl, a batch of users at a time"""

    options = parse(recommend, Recommend, args)
    check_out_file(options.out, FORMATS, inputs=(options.run, options.data, options.users_file, options.history))
    ways = ("users", "users_file", "all_users", "history")
    given = [way for way in ways if getattr(options, way)]
    if len(given) != 1:
        found = " and ".join(flag_of(way) for way in given) or "none"
        raise FieldError("users", f"found {found}, expected one of {', '.join(map(flag_of, ways))}")
    asked = {
        "users": None if options.all_users else users_of(options.users_file) or list(options.users),
        **{name: getattr(options, name) for name in ("history", "k", "beams", "exclude_seen", "decoding", "assistant")},
    }
    if options.out is not None:
        number = write_recommendations(options.out, options.run, options.data, **asked)
        print(f"{options.out}: {options.k} items for each of {number:,} users")
        return
    answers = run(options.run, options.data, **asked)
    if options.json:
        print(json.dumps(answers, indent=2, ensure_ascii=False, allow_nan=False))
        return
    for answer in answers:
        print(f"user {answer['user']}")
        for event in answer["curriculum"]:
            print(f"  {event['behavior']} of {event['raw_id']}, {event['events_ago']} events ago")
        for rank, item in enumerate(answer["items"], start=1):
            print(f"  {rank:>3}. {item['raw_id']}  {item['score']:.2f}  {item.get('title', '')}".rstrip())


def users_of(path: Path | None) -> list[str]:
    """The lines of a file of users, none where there is no file."""
    if path is None:
        return []
    try:
        users = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line]
    except (FileNotFoundError, UnicodeDecodeError) as error:
        what = "file not found" if isinstance(error, FileNotFoundError) else f"expected UTF-8, found {error}"
        raise InputError(f"{path}: {what}") from None
    if not users:
        raise InputError(f"{path}: found no users, expected a raw id on each line")
    return users


def reproduce(args: Sequence[str]) -> None:
    """Table 1, Table 2 or Figure 3 of the paper, a curriculum over the pointing backbone, or post-training: every row
    over seeds, resumed where it was stopped."""
    from tyro.conf import Positional

    from rclrec_mini.experiments import reports, studies, tables
    from rclrec_mini.experiments.methods import METHODS
    from rclrec_mini.experiments.presets import MODELS

    @dataclass(frozen=True, kw_only=True)
    class Reproduce:
        table: Positional[Literal["table1", "table2", "figure3", "pointing", "rere"]]
        """what to reproduce; they share what runs they can"""
        out: Path
        """the folder of the study, where runs and reports go; the same for all of them"""
        preset: Literal[tuple(MODELS)] = "mini"
        """sizes and schedules: tiny (to see that it runs), mini (two hours on two cores) or full (a GPU)"""
        data: Path | None = None
        """a prepared data set, a folder; default: the simulated shop of the preset"""
        ids: Path | None = None
        """its semantic ids, the folder that tokenize wrote; default: made with the preset's number of codes"""
        methods: tuple[Literal[tuple(METHODS)], ...] = tables.COMPARED
        """rows of table1"""
        only: tuple[str, ...] = ()
        """rows of the table by their names, and with them those that they go on from; default: all"""
        seeds: tuple[int, ...] = (0, 1, 2)
        """each row is trained once with each"""
        workers: int = 1
        """processes that take runs side by side; 2 on two cores"""
        threads: int = 0
        """threads of each process; default 0: one with several workers, else as many as torch takes"""
        unsearched: bool = False
        """keep the preset's learning rates and dropout instead of searching for each method's"""
        rates_from: Path | None = None
        """take the learning rates and dropout that the search of the study in this folder chose, on other data"""
        collect: bool = False
        """train nothing, write the reports from the runs that are finished"""

        def __post_init__(self) -> None:
            at_least(self, 1, "workers")
            at_least(self, 0, "threads")
            check(self, rates_from=(not (self.rates_from and self.unsearched), "none with --unsearched"))

    options = parse(reproduce, Reproduce, args)
    study = studies.make_study(
        options.out, preset_name=options.preset, data=options.data, ids=options.ids, seeds=options.seeds
    )
    if options.unsearched:
        study = replace(study, search=None)
    if options.rates_from:
        study = studies.take_rates(study, options.rates_from)
    rows = tables.with_needed(study.rows(options.table, options.methods), options.only)
    if not options.collect:
        threads = options.threads or int(options.workers > 1)
        studies.run_study(study, rows, workers=options.workers, threads=threads)
    result = reports.write_report(study, options.table, rows)
    from rclrec_mini.views.results import learning_curves, recall_by_k

    trained = result["rows"]
    if options.table == "figure3":
        figure = recall_by_k(tables.by_length(trained), data=result["data"])
    else:
        figure = learning_curves({name: row["curve"] for name, row in trained.items()})
    with whole_file(options.out / f"{options.table}.png") as partial:
        figure.savefig(partial, dpi=150, format="png")
    print((options.out / f"{options.table}.md").read_text(encoding="utf-8"))
