import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from diffusers import UNet2DModel
from method_steps import as_step
from torch import Tensor

from antcli.config import AdaptConfig, TrainingConfig, adapt_config_from
from antcli.diffusion.convention import PLAIN
from antcli.diffusion.examples import Pixels
from antcli.errors import AntError
from antcli.methods.build import build_network, build_objective, check_whole_batches
from antcli.methods.choice import Step
from antcli.methods.penalties.pairwise import PairwisePenalty, log_similarities
from antcli.training.loop import Training

NAMES = {"source": "a", "target": "b"}
T = torch.tensor([5, 300, 700])


def drawn(seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(3, 3, 4, 4, generator=draw, dtype=torch.float64)


def step_of(adapted: Tensor, source: Tensor) -> Step:
    step = as_step(drawn(0), drawn(1), T, lambda *_: adapted, lambda *_: source)
    step.__dict__.update(output=adapted, source_output=source)  # kept in float64
    return step


def cosine(a: list[float], b: list[float]) -> float:
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return product / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def slow_distributions(x_0: Tensor) -> list[list[float]]:
    """Of each image, over the others, in their order."""
    rows = x_0.flatten(1).tolist()
    found = []
    for i, row in enumerate(rows):
        weights = [math.exp(cosine(row, other)) for j, other in enumerate(rows) if j != i]
        found.append([w / sum(weights) for w in weights])
    return found


def test_similarities_against_a_slow_loop() -> None:
    x_0 = drawn(2)
    expected = torch.tensor(slow_distributions(x_0), dtype=torch.float64)
    torch.testing.assert_close(log_similarities(x_0).exp(), expected, rtol=1e-12, atol=0)


def test_the_penalty_against_a_slow_loop() -> None:
    adapted, source = drawn(3), drawn(4)
    step = step_of(adapted, source)
    p, q = (slow_distributions(PLAIN.path.to_x_0(eps, step.x_t, T)) for eps in (adapted, source))
    expected = sum(
        a * math.log(a / b)
        for one, two in zip(p, q, strict=True)
        for a, b in zip(one, two, strict=True)
    )
    assert PairwisePenalty()(step).item() == pytest.approx(expected / 3, rel=1e-9)
    assert expected > 1e-6


def test_nothing_has_to_be_paid_for_what_the_source_says() -> None:
    eps = drawn(3)
    assert PairwisePenalty()(step_of(eps, eps)).item() == pytest.approx(0, abs=1e-15)


def test_its_gradient_is_the_adapted_networks_alone() -> None:
    adapted, source = drawn(3).requires_grad_(), drawn(4).requires_grad_()
    step = step_of(adapted, source.detach())
    PairwisePenalty()(step).backward()
    assert adapted.grad is not None and adapted.grad.abs().max() > 0
    assert source.grad is None


@pytest.mark.parametrize("method", ["adaptor", "full", "lora"])
def test_it_counts_in_the_loss_by_its_weight(
    method: str, make_unet: Callable[..., UNet2DModel], accelerator: Accelerator
) -> None:
    config: AdaptConfig = adapt_config_from(NAMES, {"method": method})
    config = replace(config, training=TrainingConfig(steps=3, batch_size=4, learning_rate=0.01))
    draw = torch.Generator().manual_seed(0)
    images = Pixels(torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8, generator=draw))
    losses = {}
    for weight in (0.0, 1e3, 2e3):
        weighed = replace(config, penalties=replace(config.penalties, pairwise=weight))
        network = build_network(make_unet(8), weighed, PLAIN)
        network.keep_source()
        objective = build_objective(weighed, {})
        training = Training(network, images, config.training, accelerator, objective=objective)
        losses[weight] = [record.loss for record in training.steps()]
    # An untrained network is its source, and pays nothing; then it goes away from it.
    assert losses[1e3][0] == pytest.approx(losses[0.0][0], rel=1e-4)
    added = [losses[weight][1] - losses[0.0][1] for weight in (1e3, 2e3)]
    assert added[0] > 0
    # Not exactly twice: of the rounding of a gradient that should be 0, Adam has made a step.
    assert added[1] == pytest.approx(2 * added[0], rel=0.3)


@pytest.mark.parametrize(
    ("training", "processes", "says"),
    [
        ({"micro_batch": 2}, 1, "micro-batches take apart"),
        ({"low_memory": True}, 1, "micro-batches take apart"),
        ({}, 2, "2 processes share"),
    ],
)
def test_a_batch_that_is_taken_apart_is_refused(
    training: dict[str, object], processes: int, says: str
) -> None:
    penalty = {"penalties": {"pairwise": 4.0}}
    with pytest.raises(AntError, match=says) as raised:
        config = adapt_config_from(NAMES, penalty, {"training": training})
        check_whole_batches(config, processes)
    assert raised.value.exit_code == 2
    check_whole_batches(adapt_config_from(NAMES, {"training": training}), processes)
    check_whole_batches(adapt_config_from(NAMES, penalty, {"training": {"micro_batch": 10}}), 1)
