"""Checks of a config's fields, for its `__post_init__`: a wrong value is refused before any work starts."""

import math
from typing import Any

from rclrec_mini.files import InputError

MAX_SEED = 2**63 - 1


class FieldError(InputError):
    """A field of a config holds a wrong value. The message begins with the field's name, in the place of which the
    command line puts the flag."""

    def __init__(self, field: str, words: str):
        super().__init__(f"{field}: {words}")
        self.field, self.words = field, words

    def __reduce__(self) -> tuple:  # else it could not come back from another process
        return FieldError, (self.field, self.words)


def check(config: Any, **expected: tuple[bool, str]) -> None:
    """Raise FieldError for the first field that is not as it should: field=(whether it is, what is expected)."""
    for name, (fine, words) in expected.items():
        if not fine:
            raise FieldError(name, f"found {getattr(config, name)!r}, expected {words}")


def within(config: Any, low: float, high: float, *names: str) -> None:
    """Raise FieldError for the first of these fields that is neither None nor a number from `low` to `high`."""
    words = f"{low} or more" if high == math.inf else f"{low}..{high}"
    for name in names:
        value = getattr(config, name)
        check(config, **{name: (value is None or (low <= value <= high and value < math.inf), words)})


def at_least(config: Any, low: float, *names: str) -> None:
    """`within` without an upper end."""
    within(config, low, math.inf, *names)


def positive(config: Any, *names: str) -> None:
    """Raise FieldError for the first of these fields that is not a number above 0."""
    check(config, **{name: (0 < getattr(config, name) < math.inf, "more than 0") for name in names})
