"""The checks of the sizes that models have in common."""

from typing import Any

from rclrec_mini.checks import at_least, check
from rclrec_mini.data.schema import BEHAVIORS

COUNTS = ("levels", "codes", "d", "heads", "layers", "encoder_layers", "decoder_layers", "ffn", "max_history")


def check_sizes(config: Any) -> None:
    """Raise FieldError for the first wrong one among the sizes that `config` has."""
    at_least(config, 1, *(name for name in (*COUNTS, "user_buckets", "behaviors") if hasattr(config, name)))
    at_least(config, 0, *(name for name in ("negatives", "max_prefix") if hasattr(config, name)))
    if hasattr(config, "heads"):
        check(config, heads=(config.d % config.heads == 0, f"a divisor of d, {config.d}"))
    if hasattr(config, "dropout"):
        check(config, dropout=(0 <= config.dropout < 1, "0 to below 1"))


def check_behaviors(config: Any) -> None:
    """Raise FieldError unless each behaviour of the data has an embedding of its own."""
    check(config, behaviors=(config.behaviors >= len(BEHAVIORS), f"{len(BEHAVIORS)} or more: {', '.join(BEHAVIORS)}"))
