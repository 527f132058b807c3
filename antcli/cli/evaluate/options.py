"""Option types of the commands that measure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

ImagesOption = Annotated[
    Path | None,
    typer.Option("--images", help="Measure the images of this folder instead of a run's samples."),
]
TargetOption = Annotated[
    Path | None,
    typer.Option(
        "--target", help="Folder with the target's images.", show_default="those of the run"
    ),
]
OwnTargetOption = Annotated[
    Path | None,
    typer.Option(
        "--target",
        help="Where the images are that the run was adapted to.",
        show_default="where they were",
    ),
]
CountOption = Annotated[int, typer.Option("-n", min=2, help="How many samples of the run.")]
ReferenceOption = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        metavar="DIR|STATS.safetensors",
        help="What samples should look like: a folder of images, or its statistics.",
        show_default="the target's images",
    ),
]
FeaturesOption = Annotated[
    Literal["inception", "dinov2", "source"],
    typer.Option(
        "--features",
        help="Where images are compared. `source`: the source's own network, no download; "
        "`inception`: what published FID and KID are computed in.",
    ),
]
FeatureWeightsOption = Annotated[
    Path | None,
    typer.Option("--feature-weights", help="A local copy of Inception's weights."),
]
SourceNameOption = Annotated[
    str | None,
    typer.Option("--source", help="With --images: the source whose network `source` means."),
]
NetOption = Annotated[
    Literal["vgg", "alex", "squeeze"], typer.Option("--net", help="LPIPS's trunk.")
]
TrunkWeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--trunk-weights", help="The trunk's weights, where torchvision's cannot be downloaded."
    ),
]
ProtocolOption = Annotated[
    Literal["cdc", "crdi"], typer.Option("--protocol", help="Which published code it agrees with.")
]
