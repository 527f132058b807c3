"""The conditional source's training, on a few drawings."""

from dataclasses import replace
from pathlib import Path

import pretrain_avatars_tasks as example
import pytest
import torch

from antcli.drawn_faces.tasks import COLUMNS, SOURCE_TASKS
from antcli.drawn_faces.tasks import example as drawn
from antcli.sources.source import find_source
from antcli.training.pretraining import small_unet

TOLD = COLUMNS + len(SOURCE_TASKS)


def test_all_tasks_in_turn_with_their_columns() -> None:
    images, columns = example.drawings(12)
    assert images.shape == (12, 3, 32, 32) and images.dtype == torch.uint8
    assert columns.shape == (12, TOLD)
    for i in (0, 7):
        image, known = drawn(i, SOURCE_TASKS[i % 6])
        assert images[i].permute(1, 2, 0).numpy().tobytes() == image.tobytes()
        torch.testing.assert_close(columns[i, :COLUMNS], torch.tensor(known))
        assert int(columns[i, COLUMNS:].argmax()) == i % 6
    torch.testing.assert_close(columns[:, COLUMNS:].mean(0), torch.zeros(6))


def test_a_few_steps_make_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "DRAWINGS", 12)
    monkeypatch.setattr(example, "PRETRAINING", replace(example.PRETRAINING, batch_size=2))
    monkeypatch.setattr("sys.argv", ["pretrain", str(tmp_path / "out"), "--steps", "2"])
    example.main()
    source = find_source(str(tmp_path / "out"))
    assert source.size == 32
    assert source.unet_config["columns"] == TOLD
    assert source.weights.stat().st_size <= 8_000_000
    x_t, t = torch.randn(2, 3, 32, 32), torch.tensor([5, 900])
    columns = torch.randn(2, TOLD)
    [told] = source.load()(x_t, t, class_labels=columns, return_dict=False)
    [other] = source.load()(x_t, t, class_labels=-columns, return_dict=False)
    assert (told - other).abs().max() > 0


def test_what_is_told_is_a_small_part_of_the_network() -> None:
    with torch.device("meta"):
        told, plain = small_unet(columns=TOLD), small_unet()
    more = sum(p.numel() for p in told.parameters()) - sum(p.numel() for p in plain.parameters())
    assert more == sum(p.numel() for p in told.class_embedding.parameters()) < 100_000
