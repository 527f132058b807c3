"""`ant sample`: images from a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from antcli.cli.console import SPEAKS, Bar, result, say
from antcli.cli.options import (
    ConditionOption,
    DeviceOption,
    GuidanceOption,
    RunArgument,
    SeedOption,
    naming_options,
)
from antcli.errors import quoted


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
            show_default="25, of drawn faces 15, or what the run was distilled to",
        ),
    ] = None,
    scheduler: Annotated[
        Literal["dpm++", "ddim", "ddpm"] | None, typer.Option(show_default="dpm++")
    ] = None,
    seed: SeedOption = 0,
    guidance_scale: GuidanceOption = None,
    condition: ConditionOption = "",
    grid: Annotated[bool, typer.Option(help="Write a page of all images too.")] = True,
    device: DeviceOption = "auto",
) -> None:
    """Draw images from a run, each named by its seed and depending on nothing else."""
    from antcli.evaluation.samples import SamplingPlan, draw_samples
    from antcli.runs.adapted import (
        asked_labels,
        check_run_source,
        conditions_of,
        images_apart,
        may_be_asked,
    )
    from antcli.runs.latest import find_run

    found = find_run(run)
    folder = out or (found.samples_of(condition) if condition else found.samples)
    seeds = range(seed, seed + count)
    sampler = found.sampler.asked(scheduler, steps)
    plan = SamplingPlan(
        found, folder, seeds, sampler, guidance_scale=guidance_scale, condition=condition
    )
    if grid and out is not None:
        plan.check_page()
    asked_labels(found, seeds, condition)
    known = may_be_asked(found)
    for remark in known.remarks(condition) if known is not None and condition else ():
        say(f"note: {remark}")
    if known is not None and not condition:
        if conditions_of(found) is not None:
            say(f"conditions in turn, by the seed: {'; '.join(known.in_turn)}")
        if count_apart := images_apart(found):
            say(
                f"what is new is that of each of the {count_apart} images in turn, by the seed; "
                f"`--condition {known.of_images[0]}` asks for the first's"
            )
    if found.condition.exists():
        scale = check_run_source(found).guidance_scale if guidance_scale is None else guidance_scale
        say(f"classifier-free guidance of scale {scale:g}" + (": none" if scale == 1 else ""))
    with Bar() as bar:
        for done in draw_samples(plan, device):
            bar.update("sampling", done, count)
    if grid and SPEAKS:
        plan.save_page()
        result(str(plan.page))
    else:
        result(str(folder))
    following = f"ant evaluate intra-lpips {quoted(found.folder)}"
    say(f"{count} images in {folder}; next: {following}")
