"""`ant evaluate`: how good an adapted model is."""

from __future__ import annotations

from collections.abc import Callable

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
from antcli.cli.options import naming_options

evaluate_app = typer.Typer(no_args_is_help=True, help="Measure an adapted model.")


@evaluate_app.callback()
def _evaluate() -> None:
    """Measure an adapted model, or a folder of images."""


_COMMANDS: dict[str, Callable[..., None]] = {
    "intra-lpips": intra_lpips_command,
    "fid": fid_command,
    "kid": kid_command,
    "prdc": prdc_command,
    "memorization": memorization_command,
    "all": all_command,
    "checkpoints": checkpoints_command,
    "report": report_command,
    "compare": compare_command,
}
for _name, _command in _COMMANDS.items():
    evaluate_app.command(_name)(naming_options(_command))
