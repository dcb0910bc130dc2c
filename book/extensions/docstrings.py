"""A Sphinx extension: the library's docstrings, plain text with Google's sections, as reStructuredText."""

import inspect
import re
from typing import Any

from sphinx.application import Sphinx

MARKUP = re.compile(r"[*|\\]|(?<=\w)_(?!\w)")  # what would be more than text
FIELD = re.compile(r"^    (\w+): .*?  # (.+)$", re.M)  # of a dataclass or a named tuple
SECTIONS = ("Args:", "Returns:", "Raises:", "Yields:")


def as_rst(lines: list[str]) -> list[str]:
    """Indented blocks are shown as they are, `code` is code, and what else would be markup is text.

    Sections of Google style are left to napoleon, but for their code.
    """
    out, literal, section, bullet = [], False, False, False
    for number, line in enumerate(lines):
        indented = line.startswith(" ")
        if line in SECTIONS:
            section = True
        elif line and not indented:
            section = False
        bullet = line.startswith("- ") or (bullet and (indented or not line))
        if indented and not section and not bullet:
            if not literal:
                out += ["" for _ in range(bool(out and out[-1]))] + [".. code-block:: text", ""]
                literal = True
            out.append("   " + line)
            continue
        if literal and line:
            literal = False
            out += [""] if out[-1] else []
        if literal:
            out.append(line)
            continue
        text = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line)
        pieces = re.split(r"(``[^`]*``)", text)
        out.append("".join(one if one.startswith("``") else MARKUP.sub(r"\\\g<0>", one) for one in pieces))
        if text.startswith("- ") and number and lines[number - 1] and not lines[number - 1].startswith(("- ", " ")):
            out.insert(-1, "")  # a list begins after an empty line
    return out


def field_comments(thing: type) -> list[str]:
    """The fields of a class that have a comment at the end of their line, as the parameters that they are."""
    fields = vars(thing).get("__annotations__", {})
    found = FIELD.findall(inspect.getsource(thing)) if fields else []
    return [f":param {name}: {text}" for name, text in found if name in fields]


def clean(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = as_rst([*lines, "", *field_comments(thing)] if what == "class" else lines)


def skip(app: Sphinx, what: str, name: str, thing: Any, skipped: bool, options: Any) -> bool | None:
    """Fields of named tuples have no text but their number; the signature names them."""
    return True if (getattr(thing, "__doc__", None) or "").startswith("Alias for field number") else None


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", clean, priority=100)  # before napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}
