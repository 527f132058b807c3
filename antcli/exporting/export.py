"""From a finished run to a folder for another program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diffusers import ModelMixin
from torch import Tensor

from antcli.artifacts import replacing_parts, save_tensors
from antcli.diffusion.sampler import FewSteps
from antcli.errors import AntError
from antcli.exporting.card import Card
from antcli.exporting.low_rank import check_has_readers, kohya_tensors, lora_tensors
from antcli.exporting.pipeline_folder import check_has_pipeline, write_pipeline
from antcli.exporting.ungated import Change, change_by_ungating
from antcli.methods.trainable.denoiser import Denoiser
from antcli.methods.trainable.lora import LoraDenoiser
from antcli.runs.adapted import (
    asked_labels,
    check_run_source,
    images_apart,
    load_adapted,
    may_be_asked,
)
from antcli.runs.run import Run
from antcli.sources.source import Source

Format = Literal["diffusers", "lora", "kohya"]
LORA_FILE = "pytorch_lora_weights.safetensors"
"""The name that diffusers looks for."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    change: Change | None
    """By the run's limit in t, which was left out; None: it has none."""
    remarks: tuple[str, ...] = ()
    """Of its condition."""


def export_run(
    run: Run,
    format: Format = "diffusers",
    out: Path | None = None,
    *,
    ungated: bool = False,
    force: bool = False,
    device: str = "auto",
    condition: str = "",
) -> Exported:
    """Write a finished run for another program, whole or not at all, with its model card.

    `diffusers` is a pipeline's folder with what was trained merged into the network, `lora` and
    `kohya` are one file of low-rank additions. Without `out` it goes to RUN/exports/FORMAT. Raises
    `AntError` where something is there already, where what was trained has no such form, and
    where the run has a limit in t, which no such file can say, unless it may be `ungated`.
    """
    folder = out or run.exports / (f"{format}-{condition}" if condition else format)
    _check_place(folder, force)
    source = check_run_source(run)
    if format == "diffusers":
        check_has_pipeline(source, run.sampler)
    else:
        check_has_readers(source)
    asked = _asked(run, condition, format)
    network = load_adapted(run, source, condition=asked)
    unet = _merged(network, run, asked)
    if format != "diffusers" and isinstance(network.sampler, FewSteps):
        raise AntError(
            f"what was distilled in {run.folder} lies over an adapted network, and {format} files "
            "lie over the source's",
            "`ant export --format diffusers` writes the whole model",
            exit_code=2,
        )
    if format != "diffusers" and not isinstance(network, LoraDenoiser):
        raise AntError(
            f"no low-rank additions were trained in {run.folder}, and {format} files hold no other",
            "`ant export --format diffusers` writes the whole model",
            exit_code=2,
        )
    change = None
    if network.limit is not None:
        change = change_by_ungating(network, unet, source, device)
        if not ungated:
            raise _has_limit(run, change)
    card = Card(run, source, format, change, condition)
    with replacing_parts(folder) as temporary:
        _writer(format, network, unet, source, card)(temporary)
        (temporary / "README.md").write_text(card.text(), encoding="utf-8")
    known = may_be_asked(run)
    return Exported(folder, change, () if known is None else tuple(known.remarks(condition)))


def _writer(
    format: Format, network: Denoiser, unet: ModelMixin, source: Source, card: Card
) -> Callable[[Path], None]:
    if format == "diffusers":
        return lambda folder: write_pipeline(folder, source, unet, card.run.sampler)
    assert isinstance(network, LoraDenoiser)
    tensors = lora_tensors(network)
    if format == "lora":
        return lambda folder: save_tensors(folder / LORA_FILE, tensors, card.metadata())
    file, kohya = card.kohya_file, kohya_tensors(tensors)
    return lambda folder: save_tensors(folder / file, kohya, card.metadata())


def _check_place(folder: Path, force: bool) -> None:
    if folder.is_file():
        raise AntError(f"{folder} is a file", "choose another `out`", exit_code=2)
    if not force and folder.is_dir() and any(folder.iterdir()):
        raise AntError(
            f"{folder} exists already", "choose another `out`, or write over it with `force`"
        )


def _asked(run: Run, condition: str, format: Format) -> Tensor | None:
    """What the network is told of a condition; None where the run has not several."""
    known = may_be_asked(run)
    if known is None:
        asked_labels(run, (), condition)
        return None
    if not condition or known.depends_on_seed(condition):
        apart = bool(images_apart(run))
        single = known.of_images if apart else known.shown
        raise AntError(
            f"{run.folder} has several conditions, and a {format} export holds one"
            + ("; here each image is a condition of its own" if apart else ""),
            f"say which with `condition`: {', '.join(single)}, or a mixture"
            + (", or adapt with `apart = false` in `[counterparts]`" if apart else ""),
            exit_code=2,
        )
    if format != "diffusers":
        raise AntError(
            f"a condition is a vector beside the embedding of t, which {format} files cannot hold",
            "`ant export --format diffusers` writes the whole model",
            exit_code=2,
        )
    return known.label(condition)


def _merged(network: Denoiser, run: Run, condition: Tensor | None) -> ModelMixin:
    unet = network.merged(condition) if network.beneath is None else None
    if unet is None:
        raise AntError(
            f"what was trained in {run.folder} are modules beside the network, as adaptors are: "
            "they merge into no weights of it, and no other program knows them",
            f"in Python, `antcli.load({str(run.folder)!r})` is a pipeline of diffusers that draws "
            "what `ant sample` draws",
        )
    return unet


def _has_limit(run: Run, change: Change) -> AntError:
    return AntError(
        f"{run.folder} is adapted below {change.limit} only, which no such file can say; without "
        f"this limit, {change.told}",
        f"`antcli.load({str(run.folder)!r})` keeps the limit, in Python; `ungated` exports "
        "without it",
        exit_code=2,
    )
