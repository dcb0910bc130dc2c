"""The verb that teaches a trained model from what it would recommend."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from rclrec_mini.cli.flags import parse, peek


def post_train(args: Sequence[str]) -> None:
    """Go on with a trained generative model: reinforcement with verifiable rewards (ReRe), or S-DPO; resumed when
    started again with the same flags."""
    from tyro import MISSING
    from tyro.conf import arg

    from rclrec_mini.experiments.post_train import OBJECTIVES, PostTrainConfig, post_train_run
    from rclrec_mini.training.run_folder import first_process

    @dataclass(frozen=True)
    class Kind:
        method: Literal[tuple(OBJECTIVES)] = "rere"

    kind = peek(post_train, Kind, args)
    objective = OBJECTIVES[kind.method]

    @dataclass(frozen=True, kw_only=True)
    class PostTrain:
        method: Literal[tuple(OBJECTIVES)] = "rere"
        """what the model learns from; its settings are the flags that begin with objective"""
        run: Path
        """the folder that train wrote, of a model that writes semantic ids"""
        data: Path
        """the data set it was trained on, a folder"""
        out: Path
        """the folder of the new run; must not exist, be empty, or hold this very run"""
        judge: Path | None = None
        """the folder of a trained SASRec or alike, for --objective.reward.collaborative alone"""
        config: Annotated[PostTrainConfig[objective], arg(name="")]

    default = PostTrain(run=MISSING, data=MISSING, out=MISSING, config=PostTrainConfig(objective=objective()))
    options = parse(post_train, PostTrain, args, default=default)
    post_train_run(options.config, options.run, options.data, options.out, judge=options.judge)
    if first_process():
        print(f"{options.out}: trained, ready for rclrec evaluate --run {options.out} --data {options.data}")
