"""Users and items described: by a file of their own, and by what the log says of them."""

from functools import reduce
from operator import or_
from typing import Any

import ibis
import pyarrow as pa

from rclrec_mini.data.columns import shown
from rclrec_mini.data.engines import Engine, count
from rclrec_mini.data.raw_logs import Inputs, Part, read_kept
from rclrec_mini.files import InputError


def describe(
    engine: Engine, inputs: Inputs, log: ibis.Table, numbered: ibis.Table, schema: pa.Schema
) -> tuple[ibis.Table, dict[str, Any]]:
    """The table ITEMS or USERS of the numbered items or users, sorted by number, and notes for the manifest.

    Raises:
        InputError: something in their own file is wrong, or the log tells two values of one item where it must not.
    """
    key = schema.names[0]
    part = inputs.items if key == "item" else inputs.users
    described, notes = _from_file(engine, part, numbered, key)
    names = [name for name in schema.names[2:] if name in log.columns]
    if names:
        told, conflicts = _from_log(engine, inputs, log, numbered, key, names)
        described = described.left_join(told, key)
        notes |= {"missing": notes["missing"] if part else 0} | ({} if inputs.one_value else {"conflicts": conflicts})
    return _as_contract(described, schema, inputs.prefix if key == "user" else ""), notes


def _from_file(engine: Engine, part: Part | None, numbered: ibis.Table, key: str) -> tuple[ibis.Table, dict[str, Any]]:
    """The numbered users or items with what their own file says: of several rows of one id, the first."""
    if part is None:
        return numbered, {"dropped": {}, "missing": count(engine, numbered)}
    described = read_kept(engine, part)
    known = described.semi_join(numbered, key)
    nth = ibis.row_number().over(group_by=known[key], order_by=known.row)
    first = engine.keep(known.mutate(nth=nth).filter(ibis._.nth == 0).drop("nth", "row"))
    n_described, n_known, n_first = (count(engine, table) for table in (described, known, first))
    dropped = {f"{key}_rows_not_in_log": n_described - n_known, f"{key}_rows_repeated": n_known - n_first}
    for column in part.layout.columns:
        if column.lenient:
            dropped[f"{key}_{column.name}_unreadable"] = count(engine, first.filter(first[f"{column.name}_lost"]))
    notes = {
        "dropped": dropped,
        "missing": count(engine, numbered) - n_first,
    }
    return numbered.left_join(first, key).drop(f"{key}_right"), notes


def _from_log(
    engine: Engine, inputs: Inputs, log: ibis.Table, numbered: ibis.Table, key: str, names: list[str]
) -> tuple[ibis.Table, dict[str, int]]:
    """The lowest value that the log tells of each user or item, and how many have more than one."""
    lowest = {name: log[name].min() for name in names}
    highest = {f"{name}_highest": log[name].max() for name in names}
    found = engine.keep(log.group_by(key).aggregate(**lowest, **highest)).semi_join(numbered, key)
    differ = found.filter(reduce(or_, (found[name] != found[f"{name}_highest"] for name in names)))
    conflicts = count(engine, differ)
    if conflicts and inputs.one_value:
        one = engine.first(differ.order_by(key))
        name = next(name for name in names if one[name] != one[f"{name}_highest"])
        values = " and ".join(shown(str(one[column])) for column in (name, f"{name}_highest"))
        advice = f"expected one value for each {key} (--columns {name}= leaves the column out)"
        raise InputError(f"{inputs.log}: {key} {shown(str(one[key]))}: {name}: found {values}, {advice}")
    return found.select(key, *names), {f"{key}s": conflicts}


def _as_contract(table: ibis.Table, schema: pa.Schema, prefix: str) -> ibis.Table:
    """The columns of `schema`, sorted by number; those that the source does not have are null."""
    key = schema.names[0]
    raw_id = table[key].cast("string")
    columns = {key: table.number, "raw_id": ibis.literal(prefix) + raw_id if prefix else raw_id}
    for field in schema:
        if field.name not in columns:
            kind = "float64" if field.type == pa.float64() else "string"
            known = field.name in table.columns
            columns[field.name] = table[field.name].cast(kind) if known else ibis.null(kind)
    return table.select(**columns).order_by(key)
