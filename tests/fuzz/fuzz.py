"""Mutated logs, damaged results and killed runs, from a seed: each case must end accepted-right or refused-named.

    python tests/fuzz/fuzz.py --cases 1000 --seed 0

accepted-right: the result equals what an independent reader finds, or what the undamaged files give. refused-named:
exit code 2, one line that names the file, and nothing left behind. Everything else is a failure; its line says how to
run that case alone.
"""

import argparse
import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import kills
import logs
import results
from tqdm import tqdm
from verdicts import WrongError

Case = Callable[[random.Random, Path], str]
FAMILIES: dict[str, tuple[int, Case]] = {  # how often each comes, and the case
    "text": (50, logs.text_case),
    "parquet": (12, logs.parquet_case),
    "gzip": (4, logs.gzip_case),
    "zip": (4, logs.zip_case),
    "result": (28, results.result_case),
    "kill": (2, kills.kill_case),
}


def draw(seed: int, number: int) -> tuple[str, random.Random]:
    """The family of a case, and what draws the rest of it."""
    rng = random.Random(f"{seed}/{number}")
    (name,) = rng.choices([*FAMILIES], [weight for weight, _ in FAMILIES.values()])
    return name, rng


def run_case(seed: int, number: int) -> tuple[str, str]:
    """The family of a case and its verdict, which is a message of a failure where it is neither of the two."""
    name, rng = draw(seed, number)
    with tempfile.TemporaryDirectory(prefix="rclrec-fuzz-") as folder:
        try:
            return name, FAMILIES[name][1](rng, Path(folder))
        except WrongError as error:
            return name, str(error)
        except Exception:  # a fault of this script
            return name, traceback.format_exc()


def run(cases: Iterable[int], seed: int) -> tuple[Counter, list[str]]:
    """Count verdicts by family; failures as lines."""
    counts, failures = Counter(), []
    for number in tqdm(cases, desc="fuzz", unit="case"):
        family, verdict = run_case(seed, number)
        known = verdict in ("accepted-right", "refused-named")
        counts[family, verdict if known else "FAILED"] += 1
        if not known:
            failures.append(f"--seed {seed} --only {number} ({family}): {verdict}")
            tqdm.write(failures[-1])
    return counts, failures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="run this one case")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=[*FAMILIES], help="leave others out")
    options = parser.parse_args()
    numbers = range(options.cases) if options.only is None else [options.only]
    numbers = [number for number in numbers if draw(options.seed, number)[0] in options.families]
    counts, failures = run(numbers, options.seed)
    for (family, verdict), number in sorted(counts.items()):
        print(f"{family:<10} {verdict:<15} {number:>6}")
    print(f"{counts.total()} cases, {len(failures)} failed")
    sys.exit(bool(failures))
