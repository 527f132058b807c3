"""Copy rate and authenticity on distances that can be read off, and on random ones."""

from __future__ import annotations

import json
import statistics

import pytest
import torch
from torch import Tensor

from antcli.errors import AntError
from antcli.evaluation.memorization import Memorization, Pair, memorization


def on_a_line(samples: list[float], targets: list[float]) -> Memorization:
    """Points of a line, by how far they are apart."""
    s, t = (torch.tensor(points, dtype=torch.float64)[:, None] for points in (samples, targets))
    return memorization((s - t.T).abs(), (t - t.T).abs())


def test_an_example_that_can_be_read_off() -> None:
    """Neighbours of the targets 0, 4, 5 and 20 are at 4, 1, 1 and 15."""
    result = on_a_line([0.5, 1.5, 4.9, 12.0, 30.0, -4.0, 6.0], [0.0, 4.0, 5.0, 20.0])
    assert result.threshold == 1
    assert result.nearest == (0, 0, 2, 2, 3, 0, 2)
    assert result.nearest_distance == pytest.approx((0.5, 1.5, 0.1, 7, 10, 4, 1))
    assert result.copy_rate == pytest.approx(2 / 7), "0.5 and 4.9; 6 is as far as 4 from 5"
    assert result.authenticity == pytest.approx(3 / 7), "all but 0.5, 1.5, 4.9 and 30"
    assert result.copy_rate_by_chance == 2 / 5
    assert [pair.sample for pair in result.pairs] == [2, 0, 6, 1, 5, 3, 4]
    assert result.pairs[1] == Pair(sample=0, target=0, distance=0.5)


def test_copies_are_found_and_strangers_are_not() -> None:
    targets = [0.0, 10.0, 25.0, 45.0]
    copies = on_a_line([t + 0.01 for t in targets], targets)
    assert (copies.copy_rate, copies.authenticity) == (1, 0)
    strangers = on_a_line([-80.0, 130.0], targets)
    assert (strangers.copy_rate, strangers.authenticity) == (0, 1)


def test_the_first_twenty_pairs_in_order_ties_as_they_come() -> None:
    result = on_a_line([float(i % 15) for i in range(30)], [-5.0, 100.0])
    distances = [pair.distance for pair in result.pairs]
    assert distances == sorted(distances)
    assert [pair.sample for pair in result.pairs] == [
        sample for i in range(10) for sample in (i, i + 15)
    ]


@pytest.mark.parametrize("rounding", [0.0, 1e-6])
def test_target_images_that_repeat_others_count_once(rounding: float) -> None:
    samples, targets = [0.4, 3.0, 11.0], [0.0, 2.0, 10.0]
    once = on_a_line(samples, targets)
    twice = on_a_line(samples, [*targets, 2.0 + rounding, 0.0, 2.0])
    assert twice.threshold == pytest.approx(once.threshold, rel=1e-5)
    assert twice.copy_rate == once.copy_rate
    assert twice.authenticity == once.authenticity
    assert twice.copy_rate_by_chance == once.copy_rate_by_chance
    assert twice.definition["different_target_images"] == 3
    assert "3 of the target images repeat others" in twice.cautions[0]


def test_what_a_diagonal_holds_does_not_matter() -> None:
    """Distances of an image to itself come with rounding from some ways to compute them."""
    points = torch.tensor([0.0, 3.0, 9.0])
    among = (points[:, None] - points).abs()
    to_target = torch.tensor([[1.0, 2.0, 8.0]])
    assert memorization(to_target, among + torch.eye(3)) == memorization(to_target, among)


def clouds(targets: int, dimensions: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Distances of new points of a normal distribution to others of the same."""
    t, s = torch.randn(targets + 40, dimensions, generator=draw).split([targets, 40])
    return torch.cdist(s, t), torch.cdist(t, t)


@pytest.mark.parametrize(("targets", "dimensions"), [(10, 2), (10, 50), (4, 5)])
def test_the_copy_rate_by_chance(targets: int, dimensions: int) -> None:
    draw = torch.Generator().manual_seed(0)
    results = [memorization(*clouds(targets, dimensions, draw)) for _ in range(250)]
    rates = [result.copy_rate for result in results]
    error = statistics.stdev(rates) / len(rates) ** 0.5
    expected = results[0].copy_rate_by_chance
    assert expected == 2 / (targets + 1)
    assert abs(statistics.fmean(rates) - expected) < 2.5 * error < 0.05


def test_authenticity_pair_by_pair() -> None:
    to_target, among = clouds(12, 3, torch.Generator().manual_seed(1))
    authentic = 0
    for row in to_target.tolist():
        nearest = row.index(min(row))
        own = min(d for i, d in enumerate(among[nearest].tolist()) if i != nearest)
        authentic += row[nearest] >= own
    assert 0 < authentic < 40
    assert memorization(to_target, among).authenticity == pytest.approx(authentic / 40)


def test_the_result_says_what_it_is() -> None:
    result = on_a_line([0.5], [0.0, 4.0, 5.0, 20.0, 31.0])
    facts = json.loads(json.dumps(result.as_dict()))
    assert facts["metric"] == "memorization"
    assert facts["pairs"] == [{"sample": 0, "target": 0, "distance": 0.5}]
    assert facts["definition"]["target_images"] == 5
    (few,) = facts["cautions"]
    assert few.startswith("5 different target images are few: 33%")


def test_a_close_pair_of_target_images_is_named() -> None:
    spread = [10.0 * i for i in range(12)]
    assert on_a_line([0.5], spread).cautions == ()
    (near,) = on_a_line([0.5], [*spread, 0.5]).cautions
    assert near.startswith("two target images are nearly the same")


def test_what_cannot_be_computed_is_one_line() -> None:
    with pytest.raises(AntError, match="too few target images: 1"):
        on_a_line([1.0], [0.0])
    with pytest.raises(AntError, match="the 3 target images are all the same one"):
        on_a_line([1.0], [7.0, 7.0, 7.0])
    with pytest.raises(AntError, match="too few generated images: 0"):
        memorization(torch.zeros(0, 2), torch.ones(2, 2))
    with pytest.raises(AntError, match="1 of 2 generated images"):
        on_a_line([1.0, float("nan")], [0.0, 5.0])
