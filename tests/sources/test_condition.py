"""What conditional sources are asked with."""

import sys
from pathlib import Path

import pytest
import torch

from antcli.config import ConditionConfig
from antcli.errors import AntError
from antcli.sources.source import find_source
from tests.kinds import write_kind


def refusal(folder: Path, config: ConditionConfig) -> AntError:
    with pytest.raises(AntError) as raised:
        find_source(str(folder)).asked(config)
    assert raised.value.hint
    return raised.value


def test_an_unconditional_source_is_asked_for_nothing(tiny_source: Path) -> None:
    assert find_source(str(tiny_source)).asked(ConditionConfig()).condition == {}
    assert "no classes" in refusal(tiny_source, ConditionConfig(class_label=0)).message
    assert "no prompt" in refusal(tiny_source, ConditionConfig(prompt="a face")).message


def test_a_class(tmp_path: Path) -> None:
    folder = write_kind("class-conditional", tmp_path / "classes")
    condition = find_source(str(folder)).asked(ConditionConfig(class_label=2)).condition
    torch.testing.assert_close(condition, {"class_labels": torch.tensor([2])})
    for label in (-1, 3):
        error = refusal(folder, ConditionConfig(class_label=label))
        assert "one of 3 classes" in error.message
        assert "--class-label, 0 to 2" in error.hint


def test_a_text_needs_its_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_kind("text", tmp_path / "text")
    assert "no tokenizer and text_encoder" in refusal(folder, ConditionConfig()).message
    for part in ("tokenizer", "text_encoder"):
        (folder / part).mkdir()
    monkeypatch.setitem(sys.modules, "transformers", None)
    error = refusal(folder, ConditionConfig(prompt="a face"))
    assert "transformers" in error.message
    assert "pip install" in error.hint
