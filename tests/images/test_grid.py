import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from antcli.errors import AntError
from antcli.images.grid import grid, save_png, to_uint8


def plain_cells(count: int, height: int = 96, width: int = 96) -> Tensor:
    """One grey for each cell, from dark to light, none of them white."""
    greys = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1) * 3 + 1
    return greys.expand(count, 3, height, width)


def test_to_uint8_undoes_the_scaling_of_every_pixel_value() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    for dtype in (torch.float32, torch.float64):
        torch.testing.assert_close(to_uint8(values.to(dtype) / 127.5 - 1), values)


def test_to_uint8_rounds_and_clamps() -> None:
    x = torch.tensor([-3.0, -1.0, -1 + 0.49 / 127.5, -1 + 0.51 / 127.5, 0.999, 1.0, 7.0])
    expected = torch.tensor([0, 0, 0, 1, 255, 255, 255], dtype=torch.uint8)
    torch.testing.assert_close(to_uint8(x), expected)


def test_cells_lie_in_reading_order_on_white() -> None:
    images = torch.randint(255, (5, 3, 4, 6), dtype=torch.uint8)
    page = np.asarray(grid(images, columns=3, scale=2, padding=1))
    expected = np.full((2 * 9 + 1, 3 * 13 + 1, 3), 255, np.uint8)
    for i in range(5):
        top, left = 1 + (i // 3) * 9, 1 + (i % 3) * 13
        for y in range(8):
            for x in range(12):
                expected[top + y, left + x] = images[i, :, y // 2, x // 2].numpy()
    np.testing.assert_array_equal(page, expected)


@pytest.mark.parametrize(
    ("side", "cell"), [(32, 96), (28, 112), (64, 128), (96, 96), (100, 100), (256, 256)]
)
def test_small_images_are_enlarged_by_a_whole_factor(side: int, cell: int) -> None:
    page = grid(plain_cells(1, side, side), padding=0)
    assert page.size == (cell, cell)


@pytest.mark.parametrize(
    ("count", "columns"),
    [(1, 1), (2, 2), (4, 2), (7, 3), (8, 4), (10, 5), (12, 4), (16, 4), (40, 8), (64, 8)],
)
def test_columns_by_default(count: int, columns: int) -> None:
    page = grid(plain_cells(count), padding=0)
    assert page.size == (columns * 96, math.ceil(count / columns) * 96)


def test_more_columns_than_images_leave_no_empty_ones() -> None:
    assert grid(plain_cells(3), columns=10, padding=2).size == (3 * 98 + 2, 100)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 3, 8, 8),
        torch.zeros(3, 8, 8, dtype=torch.uint8),
        torch.zeros(2, 1, 8, 8, dtype=torch.uint8),
        torch.zeros(0, 3, 8, 8, dtype=torch.uint8),
    ],
)
def test_other_tensors_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"uint8 \[N, 3, H, W\]"):
        grid(images)


def test_png_carries_its_text(tmp_path: Path) -> None:
    path = tmp_path / "new" / "0007.png"
    text = {"ant.seed": "7", "ant.run": "über/Lauf – 日本"}
    save_png(path, grid(plain_cells(2)), text)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.info == text
        np.testing.assert_array_equal(np.asarray(image), np.asarray(grid(plain_cells(2))))
    assert [p.name for p in path.parent.iterdir()] == ["0007.png"]


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    image = grid(plain_cells(1))
    save_png(path, image, {"ant.seed": "1"})
    before = path.read_bytes()

    def disk_is_full(self: Image.Image, place: Path, **_options: object) -> None:
        Path(place).write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", disk_is_full)
    with pytest.raises(AntError, match="No space left on device"):
        save_png(path, image, {"ant.seed": "2"})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
