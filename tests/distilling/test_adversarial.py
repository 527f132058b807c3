"""What moves a student against slow versions, and what trains of all that is asked."""

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
from antcli.distilling.adversarial import (
    AdversarialSettings,
    AdversarialTraining,
    Round,
    StudentObjective,
)
from antcli.distilling.critic import Critic, CriticSettings
from antcli.methods.trainable.denoiser import Denoiser
from antcli.methods.trainable.lora import LoraDenoiser, LoraSettings
from antcli.randomness import seeded
from antcli.sources.encoder import Encoder

SIZE, BATCH = 8, 2
PATH = BetaPath.linear()
CONFIG = TrainingConfig(steps=3, batch_size=BATCH, warmup_steps=0, learning_rate=1e-2)
SETTINGS = AdversarialSettings(updates=2, critic=CriticSettings(width=8, images=40))
MakeTraining = Callable[..., AdversarialTraining]


def drawn(seed: int, *shape: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*(shape or (BATCH, 3, SIZE, SIZE)), generator=draw)


@pytest.fixture
def make_training(make_unet: Callable[..., UNet2DModel], accelerator: Accelerator) -> MakeTraining:
    def low_rank() -> LoraDenoiser:
        with seeded(0):
            return LoraDenoiser(make_unet(SIZE, (8, 16)), LoraSettings(rank=2))

    def make(settings: AdversarialSettings = SETTINGS, **more: Any) -> AdversarialTraining:
        student, score = low_rank(), low_rank()
        student.sampler = FewSteps("ddpm", 2, 0.8)
        scores = (Denoiser(make_unet(SIZE, (8, 16), seed=1)), Denoiser(make_unet(SIZE, (8, 16))))
        critic = Critic(Encoder(make_unet(SIZE, (8, 16)), PLAIN), PATH, settings.critic, seed=0)
        images = (drawn(5, 4, 3, SIZE, SIZE) * 40 + 128).clamp(0, 255).byte()
        config = replace(CONFIG, **more)
        return AdversarialTraining(
            student, score, scores, critic, Pixels(images), config, settings, accelerator
        )

    return make


# --- the loss --------------------------------------------------------------------------------


def slow_direction(x: Tensor, of_student: Tensor, of_real: Tensor) -> Tensor:
    found = torch.zeros_like(x)
    for i in range(len(x)):
        far = sum(abs(v) for v in (x[i] - of_real[i]).flatten().tolist()) / x[i].numel()
        found[i] = (of_student[i] - of_real[i]) / far
    return found


def test_the_student_is_moved_by_both_scores_and_the_critic(make_training: MakeTraining) -> None:
    """Each eps is a multiple of x_t here, so that all x_0 follow by hand."""
    critic = make_training().critic
    shares = {"score": 0.3, "source": 0.1, "adapted": 0.6}

    def multiple(of: float) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda x_t, t: of * x_t

    settings = AdversarialSettings(target_share=0.25, critic_weight=0.5)
    predicts: Any = {name: multiple(of) for name, of in shares.items()}
    objective = StudentObjective(**predicts, critic=critic, settings=settings)
    x, eps, t = drawn(0), drawn(1), torch.tensor([100, 600])
    seen_t, seen_eps = torch.tensor([0, 3, 40, 200]), drawn(2, 4, 3, SIZE, SIZE)
    network: Any = Denoiser(torch.nn.Identity())
    upright = torch.zeros(BATCH, dtype=torch.bool)
    step = Round(
        network, network, nullcontext, drawn(3), eps, t, t, upright, torch.zeros(BATCH, 2),
        tau=t, more=eps, x_k=drawn(4), t_k=t, seen_t=seen_t, seen_eps=seen_eps,
    )  # fmt: skip
    step.__dict__["meant"] = x.requires_grad_()
    found = objective.loss(*objective.prepared(step))
    alpha_bar = torch.cumprod(1 - PATH.betas, 0)[t].view(-1, 1, 1, 1)
    alpha, sigma = alpha_bar.sqrt().float(), (1 - alpha_bar).sqrt().float()
    x_t = alpha * x.detach() + sigma * eps
    seen = {name: (x_t - sigma * of * x_t) / alpha for name, of in shares.items()}
    away = sum(
        weight * slow_direction(x.detach(), seen["score"], seen[name])
        for name, weight in (("source", 0.75), ("adapted", 0.25))
    )
    of_critic = 0.5 * (1 + (-critic(x, seen_t[2:], seen_eps[2:])).exp()).log().mean()
    expected = (away * x).mean() + of_critic
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-3)
    gradients = (torch.autograd.grad(loss, x)[0] for loss in (found, expected))
    # x_0 from x_t loses digits where there is much noise.
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)


# --- the training ----------------------------------------------------------------------------


def weights_of(training: AdversarialTraining) -> dict[str, Tensor]:
    """Of all that is asked in a step, by part."""
    of_student: Any = training.parts[""].objective
    score: Any = training.parts["score"].network
    asked = {
        "student": training.network,
        "score": score,
        "source": of_student.source,
        "adapted": of_student.adapted,
        "critic": training.critic,
    }
    return {
        f"{part}/{name}": p.detach().clone()
        for part, network in asked.items()
        for name, p in network.named_parameters()
    }


def test_all_that_is_drawn_is_drawn_as_one_of_the_images_that_samples_have(
    make_training: MakeTraining,
) -> None:
    training = make_training()
    network: Any = training.network
    with seeded(1):
        network.take_images(3)
        for parameter in network.lora.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape)
    batch = training._round(1)
    expected = torch.eye(3)[[1, 2]]
    assert torch.equal(batch.condition, expected)
    with torch.no_grad():
        meant, others = (
            PATH.to_x_0(network.guided(batch.x_k, batch.t_k, of), batch.x_k, batch.t_k)
            for of in (expected, expected.roll(1, 1))
        )
        torch.testing.assert_close(batch.meant, meant, rtol=1e-4, atol=1e-4)
    assert (meant - others).abs().mean() > 0.01
    asked: list[Tensor] = []

    def adapted(x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        assert condition is not None
        asked.append(condition)
        return 0.5 * x_t

    def score(x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        return adapted(x_t, t, condition)

    objective: Any = training.parts[""].objective
    replace(objective, adapted=adapted, score=score).loss(batch, batch.eps)
    assert len(asked) == 2 and all(torch.equal(one, expected) for one in asked)


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
    alone = make_training(replace(SETTINGS, critic_weight=0.0))
    both = make_training(replace(SETTINGS, critic_weight=1.0))
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
