"""What some sources want beside x_t and t: a class, columns of numbers, or an encoded text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from antcli.config import ConditionConfig
from antcli.errors import AntError

TEXT, CLASS = "encoder_hidden_states", "class_labels"
"""Names that the networks of diffusers give to their conditions."""
TEXT_PARTS = ("tokenizer", "text_encoder")


def make_condition(
    folder: Path, name: str, unet: dict[str, Any], config: ConditionConfig
) -> dict[str, Tensor]:
    """What the network of the source in `folder` is asked with; each tensor is [1, ...].

    Empty for an unconditional source; of one that knows columns, all zero, which is the mean of
    what it has learnt. Raises `AntError` where a class or a text is asked for that the source does
    not know, or is missing.
    """
    text, classes = "cross_attention_dim" in unet, unet.get("num_class_embeds")
    if config.prompt and not text:
        raise AntError(f"source {name} takes no prompt", "leave `prompt` out", exit_code=2)
    if config.class_label >= 0 and not classes:
        raise AntError(f"source {name} has no classes", "leave `class_label` out", exit_code=2)
    if columns := unet.get("columns"):
        return {CLASS: torch.zeros(1, columns)}
    if text:
        return {TEXT: encode_prompt(folder, name, config.prompt)}
    if not classes:
        return {}
    if not 0 <= config.class_label < classes:
        raise AntError(
            f"source {name} makes images of one of {classes} classes",
            f"say which with `class_label`, 0 to {classes - 1}; if it was trained with a null "
            "class, that is one of them, most often the last",
            exit_code=2,
        )
    return {CLASS: torch.tensor([config.class_label])}


def encode_prompt(folder: Path, name: str, prompt: str) -> Tensor:
    """A prompt, [1, L, D], as Stable Diffusion's pipeline encodes it; the empty one too.

    Raises `AntError` where the source has no CLIP text encoder or transformers is missing.
    """
    if not all((folder / part).is_dir() for part in TEXT_PARTS):
        raise AntError(
            f"source {name} wants an encoded text and has no {' and '.join(TEXT_PARTS)}",
            "fetch the whole pipeline",
        )
    try:
        from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError as error:
        raise AntError(
            f"source {name} wants an encoded text: that takes the package transformers",
            "python -m pip install 'ant-cli[text]'",
        ) from error
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", local_files_only=True)
    except Exception as error:  # transformers raises errors of many classes
        raise AntError(
            f"the text encoder of source {name} cannot be loaded ({type(error).__name__})",
            "only CLIP's is known, as Stable Diffusion 1 and 2 have it; fetch the source again",
        ) from error
    tokens = tokenizer(
        prompt,
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    masked = getattr(encoder.config, "use_attention_mask", False)
    with torch.no_grad():
        encoded = encoder.float()(
            tokens.input_ids, attention_mask=tokens.attention_mask if masked else None
        )
    return encoded.last_hidden_state
