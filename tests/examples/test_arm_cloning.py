"""A two-joint arm, what its camera sees, and which way the transfer goes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import arm_cloning as example
import pytest
import torch
from arm_cloning import MOMENTS, PIXELS, SOURCE_ARMS, TARGET, Arm, scenes, smooth
from conditional_tasks import FROZEN, SCRATCH, TUNED, Training

from antcli.randomness import generator

ARMS = (SOURCE_ARMS[0], SOURCE_ARMS[-1], TARGET)


def test_places_are_those_of_two_rods() -> None:
    angles = torch.tensor([[0.3, 0.7], [2.0, -1.1]])
    found = Arm(0.6).places(angles)
    for (a, b), (elbow, hand) in zip(angles.tolist(), found, strict=True):
        x, y = 0.6 * math.cos(a), 0.6 * math.sin(a)
        torch.testing.assert_close(elbow, torch.tensor([x, y]))
        end = torch.tensor([x + 0.4 * math.cos(a + b), y + 0.4 * math.sin(a + b)])
        torch.testing.assert_close(hand, end)


@pytest.mark.parametrize("arm", ARMS)
def test_each_goal_is_reached_with_the_elbow_to_either_side(arm: Arm) -> None:
    goals, _ = scenes(200, generator(0, "goals"))
    ends = [arm.reaching(goals, torch.full((200,), side)) for side in (1.0, -1.0)]
    for end in ends:
        torch.testing.assert_close(arm.places(end)[:, 1], goals, atol=1e-5, rtol=0)
    assert (ends[0][:, 1] > 0).all() and (ends[1][:, 1] < 0).all()
    # And their mean, which a policy of one answer would give, is far from most.
    away = (arm.places((ends[0] + ends[1]) / 2)[:, 1] - goals).norm(dim=1)
    assert away.median() > 0.2


def test_demonstrations_go_from_rest_to_the_goal_with_least_jerk() -> None:
    x, pictures = TARGET.demonstrations(300, generator(0, "shown"))
    goals, expected = scenes(300, generator(0, "shown"))
    torch.testing.assert_close(pictures, expected)
    hands = TARGET.movements(x)[:, :, 1]
    # Two angles that shake by .02 each move a hand by .02 to .04.
    assert (hands[:, -1] - goals).norm(dim=1).mean() < 0.04
    assert len(x[0]) == 2 * MOMENTS
    elbows = x.view(300, MOMENTS, 2)[:, -1, 1]
    assert 0.4 < float((elbows > 0).float().mean()) < 0.6
    torch.testing.assert_close(TARGET.movements(torch.zeros(16))[0, 1], torch.tensor([0.0, 1.0]))
    share = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(smooth(share), torch.tensor([0.0, 0.5, 1.0]).double())
    [speed] = torch.autograd.grad(smooth(share).sum(), share, create_graph=True)
    [push] = torch.autograd.grad(speed.sum(), share)
    torch.testing.assert_close(speed, torch.tensor([0.0, 1.875, 0.0]).double())
    torch.testing.assert_close(push, torch.zeros(3).double())


def test_a_picture_shows_the_goal_bright_and_another_thing_dark() -> None:
    goals, pictures = scenes(50, generator(0, "seen"))
    assert (goals[:, 1] >= 0).all()
    far = goals.norm(dim=1)
    assert ((far >= example.NEAREST) & (far <= example.FARTHEST)).all()
    assert pictures.shape == (50, PIXELS**2) and pictures.min() < -2
    clear = pictures.amax(1) > 0.8 * example.CONTRAST  # not covered by the other
    assert clear.float().mean() > 0.7
    brightest = pictures[clear].argmax(1)
    x = -1 + 2 * (brightest % PIXELS) / (PIXELS - 1)
    y = brightest // PIXELS / (PIXELS - 1)
    away = (torch.stack([x, y], dim=1) - goals[clear]).abs()
    assert away[:, 0].max() < 0.12 and away[:, 1].max() < 0.06
    assert 0.7 < float(scenes(2000, generator(1, "seen"))[1].std()) < 1.3


def test_all_ways_are_measured_and_drawn(
    run_small: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {
        "SHOTS": (50,), "TESTED": 20, "TRIES": 1, "SHOWN": 10, "PER_SOURCE": 100,
        "PRETRAINING": replace(example.PRETRAINING, steps=60),
        "TRANSFER": Training(steps=30, rate=5e-3, batch=100),
    }  # fmt: skip
    kept = run_small(example, settings)
    assert list(kept[50]) == [FROZEN, TUNED, SCRATCH]
    for found in kept[50].values():
        assert 0 < found.mean < 1 and 0 < found.half < 0.3
    assert (tmp_path / "arm_cloning.png").stat().st_size > 0
    assert "at the goals' mean" in capsys.readouterr().out
