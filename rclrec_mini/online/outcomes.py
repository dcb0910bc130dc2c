"""What every arm of a test would have done with every user: potential outcomes, which only a simulated shop can tell.

Per arm, user and day (A, U, D):

    visits, clicks             sessions, each of which shows a slate, and the clicks on slates
    organic_orders             what the user would have bought with no slate at all, on the day of that purchase
    cancelled                  those of them that a slate's order made needless, on the day of the lost purchase
    slate_orders               orders from slates, each of one of three kinds, on the day of the order:
      cannibalised               it cancels an organic purchase of the test's days
      pulled_forward             it cancels one that would have come after the test
      incremental                all others

So orders = organic_orders - cancelled + slate_orders on every day, and over the test's days a user has as many
cancelled orders as cannibalised ones. `..._revenue` are the same in money, at the price of the item that was, or would
have been, bought.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from rclrec_mini.files import InputError, Result, sha256, whole_folder, write_json
from rclrec_mini.records import read_arrays, read_record

COUNTS = ("visits", "clicks", "organic_orders", "cancelled", "slate_orders", "cannibalised", "pulled_forward")
MONEY = tuple(f"{name}_revenue" for name in ("organic", "cancelled", "slate", "cannibalised", "pulled_forward"))
BEFORE = ("events_before", "orders_before", "revenue_before")
TYPES = {
    **dict.fromkeys(COUNTS, np.uint8), **dict.fromkeys(MONEY, np.float32),
    "events_before": np.int32, "orders_before": np.int32, "revenue_before": np.float64,
}  # fmt: skip
DERIVED = {  # sums of fields, those with a minus taken away
    "orders": ("organic_orders", "-cancelled", "slate_orders"),
    "revenue": ("organic_revenue", "-cancelled_revenue", "slate_revenue"),
    "incremental": ("slate_orders", "-cannibalised", "-pulled_forward"),
    "incremental_revenue": ("slate_revenue", "-cannibalised_revenue", "-pulled_forward_revenue"),
}
OUTCOMES = Result("outcomes of a test", "outcomes.json", frozenset({"outcomes.json", "outcomes.safetensors"}))
RECORD = {"result": str, "arms": tuple[str, ...], "sha256": str, "made": dict}


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Potential outcomes of A arms on U users over D days.

    Args:
        arms: their names.
        users: the users' numbers (U,).
        visits: this and the others of COUNTS (A, U, D) uint8, of MONEY (A, U, D) float32, see above.
        events_before: this and the others of BEFORE (U,), what the user did in the days of the log before the test.
        made: provenance as JSON values.
        bucket: the arm of each user (U,), where the arms learned from each other's users and so each user lived under
            one arm only; the values of the other arms are 0. None: all arms are known for all users.
    """

    arms: tuple[str, ...]
    users: np.ndarray
    visits: np.ndarray
    clicks: np.ndarray
    organic_orders: np.ndarray
    cancelled: np.ndarray
    slate_orders: np.ndarray
    cannibalised: np.ndarray
    pulled_forward: np.ndarray
    organic_revenue: np.ndarray
    cancelled_revenue: np.ndarray
    slate_revenue: np.ndarray
    cannibalised_revenue: np.ndarray
    pulled_forward_revenue: np.ndarray
    events_before: np.ndarray
    orders_before: np.ndarray
    revenue_before: np.ndarray
    made: dict[str, Any]
    bucket: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = (len(self.arms), len(self.users), self.visits.shape[-1])
        for name, kind in TYPES.items():
            array, expected = getattr(self, name), shape[1:2] if name in BEFORE else shape
            if array.shape != expected or array.dtype != kind:
                found = f"{array.dtype} {array.shape}"
                raise InputError(f"outcomes: {name} is {found}, expected {np.dtype(kind)} {expected}")
        if self.bucket is not None and self.bucket.shape != shape[1:2]:
            raise InputError(f"outcomes: bucket is {self.bucket.shape}, expected {shape[1:2]}")

    @property
    def days(self) -> int:
        return self.visits.shape[-1]

    def of(self, name: str) -> np.ndarray:
        """One of DERIVED, COUNTS or MONEY, summed over the days: (A, U) float64."""
        if name not in (known := (*DERIVED, *COUNTS, *MONEY)):
            raise InputError(f"outcomes: found {name}, expected one of {', '.join(known)}")
        found = np.zeros(self.visits.shape[:2])
        for field in DERIVED.get(name, (name,)):
            total = getattr(self, field.removeprefix("-")).sum(axis=-1, dtype=float)
            found += -total if field.startswith("-") else total
        return found

    def until(self, days: int) -> "Outcomes":
        """The same test ended after its first `days` days."""
        cut = {name: getattr(self, name)[:, :, :days] for name in (*COUNTS, *MONEY)}
        return dataclasses.replace(self, **cut)

    def arm(self, name: str) -> int:
        """The place of an arm.

        Raises:
            InputError: there is no such arm.
        """
        if name not in self.arms:
            raise InputError(f"arm {name}: expected one of {', '.join(self.arms)}")
        return self.arms.index(name)

    def save(self, out: Path | str, *, overwrite: bool = False) -> None:
        """Write the folder `out`, whole or not at all.

        Raises:
            InputError: `out` holds something, and `overwrite` is false or it is no such result.
        """
        tensors = {name: getattr(self, name) for name in TYPES} | {"users": self.users.astype(np.int64)}
        if self.bucket is not None:
            tensors["bucket"] = self.bucket.astype(np.int64)
        with whole_folder(out, OUTCOMES, overwrite=overwrite) as folder:
            path = folder / "outcomes.safetensors"
            save_file({name: np.ascontiguousarray(values) for name, values in tensors.items()}, path)
            record = {"result": OUTCOMES.title, "arms": list(self.arms), "sha256": sha256(path), "made": self.made}
            write_json(folder / OUTCOMES.record, record)

    @classmethod
    def load(cls, folder: Path | str) -> "Outcomes":
        """Read what `save` wrote.

        Raises:
            InputError: a file is missing or is not what was written.
        """
        record = read_record(Path(folder) / OUTCOMES.record, RECORD)
        path = Path(folder) / "outcomes.safetensors"
        arrays = read_arrays(path)
        if sha256(path) != record["sha256"]:
            raise InputError(f"{path}: found other bytes than were written: its SHA-256 is not that in outcomes.json")
        try:
            return cls(arms=tuple(record["arms"]), made=record["made"], **arrays)
        except (TypeError, InputError) as error:
            raise InputError(f"{path}: {error}") from None


def stack(parts: Sequence[Outcomes]) -> Outcomes:
    """The outcomes of several arms on the same users, played one by one, as one; `made` is that of the first.

    Raises:
        InputError: users, days or what came before differ, or an arm is there twice.
    """
    first = parts[0]
    for part in parts[1:]:
        for name in ("users", *BEFORE):
            if not np.array_equal(getattr(part, name), getattr(first, name)):
                raise InputError(f"outcomes of {part.arms[0]}: found other {name} than {first.arms[0]} has")
        if part.days != first.days:
            raise InputError(f"outcomes of {part.arms[0]}: found {part.days} days, {first.arms[0]} has {first.days}")
    arms = tuple(arm for part in parts for arm in part.arms)
    if twice := next((arm for n, arm in enumerate(arms) if arm in arms[:n]), None):
        raise InputError(f"outcomes of {twice}: found twice, expected once")
    values = {name: np.concatenate([getattr(part, name) for part in parts]) for name in (*COUNTS, *MONEY)}
    return dataclasses.replace(first, arms=arms, **values)
