"""Figures, from results to pictures, and `Inspector`, which needs anywidget (the extra `book`) once it is asked for."""

from typing import Any

from rclrec_mini.views.style import use

use()


def __getattr__(name: str) -> Any:
    if name == "Inspector":
        from rclrec_mini.views.inspector import Inspector

        return Inspector
    raise AttributeError(f"module {__name__} has no attribute {name}")
