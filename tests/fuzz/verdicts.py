"""One case of the fuzz script: a call of the command, and whether it ended as it may."""

import contextlib
import io
import signal
import traceback
from collections.abc import Iterator
from pathlib import Path

from rclrec_mini.cli import main

ACCEPTED, REFUSED = "accepted-right", "refused-named"
SECONDS = 120  # for one call, after which it is taken to hang


class WrongError(Exception):
    """A case that ended as none may; the message says how."""


def _hang(*_) -> None:
    raise WrongError(f"no end within {SECONDS} seconds")


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    old = signal.signal(signal.SIGALRM, _hang)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def call(*args: str | Path) -> tuple[int, str, list[str]]:
    """Run the command in this process: its exit code, its output, and its lines of errors without progress bars."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _limited():
        try:
            code = main([str(arg) for arg in args])
        except (Exception, SystemExit):
            raise WrongError(f"a traceback: {traceback.format_exc()[-1500:]}") from None
    lines = [line.split("\r")[-1] for line in err.getvalue().split("\n")]
    return code, out.getvalue(), [line for line in lines if line.strip() and "%|" not in line and "it/s" not in line]


def check_refusal(code: int, out: str, errors: list[str], names: list[str]) -> str:
    """REFUSED, if the command said in one line what is wrong with a file of one of these names."""
    if code != 2:
        raise WrongError(f"exit code {code}: {errors}")
    if len(errors) != 1 or not errors[0].startswith("rclrec: "):
        raise WrongError(f"expected one line, found {errors}")
    if len(errors[0]) > 1_000:
        raise WrongError(f"a line of {len(errors[0])} characters: {errors[0][:300]}")
    if not any(name in errors[0] for name in names):
        raise WrongError(f"none of {names} is named: {errors[0]}")
    if out:
        raise WrongError(f"refused, and yet printed {out[:200]!r}")
    return REFUSED


def check_contents(folder: Path, expected: set[str]) -> None:
    """Nothing but these files and folders is left behind."""
    left = {path.name for path in folder.iterdir()} - expected
    if left:
        raise WrongError(f"left behind: {sorted(left)}")
