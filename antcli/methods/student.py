"""A network of few steps, which trains over an adapted one."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from antcli.config import AdaptConfig
from antcli.diffusion.sampler import FewSteps
from antcli.methods.build import build_network
from antcli.methods.trainable.denoiser import Denoiser


def build_student(
    adapted: Denoiser, config: AdaptConfig, sampler: FewSteps, condition: Tensor | None = None
) -> Denoiser:
    """The adapted network, on which what `config` says trains at every t; it is taken over.

    Its limit in t is gone: what the source says above it the student has to learn like all else.
    So is the guidance of its samples, which is in what it is taught. Where what was adapted merges
    into no weights, it goes on acting beside them: so do images that are conditions of their own,
    unless only one `condition`, [size], is wanted.
    """
    merged = adapted.merged(condition)
    convention = replace(adapted.convention, unconditional={}, guidance_scale=1.0)
    unet = adapted.requires_grad_(False).unet if merged is None else merged
    student = build_network(unet, config, convention, t_limit=1.0)
    student.sampler = sampler
    student.beneath = adapted if merged is None else None
    student.images = adapted.images if merged is None else 0
    return student


def few_steps(student: Denoiser) -> FewSteps:
    """What a student was made for."""
    assert isinstance(student.sampler, FewSteps)
    return student.sampler
