"""The noise against the paper's formulas, its controller both ways, and that it hides nothing."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from antcli.diffusion.path import BetaPath
from antcli.distilling.diffusion_noise import DiffusionNoise, DiffusionNoiseSettings

PAPER = DiffusionNoiseSettings()
BATCH = 8
SURE, UNSURE = torch.full((BATCH,), 3.0), torch.full((BATCH,), -0.2)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def at(T: int, seed: int = 0, path: BetaPath | None = None) -> DiffusionNoise:  # noqa: N803
    """Noise whose T is where it is said."""
    noise = DiffusionNoise(PAPER, seed, path)
    noise.restore({**noise.state(), "place": torch.tensor(T)})
    return noise


def walked(noise: DiffusionNoise, logits: Tensor, minibatches: int) -> list[int]:
    """T after each of so many minibatches that all look alike."""
    found = []
    for _ in range(minibatches):
        noise.observe(logits)
        noise.advance(BATCH)
        found.append(noise.T)
    return found


# --- the noise -------------------------------------------------------------------------------


def slow_level(t: int, top: int) -> tuple[float, float]:
    """The two factors of x and of sigma eps, a product over betas that run over 1..T."""
    start, end = PAPER.beta_start, PAPER.beta_end
    alpha_bar = 1.0
    for s in range(1, t + 1):
        alpha_bar *= 1 - (start + (end - start) * (s - 1) / (top - 1))
    return math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)


@pytest.mark.parametrize("top", [5, 100, 1000])
def test_the_noise_is_that_of_the_paper(top: int) -> None:
    t = torch.tensor([0, 1, top // 2, top])
    x, eps = drawn(0, 4, 3, 2, 2), drawn(1, 4, 3, 2, 2)
    found = at(top)(x, t, eps)
    for y, at_t, one, noise in zip(found, t.tolist(), x, eps, strict=True):
        kept, added = slow_level(at_t, top)
        # The table of alphas is in the tensors' own precision.
        torch.testing.assert_close(y, kept * one + added * 0.05 * noise, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("top", "kept"), [(10, 0.951), (100, 0.603), (500, 0.080), (1000, 0.0064)])
def test_what_is_left_at_the_end_of_the_list(top: int, kept: float) -> None:
    one = torch.ones(1, 1)
    assert at(top)(one, torch.tensor([top]), 0 * one).item() == pytest.approx(kept, abs=6e-4)


def test_without_noise_an_image_is_what_it_was() -> None:
    x, eps = drawn(0, 2, 3), drawn(1, 2, 3)
    torch.testing.assert_close(at(50)(x, torch.zeros(2).long(), eps), x, rtol=0, atol=0)


def test_the_gradient_reaches_the_generator() -> None:
    x, t, eps = drawn(0, 3, 2).requires_grad_(), torch.tensor([0, 30, 50]), drawn(1, 3, 2)
    [gradient] = torch.autograd.grad(at(50)(x, t, eps).sum(), x)
    kept = torch.tensor([slow_level(step, 50)[0] for step in t.tolist()], dtype=torch.float64)
    torch.testing.assert_close(gradient, kept[:, None].expand(3, 2), rtol=1e-9, atol=0)


def test_a_given_path_is_kept_whatever_t_is() -> None:
    path, x, eps = BetaPath.linear(), drawn(0, 1, 2), drawn(1, 1, 2)
    found = [at(top, path=path)(x, torch.tensor([20]), eps) for top in (20, 700)]
    torch.testing.assert_close(*found, rtol=0, atol=0)
    expected = path.add_noise(x, 0.05 * eps, torch.tensor([19]))
    torch.testing.assert_close(found[0], expected, rtol=0, atol=0)
    with pytest.raises(ValueError, match="the path has 300 steps"):
        DiffusionNoise(PAPER, path=BetaPath.linear(300))


# --- the list --------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["priority", "uniform"])
def test_half_the_list_is_clean_the_rest_from_the_prior(prior: str) -> None:
    """T of 5 over many seeds: by chance a share is off by its standard deviation."""
    config = DiffusionNoiseSettings(prior=prior)
    lists = torch.stack([DiffusionNoise(config, seed).list for seed in range(300)])
    assert lists.shape == (300, 64)
    assert ((lists == 0).sum(1) == 32).all()
    weights = [s if prior == "priority" else 1 for s in range(1, 6)]
    for t, weight in enumerate(weights, start=1):
        share, count = weight / sum(weights), lists.numel() // 2
        spread = math.sqrt(share * (1 - share) / count)
        assert abs(float((lists == t).sum()) / count - share) < 4 * spread


def test_an_image_has_its_t_from_the_list_each_entry_as_likely() -> None:
    noise = at(1000)
    t = noise.draw(20_000, seeded())
    assert set(t.tolist()) == set(noise.list.tolist())
    assert abs(float((t == 0).float().mean()) - 0.5) < 4 * 0.5 / math.sqrt(20_000)
    assert torch.equal(noise.draw(5, seeded(3)), noise.draw(5, seeded(3)))


# --- the controller --------------------------------------------------------------------------


def test_t_grows_where_the_critic_is_sure_and_falls_where_it_is_not() -> None:
    """Slowly, in plain numbers: every four minibatches by C, within its bounds."""
    config = DiffusionNoiseSettings(t_max=30, images=320)
    c = (30 - 5) * 4 * BATCH / 320
    noise, place, expected = DiffusionNoise(config), 5.0, []
    verdicts = [SURE] * 60 + [UNSURE] * 60
    found = [walked(noise, logits, 1)[0] for logits in verdicts]
    for i, logits in enumerate(verdicts, start=1):
        if i % 4 == 0:
            r_d = sum(1 if value > 0 else -1 for value in logits.tolist()) / BATCH
            place = min(max(place + (c if r_d > 0.6 else -c), 5), 30)
        expected.append(round(place))
    assert found == expected
    assert {min(found), max(found), found[-1]} == {5, 30}


def test_r_d_is_the_mean_sign_of_all_minibatches_since_the_last_move() -> None:
    noise = DiffusionNoise(PAPER)
    for real in (8, 8, 8, 4):  # so many of eight are called real
        noise.observe(torch.tensor([0.01] * real + [-9.0] * (BATCH - real)))
        move = noise.advance(BATCH)
    assert move is not None and noise.history == [move]
    assert move.r_d == pytest.approx((24 + 0) / 32)
    assert move.minibatch == 4


def test_on_the_target_it_stays() -> None:
    noise = at(100)
    walked(noise, torch.tensor([1.0] * 4 + [-1.0]), 4)
    assert noise.history[-1].r_d == pytest.approx(0.6)
    assert noise.T == 100


def test_processes_together_move_as_one_does() -> None:
    one, shared = at(50), at(50)
    other = torch.tensor([4.0, 4.0])  # another process' signs, of four images

    for _ in range(4):
        one.observe(SURE)
        shared.observe(SURE[:4])
        one.advance(BATCH)
        shared.advance(BATCH, lambda seen: seen + 4 * other)
    assert one.history == shared.history


def test_the_list_is_drawn_anew_with_every_move_and_only_then() -> None:
    noise = at(200)
    before = noise.list
    walked(noise, SURE, 3)
    assert torch.equal(noise.list, before)
    walked(noise, SURE, 1)
    assert not torch.equal(noise.list, before)
    assert noise.list.max() <= noise.T


def test_what_is_restored_goes_on_alike() -> None:
    first, second = DiffusionNoise(PAPER, 7), DiffusionNoise(PAPER, 7)
    walked(first, SURE, 6)
    second.restore(first.state())
    assert walked(first, SURE, 7) == walked(second, SURE, 7)
    assert first.history == second.history
    assert torch.equal(first.list, second.list)


def test_settings_that_leave_no_room_are_refused() -> None:
    with pytest.raises(ValueError, match="t_max: at least t_min"):
        DiffusionNoiseSettings(t_min=20, t_max=10)


# --- what noise hides ------------------------------------------------------------------------

POINTS = torch.linspace(-1, 1, 5, dtype=torch.float64)
"""Where real and generated images of one pixel may lie."""
LEVELS = [(5, 5), (100, 50), (100, 100), (1000, 300)]
"""T and t."""


def noised_density(weights: Tensor, noise: DiffusionNoise, t: int, y: Tensor) -> Tensor:
    """Of noised images that lie at `POINTS` with these weights; by what the noise itself does."""
    one, when = torch.ones(1, 1, dtype=torch.float64), torch.tensor([t])
    kept, spread = noise(one, when, 0 * one).item(), noise(0 * one, when, one).item()
    z = (y[:, None] - kept * POINTS) / spread
    return (weights * torch.exp(-z.square() / 2)).sum(1) / (spread * math.sqrt(2 * math.pi))


def divergence(real: Tensor, fake: Tensor, noise: DiffusionNoise, t: int) -> float:
    """Jensen-Shannon, from the best critic of all, D = p / (p + q), in nats."""
    y = torch.linspace(-2, 2, 40_001, dtype=torch.float64)
    p, q = (noised_density(weights, noise, t, y) for weights in (real, fake))
    best = p / (p + q).clamp(min=1e-300)

    def gain(density: Tensor, verdict: Tensor) -> Tensor:
        return torch.trapezoid(density * (2 * verdict).clamp(min=1e-300).log(), y)

    return float(gain(p, best) + gain(q, 1 - best)) / 2


@pytest.mark.parametrize(("top", "t"), LEVELS)
def test_noised_images_are_alike_only_where_the_images_are(top: int, t: int) -> None:
    """Theorem 2: nothing of the noise leaks into what the generator learns."""
    real = torch.tensor([0.1, 0.2, 0.4, 0.2, 0.1], dtype=torch.float64)
    noise = at(top)
    assert divergence(real, real, noise, t) == pytest.approx(0, abs=1e-12)
    others = [real.roll(1), torch.ones(5).double() / 5, torch.eye(5).double()[2]]
    assert all(divergence(real, other, noise, t) > 1e-6 for other in others)
    # And a generator that draws what is noised already is found out.
    blurred = torch.nn.functional.conv1d(
        real[None, None], torch.tensor([[[0.2, 0.6, 0.2]]]).double(), padding=1
    )[0, 0]
    assert divergence(real, blurred / blurred.sum(), noise, t) > 1e-6


def test_the_farther_apart_the_surer_is_the_best_critic() -> None:
    """Theorem 1: between single points without noise it is log 2 at any distance."""
    alone = torch.eye(5, dtype=torch.float64)
    found = [divergence(alone[0], alone[i], at(1000), 520) for i in range(5)]
    steps = [after - before for before, after in itertools.pairwise(found)]
    assert min(steps) > 1e-5
    assert found[-1] < math.log(2)
