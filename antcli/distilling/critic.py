"""A critic of few images: small heads on what the frozen source sees in them, noised.

From Uni-DAD (arXiv 2511.18281), whose heads, a 1x1 convolution and a mean over the pixels, sit on
many maps of a denoiser, with the cross-entropy of a plain GAN: of the losses that were tried, the
best. There the denoiser is the one that follows the student; here it is the source, frozen, so that
some ten images train nothing but the heads. What comes before it is new: Uni-DAD noises with a t
from a fixed range, here the range grows only where the critic is too sure (`diffusion_noise.py`).

A denoiser knows images noised along its own path, so this is the noise, with sigma = 1; and it is
told t as ever, which is how the critic is told.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from antcli.diffusion.path import BetaPath
from antcli.distilling.diffusion_noise import DiffusionNoise, DiffusionNoiseSettings
from antcli.randomness import seeded
from antcli.settings import Count, Share, settings
from antcli.sources.encoder import Encoder

Before = Literal["adaptive", "uniform", "none"]
GROUPS = 8


@settings
class CriticSettings:
    """What the critic is, and what lies before it."""

    before: Before = "adaptive"
    """The noise: the controller's; at any t up to the cap; or none."""
    cap: Share = 0.5
    """Of the path: T ends here. A critic that knows ten images by heart is sure of them at any t,
    so that T goes up to the cap and stays. At half of Ho et al.'s betas, the paper's T_max for new
    data, 8 % of an image's variance are left; what could be told apart beyond is layout and
    colours, whose variety ten images cannot teach."""
    images: Count = 2_000
    """Real images that it sees while T goes all the way. The authors' 100,000 would be 10,000
    batches of ten."""
    width: Count = 64
    """Channels within a head; a multiple of 8."""

    def __post_init__(self) -> None:
        if self.width % GROUPS:
            raise ValueError(f"width: a multiple of {GROUPS}")

    def noise(self, path: BetaPath) -> DiffusionNoiseSettings:
        """Along a denoiser's own path."""
        limit = path.limit(self.cap)
        return DiffusionNoiseSettings(
            sigma=1.0, prior="uniform", t_max=limit, t_min=min(5, limit), images=self.images
        )


class Critic(nn.Module):
    """Logits, positive where it takes an image for a real one; a head for each map of `encoder`.

    It draws nothing itself: t and eps are given, t as `draw` gives them for a generator.
    """

    def __init__(self, encoder: Encoder, path: BetaPath, config: CriticSettings, seed: int) -> None:
        """Equal seeds, equal heads."""
        super().__init__()
        self.encoder, self.before = encoder, config.before
        self.noise = DiffusionNoise(config.noise(path), seed, path)
        with seeded(seed):
            self.heads = Heads(encoder.channels, config.width)

    @property
    def most_noise(self) -> int:
        """The largest t that is drawn now."""
        return {"adaptive": self.noise.T, "uniform": self.noise.config.t_max, "none": 0}[
            self.before
        ]

    def draw(self, count: int, draw: torch.Generator) -> Tensor:
        """Each image's t, [count] on the CPU; 0 is no noise."""
        if self.before == "adaptive":
            return self.noise.draw(count, draw)
        if self.before == "uniform":
            return torch.randint(1, self.most_noise + 1, (count,), generator=draw)
        return torch.zeros(count, dtype=torch.long)

    def forward(self, x: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Logits [B, heads] of x, noised to t [B] by `eps`; x and `eps` are [B, C, H, W]."""
        return self.heads(self._maps(x, t, eps))

    def critic_loss(self, real: Tensor, fake: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """-log D(real) - log(1 - D(fake)), means over images and heads; no gradient to `fake`.

        `real` and `fake` are [B, C, H, W], `t` and `eps` of both, the real images' first: [2 B] and
        [2 B, C, H, W]. The controller takes in the verdicts on the real ones; it is `noise.advance`
        that ends the minibatch.
        """
        of_real, of_fake = self(torch.cat([real, fake.detach()]), t, eps).chunk(2)
        self.noise.observe(of_real.mean(1))
        return functional.softplus(-of_real).mean() + functional.softplus(of_fake).mean()

    def generator_loss(self, fake: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """-log D(fake), mean over images and heads; its gradient goes to `fake`, to no head.

        The loss that does not saturate (Goodfellow et al. 2014, section 3).
        """
        fixed = {name: weight.detach() for name, weight in self.heads.named_parameters()}
        logits = functional_call(self.heads, fixed, (self._maps(fake, t, eps),))
        return functional.softplus(-logits).mean()

    def _maps(self, x: Tensor, t: Tensor, eps: Tensor) -> list[Tensor]:
        """What the source sees in y; the path's steps are 0..T-1, and clean images are at the
        first.
        """
        maps: list[Tensor] = self.encoder(self.noise(x, t, eps), (t - 1).clamp(min=0))
        return maps


class Heads(nn.Module):
    """From maps to logits: of each map, the mean over the pixels of what a small network says."""

    def __init__(self, channels: list[int], width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, width, 1),
                nn.GroupNorm(GROUPS, width),
                nn.SiLU(),
                nn.Conv2d(width, 1, 1),
            )
            for inputs in channels
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Of maps [B, C, H, W] logits [B, heads]."""
        verdicts = [head(h).mean((1, 2, 3)) for head, h in zip(self.heads, maps, strict=True)]
        return torch.stack(verdicts, dim=1)
