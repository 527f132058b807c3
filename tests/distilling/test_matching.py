"""The student's pulls against slow versions, and what trains of all that is asked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from diffusers import UNet2DModel
from torch import Tensor

from antcli.config import TrainingConfig
from antcli.diffusion.convention import PLAIN
from antcli.diffusion.examples import Pixels
from antcli.diffusion.path import BetaPath
from antcli.diffusion.sampler import FewSteps
from antcli.distilling.critic import Critic, CriticSettings
from antcli.distilling.matching import (
    MatchingSettings,
    MatchingTraining,
    Round,
    StudentObjective,
    matching_loss,
)
from antcli.methods.trainable.denoiser import Denoiser
from antcli.methods.trainable.lora import LoraDenoiser, LoraSettings
from antcli.randomness import seeded
from antcli.sources.encoder import Encoder

SIZE, BATCH = 8, 2
PATH = BetaPath.linear()
CONFIG = TrainingConfig(steps=3, batch_size=BATCH, warmup_steps=0, learning_rate=1e-2)
MATCHING = MatchingSettings(updates=2, critic=CriticSettings(width=8, images=40))
MakeTraining = Callable[..., MatchingTraining]


def drawn(seed: int, *shape: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*(shape or (BATCH, 3, SIZE, SIZE)), generator=draw)


@pytest.fixture
def make_training(make_unet: Callable[..., UNet2DModel], accelerator: Accelerator) -> MakeTraining:
    def low_rank() -> LoraDenoiser:
        with seeded(0):
            return LoraDenoiser(make_unet(SIZE, (8, 16)), LoraSettings(rank=2))

    def make(matching: MatchingSettings = MATCHING, **more: Any) -> MatchingTraining:
        student, score = low_rank(), low_rank()
        student.sampler = FewSteps("ddpm", 2, 0.8)
        scores = (Denoiser(make_unet(SIZE, (8, 16), seed=1)), Denoiser(make_unet(SIZE, (8, 16))))
        critic = Critic(Encoder(make_unet(SIZE, (8, 16)), PLAIN), PATH, matching.critic, seed=0)
        images = (drawn(5, 4, 3, SIZE, SIZE) * 40 + 128).clamp(0, 255).byte()
        config = replace(CONFIG, **more)
        return MatchingTraining(
            student, score, scores, critic, Pixels(images), config, matching, accelerator
        )

    return make


# --- the pulls -------------------------------------------------------------------------------


def slow_direction(x: Tensor, of_student: Tensor, of_real: Tensor) -> Tensor:
    found = torch.zeros_like(x)
    for i in range(len(x)):
        far = sum(abs(v) for v in (x[i] - of_real[i]).flatten().tolist()) / x[i].numel()
        found[i] = (of_student[i] - of_real[i]) / far
    return found


def test_the_gradient_of_matching_is_its_direction() -> None:
    x, of_student, of_real = (drawn(i).double() for i in range(3))
    x.requires_grad_()
    loss = matching_loss(x, of_student, of_real)
    [gradient] = torch.autograd.grad(loss, x)
    direction = slow_direction(x.detach(), of_student, of_real)
    torch.testing.assert_close(gradient, direction / x.numel(), rtol=1e-9, atol=1e-12)
    assert float(loss) == pytest.approx(float(direction.square().mean()) / 2, rel=1e-9)


def test_the_student_is_pulled_by_both_scores_and_the_critic(make_training: MakeTraining) -> None:
    """Each eps is a multiple of x_t here, so that all x_0 follow by hand."""
    critic = make_training().critic
    shares = {"score": 0.3, "source": 0.1, "adapted": 0.6}

    def multiple(of: float) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda x_t, t: of * x_t

    settings = MatchingSettings(target_share=0.25, critic_weight=0.5)
    predicts: Any = {name: multiple(of) for name, of in shares.items()}
    objective = StudentObjective(**predicts, critic=critic, settings=settings)
    x, eps, t = drawn(0), drawn(1), torch.tensor([100, 600])
    seen_t, seen_eps = torch.tensor([0, 3, 40, 200]), drawn(2, 4, 3, SIZE, SIZE)
    network: Any = Denoiser(torch.nn.Identity())
    upright = torch.zeros(BATCH, dtype=torch.bool)
    step = Round(
        network, network, nullcontext, drawn(3), eps, t, t, upright, torch.zeros(BATCH, 2),
        x_k=drawn(4), t_k=t, seen_t=seen_t, seen_eps=seen_eps,
    )  # fmt: skip
    step.__dict__["fake"] = x.requires_grad_()
    found = objective.loss(*objective.prepared(step))
    alpha_bar = torch.cumprod(1 - PATH.betas, 0)[t].view(-1, 1, 1, 1)
    alpha, sigma = alpha_bar.sqrt().float(), (1 - alpha_bar).sqrt().float()
    x_t = alpha * x.detach() + sigma * eps
    seen = {name: (x_t - sigma * of * x_t) / alpha for name, of in shares.items()}
    pulls = [
        weight * slow_direction(x.detach(), seen["score"], seen[name]).square().mean() / 2
        for name, weight in (("source", 0.75), ("adapted", 0.25))
    ]
    with torch.no_grad():
        logits = critic(x, seen_t[2:], seen_eps[2:])
    expected = sum(map(float, pulls)) + 0.5 * float((1 + (-logits).exp()).log().mean())
    assert float(found) == pytest.approx(expected, rel=1e-4)
    found.backward()
    assert x.grad is not None and x.grad.any()


# --- the training ----------------------------------------------------------------------------


def weights_of(training: MatchingTraining) -> dict[str, Tensor]:
    """Of all that is asked in a step, by part."""
    of_student: Any = training.parts[""].objective
    asked = {
        "student": training.network,
        "score": of_student.score,
        "source": of_student.source,
        "adapted": of_student.adapted,
        "critic": training.critic,
    }
    return {
        f"{part}/{name}": p.detach().clone()
        for part, network in asked.items()
        for name, p in network.named_parameters()
    }


def test_student_score_and_heads_train_and_nothing_else(make_training: MakeTraining) -> None:
    training = make_training()
    before = weights_of(training)
    records = list(training.steps())
    after = weights_of(training)
    moved = {name for name, p in before.items() if not torch.equal(p, after[name])}
    expected = {
        name for name in before if name.startswith(("student/lora", "score/lora", "critic/heads"))
    }
    assert moved == expected
    assert [record.step for record in records] == [1, 2, 3]
    assert all(record.score_loss > 0 and record.critic_loss > 0 for record in records)
    # Six minibatches: one move, after four of them.
    assert [len(training.critic.noise.history), records[0].r_d] == [1, None]
    assert records[2].r_d == training.critic.noise.history[0].r_d
    assert records[2].T == training.critic.noise.T


def test_without_its_critic_the_student_learns_from_the_scores_alone(
    make_training: MakeTraining,
) -> None:
    alone = make_training(replace(MATCHING, critic_weight=0.0))
    both = make_training(replace(MATCHING, critic_weight=1.0))
    losses = [next(iter(training.steps())).loss for training in (alone, both)]
    assert losses[1] > losses[0]


def test_a_state_goes_on_as_if_there_had_been_no_cut(
    make_training: MakeTraining, tmp_path: Path
) -> None:
    whole, cut, resumed = make_training(), make_training(), make_training()
    for _ in whole.steps():
        pass
    steps = cut.steps()
    next(steps)
    next(steps)
    cut.save(tmp_path / "state.safetensors", {})
    resumed.load(tmp_path / "state.safetensors")
    assert resumed.critic.noise.history == cut.critic.noise.history
    for _ in resumed.steps():
        pass
    expected = weights_of(whole)
    for name, found in weights_of(resumed).items():
        torch.testing.assert_close(found, expected[name], rtol=0, atol=0)


def test_the_students_own_steps_lead_to_each_of_its_places(make_training: MakeTraining) -> None:
    training = make_training()
    places, times = {}, PATH.steps(2, PATH.limit(0.8)).tolist()
    for turn in range(12):
        drawn_round = training._round(turn)
        places[int(drawn_round.t_k[0])] = drawn_round
    assert sorted(places, reverse=True) == times[:2]
    first = places[times[0]]
    assert abs(float(first.x_k.std()) - 1) < 4 / (2 * first.x_k.numel()) ** 0.5
