"""What conditional sources are asked with."""

import json
import sys
from pathlib import Path

import pytest
import torch
from source_kinds import COLUMNS, TEXT_DIMENSION, write_kind

from antcli.config import ConditionConfig
from antcli.errors import AntError
from antcli.sources.source import find_source


def refusal(folder: Path, config: ConditionConfig) -> AntError:
    with pytest.raises(AntError) as raised:
        find_source(str(folder)).conditioned(config)
    assert raised.value.hint
    return raised.value


def test_an_unconditional_source_is_asked_for_nothing(tiny_source: Path) -> None:
    assert find_source(str(tiny_source)).conditioned(ConditionConfig()).condition == {}
    assert "no classes" in refusal(tiny_source, ConditionConfig(class_label=0)).message
    assert "no prompt" in refusal(tiny_source, ConditionConfig(prompt="a face")).message


def test_a_class(tmp_path: Path) -> None:
    folder = write_kind("class-conditional", tmp_path / "classes")
    condition = find_source(str(folder)).conditioned(ConditionConfig(class_label=2)).condition
    torch.testing.assert_close(condition, {"class_labels": torch.tensor([2])})
    for label in (-1, 3):
        error = refusal(folder, ConditionConfig(class_label=label))
        assert "one of 3 classes" in error.message
        assert "`class_label`, 0 to 2" in error.hint


def test_columns_are_asked_for_at_their_mean(tmp_path: Path) -> None:
    folder = write_kind("columns", tmp_path / "columns")
    source = find_source(str(folder))
    condition = source.conditioned(ConditionConfig()).condition
    torch.testing.assert_close(condition, {"class_labels": torch.zeros(1, COLUMNS)})
    network, x_t, t = source.load(), torch.randn(2, 3, 16, 16), torch.tensor([3, 500])
    two = torch.randn(2, COLUMNS)
    [told] = network(x_t, t, class_labels=two, return_dict=False)
    for i in range(2):
        [alone] = network(x_t[i : i + 1], t[i], class_labels=two[i : i + 1], return_dict=False)
        torch.testing.assert_close(told[i], alone[0])
    [other] = network(x_t, t, class_labels=two.flip(0), return_dict=False)
    assert not torch.allclose(told, other)
    assert "no classes" in refusal(folder, ConditionConfig(class_label=0)).message


def test_a_text_needs_its_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_kind("text", tmp_path / "text")
    assert "no tokenizer and text_encoder" in refusal(folder, ConditionConfig()).message
    for part in ("tokenizer", "text_encoder"):
        (folder / part).mkdir()
    monkeypatch.setitem(sys.modules, "transformers", None)
    error = refusal(folder, ConditionConfig(prompt="a face"))
    assert "transformers" in error.message
    assert "pip install" in error.hint


def test_a_prompt_is_encoded_as_stable_diffusion_does(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from diffusers import StableDiffusionPipeline

    folder = write_kind("text", tmp_path / "text")
    write_text_encoder(folder)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer")
    encoder = transformers.CLIPTextModel.from_pretrained(folder / "text_encoder")
    parts = {"vae": None, "unet": None, "scheduler": None, "safety_checker": None}
    pipeline = StableDiffusionPipeline(
        **parts, feature_extractor=None, tokenizer=tokenizer, text_encoder=encoder
    )
    seen = {}
    for prompt in ("", "a ab", "a " * 50):
        condition = find_source(str(folder)).conditioned(ConditionConfig(prompt=prompt)).condition
        with torch.no_grad():
            expected, _ = pipeline.encode_prompt(prompt, "cpu", 1, False)
        found = seen[prompt] = condition["encoder_hidden_states"]
        assert found.shape == (1, LENGTH, TEXT_DIMENSION)
        torch.testing.assert_close(found, expected)
    assert (seen[""] - seen["a ab"]).abs().max() > 0.01


LENGTH = 7


def write_text_encoder(folder: Path) -> None:
    """A tiny CLIP with random weights, and a tokenizer that knows two letters."""
    from transformers import CLIPTextConfig, CLIPTextModel

    words = ["a", "b", "a</w>", "b</w>", "ab</w>", "<|startoftext|>", "<|endoftext|>"]
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (tokenizer / "merges.txt").write_text("#version: 0.2\na b</w>\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH}
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(settings))
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=TEXT_DIMENSION,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        bos_token_id=5,
        eos_token_id=6,
        pad_token_id=6,
    )
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")
