"""The command `rclrec`: one verb for each step of the journey, each a thin face over a function that a notebook calls.

A verb imports what it needs when it runs, so that `rclrec --help` answers at once.
"""

import contextlib
import inspect
import io
import json
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from rclrec_mini import __version__
from rclrec_mini.files import InputError, whole_file, write_json

Options = TypeVar("Options")


def parse(verb: Callable, options: type[Options], args: Sequence[str], **keywords: Any) -> Options:
    """Read the flags of a verb into a dataclass.

    Raises:
        InputError: a flag is missing, unknown or has a bad value.
        SystemExit: with code 0, when the flags ask for help.
    """
    import tyro

    complaint = io.StringIO()
    name = verb.__name__
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                options,
                prog=f"rclrec {name}",
                description=inspect.getdoc(verb),
                args=list(args),
                config=(tyro.conf.FlagCreatePairsOff,),
                **keywords,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise InputError(f"{name}: {first_of_box(complaint.getvalue())}; see rclrec {name} --help") from None


def first_of_box(text: str) -> str:
    """The first part of tyro's boxed message, on one line."""
    lines = [line.strip("│ ") for line in text.splitlines() if not line.startswith(("╭", "╰"))]
    rule = next((n for n, line in enumerate(lines) if line and set(line) == {"─"}), len(lines))
    return re.sub(r"\s+", " ", " ".join(lines[:rule])).strip().rstrip(".")


def counts(out: Path, manifest: dict[str, Any]) -> str:
    """One line for people about a data set that was written."""
    return f"{out}: " + ", ".join(f"{number:,} {name}" for name, number in manifest["counts"].items())


def simulate(args: Sequence[str]) -> None:
    """Simulate a shop whose truth is known, as a prepared data set or as a raw log."""
    from tyro import MISSING
    from tyro.conf import OmitArgPrefixes

    from rclrec_mini.data.raw_writers import write_raw
    from rclrec_mini.data.shop_config import PRESETS, ShopConfig, preset
    from rclrec_mini.data.simulate import sized, write_prepared

    @dataclass(frozen=True, kw_only=True)
    class Simulate:
        out: Path
        """the folder to write; must not exist or be empty, unless overwrite"""
        preset: Literal[tuple(PRESETS)] = "mini"
        """size of the shop: tiny (seconds), mini (the book's) or full (for a GPU); the flags below change one knob"""
        format: Literal["prepared", "rec-tmall", "ijcai15"] = "prepared"
        """prepared: ready for tokenize and train; else a raw log in the text format of that source, for prepare"""
        rows: int | None = None
        """about how many interactions to write, by the number of users; default: as many as the preset makes"""
        zipped: bool = False
        """pack the files of ijcai15 into one zip"""
        overwrite: bool = False
        """replace the output folder if it holds something"""
        shop: OmitArgPrefixes[ShopConfig]

    @dataclass(frozen=True)
    class Size:
        preset: Literal[tuple(PRESETS)] = "mini"

    size, _ = parse(simulate, Size, args, return_unknown_args=True, add_help=False)
    options = parse(simulate, Simulate, args, default=Simulate(out=MISSING, shop=preset(size.preset)))
    if options.format == "prepared":
        if options.zipped:
            raise InputError("--zipped: expected only with --format ijcai15")
        if options.rows is not None and options.rows < 1:
            raise InputError(f"--rows: found {options.rows}, expected at least 1")
        shop = options.shop if options.rows is None else sized(options.shop, rows=options.rows)
        written = write_prepared(shop, options.out, overwrite=options.overwrite, progress=True)
    else:
        written = write_raw(
            options.shop,
            options.out,
            format=options.format,
            rows=options.rows,
            zipped=options.zipped,
            overwrite=options.overwrite,
            progress=True,
        )
    print(counts(options.out, written))


def prepare(args: Sequence[str]) -> None:
    """Read a raw log and write a prepared data set."""
    from rclrec_mini.data.prepare import PrepareConfig
    from rclrec_mini.data.prepare import prepare as run

    config = parse(prepare, PrepareConfig, args)
    manifest = run(config, progress=True)
    if "times" in manifest:
        print(f"times are {manifest['times']}, columns not used: {', '.join(manifest['ignored_columns']) or 'none'}")
    for reason, number in manifest["dropped"].items():
        print(f"dropped {number:,}: {reason}")
    print(counts(config.out, manifest))


def tokenize(args: Sequence[str]) -> None:
    """Give every item of a prepared data set its semantic id."""
    from tyro.conf import OmitArgPrefixes

    from rclrec_mini.semantic_ids.tokenize import TokenizeConfig
    from rclrec_mini.semantic_ids.tokenize import tokenize as run

    @dataclass(frozen=True, kw_only=True)
    class Tokenize:
        data: Path
        """the prepared data set, a folder"""
        out: Path
        """the folder to write; must not exist or be empty, unless overwrite"""
        overwrite: bool = False
        """replace the output folder if it holds something"""
        config: OmitArgPrefixes[TokenizeConfig] = field(default_factory=TokenizeConfig)

    options = parse(tokenize, Tokenize, args)
    catalog = run(options.data, options.config, options.out, overwrite=options.overwrite)
    items, levels = catalog.codes.shape
    print(f"{options.out}: {items:,} items, {levels} levels of {catalog.n_codes} codes")


def train(args: Sequence[str]) -> None:
    """Train a method in its two stages; a run that was stopped goes on when started again with the same flags."""
    from tyro import MISSING
    from tyro.conf import arg

    from rclrec_mini.experiments.methods import METHODS
    from rclrec_mini.experiments.presets import MODELS
    from rclrec_mini.experiments.presets import preset as experiment_preset
    from rclrec_mini.experiments.run import ExperimentConfig, run_experiment
    from rclrec_mini.training.trainer import first_process

    @dataclass(frozen=True)
    class Size:
        preset: Literal[tuple(MODELS)] = "full"
        method: Literal[tuple(METHODS)] = "rclrec"

    size, _ = parse(train, Size, args, return_unknown_args=True, add_help=False)
    model = METHODS[size.method].config

    @dataclass(frozen=True, kw_only=True)
    class Train:
        preset: Literal[tuple(MODELS)] = "full"
        """full: the papers' sizes, for a GPU; mini: minutes on two cores, tiny: seconds, both for ids of 16 codes; the
        flags below change it"""
        method: Literal[tuple(METHODS)] = "rclrec"
        """which method; its sizes are the flags that begin with model"""
        data: Path
        """the prepared data set, a folder"""
        ids: Path
        """its semantic ids, the folder that tokenize wrote"""
        out: Path
        """the folder of the run; must not exist, be empty, or hold this very run"""
        accelerator: Literal["auto", "cpu", "cuda", "mps"] | None = None
        """where to train; this and the next three hold for both stages, default: what each stage says"""
        devices: int | None = None
        """processes, one a device; more than one needs the strategy ddp"""
        strategy: Literal["auto", "ddp"] | None = None
        """how processes work together; ddp works on CPU too"""
        precision: Literal["32-true", "bf16-mixed"] | None = None
        """numbers of the forward pass"""
        config: Annotated[ExperimentConfig[model], arg(name="")]

    default = Train(data=MISSING, ids=MISSING, out=MISSING, config=experiment_preset(size.preset, size.method))
    options = parse(train, Train, args, default=default)
    given = {name: getattr(options, name) for name in ("accelerator", "devices", "strategy", "precision")}
    given = {name: value for name, value in given.items() if value is not None}
    stages = {name: replace(getattr(options.config, name), **given) for name in ("pretrain", "finetune")}
    run_experiment(replace(options.config, **stages), options.data, options.ids, options.out)
    if first_process():
        print(f"{options.out}: trained, ready for rclrec evaluate --run {options.out} --data {options.data}")


def evaluate(args: Sequence[str]) -> None:
    """Recall and NDCG of a run over the whole catalogue, with intervals over users."""
    from rclrec_mini.experiments.run import evaluate_run

    @dataclass(frozen=True, kw_only=True)
    class Evaluate:
        run: Path
        """the folder that train wrote"""
        data: Path
        """the data set it was trained on, a folder"""
        split: Literal["validation", "test"] = "test"
        """which targets"""
        beams: int = 20
        """width of the beam search, at least 10"""
        json: bool = False
        """print everything as JSON instead of a table"""
        out: Path | None = None
        """also write the JSON to this file; default: do not"""

    options = parse(evaluate, Evaluate, args)
    result = evaluate_run(options.run, options.data, split=options.split, beams=options.beams)
    if options.out is not None:
        write_json(options.out, result)
    if options.json:
        print(json.dumps(result, indent=2, allow_nan=False))
        return
    print(f"{options.run}: {result['targets']:,} {options.split} purchases, means with 95% intervals")
    for name, estimate in result["metrics"].items():
        print(f"  {name:<10} {estimate['mean']:6.2%}  [{estimate['low']:6.2%}, {estimate['high']:6.2%}]")
    for name, share in result.get("recovery", {}).items():
        print(f"  journey {name:<10} {share:6.2%}")


def recommend(args: Sequence[str]) -> None:
    """What users would buy next, and the curriculum that the model put before it."""
    from rclrec_mini.experiments.recommend import recommend as run

    @dataclass(frozen=True, kw_only=True)
    class Recommend:
        run: Path
        """the folder that train wrote"""
        data: Path
        """the data set it was trained on, a folder"""
        users: tuple[str, ...]
        """raw ids of users, as in the log"""
        k: int = 10
        """items for each user"""
        beams: int = 20
        """width of the beam search"""
        json: bool = False
        """print everything as JSON instead of a table"""

    options = parse(recommend, Recommend, args)
    answers = run(options.run, options.data, users=list(options.users), k=options.k, beams=options.beams)
    if options.json:
        print(json.dumps(answers, indent=2, ensure_ascii=False, allow_nan=False))
        return
    for answer in answers:
        print(f"user {answer['user']}")
        for event in answer["curriculum"]:
            print(f"  {event['behavior']} of {event['raw_id']}, {event['events_ago']} events ago")
        for rank, item in enumerate(answer["items"], start=1):
            print(f"  {rank:>3}. {item['raw_id']}  {item['score']:.2f}  {item.get('title', '')}".rstrip())


def reproduce(args: Sequence[str]) -> None:
    """Table 1, Table 2 or Figure 3 of the paper: every row over seeds, resumed where it was stopped."""
    from tyro.conf import Positional

    from rclrec_mini.experiments import reports, studies, tables
    from rclrec_mini.experiments.methods import METHODS
    from rclrec_mini.experiments.presets import MODELS

    @dataclass(frozen=True, kw_only=True)
    class Reproduce:
        table: Positional[Literal["table1", "table2", "figure3"]]
        """what to reproduce; the three share what runs they can"""
        out: Path
        """the folder of the study, where runs and reports go; the same for all three"""
        preset: Literal[tuple(MODELS)] = "mini"
        """sizes and schedules: tiny (to see that it runs), mini (an hour or two on two cores) or full (a GPU)"""
        data: Path | None = None
        """a prepared data set, a folder; default: the simulated shop of the preset"""
        ids: Path | None = None
        """its semantic ids, the folder that tokenize wrote; default: made with the preset's number of codes"""
        methods: tuple[Literal[tuple(METHODS)], ...] = tuple(METHODS)
        """rows of table1"""
        seeds: tuple[int, ...] = (0, 1, 2)
        """each row is trained once with each"""
        workers: int = 1
        """processes that take runs side by side; 2 on two cores"""
        threads: int = 0
        """threads of each process; default 0: one with several workers, else as many as torch takes"""
        collect: bool = False
        """train nothing, write the reports from the runs that are finished"""

    options = parse(reproduce, Reproduce, args)
    study = studies.make_study(
        options.out, preset_name=options.preset, data=options.data, ids=options.ids, seeds=options.seeds
    )
    rows = study.rows(options.table, options.methods)
    if not options.collect:
        threads = options.threads or int(options.workers > 1)
        studies.run_study(study, rows, workers=options.workers, threads=threads)
    result = reports.write_report(study, options.table, rows, preset_name=options.preset)
    if options.table == "figure3":
        from rclrec_mini.views.results import recall_by_k

        trained = result["rows"]
        by_k = {k: trained[name] for k, name in tables.LENGTHS.items() if name in trained}
        figure = recall_by_k({"RCLRec": by_k}, without=trained.get(tables.BASE), data=result["data"])
        with whole_file(options.out / "figure3.png") as partial:
            figure.savefig(partial, dpi=150, format="png")
    print((options.out / f"{options.table}.md").read_text(encoding="utf-8"))


VERBS = {verb.__name__: verb for verb in (simulate, prepare, tokenize, train, evaluate, recommend, reproduce)}


def usage() -> str:
    verbs = "\n".join(f"  {name:<10} {inspect.getdoc(verb).splitlines()[0]}" for name, verb in VERBS.items())
    return f"usage: rclrec VERB [OPTIONS]\n\n{verbs}\n\nrclrec VERB --help lists its options with units and defaults."


def run(args: Sequence[str]) -> None:
    if not args or args[0] in ("-h", "--help"):
        print(usage())
    elif args[0] == "--version":
        print(f"rclrec_mini {__version__}")
    elif args[0] not in VERBS:
        raise InputError(f"found {args[0]!r}, expected one of {', '.join(VERBS)}")
    else:
        VERBS[args[0]](args[1:])


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0, 2 for bad input, 1 for a fault of the machine, 130 for Ctrl-C."""
    warnings.formatwarning = lambda message, *_: f"rclrec: warning: {message}\n"
    try:
        run(sys.argv[1:] if args is None else args)
    except InputError as error:
        print(f"rclrec: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"rclrec: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("rclrec: interrupted", file=sys.stderr)
        return 130
    return 0
