import pytest
import torch
from torch import nn

from antcli.training.ema import Ema


def parameters() -> dict[str, nn.Parameter]:
    draw = torch.Generator().manual_seed(0)
    return {
        "a": nn.Parameter(torch.randn(3, 2, generator=draw)),
        "b.c": nn.Parameter(torch.randn((), generator=draw)),
    }


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.9999])
def test_average_against_a_slow_loop(decay: float) -> None:
    trained = parameters()
    ema = Ema(trained, decay)
    slow = {name: p.detach().double() for name, p in trained.items()}
    for k in range(1, 40):
        with torch.no_grad():
            for p in trained.values():
                p.add_(torch.randn(p.shape))
        ema.update(k)
        warm = min(decay, (1 + k) / (10 + k))
        slow = {n: warm * slow[n] + (1 - warm) * p.detach().double() for n, p in trained.items()}
    for name, expected in slow.items():
        torch.testing.assert_close(ema.average[name].double(), expected, rtol=1e-5, atol=1e-5)


def test_a_short_run_is_not_held_back_by_its_start() -> None:
    """After ten steps at a new place an average of 0.9999 is mostly there."""
    trained = {"a": nn.Parameter(torch.zeros(1))}
    ema = Ema(trained, 0.9999)
    with torch.no_grad():
        trained["a"].fill_(1.0)
    for k in range(1, 11):
        ema.update(k)
    assert ema.average["a"].item() > 0.9


def test_the_average_is_applied_for_a_while() -> None:
    trained = parameters()
    ema = Ema(trained, 0.9)
    start = {name: p.detach().clone() for name, p in trained.items()}
    objects = {name: id(p) for name, p in trained.items()}
    with torch.no_grad():
        for p in trained.values():
            p.add_(1.0)
    moved = {name: p.detach().clone() for name, p in trained.items()}
    for fails in (False, True):
        try:
            with ema.applied():
                torch.testing.assert_close({n: p.detach() for n, p in trained.items()}, start)
                if fails:
                    raise RuntimeError
        except RuntimeError:
            assert fails
        now = {name: p.detach() for name, p in trained.items()}
        torch.testing.assert_close(now, moved, rtol=0, atol=0)
    assert {name: id(p) for name, p in trained.items()} == objects
    torch.testing.assert_close(ema.average, start, rtol=0, atol=0)


def test_the_average_is_no_part_of_the_graph() -> None:
    trained = parameters()
    ema = Ema(trained, 0.9)
    ema.update(1)
    assert not any(a.requires_grad for a in ema.average.values())
    assert all(p.requires_grad and p.is_leaf for p in trained.values())
