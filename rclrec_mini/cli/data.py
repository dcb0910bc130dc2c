"""The verbs that make data: simulate, prepare, tokenize."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rclrec_mini.cli.flags import parse, peek
from rclrec_mini.files import InputError


def counts(out: Path, manifest: dict[str, Any]) -> str:
    """One line for people about a data set that was written."""
    return f"{out}: " + ", ".join(f"{number:,} {name}" for name, number in manifest["counts"].items())


def simulate(args: Sequence[str]) -> None:
    """Simulate a shop whose truth is known, as a prepared data set or as a raw log."""
    from tyro import MISSING
    from tyro.conf import OmitArgPrefixes

    from rclrec_mini.data.raw_writers import WRITERS, write_raw
    from rclrec_mini.data.shop_config import PRESETS, ShopConfig, preset
    from rclrec_mini.data.simulate import sized, write_prepared

    @dataclass(frozen=True, kw_only=True)
    class Simulate:
        out: Path
        """the folder to write; must not exist or be empty, unless overwrite"""
        preset: Literal[tuple(PRESETS)] = "mini"
        """size of the shop: tiny (seconds), mini (the book's) or full (for a GPU); the flags below change one knob"""
        format: Literal["prepared", *WRITERS] = "prepared"
        """prepared: ready for tokenize and train; else a raw log in the text format of that source, for prepare;
        amazon2018 and yelp: a review for each purchase, and nothing else"""
        rows: int | None = None
        """about how many interactions to simulate, by the number of users; default: as many as the preset makes"""
        zipped: bool = False
        """pack the files of ijcai15 into one zip"""
        overwrite: bool = False
        """replace the output folder if it holds an earlier result of this verb, and nothing else"""
        shop: OmitArgPrefixes[ShopConfig]

    @dataclass(frozen=True)
    class Size:
        preset: Literal[tuple(PRESETS)] = "mini"

    size = peek(simulate, Size, args)
    options = parse(simulate, Simulate, args, default=Simulate(out=MISSING, shop=preset(size.preset)))
    shop = options.shop if options.rows is None else sized(options.shop, rows=options.rows)
    output = {"overwrite": options.overwrite, "progress": True}
    if options.format != "prepared":
        written = write_raw(shop, options.out, format=options.format, zipped=options.zipped, **output)
    elif options.zipped:
        raise InputError("--zipped: expected only with --format ijcai15")
    else:
        written = write_prepared(shop, options.out, **output)
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
        """replace the output folder if it holds an earlier result of this verb, and nothing else"""
        config: OmitArgPrefixes[TokenizeConfig] = field(default_factory=TokenizeConfig)

    options = parse(tokenize, Tokenize, args)
    catalog = run(options.data, options.config, options.out, overwrite=options.overwrite)
    items, levels = catalog.codes.shape
    print(f"{options.out}: {items:,} items, {levels} levels of {catalog.n_codes} codes")
