"""Many small networks at once are what each would be alone, and what is frozen stays."""

from __future__ import annotations

import math

import conditional_tasks as example
import pytest
import torch
from conditional_tasks import FROZEN, SCRATCH, TUNED, Estimate, Model, Training, Widths
from torch import Tensor, nn

from antcli.diffusion.convention import PLAIN

WIDTHS = Widths(x=3, y=5, code=2, head=(8, 8), encoder=(8,))
SHORT = Training(steps=6, rate=1e-2, batch=4)
SEEDS = range(3)


def data(tasks: int, count: int = 7) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(tasks, count, WIDTHS.x, generator=draw)
    return x, torch.randn(tasks, count, WIDTHS.y, generator=draw)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_networks_of_a_batch_are_networks() -> None:
    """Each as `nn.Linear` layers with the same weights."""
    x = torch.randn(3, 4, WIDTHS.y, generator=torch.Generator().manual_seed(1))
    several = WIDTHS.encoders(SEEDS)
    found = several(x)
    for r in SEEDS:
        alone = nn.Sequential(nn.Linear(5, 8), nn.SiLU(), nn.Linear(8, 2))
        for layer, weight, bias in zip(alone[::2], several.weights, several.biases, strict=True):
            layer.weight.data, layer.bias.data = weight[r].T, bias[r, 0]
        torch.testing.assert_close(found[r], alone(x[r]))


def test_together_each_network_learns_what_it_learns_alone() -> None:
    x, y = data(3)
    source = Model(WIDTHS.heads([9]), WIDTHS.encoders([9])).requires_grad_(False)
    together = example.adapted(source, WIDTHS, x, y, SHORT, SEEDS)
    for r in SEEDS:
        alone = example.adapted(source, WIDTHS, x[r : r + 1], y[r : r + 1], SHORT, [r])
        for way, model in alone.items():
            several = together[way].state_dict()
            for name, value in model.state_dict().items():
                own = several[name] if len(several[name]) == 1 else several[name][r : r + 1]
                torch.testing.assert_close(own, value, rtol=1e-4, atol=1e-6)


def test_what_is_frozen_stays_and_the_rest_moves() -> None:
    x, y = data(3)
    source = example.pretrain(WIDTHS, x, y, SHORT)
    before = weights(source)
    models = example.adapted(source, WIDTHS, x, y, SHORT, SEEDS)
    torch.testing.assert_close(weights(source), before, rtol=0, atol=0)
    assert models[FROZEN].h is source.h
    for way, start in ((TUNED, source.h.repeated(3)), (SCRATCH, WIDTHS.encoders(SEEDS))):
        for name, value in models[way].h.state_dict().items():
            assert (value - start.state_dict()[name]).abs().amax((1, 2)).min() > 1e-3
    heads = WIDTHS.heads(SEEDS).state_dict()
    for model in models.values():
        assert not torch.equal(model.f.state_dict()["weights.0"], heads["weights.0"])


def test_an_encoder_of_one_serves_all_tasks() -> None:
    _, y = data(3)
    one = WIDTHS.encoders([4])
    shared = Model(WIDTHS.heads(SEEDS), one).code(y)
    torch.testing.assert_close(shared, Model(WIDTHS.heads(SEEDS), one.repeated(3)).code(y))
    torch.testing.assert_close(shared[1], one(y[1:2])[0])


def test_tasks_are_learnt_and_drawn() -> None:
    """Of x = a y + noise the conditional mean and spread, a being 1 in one task, -1 in another."""
    draw = torch.Generator().manual_seed(0)
    y = 3 * torch.rand(2, 500, 1, generator=draw) - 1.5
    x = torch.tensor([1.0, -1.0]).view(2, 1, 1) * y + 0.2 * torch.randn(y.shape, generator=draw)
    widths = Widths(x=1, y=1, code=1, head=(32, 32), encoder=(16,))
    model = example.pretrain(widths, x, y, Training(steps=500, rate=5e-3, batch=64))
    tried = torch.tensor([[-1.0], [0.0], [1.0]]).expand(2, 3, 1)
    found = example.draw(model, tried, 200, [0, 1])
    expected = torch.tensor([[-1.0, 0, 1], [1, 0, -1]])
    torch.testing.assert_close(found.mean((2, 3)), expected, atol=0.15, rtol=0)
    assert (found.std(2) - 0.2).abs().max() < 0.12


def test_samples_of_the_exact_network_are_those_of_the_posterior(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """N(h(y), s^2 I): v is linear in x_t."""
    mean, spread = torch.tensor([1.0, -2.0, 0.5]), 0.3

    def exact(self: Model, x_t: Tensor, t: Tensor, code: Tensor) -> Tensor:
        flat = PLAIN.path.alpha_sigma(t.flatten(), t.flatten().float())
        alpha, sigma = (a.view(*t.shape, 1) for a in flat)
        variance = alpha**2 * spread**2 + sigma**2
        x_0 = mean + alpha * spread**2 / variance * (x_t - alpha * mean)
        return (alpha * x_t - x_0) / sigma

    monkeypatch.setattr(Model, "forward", exact)
    model = Model(WIDTHS.heads([0, 1]), WIDTHS.encoders([0]))
    x = example.draw(model, data(2, 2)[1], 2000, [0, 1])
    assert x.shape == (2, 2, 2000, 3)
    assert not torch.equal(x[0, 0], x[0, 1])
    torch.testing.assert_close(x.mean((0, 1, 2)), mean, atol=0.02, rtol=0)
    torch.testing.assert_close(x.std((0, 1, 2)), torch.full((3,), spread), atol=0.01, rtol=0)


def test_an_interval_is_students() -> None:
    values = torch.arange(20.0)
    found = Estimate.of(values)
    # Of 19 degrees of freedom, t at .975 is 2.093; the standard deviation of 0..19 is 5.916.
    assert found.mean == pytest.approx(9.5)
    assert found.half == pytest.approx(2.093 * 5.916 / math.sqrt(20), rel=1e-4)
    assert found.replicates == 20
    assert str(found) == "9.5 ± 2.8"
