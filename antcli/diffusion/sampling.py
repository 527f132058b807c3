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


def make_scheduler(
    name: SchedulerName, schedule: Schedule
) -> DPMSolverMultistepScheduler | DDIMScheduler | DDPMScheduler:
    """A diffusers scheduler over `schedule` that clips x_0 to [-1, 1] at every step.

    Without clipping, a small pixel model burns its colours out within 25 steps.
    """
    common = {
        "num_train_timesteps": schedule.timesteps,
        "trained_betas": schedule.betas.float().numpy(),
        "timestep_spacing": "trailing",
    }
    if name == "dpm++":
        # Thresholding at a maximum of 1 is clipping: the one form that this class offers.
        return DPMSolverMultistepScheduler(
            **common, algorithm_type="sde-dpmsolver++", thresholding=True, sample_max_value=1.0
        )
    if name == "ddim":
        return DDIMScheduler(**common, clip_sample=True)
    return DDPMScheduler(**common, clip_sample=True)


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
    batch_size: int = 64,
) -> Iterator[Tensor]:
    """Images x_0 in [-1, 1] from their seeds, yielded in batches of float32 [<=B, *shape].

    `predict(x_t, t)` is eps_theta. An image depends on its own seed alone.
    """
    for start in range(0, len(seeds), batch_size):
        generators = [generator(seed, "sample") for seed in seeds[start : start + batch_size]]
        x_t = torch.stack([torch.randn(shape, generator=g) for g in generators]).to(device)
        solver = make_scheduler(scheduler, schedule)
        solver.set_timesteps(steps, device=device)
        noise = {} if scheduler == "ddim" else {"generator": generators}
        for t in solver.timesteps:
            eps = predict(x_t, t.expand(len(x_t)))
            x_t = solver.step(eps.float(), t, x_t, **noise, return_dict=False)[0]
        yield x_t.clamp(-1, 1)
