"""From the files of the original code to an ordinary diffusers folder, a module a format.

A format's `pipeline` is a pure function of a state dict and the options it was trained with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from antcli.errors import AntError
from antcli.sources.convert import adm, ldm, pesser
from antcli.sources.convert.folder import Pipeline, write_pipeline
from antcli.weights import read_checkpoint

Format = Literal["adm", "pesser", "ldm"]

_CONVERSIONS: dict[str, Callable[[Mapping[str, Tensor], Mapping[str, Any]], Pipeline]] = {
    "adm": adm.pipeline,
    "pesser": pesser.pipeline,
    "ldm": ldm.pipeline,
}


def convert(
    checkpoint: Path, format: Format, out: Path, architecture: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    """Write a checkpoint of the original code as the diffusers folder `out`, whole or not at all.

    `architecture` has options of the original code: those in `NEEDED` and `DEFAULTS` of the
    format's module and those that the shapes of the weights tell, which are checked. Returns the
    options that no weight tells, as they were stated or taken. Raises `AntError` where `out`
    exists, the file cannot be read, the weights do not fit, or an option that bears on the result
    is not known.
    """
    if out.exists():
        raise AntError(f"{out} exists already", "give another place, or remove it")
    if format not in _CONVERSIONS:
        raise AntError(f"there is no format {format!r}", f"known are {', '.join(_CONVERSIONS)}")
    state = read_checkpoint(checkpoint)
    try:
        pipeline = _CONVERSIONS[format](state, architecture or {})
    except (IndexError, RuntimeError, ArithmeticError) as error:  # of tensors of odd shapes
        raise AntError(
            f"{checkpoint} has weights of no {format} network: {error}",
            "check that it is the file you mean, and its format",
        ) from error
    write_pipeline(out, pipeline)
    return pipeline.assumed
