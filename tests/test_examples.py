"""What lies under examples, and the lines of the README."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from antcli.cli.main import main
from antcli.drawn_faces.domains import TARGETS, avatar
from antcli.images.folder import read_folder
from antcli.images.grid import to_float
from antcli.sources.catalog import catalog
from antcli.sources.source import find_source

ROOT = Path(__file__).parent.parent
SHOTS = ROOT / "examples" / "10shots"


@pytest.mark.parametrize("domain", TARGETS)
def test_ten_images_of_each_target_as_the_code_draws_them(domain: str) -> None:
    folder = read_folder(SHOTS / domain, 32)
    assert len(folder.paths) == 10
    assert folder.notes == ()
    for i, path in enumerate(folder.paths):
        drawn = np.asarray(avatar(900_000 + i, 128, domain)[0])
        np.testing.assert_array_equal(np.asarray(Image.open(path).convert("RGB")), drawn)


def test_the_commands_of_the_readme_are_real(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each `ant adapt` line on the carried source plans a run; every subcommand exists."""
    monkeypatch.chdir(ROOT)
    lines = re.findall(r"\bant ([a-z-]+[^`\n#]*)", (ROOT / "README.md").read_text())
    planned = 0
    for line in lines:
        words = shlex.split(line)
        if words[0] not in {"fetch-source", "train-classifier", "adapt", "sample", "evaluate"}:
            continue
        arguments = ["--help"]
        if words[0] == "adapt" and "avatars" in str(words) and "examples" in str(words):
            arguments, planned = [*words[1:], "--dry-run"], planned + 1
        subcommand = ["evaluate", "intra-lpips"] if words[0] == "evaluate" else [words[0]]
        with pytest.raises(SystemExit) as end:
            main([*subcommand, *arguments])
        assert end.value.code == 0, line
    assert planned >= 2


def test_the_carried_source_is_whole_and_small(make_unet: Callable) -> None:
    source = find_source("avatars")
    parameters = sum(p.numel() for p in source.load().parameters())
    assert 2_000_000 <= parameters <= 5_000_000
    size = sum(file.stat().st_size for file in source.folder.rglob("*") if file.is_file())
    assert size <= 10_000_000
    assert source.path.span == 1000
    np.testing.assert_allclose(source.path.betas[[0, -1]], [1e-4, 0.02], rtol=1e-6)


def test_the_carried_latent_source_is_whole_and_small() -> None:
    source = find_source("avatars-64")
    assert source.latent and source.size == 64 and source.shape == (4, 16, 16)
    size = sum(file.stat().st_size for file in source.folder.rglob("*") if file.is_file())
    assert size <= 12_000_000
    parameters = sum(p.numel() for p in source.load().parameters())
    assert parameters == catalog()["avatars-64"].parameters


@pytest.mark.parametrize("domain", ["avatars", "sunglasses", "babies"])
def test_its_codec_keeps_more_than_the_smaller_source_could(domain: str) -> None:
    """Drawings that it was not trained on come back nearer than through 32x32 pixels."""
    drawn = [np.asarray(avatar(5_000_000 + i, 64, domain)[0]) for i in range(16)]
    images = to_float(torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2))
    codec = find_source("avatars-64").codec()
    small = interpolate(images, scale_factor=0.5, mode="area")
    enlarged = interpolate(small, scale_factor=2, mode="bicubic")
    given_back = codec.decode(codec.encode(images))
    assert (given_back - images).abs().mean() < (enlarged - images).abs().mean()
