"""From flags to dataclasses, and from what is wrong with a field to a line that names its flag."""

import contextlib
import inspect
import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from rclrec_mini.checks import FieldError
from rclrec_mini.files import InputError

Options = TypeVar("Options")


def parse(verb: Callable, options: type[Options], args: Sequence[str], **keywords: Any) -> Options:
    """Read the flags of a verb into a dataclass.

    Raises:
        InputError: a flag is missing, unknown or has a bad value.
        SystemExit: with code 0, when the flags ask for help.
    """
    import tyro

    complaint = io.StringIO()
    name = verb.__name__.replace("_", "-")
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
        causes = list(_causes(stop))
        for cause in causes:
            if isinstance(cause, FieldError):
                raise with_flag(cause, args, owner=next(_owners(causes), "")) from None
        raise InputError(f"{name}: {first_of_box(complaint.getvalue())}; see rclrec {name} --help") from None


def peek(verb: Callable, options: type[Options], args: Sequence[str]) -> Options:
    """As `parse`, of some of a verb's flags, on which hangs what its others are; the others are not looked at."""
    return parse(verb, options, args, return_unknown_args=True, add_help=False)[0]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__context__


def _owners(causes: list[BaseException]) -> Iterator[str]:
    """Where tyro says that the config lies which refused its fields, such as `config.model.backbone`."""
    yield from (cause.arg for cause in causes if isinstance(getattr(cause, "arg", None), str))


def flag_of(field: str) -> str:
    """The flag that sets a field."""
    return f"--{field.replace('_', '-')}"


def with_flag(error: FieldError, args: Sequence[str], *, owner: str = "") -> InputError:
    """The same error with the flag in place of the field: of the flags in `args` that end in its name the one that
    belongs to `owner`, else the first, and where none was given the one that would set it."""
    owner = re.sub(r"^(config|shop)(\.|$)", "", owner)  # the fields that hold a verb's config
    field = error.field.replace("_", "-")
    full = flag_of(f"{owner}.{field}" if owner else field)
    given = [arg.split("=")[0].replace("_", "-") for arg in args if arg.startswith("--")]
    alike = [flag for flag in given if f".{flag.removeprefix('--')}".endswith(f".{field}")]
    return InputError(f"{full if full in alike else (alike or [full])[0]}: {error.words}")


def first_of_box(text: str) -> str:
    """The first part of tyro's boxed message, and the part that tells of unknown flags, on one line."""
    lines = [line.strip("│ ") for line in text.splitlines() if not line.startswith(("╭", "╰"))]
    parts = [re.sub(r"\s+", " ", part).strip().rstrip(".") for part in re.split("─+", " ".join(lines))]
    return "; ".join([parts[0], *(part for part in parts[1:] if part.startswith("Unrecognized"))])
