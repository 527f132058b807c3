"""`examples/draw_pages.py`: what a finished run has made of its source, as one picture."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from antcli.images.folder import read_folder
from antcli.runs.run import Run

SCRIPT = Path(__file__).parents[2] / "examples" / "draw_pages.py"


def test_a_page_shows_the_target_above_pairs_and_leaves_the_run_alone(
    run: Path, tiny_target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(run.rglob("*"))
    options = ["--out", str(tmp_path / "pages"), "--images", "3"]
    monkeypatch.setattr(sys, "argv", [SCRIPT.name, str(run), *options])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    page = Image.open(tmp_path / "pages" / f"{tiny_target.name}.png")
    assert page.text["ant.weights_sha256"] == Run(run).weights_sha256
    assert sorted(run.rglob("*")) == before
    pixels = np.asarray(page)
    # The captions are black and white: what has colour begins with the target's first image.
    colourful = np.ptp(pixels.astype(int), axis=2) > 0
    strip = colourful[: page.height // 4]
    rows, columns = np.flatnonzero(strip.any(1)), np.flatnonzero(strip.any(0))
    first = read_folder(tiny_target, 16).images[0, :, 0, 0].numpy()
    np.testing.assert_array_equal(pixels[rows[0], columns[0]], first)
