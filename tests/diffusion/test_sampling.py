import itertools
import math
from collections.abc import Callable

import pytest
import torch
from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DModel,
)
from torch import Tensor

from antcli.diffusion.path import BetaPath, Path, StraightPath
from antcli.diffusion.sampling import Noise, SchedulerName, images_at_once, resample, sample
from antcli.methods.trainable.denoiser import Denoiser
from antcli.randomness import generator

SHAPE = (3, 4, 4)
SCHEDULERS: tuple[SchedulerName, ...] = ("dpm++", "ddim", "ddpm")
LINEAR = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


def predict(x_t: Tensor, t: Tensor) -> Tensor:
    """Some smooth function of x_t and t, of about the size of noise."""
    wave = torch.sin(3 * x_t.flip(-1)) + 0.2 * x_t.roll(1, 1)
    return 0.8 * x_t + 0.3 * wave * torch.cos(t / 300).view(-1, 1, 1, 1)


def images(name: SchedulerName, seeds: range | list[int], steps: int = 12, **more: int) -> Tensor:
    path = BetaPath.linear()
    batches = sample(predict, path, seeds, SHAPE, scheduler=name, steps=steps, **more)
    return torch.cat(list(batches))


# --- against diffusers, driven by hand -----------------------------------------------------


def by_hand(solver: DPMSolverMultistepScheduler | DDPMScheduler, seed: int, steps: int) -> Tensor:
    """One image, with all noise drawn here."""
    draw = generator(seed, "sample")
    x_t = torch.randn(1, *SHAPE, generator=draw)
    solver.set_timesteps(steps)
    for t in solver.timesteps:
        x_t = solver.step(predict(x_t, t.view(1)), t, x_t, generator=draw).prev_sample
    return x_t


@pytest.mark.parametrize("steps", [1, 2, 12, 25])
def test_dpm_solver(steps: int) -> None:
    for seed in (0, 5):
        solver = DPMSolverMultistepScheduler(
            **LINEAR,
            algorithm_type="sde-dpmsolver++",
            solver_order=2,
            timestep_spacing="trailing",
            thresholding=True,
            sample_max_value=1.0,
        )
        expected = by_hand(solver, seed, steps).clamp(-1, 1)
        torch.testing.assert_close(images("dpm++", [seed], steps), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 12])
def test_ddpm(steps: int) -> None:
    for seed in (0, 5):
        solver = DDPMScheduler(**LINEAR, timestep_spacing="trailing", clip_sample=True)
        expected = by_hand(solver, seed, steps)
        torch.testing.assert_close(images("ddpm", [seed], steps), expected, rtol=0, atol=1e-4)


# --- against slow versions of the papers' formulas -----------------------------------------


def timesteps(steps: int) -> list[int]:
    """From T-1 down, evenly spaced, counted from 0."""
    return [round(1000 - i * 1000 / steps) - 1 for i in range(steps)]


def clipped_x_0(x_t: Tensor, eps: Tensor, alpha_bar: float) -> Tensor:
    return ((x_t - math.sqrt(1 - alpha_bar) * eps) / math.sqrt(alpha_bar)).clamp(-1, 1)


def test_ddim_formula() -> None:
    """DDIM, Eq. 12 with sigma = 0, x_0 clipped, in float64."""
    alpha_bar = [*torch.cumprod(1 - BetaPath.linear().betas, 0).tolist(), 1.0]
    x_t = torch.randn(SHAPE, generator=generator(3, "sample"))[None].double()
    for t, after in zip(timesteps(10), [*timesteps(10)[1:], -1], strict=True):
        eps = predict(x_t, torch.tensor([t]))
        x_0 = clipped_x_0(x_t, eps, alpha_bar[t])
        x_t = math.sqrt(alpha_bar[after]) * x_0 + math.sqrt(1 - alpha_bar[after]) * eps
    torch.testing.assert_close(images("ddim", [3], 10).double(), x_t, rtol=0, atol=2e-3)


def test_ddpm_formula() -> None:
    """DDPM, Eq. 6 and 7 between any two timesteps, x_0 clipped, in float64."""
    alpha_bar = [*torch.cumprod(1 - BetaPath.linear().betas, 0).tolist(), 1.0]
    draw = generator(3, "sample")
    x_t = torch.randn(SHAPE, generator=draw)[None].double()
    for t, after in zip(timesteps(10), [*timesteps(10)[1:], -1], strict=True):
        x_0 = clipped_x_0(x_t, predict(x_t, torch.tensor([t])), alpha_bar[t])
        alpha = alpha_bar[t] / alpha_bar[after]
        x_t = (
            math.sqrt(alpha_bar[after]) * (1 - alpha) / (1 - alpha_bar[t]) * x_0
            + math.sqrt(alpha) * (1 - alpha_bar[after]) / (1 - alpha_bar[t]) * x_t
        )
        if after >= 0:
            variance = (1 - alpha_bar[after]) / (1 - alpha_bar[t]) * (1 - alpha)
            x_t = x_t + math.sqrt(variance) * torch.randn(SHAPE, generator=draw)
    torch.testing.assert_close(images("ddpm", [3], 10).double(), x_t, rtol=0, atol=2e-3)


@pytest.mark.parametrize("path", [BetaPath.linear(), StraightPath()])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_samples_follow_the_distribution(name: SchedulerName, path: Path) -> None:
    """With the true eps of data from N(0.3, 0.1), that is what comes out."""
    mean, spread = 0.3, 0.1

    def truth(x_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = path.alpha_sigma(t, x_t)
        return sigma * (x_t - alpha * mean) / ((alpha * spread) ** 2 + sigma**2)

    values = torch.cat(list(sample(truth, path, range(200), SHAPE, scheduler=name, steps=100)))
    assert values.mean().item() == pytest.approx(mean, abs=0.01)
    # DDPM's noise is the least that any data leaves, so it comes out a little narrow.
    slack = 0.25 if name == "ddpm" else 0.15
    assert values.std().item() == pytest.approx(spread, rel=slack)


@pytest.mark.parametrize("steps", [1, 2, 12])
def test_ddim_on_the_straight_path_is_euler_of_diffusers(steps: int) -> None:
    path, solver = StraightPath(), FlowMatchEulerDiscreteScheduler()
    solver.set_timesteps(sigmas=path.steps(steps)[:-1].tolist())

    def smooth(x_t: Tensor, t: Tensor) -> Tensor:
        return predict(x_t, 1000 * t)

    x_t = torch.randn(1, *SHAPE, generator=generator(3, "sample"))
    for t in solver.timesteps:
        at = t.view(1) / 1000
        eps = smooth(x_t, at)
        velocity = path.output(path.to_x_0(eps, x_t, at), eps, at, "flow_prediction")
        x_t = solver.step(velocity, t, x_t).prev_sample
    batches = sample(smooth, path, [3], SHAPE, scheduler="ddim", steps=steps, clip=False)
    # eps at t = 0.999 tells x_0 to a thousandth of its own precision.
    torch.testing.assert_close(torch.cat(list(batches)), x_t, rtol=1e-3, atol=1e-3)


# --- seeds, batches, range -----------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULERS)
def test_an_image_depends_on_its_seed_alone(name: SchedulerName) -> None:
    together = images(name, range(7, 12))
    one_by_one = images(name, [11, 9, 7, 8, 10], batch_size=1)
    in_pairs = images(name, [10, 7, 11, 8, 9], batch_size=2)
    torch.testing.assert_close(one_by_one[[2, 3, 1, 4, 0]], together, rtol=0, atol=0)
    torch.testing.assert_close(in_pairs[[1, 3, 4, 0, 2]], together, rtol=0, atol=0)
    assert (together[0] - together[1]).abs().mean() > 0.1


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_network_adds_but_rounding(
    name: SchedulerName, make_unet: Callable[..., UNet2DModel]
) -> None:
    """The first step divides by sqrt(alpha_bar) = 0.006, so 1e-7 of rounding becomes 2e-5."""
    network = Denoiser(make_unet())
    path, shape = BetaPath.linear(), (3, 16, 16)

    def draw(seeds: list[int], batch_size: int) -> Tensor:
        batches = sample(
            network, path, seeds, shape, scheduler=name, steps=5, batch_size=batch_size
        )
        return torch.cat(list(batches))

    together = draw([7, 8, 9], 64)
    one_by_one = draw([9, 7, 8], 1)
    torch.testing.assert_close(one_by_one[[1, 2, 0]], together, rtol=0, atol=1e-4)


def test_batches_come_as_they_are_done() -> None:
    batches = sample(predict, BetaPath.linear(), range(5), SHAPE, steps=2, batch_size=2)
    assert [list(batch.shape) for batch in batches] == [[2, *SHAPE], [2, *SHAPE], [1, *SHAPE]]
    assert list(sample(predict, BetaPath.linear(), [], SHAPE, steps=2)) == []


@pytest.mark.parametrize("name", SCHEDULERS)
def test_x_0_is_clipped_at_every_step(name: SchedulerName) -> None:
    """A network that sees no noise sends x_0 far out of range; x_t must not follow it."""
    sizes = []

    def no_noise(x_t: Tensor, t: Tensor) -> Tensor:
        sizes.append(x_t.abs().max().item())
        return torch.zeros_like(x_t)

    path = BetaPath.linear()
    out = torch.cat(list(sample(no_noise, path, range(4), SHAPE, scheduler=name, steps=20)))
    assert len(sizes) == 20
    assert max(sizes) < 6
    assert out.abs().max() <= 1
    assert (out.abs() > 1 - 1e-6).float().mean() > 0.25


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_network_is_asked_once_a_step_without_gradients(name: SchedulerName) -> None:
    asked = []

    def watched(x_t: Tensor, t: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        assert t.shape == (len(x_t),)
        assert t.unique().numel() == 1
        asked.append(int(t[0]))
        return predict(x_t, t)

    list(sample(watched, BetaPath.linear(), range(3), SHAPE, scheduler=name, steps=10))
    assert asked == timesteps(10)


def test_output_of_lower_precision_is_taken() -> None:
    def half(x_t: Tensor, t: Tensor) -> Tensor:
        return predict(x_t, t).bfloat16()

    (out,) = sample(half, BetaPath.linear(), [0], SHAPE, steps=4)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, images("dpm++", [0], 4), rtol=0, atol=0.1)


# --- noised and denoised again -------------------------------------------------------------


def redrawn(path: Path, x_0: Tensor, limit: float, seeds: range, **more: object) -> Tensor:
    return resample(predict, path, x_0, limit, seeds, steps=8, **more)  # type: ignore[arg-type]


def test_each_image_has_noise_of_its_own_drawn_anew_at_each_call() -> None:
    noise = Noise([4, 9], "mine", SHAPE, "cpu")
    draws = [generator(seed, "mine") for seed in (4, 9)]
    for _ in range(3):
        expected = torch.stack([torch.randn(SHAPE, generator=draw) for draw in draws])
        torch.testing.assert_close(noise(), expected, rtol=0, atol=0)


def test_resampled_by_the_scheduler_of_diffusers() -> None:
    """DDPMScheduler on the same timesteps, its noise drawn here."""
    x_0 = torch.rand(1, *SHAPE) * 2 - 1
    solver = DDPMScheduler(**LINEAR, clip_sample=True)
    solver.set_timesteps(timesteps=[399, 349, 299, 249, 199, 149, 99, 49])
    draw = generator(6, "resample")
    eps = torch.randn(1, *SHAPE, generator=draw)
    x_t = solver.add_noise(x_0, eps, torch.tensor([399]))
    for t in solver.timesteps:
        x_t = solver.step(predict(x_t, t.view(1)), t, x_t, generator=draw).prev_sample
    found = redrawn(BetaPath.linear(), x_0, 400, range(6, 7))
    torch.testing.assert_close(found, x_t, rtol=0, atol=1e-4)


@pytest.mark.parametrize("scheduler", ["ddpm", "dpm++"])
@pytest.mark.parametrize(("path", "limit"), [(BetaPath.linear(), 100), (StraightPath(), 0.3)])
def test_what_is_resampled_follows_the_distribution_and_keeps_what_noise_left(
    path: Path, limit: float, scheduler: SchedulerName
) -> None:
    """With the true eps of data from N(0.3, s): x_0 and x'_0 are two draws given one x_t.

    They correlate by alpha^2 s^2 / (alpha^2 s^2 + sigma^2).
    """
    mean, spread = 0.3, 0.2

    def truth(x_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = path.alpha_sigma(t, x_t)
        return sigma * (x_t - alpha * mean) / ((alpha * spread) ** 2 + sigma**2)

    x_0 = mean + spread * torch.randn(400, *SHAPE)
    asked = {"scheduler": scheduler, "steps": 100}
    found = resample(truth, path, x_0, limit, range(400), clip=False, **asked)  # type: ignore[arg-type]
    assert found.mean().item() == pytest.approx(mean, abs=0.01)
    # DDPM's comes out a little narrow.
    assert found.std().item() == pytest.approx(spread, rel=0.1 if scheduler == "ddpm" else 0.02)
    alpha, sigma = (v.item() for v in path.alpha_sigma(path.steps(1, limit)[:1], x_0))
    kept = (alpha * spread) ** 2 / ((alpha * spread) ** 2 + sigma**2)
    both = torch.stack([x_0.flatten(), found.flatten()])
    # Of 19,200 numbers the correlation is known to 1 / sqrt(19200).
    assert torch.corrcoef(both)[0, 1].item() == pytest.approx(kept, abs=4 / math.sqrt(19200))
    assert kept > 0.1


def test_with_next_to_no_noise_an_image_comes_back() -> None:
    x_0 = torch.rand(2, *SHAPE) * 1.8 - 0.9
    found = redrawn(StraightPath(), x_0, 1e-5, range(2))
    torch.testing.assert_close(found, x_0, rtol=0, atol=1e-4)
    # Of the first step of betas, sigma is 0.01: what comes back is off by what eps is off.
    path, eps = BetaPath.linear(), Noise(range(2), "resample", SHAPE, "cpu")()
    alpha, sigma = path.alpha_sigma(torch.tensor([0]), x_0)
    x_t = alpha * x_0 + sigma * eps
    expected = (x_t - sigma * predict(x_t, torch.zeros(2))) / alpha
    torch.testing.assert_close(redrawn(path, x_0, 1, range(2)), expected.clamp(-1, 1))


def test_a_resampled_image_depends_on_its_own_seed_and_the_stream_alone() -> None:
    path, x_0 = BetaPath.linear(), torch.rand(3, *SHAPE)
    together = redrawn(path, x_0, 300, range(5, 8))
    for i in range(3):
        alone = redrawn(path, x_0[i : i + 1], 300, range(5 + i, 6 + i))
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=0)
    other = redrawn(path, x_0, 300, range(5, 8), stream="other")
    assert (other - together).abs().amax((1, 2, 3)).min() > 1e-3
    same = x_0[:1].expand(2, *SHAPE)
    one, two = redrawn(path, same, 300, range(5, 7))
    assert (one - two).abs().max() > 1e-3


def test_of_more_steps_than_there_are_each_is_taken_once() -> None:
    asked: list[int] = []

    def watched(x_t: Tensor, t: Tensor) -> Tensor:
        asked.append(int(t[0]))
        return predict(x_t, t)

    path, x_0 = BetaPath.linear(), torch.rand(1, *SHAPE)
    found = resample(watched, path, x_0, 4, [0], steps=50)
    assert asked == [3, 2, 1, 0]
    assert found.isfinite().all()


@pytest.mark.parametrize("clip", [True, False])
def test_pixels_are_clipped_and_latents_are_not(clip: bool) -> None:
    x_0 = torch.full((1, *SHAPE), 3.0)
    found = redrawn(BetaPath.linear(), x_0, 100, range(1), clip=clip)
    assert (found.abs().max() <= 1) == clip


# --- memory --------------------------------------------------------------------------------


def test_batches_on_a_cpu_are_small() -> None:
    batches = sample(predict, BetaPath.linear(), range(20), SHAPE, steps=1)
    assert [len(batch) for batch in batches] == [16, 4]


def test_a_batch_that_memory_does_not_hold_is_halved() -> None:
    asked: list[int] = []

    def small(x_t: Tensor, t: Tensor) -> Tensor:
        asked.append(len(x_t))
        if len(x_t) > 2:
            raise torch.OutOfMemoryError("tried to allocate 2 GiB")
        return predict(x_t, t)

    path = BetaPath.linear()
    batches = list(sample(small, path, range(5), SHAPE, steps=3, batch_size=5))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert asked[0] == 5
    assert max(asked[1:]) == 2
    torch.testing.assert_close(torch.cat(batches), images("dpm++", range(5), 3), rtol=0, atol=0)
    with pytest.raises(torch.OutOfMemoryError):
        list(sample(lambda x_t, t: small(x_t.repeat(3, 1, 1, 1), t), path, [0], SHAPE, steps=3))


def test_as_many_at_once_as_the_free_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (3, 256, 256)
    assert images_at_once(shape) == 4
    for free, count in ((2**31, 4), (11 * 2**30, 11), (79 * 2**30, 64)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 2**37))
        assert images_at_once(shape, "cuda") == count


# --- a part of it stays --------------------------------------------------------------------


def slow_resample(x_0: Tensor, changed: Tensor, limit: int, seed: int, clip: bool) -> Tensor:
    """DDPM's posterior (Ho et al. 2020, Eqs. 6, 7) in float64, of one image [C, H, W], 8 steps."""
    bars = torch.cumprod(1 - BetaPath.linear().betas, 0).tolist()
    draw = generator(seed, "resample")

    def noise() -> Tensor:
        return torch.randn(SHAPE, generator=draw).double()

    x_0, eps, times = x_0.double(), noise(), [limit * k // 8 - 1 for k in range(8, 0, -1)]
    x_t = bars[times[0]] ** 0.5 * x_0 + (1 - bars[times[0]]) ** 0.5 * eps
    for t, s in itertools.pairwise([*times, -1]):
        bar_t, bar_s = bars[t], bars[s] if s >= 0 else 1.0
        said = predict(x_t[None].float(), torch.tensor([t]))[0].double()
        found = (x_t - (1 - bar_t) ** 0.5 * said) / bar_t**0.5
        found = found.clamp(-1, 1) if clip else found
        told = torch.empty_like(x_0)
        for c, y, x in itertools.product(*map(range, SHAPE)):
            share = float(changed[0, y, x])
            told[c, y, x] = share * found[c, y, x] + (1 - share) * x_0[c, y, x]
        beta = 1 - bar_t / bar_s
        mean = bar_s**0.5 * beta / (1 - bar_t) * told
        mean = mean + (bar_t / bar_s) ** 0.5 * (1 - bar_s) / (1 - bar_t) * x_t
        x_t = mean + ((1 - bar_s) / (1 - bar_t) * beta) ** 0.5 * noise() if s >= 0 else mean
    return x_t.clamp(-1, 1) if clip else x_t


@pytest.mark.parametrize("clip", [True, False])
def test_a_part_is_resampled_as_a_slow_loop_does(clip: bool) -> None:
    x_0, changed = torch.rand(2, *SHAPE) * 2 - 1, torch.rand(1, 1, *SHAPE[1:])
    changed[..., :2, :2], changed[..., 2:, 2:] = 0, 1
    found = redrawn(BetaPath.linear(), x_0, 400, range(6, 8), clip=clip, changed=changed)
    expected = [slow_resample(x_0[i], changed[0], 400, 6 + i, clip) for i in (0, 1)]
    torch.testing.assert_close(found.double(), torch.stack(expected), rtol=0, atol=1e-4)


PATHS = [(BetaPath.linear(), 400), (StraightPath(), 0.6)]


@pytest.mark.parametrize(("path", "limit"), PATHS)
def test_where_all_is_changed_all_is_resampled_bit_for_bit(path: Path, limit: float) -> None:
    x_0 = torch.rand(3, *SHAPE) * 2 - 1
    usual = redrawn(path, x_0, limit, range(3))
    found = redrawn(path, x_0, limit, range(3), changed=torch.ones(1, 1, *SHAPE[1:]))
    torch.testing.assert_close(found, usual, rtol=0, atol=0)


@pytest.mark.parametrize(("path", "limit"), PATHS)
def test_what_is_not_changed_comes_back(path: Path, limit: float) -> None:
    x_0 = torch.rand(3, *SHAPE) * 2 - 1
    nothing = torch.zeros(1, 1, *SHAPE[1:])
    found = redrawn(path, x_0, limit, range(3), changed=nothing)
    torch.testing.assert_close(found, x_0, rtol=0, atol=1e-5)
    half = nothing.clone()
    half[..., :2] = 1
    found = redrawn(path, x_0, limit, range(3), changed=half)
    torch.testing.assert_close(found[..., 2:], x_0[..., 2:], rtol=0, atol=1e-5)
    assert (found - x_0)[..., :2].abs().mean() > 0.1


def test_what_is_not_changed_is_told_at_every_step() -> None:
    """The model sees it with the noise of each t, and may go by it."""
    path, x_0, seen = BetaPath.linear(), torch.rand(400, *SHAPE) * 2 - 1, []

    def watched(x_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = path.alpha_sigma(t, x_t)
        seen.append(((x_t - alpha * x_0) / sigma).std().item())
        return torch.zeros_like(x_t)

    nothing = torch.zeros(1, 1, *SHAPE[1:])
    resample(watched, path, x_0, 400, range(400), steps=8, changed=nothing)
    # Of 19,200 numbers a standard deviation is known to 1 / sqrt(2 * 19200).
    assert seen == pytest.approx([1.0] * 8, abs=4 / math.sqrt(2 * 19200))
