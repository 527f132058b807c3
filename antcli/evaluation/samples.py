"""Images drawn from a run: one PNG for each seed, drawn once and shared by all that need them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy
import torch
from PIL import Image

from antcli.artifacts import file_hash, with_name
from antcli.devices import make_accelerator, resolve_device
from antcli.diffusion.sampler import FewSteps, Sampler
from antcli.errors import AntError
from antcli.evaluation.listener import SILENT, Listener
from antcli.images.folder import ImageFiles
from antcli.images.grid import grid, is_whole_png, read_text, save_png, to_uint8
from antcli.methods.trainable.denoiser import Denoiser
from antcli.processes import all_wait, launched, own_share
from antcli.runs.adapted import asked_labels, check_run_source, load_adapted
from antcli.runs.run import Run
from antcli.sources.sampler import usual_sampler
from antcli.sources.source import Source

RUN = "ant.run"
"""Where the text of each image has the folder of its run."""


@dataclass(frozen=True)
class SamplingPlan:
    """Which images are drawn, how, and where they go."""

    run: Run
    folder: Path
    seeds: Sequence[int]
    sampler: Sampler
    """Solver and steps."""
    adapted: bool = True
    """False: by the source, as it was before the run."""
    guidance_scale: float | None = None
    """Of classifier-free guidance; None: the run's."""
    condition: str = ""
    """Which one is asked for, in words; without, those of the run in turn, by the seeds."""

    @classmethod
    def first(cls, run: Run, count: int, *, adapted: bool = True) -> SamplingPlan:
        """The first images that a run, or its source, draws, where all commands find them."""
        if adapted:
            return cls(run, run.samples, range(count), run.sampler)
        sampler = usual_sampler(run.config().source)
        return cls(run, run.source_samples, range(count), sampler, adapted=False)

    def path(self, seed: int) -> Path:
        """The image of one seed."""
        return self.folder / f"{seed:06d}.png"

    @property
    def page(self) -> Path:
        """The page of all images, beside their folder: in it, it would pass for one of them."""
        folder = with_name(self.folder)
        return folder.with_name(f"{folder.name}-grid.png")

    def check_page(self) -> None:
        """Raise `AntError` where the page would take the place of somebody else's file."""
        if self.page.exists() and RUN not in read_text(self.page):
            raise AntError(f"{self.page} is not from ant", "move it away, or choose another `out`")

    def save_page(self) -> None:
        """Write the page of all images, which are there."""
        pixels = [numpy.asarray(Image.open(path)) for path in self.paths]
        images = torch.from_numpy(numpy.stack(pixels)).permute(0, 3, 1, 2)
        save_png(self.page, grid(images), self.text())

    @property
    def paths(self) -> list[Path]:
        """All images, in the order of their seeds."""
        return [self.path(seed) for seed in self.seeds]

    def text(self) -> dict[str, str]:
        """What the PNG text of each image says of its making, its seed apart."""
        return {
            RUN: str(self.run.folder.resolve()),
            "ant.weights_sha256": self._weights_sha256,
            "ant.sampler": f"{self.sampler}{self._guidance}",
            **({"ant.condition": self.condition} if self.condition else {}),
        }

    @property
    def _guidance(self) -> str:
        return "" if self.guidance_scale is None else f", guidance {self.guidance_scale:g}"

    @property
    def _weights_sha256(self) -> str:
        if self.adapted:
            return file_hash(self.run.weights)
        return str(self.run.facts()["source_sha256"])


def guided_by(source: Source, scale: float) -> Source:
    """The same source with another guidance scale. Raises `AntError` where it has no prompt."""
    if not source.unconditional:
        raise AntError(
            "this run was made without a prompt: there is nothing to guide towards",
            "leave `guidance_scale` out",
            exit_code=2,
        )
    return replace(source, guidance_scale=scale)


def draw_samples(plan: SamplingPlan, device: str = "auto") -> Iterator[int]:
    """Draw the images that are not there yet; yields how many of the plan's are done.

    In float32. Of several processes each draws its share, and waits for the others' in the end.
    Raises `AntError` where the network gives NaN or infinity.
    """
    if plan.folder.is_file():
        raise AntError(f"{plan.folder} is a file", "choose another `out`", exit_code=2)
    if launched() == 1:
        yield from _draw(plan, plan.seeds, resolve_device(device))
        return
    accelerator = make_accelerator(device, "no")
    own = own_share(accelerator, plan.seeds)
    for done in _draw(plan, own, str(accelerator.device)):
        yield min(len(plan.seeds), done * accelerator.num_processes)
    all_wait(accelerator)


def _draw(plan: SamplingPlan, seeds: Sequence[int], where: str) -> Iterator[int]:
    """Those of some seeds."""
    text = plan.text()
    missing = [seed for seed in seeds if not _is_drawn(plan.path(seed), text)]
    done = len(seeds) - len(missing)
    if not missing:
        yield done
        return
    source = check_run_source(plan.run)
    if plan.guidance_scale is not None:
        if isinstance(plan.sampler, FewSteps):
            raise AntError(
                "what was distilled has the guidance of its teacher in it, and no other",
                "leave `guidance_scale` out, or draw from the run that it was distilled from",
                exit_code=2,
            )
        source = guided_by(source, plan.guidance_scale)
    if plan.adapted:
        network = load_adapted(plan.run, source)
    else:
        network = Denoiser(source.load(), source.convention)
    batches = source.sample(
        network.to(where),
        missing,
        scheduler=plan.sampler.scheduler,
        steps=plan.sampler.steps,
        device=where,
        conditions=asked_labels(plan.run, missing, plan.condition) if plan.adapted else None,
    )
    codec, drawing = source.codec(where), iter(missing)
    for x_0 in batches:
        if not x_0.isfinite().all():
            whose = plan.run.weights if plan.adapted else f"the source of {plan.run.folder}"
            hint = "its weights are damaged: get them again, or adapt again"
            if plan.condition:
                hint = f"{plan.condition} may be too far from what it has seen; if not, {hint}"
            raise AntError(f"{whose} gives NaN or infinity instead of images", hint)
        for image in to_uint8(codec.decode(x_0).cpu()):
            picture = Image.fromarray(image.permute(1, 2, 0).numpy())
            seed = next(drawing)
            save_png(plan.path(seed), picture, {**text, "ant.seed": str(seed)})
        done += len(x_0)
        yield done


def drawn_images(plan: SamplingPlan, device: str, listener: Listener = SILENT) -> ImageFiles:
    """The images of a plan, on whatever `device` the missing ones are drawn."""
    what = "sampling" if plan.adapted else "sampling the source"
    for done in draw_samples(plan, device):
        listener.advance(what, done, len(plan.seeds))
    return ImageFiles(tuple(plan.paths))


def _is_drawn(path: Path, text: dict[str, str]) -> bool:
    """Whether the file is this very image. Raises `AntError` where it is somebody else's."""
    if not path.exists() or not path.stat().st_size:  # the power went before more than its name
        return False
    found = read_text(path)
    if "ant.seed" not in found:
        raise AntError(f"{path} is not from ant", "move it away, or draw into another folder")
    same = all(found.get(key) == text.get(key) for key in (*text, "ant.condition"))
    return same and is_whole_png(path)
