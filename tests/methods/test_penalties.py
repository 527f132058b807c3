"""Each penalty, and the target by scores, against a slow and literal version in float64."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel
from method_steps import as_step
from torch import Tensor
from torch.nn import functional

from antcli.config import adapt_config_from
from antcli.diffusion.convention import PLAIN
from antcli.diffusion.examples import Pixels
from antcli.errors import AntError
from antcli.methods.build import check_tuned
from antcli.methods.choice import Rule, Step
from antcli.methods.penalties.contrastive import ContrastivePenalty
from antcli.methods.penalties.ewc import EwcPenalty
from antcli.methods.penalties.features import FeaturesPenalty
from antcli.methods.penalties.high_frequency import DetailPenalty, HighFrequencyPenalty, details
from antcli.methods.penalties.self_similarity import (
    LARGEST,
    SelfSimilarityPenalty,
    SelfSimilaritySettings,
    windows,
)
from antcli.methods.penalties.source import SourcePenalty
from antcli.methods.target.score import ScoreSettings, ScoreTarget
from antcli.methods.trainable.lora import LoraDenoiser, LoraSettings
from antcli.methods.trainable.tuned import TunedDenoiser
from antcli.training.source_examples import squared_gradients

T = torch.tensor([5, 300, 700])
MakeUnet = Callable[..., UNet2DModel]


def drawn(seed: int, *shape: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*(shape or (3, 3, 4, 4)), generator=draw, dtype=torch.float64)


def step_of(adapted: Tensor, source: Tensor) -> Step:
    step = as_step(drawn(0), drawn(1), T, lambda *_: adapted, lambda *_: source)
    step.__dict__.update(output=adapted, source_output=source)  # kept in float64
    return step


def seeing(adapted: list[Tensor], source: list[Tensor]) -> Step:
    """A step at which the blocks gave these maps."""
    step = step_of(drawn(3), drawn(4))
    step.__dict__.update(maps=adapted, source_maps=source)
    return step


def cosine(a: Tensor, b: Tensor) -> float:
    a, b = a.flatten(), b.flatten()
    return float((a * b).sum() / (a.square().sum().sqrt() * b.square().sum().sqrt()))


def distributions(x: Tensor) -> list[list[float]]:
    """Of each image, over the others, in their order."""
    found = []
    for i in range(len(x)):
        weights = [math.exp(cosine(x[i], x[j])) for j in range(len(x)) if j != i]
        found.append([w / sum(weights) for w in weights])
    return found


def kl(p: list[list[float]], q: list[list[float]]) -> float:
    """Mean over the images."""
    rows = zip(p, q, strict=True)
    return sum(a * math.log(a / b) for x, y in rows for a, b in zip(x, y, strict=True)) / len(p)


def slow_details(x: Tensor) -> Tensor:
    """Differences of a square's rows, of its columns, and of its diagonals, halved, in sum."""
    count, channels, height, width = x.shape
    found = torch.zeros(count, channels, height // 2, width // 2, dtype=torch.float64)
    for n, c, i, j in torch.cartesian_prod(*map(torch.arange, found.shape)).tolist():
        (a, b), (d, e) = x[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].tolist()
        across, down, diagonal = (-a + b - d + e) / 2, (-a - b + d + e) / 2, (a - b - d + e) / 2
        found[n, c, i, j] = across + down + diagonal
    return found


def x_0_of(eps: Tensor, step: Step) -> Tensor:
    return PLAIN.path.to_x_0(eps, step.x_t, step.t)


def smooth_l1(a: Tensor, b: Tensor) -> Tensor:
    far = (a - b).abs()
    return torch.where(far < 1, far**2 / 2, far - 0.5)


def test_details_against_a_slow_loop() -> None:
    x = drawn(2)
    torch.testing.assert_close(details(x), slow_details(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(details(torch.ones_like(x)), torch.zeros(3, 3, 2, 2).double())


def test_the_similarity_of_details_against_a_slow_loop() -> None:
    step = step_of(drawn(3), drawn(4))
    p, q = (distributions(slow_details(x_0_of(eps, step))) for eps in (drawn(3), drawn(4)))
    assert HighFrequencyPenalty()(step).item() == pytest.approx(kl(p, q), rel=1e-9)
    assert abs(kl(p, q) - kl(q, p)) > 1e-6  # the way round matters


def test_own_details_against_a_slow_loop() -> None:
    step = step_of(drawn(3), drawn(4))
    far = slow_details(x_0_of(drawn(3), step)) - slow_details(step.x_0)
    expected = float(far.square().mean())
    assert DetailPenalty()(step).item() == pytest.approx(expected, rel=1e-9)


MAPS = [drawn(5, 3, 4, 2, 2), drawn(6, 3, 2, 4, 4)]
OTHERS = [drawn(7, 3, 4, 2, 2), drawn(8, 3, 2, 4, 4)]


def test_features_against_a_slow_loop() -> None:
    each = [kl(distributions(f), distributions(g)) for f, g in zip(MAPS, OTHERS, strict=True)]
    found = FeaturesPenalty()(seeing(MAPS, OTHERS))
    assert found.item() == pytest.approx(sum(each) / 2, rel=1e-9)


def test_contrastive_against_a_slow_loop() -> None:
    each = []
    for f, g in zip(MAPS, OTHERS, strict=True):
        for i in range(3):
            likeness = [math.exp(cosine(f[i], g[j]) / 0.07) for j in range(3)]
            each.append(-math.log(likeness[i] / sum(likeness)))
    found = ContrastivePenalty(0.07)(seeing(MAPS, OTHERS))
    assert found.item() == pytest.approx(sum(each) / 6, rel=1e-9)


def slow_self_similarity(maps: Tensor, others: Tensor, side: int) -> float:
    count, _, height, width = maps.shape
    places = [(i, j) for i in range(side) for j in range(side)]
    inside, outside = [], []
    for top in range(0, height - side + 1, side):
        for left in range(0, width - side + 1, side):

            def at(x: Tensor, n: int, place: tuple[int, int], *, y=top, z=left) -> Tensor:
                return x[n, :, y + place[0], z + place[1]]

            for n in range(count):
                for a in places:
                    for b in places:
                        pair = [cosine(at(x, n, a), at(x, n, b)) for x in (maps, others)]
                        inside.append(smooth_l1(*map(torch.tensor, pair)).item())
            for n in range(count):
                for m in range(n + 1, count):
                    for a in places:
                        one, other = (
                            torch.tensor([cosine(at(x, n, a), at(x, m, b)) for b in places])
                            .double()
                            .softmax(0)
                            for x in (maps, others)
                        )
                        outside.append(smooth_l1(one, other).sum().item())
    return 0.8 * sum(inside) / len(inside) + 0.4 * sum(outside) / len(outside)


def test_self_similarity_against_a_slow_loop() -> None:
    penalty = SelfSimilarityPenalty(SelfSimilaritySettings(window=2))
    pairs = zip(MAPS, OTHERS, strict=True)
    expected = sum(slow_self_similarity(f, g, 2) for f, g in pairs) / 2
    # The slow cosines pass through float32.
    assert penalty(seeing(MAPS, OTHERS)).item() == pytest.approx(expected, rel=1e-5)
    assert windows(torch.ones(1, 2, 4 * LARGEST, 4 * LARGEST), 16).shape == (1, 16, 256, 2)


@pytest.mark.parametrize(
    "penalty",
    [FeaturesPenalty(), SelfSimilarityPenalty(SelfSimilaritySettings()), HighFrequencyPenalty()],
)
def test_nothing_has_to_be_paid_for_what_the_source_says(penalty: Rule) -> None:
    step = step_of(drawn(3), drawn(3))
    step.__dict__.update(maps=MAPS, source_maps=MAPS)
    assert penalty(step).item() == pytest.approx(0, abs=1e-15)


def test_the_own_samples_of_the_source_against_a_slow_loop() -> None:
    images = torch.randint(256, (5, 3, 4, 4), dtype=torch.uint8)
    step = as_step(drawn(0), drawn(1), T, lambda x, t: x.tanh(), lambda x, t: x / 2)
    object.__setattr__(step, "mirrored", torch.ones(3, dtype=torch.bool))  # samples are not
    terms = []
    for i in range(3):
        x_0 = images[int(step.chance[i, 0] * 5)].double() / 127.5 - 1
        alpha, sigma = PLAIN.path.alpha_sigma(T[i : i + 1], step.x_0[i : i + 1])
        x_t = alpha * x_0 + sigma * step.eps[i]
        terms.append((x_t.tanh() - x_t / 2).square().mean().item())
    found = SourcePenalty(Pixels(images))(step)
    assert found.item() == pytest.approx(sum(terms) / 3, rel=1e-5)  # eps is float32


def small(make_unet: MakeUnet) -> TunedDenoiser:
    network = TunedDenoiser(make_unet(8, (8, 16)))
    network.keep_source()
    return network


def test_elastic_weights_against_a_slow_loop(make_unet: MakeUnet) -> None:
    network = small(make_unet)
    before = {name: p.detach().double() for name, p in network.trained().items()}
    fisher = {name: torch.rand_like(p) for name, p in network.trained().items()}
    with torch.no_grad():
        for parameter in network.trained().values():
            parameter.add_(torch.randn_like(parameter))
    expected = 0.0
    for name, parameter in network.trained().items():
        far = (parameter.detach().double() - before[name]).flatten().tolist()
        pairs = zip(fisher[name].double().flatten().tolist(), far, strict=True)
        expected += sum(f * d * d for f, d in pairs)
    step = as_step(drawn(0), drawn(1), T)
    object.__setattr__(step, "network", network)
    found = EwcPenalty(fisher)(step)
    assert found.item() == pytest.approx(expected, rel=1e-4)
    found.backward()
    weight = network.unet.conv_in.weight
    expected_gradient = (
        2 * fisher["unet.conv_in.weight"] * (weight.detach() - before["unet.conv_in.weight"])
    )
    torch.testing.assert_close(weight.grad, expected_gradient.float(), rtol=1e-4, atol=1e-6)


def test_fisher_is_the_square_of_one_samples_gradient(make_unet: MakeUnet) -> None:
    """By its definition: a step of a weight changes the loss by the gradient."""
    network = small(make_unet)
    examples = Pixels(torch.randint(256, (3, 3, 8, 8), dtype=torch.uint8))
    first, second = (squared_gradients(network, examples, 0, k) for k in (0, 1))
    assert first.keys() == network.trained().keys()
    name = "unet.conv_in.weight"
    assert not torch.equal(first[name], second[name])
    assert all((square >= 0).all() for square in first.values())
    from antcli.randomness import generator, normal

    x_0 = examples.take(torch.tensor([1]), torch.tensor([False]))
    eps = normal(0, "fisher-noise", 1, [0], (3, 8, 8))
    t = PLAIN.path.uniform(1, generator(0, "fisher", 1))
    loss = functional.mse_loss(network(PLAIN.path.add_noise(x_0, eps, t), t), eps)
    loss.backward()
    torch.testing.assert_close(second[name], network.unet.conv_in.weight.grad.square())


def test_elastic_weights_want_weights_of_the_source() -> None:
    names: dict[str, Any] = {"source": "a", "target": "b", "penalties": {"ewc": 1.0}}
    check_tuned(adapt_config_from(names, {"choices": {"trains": "norm"}}))
    with pytest.raises(AntError, match="of these lora trains none") as raised:
        check_tuned(adapt_config_from(names, {"method": "lora"}))
    assert "encoder-decoder" in raised.value.hint
    assert raised.value.exit_code == 2


def test_the_target_by_scores_is_its_formula() -> None:
    def step_at(done: int) -> Step:
        step = as_step(drawn(0), drawn(1), T, None, lambda x, t: x / 2)
        object.__setattr__(step, "done", done)
        object.__setattr__(step, "average", lambda x, t: x.tanh())
        return step

    step = step_at(7)
    rule = ScoreTarget(ScoreSettings(strength=3.0, below=0.5, start=7))
    expected = step.eps + (3 - 1) * (step.x_t.tanh() - step.x_t / 2)
    expected[2] = step.eps[2]  # t = 700
    torch.testing.assert_close(rule(step), expected, rtol=1e-5, atol=1e-5)  # eps is float32
    assert (expected[:2] - step.eps[:2]).abs().amax((1, 2, 3)).min() > 0.1
    torch.testing.assert_close(rule(step_at(6)), step.eps)


@pytest.mark.parametrize("kind", ["tuned", "lora"])
def test_maps_are_those_of_the_second_half(kind: str, make_unet: MakeUnet) -> None:
    unet = make_unet(8, (8, 16))
    network = TunedDenoiser(unet) if kind == "tuned" else LoraDenoiser(unet, LoraSettings())
    network.keep_source()
    with torch.no_grad():
        for parameter in network.trained().values():
            parameter.add_(0.05)
    step = as_step(drawn(0, 3, 3, 8, 8).float(), drawn(1, 3, 3, 8, 8).float(), T)
    for name, value in {"network": network, "predict": network, "watched": True}.items():
        object.__setattr__(step, name, value)
    maps, of_source = step.seen
    assert [tuple(x.shape) for x in maps] == [(3, 16, 4, 4), (3, 16, 8, 8), (3, 8, 8, 8)]
    assert all(x.requires_grad for x in maps)
    assert not any(x.requires_grad for x in of_source)
    original = make_unet(8, (8, 16))
    head = original.conv_out(functional.silu(original.conv_norm_out(of_source[-1])))
    torch.testing.assert_close(head, step.source_output)
    assert all((a - b).abs().max() > 1e-3 for a, b in zip(maps, of_source, strict=True))
    step.source(step.x_t, T)
    assert len(of_source) == 3  # only of the one pass
