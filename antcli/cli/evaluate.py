"""`ant evaluate`: how good an adapted model is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from antcli.cli.console import Bar, json_result, result, say
from antcli.cli.options import DeviceOption, JsonOption, RunArgument, SeedOption

if TYPE_CHECKING:
    from antcli.evaluation.intra_lpips import IntraLpips
    from antcli.evaluation.lpips import LpipsFeatures
    from antcli.evaluation.samples import SamplingPlan
    from antcli.images.folder import ImageFiles

evaluate_app = typer.Typer(no_args_is_help=True, help="Measure an adapted model.")


@evaluate_app.callback()
def _evaluate() -> None:
    """Measure an adapted model, or a folder of images."""


@evaluate_app.command("intra-lpips")
def intra_lpips_command(
    run: RunArgument = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Measure the images of this folder instead of a run's samples."),
    ] = None,
    target: Annotated[
        Path | None,
        typer.Option(help="Folder with the target's images. [default: those of the run]"),
    ] = None,
    count: Annotated[int, typer.Option("-n", min=2, help="How many samples of the run.")] = 1000,
    net: Annotated[Literal["vgg", "alex", "squeeze"], typer.Option(help="LPIPS's trunk.")] = "vgg",
    trunk_weights: Annotated[
        Path | None,
        typer.Option(help="The trunk's weights, where torchvision's cannot be downloaded."),
    ] = None,
    protocol: Annotated[
        Literal["cdc", "crdi"], typer.Option(help="Which published code it agrees with.")
    ] = "cdc",
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Diversity within the clusters around the target's images: higher is more diverse.

    A source that is not adapted at all scores high too: look at the samples as well.
    """
    from antcli.errors import AntError
    from antcli.evaluation.intra_lpips import intra_lpips
    from antcli.evaluation.lpips import check_trunk, load_lpips
    from antcli.images.folder import ImageFiles, check_folder
    from antcli.training.devices import resolve_device

    if images is not None and run is not None:
        raise AntError("both RUN and --images are given", "give one of them", exit_code=2)
    if images is not None and target is None:
        raise AntError("--images needs --target", "name the target's folder too", exit_code=2)
    plan = None if images is not None else _plan(run, count)
    centres = ImageFiles(check_folder(target or _target_of(plan)))
    generated = ImageFiles(check_folder(images)) if images is not None else None
    where = resolve_device(device)
    check_trunk(net, trunk_weights)
    if plan is not None:
        generated = _drawn(plan, device)
    assert generated is not None
    features: LpipsFeatures = load_lpips(net, trunk_weights).to(where)
    with Bar() as bar:
        done = 0

        def advance(batch: int) -> None:
            nonlocal done
            done += batch
            bar.update("measuring", done, len(generated))

        names = [path.name for path in centres.paths]
        found = intra_lpips(
            generated, centres, names, features, protocol=protocol, seed=seed, advance=advance
        )
    if as_json:
        json_result(found.as_dict())
    else:
        _show(found)


def _plan(run: Path | None, count: int) -> SamplingPlan:
    from antcli.evaluation.samples import SamplingPlan, check_run_source
    from antcli.runs import find_run

    found = find_run(run)
    check_run_source(found)
    return SamplingPlan(found, found.samples, range(count))


def _target_of(plan: SamplingPlan | None) -> Path:
    assert plan is not None
    return Path(plan.run.facts()["target_folder"])


def _drawn(plan: SamplingPlan, device: str) -> ImageFiles:
    from antcli.evaluation.samples import draw_samples
    from antcli.images.folder import ImageFiles
    from antcli.training.devices import make_accelerator

    with Bar() as bar:
        for done in draw_samples(plan, make_accelerator(device, "no")):
            bar.update("sampling", done, len(plan.seeds))
    return ImageFiles(tuple(plan.paths))


def _show(found: IntraLpips) -> None:
    value = "none: every cluster was dropped" if found.value is None else f"{found.value:.4f}"
    spread = "" if found.std is None else f" +- {found.std:.4f} over clusters"
    result(f"intra-lpips {value}{spread}")
    result(f"dropped clusters {found.dropped} of {len(found.clusters)}")
    for cluster in found.clusters:
        mean = "dropped" if cluster.mean is None else f"{cluster.mean:.4f}"
        result(f"  {cluster.centre}: {cluster.size} images, {cluster.used} used, {mean}")
    result("definition " + ", ".join(f"{k}: {v}" for k, v in found.definition.items()))
    say("higher is more diverse; an unadapted source scores high too, so look at the samples")
