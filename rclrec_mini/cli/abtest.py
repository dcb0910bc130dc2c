"""The verb that runs an A/B test in a simulated shop."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rclrec_mini.checks import at_least
from rclrec_mini.cli.flags import parse


def abtest(args: Sequence[str]) -> None:
    """What methods are worth online, in orders and revenue of a simulated shop; resumed when started again."""
    from tyro import MISSING
    from tyro.conf import arg

    from rclrec_mini.online.abtest import ABTestConfig, run_abtest
    from rclrec_mini.online.arms import named
    from rclrec_mini.online.report import ReportConfig

    @dataclass(frozen=True, kw_only=True)
    class ABTest:
        data: Path
        """the simulated shop, the folder that simulate wrote, on which the runs were trained"""
        arms: tuple[str, ...]
        """what is compared: NAME=RUN, the folder of a trained run, or the name of a naive ranking: count, popularity,
        recent, cooccurrence, markov, nothing"""
        control: str
        """the arm that the others are compared with"""
        out: Path
        """the folder of the test; must not exist, be empty, or hold this test, to which other arms may be added"""
        workers: int = 1
        """processes that play arms side by side; 2 on two cores"""
        report: ReportConfig
        config: Annotated[ABTestConfig, arg(name="")]

        def __post_init__(self) -> None:
            at_least(self, 1, "workers")

    default = ABTest(
        data=MISSING, arms=MISSING, control=MISSING, out=MISSING, report=ReportConfig(), config=ABTestConfig()
    )
    options = parse(abtest, ABTest, args, default=default)
    result = run_abtest(
        options.config, options.data, named(options.arms), options.out, control=options.control,
        report=options.report, workers=options.workers,
    )  # fmt: skip
    print(f"{options.out}: {options.config.users:,} users, {options.config.days} days, against {options.control}")
    for name, arm in result["arms"].items():
        lift = arm.get("lift", {}).get("orders")
        words = f"{lift['lift']:+.2%} [{lift['low']:+.2%}, {lift['high']:+.2%}]" if lift else ""
        print(f"  {name:<16} {arm['per_user']['orders']:.4f} orders a user {words}")
    print(f"The report, with tests of all outcomes: {options.out / 'report.md'}")
