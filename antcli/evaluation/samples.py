"""Images drawn from a run: one PNG for each seed, drawn once and shared by all that need them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy
import torch
from PIL import Image
from torch import Tensor

from antcli.artifacts import file_hash, load_metadata, load_tensors, with_name
from antcli.config import adapt_config_from
from antcli.devices import make_accelerator, resolve_device
from antcli.diffusion.sampler import FewSteps, Sampler
from antcli.errors import AntError
from antcli.evaluation.listener import SILENT, Listener
from antcli.images.conditions import Conditions, conditions_from, known_apart
from antcli.images.folder import ImageFiles
from antcli.images.grid import grid, is_whole_png, read_text, save_png, to_uint8
from antcli.methods.build import build_network
from antcli.methods.student import build_student
from antcli.methods.trainable.denoiser import Denoiser
from antcli.processes import all_wait, launched, own_share
from antcli.runs.run import Run
from antcli.sources.sampler import usual_sampler
from antcli.sources.source import Source, find_source

RUN = "ant.run"
"""Where the text of each image has the folder of its run."""
SAMPLER = "ant.sampler"
"""Where the metadata of a student's weights has what it was made for."""
IMAGES = "ant.images_apart"
"""Where the metadata of weights has how many images are conditions of their own."""


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


def check_run_source(run: Run) -> Source:
    """The source a run was adapted from. Raises `AntError` where it has changed since."""
    facts = run.facts()
    source = find_source(facts["config"]["source"])
    if run.condition.exists():
        scale = run.config().condition.guidance_scale
        source = source.conditioned_by(load_tensors(run.condition), scale)
    if source.sha256 != facts["source_sha256"]:
        raise AntError(
            f"source {source.name} is not the one that {run.folder} was adapted from",
            "get that source back, or adapt again",
        )
    return source


def conditions_of(run: Run) -> Conditions | None:
    """Those that a run was adapted to, where they are several."""
    return conditions_from(run.facts().get("conditions"))


def images_apart(run: Run) -> int:
    """How many images of a finished run are conditions of their own; 0: they are none."""
    return int(_told(run, run.weights).get(IMAGES, 0))


def may_be_asked(run: Run) -> Conditions | None:
    """What samples of a finished run may be asked for: its conditions, and, where each image is one
    of its own, these by their numbers, in the order of their files' names.
    """
    return known_apart(images_apart(run), conditions_of(run))


def asked_labels(run: Run, seeds: Sequence[int], condition: str = "") -> Tensor | None:
    """What the network of a run is told of samples: of one condition, or of those in turn.

    None where it knows of none. Raises `AntError` (wrong usage) for a condition that it does not
    know.
    """
    known = may_be_asked(run)
    if known is not None:
        return known.labels_of(seeds, condition)
    if condition:
        raise AntError(
            f"the run in {run.folder} has no conditions",
            "leave `condition` out; a target with a folder for each makes a run that has some",
            exit_code=2,
        )
    return None


def guided_by(source: Source, scale: float) -> Source:
    """The same source with another guidance scale. Raises `AntError` where it has no prompt."""
    if not source.unconditional:
        raise AntError(
            "this run was made without a prompt: there is nothing to guide towards",
            "leave `guidance_scale` out",
            exit_code=2,
        )
    return replace(source, guidance_scale=scale)


def load_adapted(
    run: Run, source: Source, weights: Path | None = None, condition: Tensor | None = None
) -> Denoiser:
    """The adapted network of a run, or of one of its checkpoints; on the CPU, in eval mode.

    Of a distilled run it is the student; of one whose images are conditions of their own for a
    single `condition`, [size], if that is given.
    """
    weights = weights or run.weights
    facts = _told(run, weights)
    if SAMPLER in facts:
        adapted = load_adapted(run, source, run.adapted)
        config = adapt_config_from(json.loads(facts["ant.config"]))
        sampler = FewSteps(**json.loads(facts[SAMPLER]))
        network = build_student(adapted, config, sampler, condition)
    else:
        t_limit = float(facts["ant.t_limit"]) if "ant.t_limit" in facts else None
        known, images = conditions_of(run), int(facts.get(IMAGES, 0))
        size = 0 if known is None else known.size
        given = run.config(), source.convention, t_limit, size, images
        network = build_network(source.load(), *given)
    _fill(network, weights)
    return network.requires_grad_(False).eval()


def _told(run: Run, weights: Path) -> dict[str, str]:
    """What the header of weights tells. Raises `AntError` where they are damaged."""
    try:
        return load_metadata(weights)
    except AntError as error:
        hint = run.mending if weights == run.weights else "remove it: the others may be whole"
        raise AntError(error.message, hint) from error


def _fill(network: Denoiser, weights: Path) -> None:
    """Give what trains the values of a file."""
    tensors = load_tensors(weights)
    parameters = network.trained()
    if tensors.keys() != parameters.keys() or any(
        tensors[name].shape != p.shape for name, p in parameters.items()
    ):
        raise AntError(
            f"{weights} holds the weights of another model",
            "adapt again with `ant adapt --force`",
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


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
