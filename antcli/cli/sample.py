"""`ant sample`: images from a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from antcli.cli.console import SPEAKS, Bar, result, say
from antcli.cli.options import DeviceOption, GuidanceOption, RunArgument, SeedOption, naming_options


@naming_options
def sample_command(
    run: RunArgument = None,
    count: Annotated[int, typer.Option("-n", min=1, help="How many images.")] = 16,
    out: Annotated[
        Path | None,
        typer.Option(help="Where they go.", show_default="RUN/samples"),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            help="Network passes an image.",
            show_default="25, or what the run was distilled to",
        ),
    ] = None,
    scheduler: Annotated[
        Literal["dpm++", "ddim", "ddpm"] | None, typer.Option(show_default="dpm++")
    ] = None,
    seed: SeedOption = 0,
    guidance_scale: GuidanceOption = None,
    grid: Annotated[bool, typer.Option(help="Write a page of all images too.")] = True,
    device: DeviceOption = "auto",
) -> None:
    """Draw images from a run, each named by its seed and depending on nothing else."""
    from antcli.evaluation.samples import SamplingPlan, check_run_source, draw_samples
    from antcli.runs import find_run

    found = find_run(run)
    folder = out or found.samples
    seeds = range(seed, seed + count)
    sampler = found.sampler.asked(scheduler, steps)
    plan = SamplingPlan(found, folder, seeds, sampler, guidance_scale=guidance_scale)
    if found.condition.exists():
        scale = check_run_source(found).guidance_scale if guidance_scale is None else guidance_scale
        say(f"classifier-free guidance of scale {scale:g}" + (": none" if scale == 1 else ""))
    with Bar() as bar:
        for done in draw_samples(plan, device):
            bar.update("sampling", done, count)
    if grid and SPEAKS:
        _write_page(plan.paths, plan.page)
        result(str(plan.page))
    else:
        result(str(folder))
    say(f"{count} images in {folder}; next: ant evaluate intra-lpips {found.folder}")


def _write_page(images: list[Path], page: Path) -> None:
    import numpy
    import torch
    from PIL import Image

    from antcli.images.grid import grid, save_png

    pixels = torch.from_numpy(numpy.stack([numpy.asarray(Image.open(path)) for path in images]))
    save_png(page, grid(pixels.permute(0, 3, 1, 2)), {})
