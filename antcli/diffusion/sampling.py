"""Sampling: diffusers' schedulers, one generator for each image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from antcli.diffusion.schedule import Schedule
from antcli.randomness import generator

SchedulerName = Literal["dpm++", "ddim", "ddpm"]
PIXELS_AT_ONCE = 2**18
MOST_AT_ONCE = 64


def images_at_once(shape: Sequence[int]) -> int:
    """How many tensors [C, H, W] a network takes together: as many as a small card holds."""
    return min(MOST_AT_ONCE, max(1, PIXELS_AT_ONCE // (shape[-2] * shape[-1])))


def make_scheduler(
    name: SchedulerName, schedule: Schedule, *, clip: bool = True
) -> DPMSolverMultistepScheduler | DDIMScheduler | DDPMScheduler:
    """A diffusers scheduler over `schedule` that clips x_0 to [-1, 1] at every step, if `clip`.

    Without clipping, a small pixel model burns its colours out within 25 steps. Latents have no
    such bounds.
    """
    common = {
        "num_train_timesteps": schedule.timesteps,
        "trained_betas": schedule.betas.float().numpy(),
        "timestep_spacing": "trailing",
    }
    if name == "dpm++":
        # Thresholding at a maximum of 1 is clipping: the one form that this class offers.
        return DPMSolverMultistepScheduler(
            **common, algorithm_type="sde-dpmsolver++", thresholding=clip, sample_max_value=1.0
        )
    if name == "ddim":
        return DDIMScheduler(**common, clip_sample=clip)
    return DDPMScheduler(**common, clip_sample=clip)


@torch.no_grad()
def sample(
    predict: Callable[[Tensor, Tensor], Tensor],
    schedule: Schedule,
    seeds: Sequence[int],
    shape: tuple[int, int, int],
    *,
    scheduler: SchedulerName = "dpm++",
    steps: int = 25,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
    clip: bool = True,
) -> Iterator[Tensor]:
    """x_0 from its seed, yielded in batches of float32 [<=B, *shape]; in [-1, 1] if `clip`.

    `predict(x_t, t)` is eps_theta. x_0 depends on its own seed alone.
    """
    batch_size = batch_size or images_at_once(shape)
    for start in range(0, len(seeds), batch_size):
        generators = [generator(seed, "sample") for seed in seeds[start : start + batch_size]]
        x_t = torch.stack([torch.randn(shape, generator=g) for g in generators]).to(device)
        solver = make_scheduler(scheduler, schedule, clip=clip)
        solver.set_timesteps(steps, device=device)
        noise = {} if scheduler == "ddim" else {"generator": generators}
        for t in solver.timesteps:
            eps = predict(x_t, t.expand(len(x_t)))
            x_t = solver.step(eps.float(), t, x_t, **noise, return_dict=False)[0]
        yield x_t.clamp(-1, 1) if clip else x_t
