"""Draw what finished runs have made of their source: the pages that the README shows.

    python examples/draw_pages.py RUN... [--out examples/pages] [--images 8]

One page for each run, named as the folder of its target: the target's images, at the source's
resolution, above pairs of images from the same noise, the source's and the adapted model's. The
seeds are 0, 1, ...: nobody has chosen them.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from antcli.config import label
from antcli.evaluation.samples import SamplingPlan, drawn_images
from antcli.images.folder import read_folder
from antcli.images.grid import GAP, comparison_page, grid, save_png
from antcli.runs.adapted import check_run_source
from antcli.runs.latest import find_run
from antcli.runs.run import Run

PAGES = Path(__file__).parent / "pages"
MOST = 10
"""Of the target's images on a page."""


def page_of(run: Run, seeds: range) -> Image.Image:
    """The target's images, then the source's and the adapted model's from the same noise."""
    size = check_run_source(run).size
    target = read_folder(Path(run.facts()["target_folder"]), size).images[:MOST]
    source, adapted = (drawn(run, seeds, size, adapted=adapted) for adapted in (False, True))
    pairs = comparison_page(source, adapted, columns=len(seeds))
    return under_strip(pairs, target, left=pairs.width - grid(source, len(seeds)).width)


def drawn(run: Run, seeds: range, size: int, *, adapted: bool) -> torch.Tensor:
    """Images of a run or of its source, uint8 [N, 3, H, W], as `ant sample` draws them."""
    with tempfile.TemporaryDirectory() as folder:
        first = SamplingPlan.first(run, len(seeds), adapted=adapted)
        plan = replace(first, folder=Path(folder), seeds=seeds)
        drawn_images(plan, "cpu")
        return read_folder(plan.folder, size).images


def under_strip(pairs: Image.Image, target: torch.Tensor, left: int) -> Image.Image:
    """A page of pairs with a strip of smaller images above it, both beginning at `left`."""
    width = (pairs.width - left) // len(target)
    strip = grid(target, len(target), scale=max(1, (width - 2) // target.shape[-1]))
    page = Image.new("RGB", (pairs.width, strip.height + GAP + pairs.height), "white")
    page.paste(strip, (left, 0))
    page.paste(pairs, (0, strip.height + GAP))
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size=16)
    pen.text((left - GAP, strip.height / 2), "target", "black", font, anchor="rm")
    return page


def main() -> None:
    """Draw the pages of the runs that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--out", type=Path, default=PAGES)
    parser.add_argument("--images", type=int, default=8)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    for run in map(find_run, chosen.runs):
        config = run.config()
        made = {
            "ant.source": config.source,
            "ant.method": label(config),
            "ant.seed": str(config.seed),
            "ant.weights_sha256": run.weights_sha256,
        }
        path = chosen.out / f"{Path(config.target).resolve().name}.png"
        save_png(path, page_of(run, range(chosen.images)), made)
        print(path)


if __name__ == "__main__":
    main()
