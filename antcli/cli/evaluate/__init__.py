"""`ant evaluate`: how good an adapted model is."""

from __future__ import annotations

import typer

from antcli.cli.evaluate.checkpoints import checkpoints_command
from antcli.cli.evaluate.metrics import (
    all_command,
    fid_command,
    intra_lpips_command,
    kid_command,
    memorization_command,
    prdc_command,
)
from antcli.cli.evaluate.report import compare_command, report_command

evaluate_app = typer.Typer(no_args_is_help=True, help="Measure an adapted model.")


@evaluate_app.callback()
def _evaluate() -> None:
    """Measure an adapted model, or a folder of images."""


evaluate_app.command("intra-lpips")(intra_lpips_command)
evaluate_app.command("fid")(fid_command)
evaluate_app.command("kid")(kid_command)
evaluate_app.command("prdc")(prdc_command)
evaluate_app.command("memorization")(memorization_command)
evaluate_app.command("all")(all_command)
evaluate_app.command("checkpoints")(checkpoints_command)
evaluate_app.command("report")(report_command)
evaluate_app.command("compare")(compare_command)
