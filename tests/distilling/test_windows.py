"""What a student's step has to say, against closed forms and a slow float64."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from antcli.diffusion.path import BetaPath, StraightPath
from antcli.diffusion.sampler import FewSteps
from antcli.diffusion.sampling import sample
from antcli.distilling.windows import WindowObjective, line, taught, windows

MEAN, SPREAD = 0.3, 0.5
"""Of the pixels of a Gaussian teacher, whose ODE has a closed form."""
PATHS = {"betas": BetaPath.linear(), "straight": StraightPath()}


def level(path, t: float) -> tuple[float, float]:
    alpha, sigma = path.alpha_sigma(torch.tensor([t]), torch.empty(1, dtype=torch.float64))
    return float(alpha), float(sigma)


def exact_eps(path, x_t: Tensor, t: Tensor) -> Tensor:
    """E[eps | x_t] where x_0 is N(MEAN, SPREAD^2)."""
    alpha, sigma = path.alpha_sigma(t, x_t)
    return sigma * (x_t - alpha * MEAN) / (alpha**2 * SPREAD**2 + sigma**2)


def flowed(path, x_t: Tensor, t: float, end: float) -> Tensor:
    """Where the probability flow takes x_t: it keeps each pixel's place within the marginal."""
    (a_t, s_t), (a_e, s_e) = level(path, t), level(path, end)
    spread_t, spread_e = ((a * a * SPREAD**2 + s * s) ** 0.5 for a, s in ((a_t, s_t), (a_e, s_e)))
    return a_e * MEAN + spread_e / spread_t * (x_t - a_t * MEAN)


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest):
    return PATHS[request.param]


@pytest.mark.parametrize("scheduler", ["ddim", "ddpm"])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_windows_begin_where_the_solver_asks_and_end_where_its_lines_do(
    path, scheduler: str, steps: int
) -> None:
    found = windows(path, FewSteps(scheduler, steps, 0.8))
    times = path.steps(steps, path.limit(0.8)).tolist()
    assert [window.t for window in found] == times[:-1]
    assert found[-1].end == times[-1]
    for window, s in zip(found[:-1], times[1:], strict=False):
        n_t, n_s, n_end = (
            sigma / alpha
            for alpha, sigma in map(lambda t: level(path, t), (window.t, s, window.end))
        )
        wanted = n_s if scheduler == "ddim" else n_s**2 / n_t
        assert n_end == pytest.approx(wanted, rel=0.05, abs=0.01)  # ends are at whole thousandths


def test_a_line_goes_through_both_of_its_points(path) -> None:
    x_t, x_s = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64)
    t, s = (torch.full((5,), path.at(share)) for share in (0.7, 0.3))
    x_0, eps = line(path, x_t, t, x_s, s)
    torch.testing.assert_close(path.add_noise(x_0, eps, t), x_t)
    torch.testing.assert_close(path.add_noise(x_0, eps, s), x_s)


def test_a_window_to_the_image_itself_is_taught_as_the_image(path) -> None:
    x_t, x_0 = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64)
    t, last = torch.full((5,), path.at(0.5)), path.steps(1)[1:].expand(5)
    torch.testing.assert_close(line(path, x_t, t, x_0, last)[0], x_0)


@pytest.mark.parametrize("scheduler", ["ddim", "ddpm"])
def test_the_teacher_is_followed_along_its_ode(path, scheduler: str) -> None:
    for window in windows(path, FewSteps(scheduler, 3, 0.8)):
        x_t = torch.randn(4, 1, 2, 2, dtype=torch.float64)
        predict = lambda x, t: exact_eps(path, x, t)  # noqa: E731
        x_0, eps = taught(predict, path, x_t, window, 400, clip=False)
        end = torch.full((4,), window.end)
        x_end = flowed(path, x_t, window.t, window.end)
        # DDIM is of first order: what is left falls as one over its steps
        torch.testing.assert_close(path.add_noise(x_0, eps, end), x_end, rtol=0, atol=0.02)


def perfect(path, sampler: FewSteps):
    """A student that says what a teacher of endless steps teaches."""
    ends = {window.t: window.end for window in windows(path, sampler)}

    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        end = ends[t[0].item()]
        x_end = flowed(path, x_t, t[0].item(), end)
        return line(path, x_t, t, x_end, torch.full_like(t, end, dtype=torch.float64))[1]

    return predict


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_student_of_a_gaussian_comes_to_the_end_of_its_ode(path, steps: int) -> None:
    sampler = FewSteps("ddim", steps, 0.8)
    limit = sampler.limit(path)
    drawn = sample(
        perfect(path, sampler),
        path,
        range(3),
        (1, 4, 4),
        scheduler="ddim",
        steps=steps,
        limit=limit,
        clip=False,
    )
    noise = next(
        sample(
            lambda x, t: x,
            path,
            range(3),
            (1, 4, 4),
            scheduler="ddim",
            steps=1,
            limit=limit,
            clip=False,
        )
    )
    first, last = path.steps(steps, limit)[[0, -1]].tolist()
    alpha, sigma = level(path, first)
    x_t = noise * alpha / (1 - sigma)  # from x_0 as that network's answer means it
    torch.testing.assert_close(
        torch.cat(list(drawn)), flowed(path, x_t, first, last), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("steps", [2, 4])
def test_a_student_with_noise_of_its_own_has_the_teachers_distribution(path, steps: int) -> None:
    sampler = FewSteps("ddpm", steps, 0.9)
    drawn = sample(
        perfect(path, sampler),
        path,
        range(64),
        (1, 32, 32),
        scheduler="ddpm",
        steps=steps,
        limit=sampler.limit(path),
        clip=False,
    )
    x_0 = torch.cat(list(drawn))
    # 65,536 pixels; where it begins, noise is taken for x_t, and ends are at whole thousandths
    assert float(x_0.mean()) == pytest.approx(MEAN, abs=0.03)
    assert float(x_0.std()) == pytest.approx(SPREAD, abs=0.03)


def test_the_loss_weighs_every_window_alike() -> None:
    path, t = PATHS["betas"], torch.tensor([799, 399, 100])
    x_0, eps, off = torch.randn(3, 3, 2, 4, 4, dtype=torch.float64).unbind(0)
    off = off * torch.tensor([0.1, 0.02, 0.003], dtype=torch.float64).view(-1, 1, 1, 1)
    output = (eps + off).requires_grad_()
    step: Any = SimpleNamespace(path=path, t=t, x_t=path.add_noise(x_0, eps, t), output=output)
    found = WindowObjective().loss(step, eps)
    slow = 0.0
    for i in range(3):
        alpha, sigma = level(path, float(t[i]))
        # of x_0, where there is more noise than signal, else of eps
        worth = sigma / alpha if sigma > alpha else 1.0
        error = sum((worth * e) ** 2 for e in off[i].flatten().tolist()) / off[i].numel()
        slow += ((error + 1e-6) ** 0.5 - 1e-3) / 3
    assert float(found.detach()) == pytest.approx(slow)
    (gradient,) = torch.autograd.grad(found, output)
    sizes = [
        float(g.norm()) / max(sigma / alpha, 1)
        for g, (alpha, sigma) in zip(gradient, (level(path, at) for at in t.tolist()), strict=True)
    ]
    assert max(sizes) < 1.1 * min(sizes)  # though the errors are a hundredfold apart
