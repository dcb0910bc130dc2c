"""Records read back: JSON objects whose keys and types are checked, and arrays of safetensors by their names; one line
of error for each that is not as it was written.

Types are those of Python: str, bool, int, float (an integer will do), None, unions and Literal of these, tuple[x, ...]
for an array, dict or dict[str, x] for an object, and object for anything.
"""

import codecs
import dataclasses
import json
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from rclrec_mini.files import InputError, parse_json, read_json

JSON_NAMES = {
    types.NoneType: "null",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    tuple: "an array",
    dict: "an object",
}
Kind = TypeVar("Kind")


def read_record(path: Path | str, keys: Mapping[str, Any], *, more: bool = False) -> dict[str, Any]:
    """Read a JSON object that has `keys`, each with a value of its type, and with `more` perhaps others.

    Raises:
        InputError: the file is missing, is not JSON, or is another value.
    """
    return checked(read_json(path), keys, str(path), more=more)


def checked(value: Any, keys: Mapping[str, Any], name: str, *, more: bool = False) -> dict[str, Any]:
    """`value` if it is an object with `keys`, named `name` in the message.

    Raises:
        InputError: it is not.
    """
    if not isinstance(value, dict):
        raise InputError(f"{name}: found {_shown(value)}, expected an object with the keys {', '.join(keys)}")
    for key, kind in keys.items():
        if key not in value:
            raise InputError(f"{name}: key {key} is missing")
        if not _fits(value[key], kind):
            raise InputError(f"{name}: key {key} is {_shown(value[key])}, expected {_named(kind)}")
    if (others := [key for key in value if key not in keys]) and not more:
        raise InputError(f"{name}: found the key {others[0]}, expected only {', '.join(keys)}")
    return value


def read_line(line: bytes, name: str, keys: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A line of a file of JSON lines as an object that has `keys` and perhaps others.

    Raises:
        InputError: it is not; the message begins with `name`.
    """
    return checked(parse_json(line, name), keys or {}, name, more=True)


def read_lines(path: Path | str) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines.

    Raises:
        InputError: the file is missing, or a line is no object; the message names it.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: file not found")
    text = Path(path).read_bytes()
    for number, line in enumerate(text.removeprefix(codecs.BOM_UTF8).splitlines(), start=1):
        yield read_line(line, f"{path}: line {number}")


def read_arrays(path: Path | str, *names: str) -> dict[str, np.ndarray]:
    """The arrays of a file of safetensors, `names` and perhaps others.

    Raises:
        InputError: the file is missing, is of another kind, or lacks one of them.
    """
    try:
        arrays = load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: file not found") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: expected safetensors, found {str(error).splitlines()[0]}") from None
    if lacking := [name for name in names if name not in arrays]:
        raise InputError(f"{path}: found {', '.join(sorted(arrays)) or 'no array'}, expected {lacking[0]}")
    return arrays


def as_dataclass(kind: type[Kind], value: Any, name: str, **made: Any) -> Kind:
    """The dataclass `kind` of its fields as JSON, those that are dataclasses too included; those `made` are taken as
    they are.

    Raises:
        InputError: a field is missing, unknown, of another type, or refused by the dataclass; the message names it.
    """
    types_ = typing.get_type_hints(kind)
    hints = {field.name: types_[field.name] for field in dataclasses.fields(kind) if field.name not in made}
    inner = {key for key, hint in hints.items() if dataclasses.is_dataclass(hint)}
    value = dict(checked(value, {key: dict if key in inner else hint for key, hint in hints.items()}, name))
    for key in inner:
        value[key] = as_dataclass(hints[key], value[key], f"{name}: {key}")
    value |= {key: tuple(found) for key, found in value.items() if isinstance(found, list)}
    try:
        return kind(**value, **made)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _fits(value: Any, kind: Any) -> bool:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is typing.Literal:
        return value in parts
    if origin is tuple:
        return isinstance(value, list | tuple) and all(_fits(one, parts[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(one, parts[1]) for one in value.values())
    if kind is object:
        return True
    return type(value) in ((int, float) if kind is float else (kind,))


def _named(kind: Any) -> str:
    parts = typing.get_args(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " or ".join(map(_named, parts))
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(map(str, parts))
    return JSON_NAMES[typing.get_origin(kind) or kind]


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
