"""From a method's name and settings to the parts of its training."""

from __future__ import annotations

from functools import partial

import torch
from diffusers import ModelMixin
from torch import Tensor, nn

from antcli.config import AdaptConfig
from antcli.diffusion.convention import Convention
from antcli.diffusion.path import Path
from antcli.methods.guidance import TargetRule, guided_target
from antcli.methods.noise import NoiseRule, adversarial_noise
from antcli.methods.table import METHODS
from antcli.methods.trainable.adaptors import AdaptedDenoiser
from antcli.methods.trainable.denoiser import Denoiser, all_weights


def build_network(unet: ModelMixin, config: AdaptConfig, convention: Convention) -> Denoiser:
    """The network that the method trains, with what trains marked; it takes `unet` over."""
    if METHODS[config.method].trains == "all":
        return all_weights(unet, convention)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return AdaptedDenoiser(unet, config.adaptor, convention)


def noise_rule(config: AdaptConfig, path: Path) -> NoiseRule | None:
    """What turns Gaussian noise into the noise that is trained on; None leaves it."""
    if METHODS[config.method].noise == "gaussian":
        return None
    return partial(adversarial_noise, path=path, config=config.noise)


def target_rule(config: AdaptConfig, path: Path, classifier: nn.Module | None) -> TargetRule | None:
    """What the network is to predict; None is the noise itself."""
    if not METHODS[config.method].needs_classifier:
        return None
    assert classifier is not None
    rule = partial(guided_target, classifier=classifier, path=path, config=config.guidance)
    return _visited(rule, classifier) if config.training.low_memory else rule


def _visited(rule: TargetRule, classifier: nn.Module) -> TargetRule:
    """The same rule, with its classifier on the device only while it is asked."""

    def target(eps: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        classifier.to(x_t.device)
        found = rule(eps, x_t, t)
        classifier.to("cpu")
        return found

    return target


def evaluations_per_step(config: AdaptConfig) -> dict[str, int]:
    """Passes through each network that one training step takes, for each image of the batch."""
    method = METHODS[config.method]
    inner = config.noise.inner_steps if method.noise == "adversarial" else 0
    through = inner if config.noise.gradient == "full" else 0
    guided = int(method.needs_classifier)
    return {
        "denoiser forward": 1 + inner,
        "denoiser backward": 1 + through,
        "classifier forward": guided,
        "classifier backward": guided,
    }
