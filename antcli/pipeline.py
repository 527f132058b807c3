"""An adapted model as a pipeline of diffusers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, Self

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput, ModelMixin
from PIL import Image

from antcli.diffusion.sampling import SchedulerName
from antcli.errors import AntError, quoted
from antcli.images.grid import to_uint8
from antcli.methods.trainable.denoiser import Denoiser
from antcli.runs.adapted import asked_labels, check_run_source, load_adapted
from antcli.runs.run import Run
from antcli.sources.source import Source


class AdaptedPipeline(DiffusionPipeline):
    """Called like a `DDPMPipeline`; draws what `ant sample` draws.

    Of a source with classes or texts, it is asked for what the run was made with.
    """

    _run: Run
    _network: Denoiser
    _source: Source

    def __init__(self, unet: ModelMixin, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)

    @classmethod
    def from_run(cls, run: Run) -> Self:
        """Of a finished run. Raises `AntError` where its source is not here or has changed."""
        source = check_run_source(run)
        network = load_adapted(run, source)
        pipeline = cls(network.unet, source.scheduler)
        pipeline._run, pipeline._network, pipeline._source = run, network, source
        return pipeline

    def save_pretrained(self, *_: Any, **__: Any) -> NoReturn:
        """Raises `AntError`: what was trained lies beside the network, which is the source's."""
        raise AntError(
            "an adapted model is more than the parts of this pipeline, and is not saved as such",
            f"`ant export {quoted(self._run.folder)}` writes it for other programs",
        )

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        generator: torch.Generator | None = None,
        num_inference_steps: int | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        *,
        seeds: Sequence[int] | None = None,
        scheduler: SchedulerName | None = None,
        condition: str = "",
    ) -> Any:
        """Images, each of its own seed: of `seeds`, or drawn by `generator`, or 0, 1, ...

        Where nothing else is said as `ant sample` draws them.
        `condition` is one of the run's in words, as `ant sample --condition` takes it; without,
        they come in turn, by the seed. `output_type` is `pil`, `np`, floats in [0, 1],
        [B, H, W, 3], or `pt`, [B, 3, H, W].
        """
        if seeds is None:
            seeds = range(batch_size)
            if generator is not None:
                draws = torch.randint(
                    2**63 - 1, (batch_size,), generator=generator, device=generator.device
                )
                seeds = draws.tolist()
        network, device = self._network.to(self.device), self.device
        codec = self._source.codec(device)
        batches = self._source.sample(
            network,
            seeds,
            scheduler=scheduler,
            steps=num_inference_steps,
            device=device,
            conditions=asked_labels(self._run, seeds, condition),
        )
        pixels = torch.cat([to_uint8(codec.decode(x_0).cpu()) for x_0 in batches])
        images: Any = pixels.float() / 255
        if output_type == "np":
            images = images.permute(0, 2, 3, 1).numpy()
        elif output_type == "pil":
            images = [Image.fromarray(p.permute(1, 2, 0).numpy()) for p in pixels]
        return ImagePipelineOutput(images=images) if return_dict else (images,)
