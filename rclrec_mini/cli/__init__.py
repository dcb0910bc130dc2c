"""The command `rclrec`: one verb for each step of the journey, each a thin face over a function that a notebook calls.

A verb imports what it needs when it runs, so that `rclrec --help` answers at once.
"""

import inspect
import sys
import warnings
from collections.abc import Sequence

from rclrec_mini import __version__
from rclrec_mini.checks import FieldError
from rclrec_mini.cli.abtest import abtest
from rclrec_mini.cli.data import prepare, simulate, tokenize
from rclrec_mini.cli.flags import with_flag
from rclrec_mini.cli.models import evaluate, recommend, reproduce, train
from rclrec_mini.cli.pages import export
from rclrec_mini.cli.post_train import post_train
from rclrec_mini.files import InputError

JOURNEY = (simulate, prepare, tokenize, train, post_train, evaluate, recommend, reproduce, abtest, export)
VERBS = {verb.__name__.replace("_", "-"): verb for verb in JOURNEY}


def usage() -> str:
    about = {name: " ".join(inspect.getdoc(verb).split("\n\n")[0].split()) for name, verb in VERBS.items()}
    verbs = "\n".join(f"  {name:<10} {words}" for name, words in about.items())
    return f"usage: rclrec VERB [OPTIONS]\n\n{verbs}\n\nrclrec VERB --help lists its options with units and defaults."


def run(args: Sequence[str]) -> None:
    if not args or args[0] in ("-h", "--help"):
        print(usage())
    elif args[0] == "--version":
        print(f"rclrec_mini {__version__}")
    elif args[0] not in VERBS:
        raise InputError(f"found {args[0]!r}, expected one of {', '.join(VERBS)}")
    else:
        try:
            VERBS[args[0]](args[1:])
        except FieldError as error:
            raise with_flag(error, args[1:]) from None


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
