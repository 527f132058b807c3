"""The critic: which way its gradients go, its losses against slow ones, and what lies before it."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from diffusers import UNet2DModel
from torch import Tensor

from antcli.diffusion.convention import PLAIN
from antcli.diffusion.path import BetaPath
from antcli.distilling.critic import Before, Critic, CriticSettings
from antcli.sources.encoder import Encoder

PATH = BetaPath.linear()
SIZE, BATCH = 8, 4
MakeCritic = Callable[..., Critic]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(seed: int, count: int = BATCH) -> Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=seeded(seed))


@pytest.fixture
def make_critic(make_unet: Callable[..., UNet2DModel]) -> MakeCritic:
    def make(before: Before = "adaptive", seed: int = 0) -> Critic:
        encoder = Encoder(make_unet(SIZE, (8, 16)), PLAIN)
        return Critic(encoder, PATH, CriticSettings(before=before, width=16), seed)

    return make


def test_the_encoder_gives_the_maps_of_the_whole_network(
    make_unet: Callable[..., UNet2DModel],
) -> None:
    whole, seen = make_unet(SIZE, (8, 16)), []
    for block in (*whole.down_blocks, whole.mid_block):
        block.register_forward_hook(lambda block, inputs, out: seen.append(out))
    x_t, t = drawn(0), torch.tensor([0, 3, 300, 999])
    with torch.no_grad():
        whole(x_t, t)
        encoder = Encoder(make_unet(SIZE, (8, 16)), PLAIN)
        maps = encoder(x_t, t)
    assert [h.shape[1] for h in maps] == encoder.channels == [8, 16, 16]
    for found, expected in zip(maps, seen, strict=True):
        expected = expected if isinstance(expected, Tensor) else expected[0]
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_what_the_critic_sees_is_noised_and_it_is_told_t(make_critic: MakeCritic) -> None:
    critic, x, eps = make_critic(), drawn(0), drawn(1)
    t = torch.tensor([0, 1, 200, 500])
    alpha = torch.cumprod(1 - PATH.betas, 0).sqrt().float()[(t - 1).clamp(min=0)]
    alpha = torch.where(t == 0, 1.0, alpha)[:, None, None, None]
    y = alpha * x + (1 - alpha.square()).sqrt() * eps
    with torch.no_grad():
        maps = critic.encoder(y, torch.tensor([0, 0, 199, 499]))
        expected = critic.heads(maps)
        # sqrt(1 - alpha^2) loses digits where alpha is near 1.
        torch.testing.assert_close(critic(x, t, eps), expected, rtol=1e-3, atol=1e-4)
        assert not torch.allclose(critic.heads(critic.encoder(y, t + 300)), expected, atol=1e-3)


def slow_loss(real: list[list[float]], fake: list[list[float]]) -> tuple[float, float]:
    """Of the critic and of the generator, from logits, one at a time."""

    def mean(rows: list[list[float]], sign: float) -> float:
        values = [-math.log(1 / (1 + math.exp(-sign * v))) for row in rows for v in row]
        return sum(values) / len(values)

    return mean(real, 1) + mean(fake, -1), mean(fake, 1)


def test_losses_against_slow_ones(make_critic: MakeCritic) -> None:
    critic, real, fake, eps = make_critic(), drawn(0), drawn(1), drawn(2, 2 * BATCH)
    t = critic.draw(2 * BATCH, seeded())
    with torch.no_grad():
        logits = [critic(x, *of) for x, *of in zip(
            (real, fake), t.chunk(2), eps.chunk(2), strict=True)]  # fmt: skip
        found = critic.critic_loss(real, fake, t, eps)
        of_generator = critic.generator_loss(fake, t[BATCH:], eps[BATCH:])
    expected = slow_loss(*(x.tolist() for x in logits))
    assert [float(found), float(of_generator)] == pytest.approx(expected, rel=1e-5)


def test_gradients_go_to_the_heads_or_to_the_generator(make_critic: MakeCritic) -> None:
    critic, eps = make_critic(), drawn(2, 2 * BATCH)
    assert {name.split(".")[0] for name, p in critic.named_parameters() if p.requires_grad} == {
        "heads"
    }
    fake, t = drawn(1).requires_grad_(), critic.draw(2 * BATCH, seeded())
    critic.generator_loss(fake, t[:BATCH], eps[:BATCH]).backward()
    assert fake.grad is not None and (fake.grad.flatten(1).norm(dim=1) > 0).all()
    assert all(p.grad is None for p in critic.parameters())
    fake.grad = None
    critic.critic_loss(drawn(0), fake, t, eps).backward()
    assert fake.grad is None
    assert all(p.grad is not None and p.grad.any() for p in critic.heads.parameters())
    assert all(p.grad is None for p in critic.encoder.parameters())


def trained(critic: Critic, real: Tensor, fake: Tensor, steps: int) -> None:
    optimizer = torch.optim.Adam(critic.heads.parameters(), 1e-2)
    for step in range(steps):
        t, eps = critic.draw(2 * BATCH, seeded(step)), drawn(step, 2 * BATCH)
        optimizer.zero_grad()
        critic.critic_loss(real, fake, t, eps).backward()
        critic.noise.advance(BATCH)
        optimizer.step()


@pytest.mark.parametrize("before", ["adaptive", "uniform", "none"])
def test_it_tells_two_sets_apart_and_leads_from_one_to_the_other(
    before: Before, make_critic: MakeCritic
) -> None:
    critic, real, fake = make_critic(before), 0.1 * drawn(0) + 0.6, 0.1 * drawn(1) - 0.6
    trained(critic, real, fake, 40)
    t, eps = torch.full((BATCH,), 20), drawn(7)
    with torch.no_grad():
        assert (critic(real, t, eps).mean(1) > 0).all()
        assert (critic(fake, t, eps).mean(1) < 0).all()
    x = fake.clone().requires_grad_()
    critic.generator_loss(x, t, eps).backward()
    assert x.grad is not None
    # Downhill is towards the real ones, which are brighter.
    assert (-x.grad * (real - fake)).sum() > 0


def test_a_sure_critic_gets_more_noise_and_only_the_adaptive_one_moves(
    make_critic: MakeCritic,
) -> None:
    adaptive, uniform = make_critic(), make_critic("uniform")
    for critic in (adaptive, uniform):
        trained(critic, 0.1 * drawn(0) + 0.6, 0.1 * drawn(1) - 0.6, 40)
    assert adaptive.noise.T > 5 and adaptive.noise.history[-1].r_d > 0.6
    t = adaptive.draw(200, seeded())
    assert 0.3 < (t == 0).float().mean() < 0.7 and t.max() <= adaptive.noise.T
    everywhere = uniform.draw(2000, seeded())
    assert everywhere.min() >= 1 and 480 < everywhere.max() <= 500
    assert abs(float(everywhere.float().mean()) - 250) < 4 * 500 / math.sqrt(12 * 2000)
    clean = make_critic("none")
    assert not clean.draw(50, seeded()).any()
    assert [c.most_noise for c in (adaptive, uniform, clean)] == [adaptive.noise.T, 500, 0]


def test_equal_seeds_equal_heads(make_critic: MakeCritic) -> None:
    weights = [
        torch.cat([p.flatten() for p in make_critic(seed=seed).heads.parameters()])
        for seed in (1, 1, 2)
    ]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_a_width_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="width: a multiple of 8"):
        CriticSettings(width=12)
