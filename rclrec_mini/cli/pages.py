"""The verb that makes what pages are made of: export."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rclrec_mini.checks import FieldError
from rclrec_mini.cli.flags import parse
from rclrec_mini.cli.models import check_out_file


def export(args: Sequence[str]) -> None:
    """Models, their catalogue and some users in one file, from which a page answers without a server."""
    from tyro.conf import UseAppendAction

    from rclrec_mini.views.live.export import BEGINS, USERS, load_models, write_export
    from rclrec_mini.views.live.export import export as exported

    @dataclass(frozen=True, kw_only=True)
    class Export:
        run: Annotated[tuple[str, ...], UseAppendAction]
        """the folder that train wrote, of rclrec or pointing; again for each further model; NAME=DIR gives the model
        another name than its folder's"""
        data: Path
        """the data set that they were trained on, a folder"""
        out: Path
        """the file: NAME.json, or NAME.js, a script that also works in a page opened from a file"""
        users: int = USERS
        """users whose last purchase is the target, a sample that is always the same"""

    options = parse(export, Export, args)
    runs = by_name(options.run)
    kinds = {".json": b'{"format":', ".js": BEGINS.encode()}
    check_out_file(options.out, kinds, inputs=(*runs.values(), options.data))
    if options.users < 1:
        raise FieldError("users", f"found {options.users}, expected 1 or more")
    models, materials = load_models(runs, options.data)
    held = exported(models, materials, users=options.users)
    write_export(options.out, held)
    size = options.out.stat().st_size / 1e6
    print(f"{options.out}: {', '.join(models)}, {len(held['users'])} users, {size:.2f} MB")


def by_name(runs: Sequence[str]) -> dict[str, Path]:
    """Folders by the names of their models, from DIR or NAME=DIR."""
    named: dict[str, Path] = {}
    for text in runs:
        name, equals, folder = text.partition("=")
        if not equals or Path(text).exists():
            name, folder = Path(text).resolve().name, text
        if not name or name in named:
            found = f"{text} without a name" if not name else f"{name} twice"
            raise FieldError("run", f"found {found}, expected NAME=DIR, each with another name")
        named[name] = Path(folder)
    if not named:
        raise FieldError("run", "found none, expected at least 1")
    return named
