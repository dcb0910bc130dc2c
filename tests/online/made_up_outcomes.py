"""Outcomes of no shop: random numbers."""

import numpy as np

from rclrec_mini.online.outcomes import BEFORE, COUNTS, MONEY, TYPES, Outcomes


def made_up(*arms: str, users: int = 7, days: int = 3, seed: int = 0, before: int = 1) -> Outcomes:
    rng, early = np.random.default_rng(seed), np.random.default_rng(before)
    shape = (len(arms), users, days)
    values = {name: rng.integers(0, 5, shape).astype(TYPES[name]) for name in (*COUNTS, *MONEY)}
    values |= {name: early.integers(0, 9, users).astype(TYPES[name]) for name in BEFORE}
    return Outcomes(arms=arms, users=np.arange(users), made={"seed": seed}, **values)
