"""`ant evaluate checkpoints`: which step of a run to take."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from antcli.cli.console import json_result, result, say
from antcli.cli.evaluate.options import OwnTargetOption
from antcli.cli.evaluate.show import listening
from antcli.cli.options import DeviceOption, JsonOption, RunArgument
from antcli.errors import quoted


def checkpoints_command(
    run: RunArgument = None,
    take: Annotated[
        bool, typer.Option("--take", help="Make the step it names the run's weights.")
    ] = False,
    target: OwnTargetOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Score the checkpoints of a run on the same noise, and name the step to take.

    Uses what a user has: the source, the target's few images, samples. No held-out data.
    """
    from antcli.evaluation.checkpoints import score_checkpoints, take_step
    from antcli.evaluation.stopping import choose
    from antcli.runs.latest import find_run

    found = find_run(run, whole=False)
    with listening() as listener:
        scores = score_checkpoints(found, device, listener, target)
    choice = choose(scores, found.config().training.settles)
    if take and choice.step:
        take_step(found, choice)
    if as_json:
        json_result({"scores": [asdict(score) for score in scores], **asdict(choice)})
        return
    for score in scores:
        mark = " <- take this one" if score.step == choice.step else ""
        result(f"step {score.step}: {score}{mark}")
    result(f"take step {choice.step}: {choice.why}")
    result(f"curve: {found.curve}")
    if take and choice.step:
        say(f"the weights of {found.folder} are those of step {choice.step} now")
    elif choice.step not in (0, found.taken_step):
        say(f"next: ant evaluate checkpoints {quoted(found.folder)} --take")
