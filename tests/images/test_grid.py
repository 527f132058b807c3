import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from antcli.errors import AntError
from antcli.images.grid import comparison_page, grid, save_png, to_uint8


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
    ("side", "columns", "cell"),
    [
        (16, 8, 128),
        (28, 8, 140),
        (32, 8, 128),
        (32, 10, 96),
        (64, 8, 128),
        (64, 4, 256),
        (256, 8, 256),
    ],
)
def test_a_page_of_small_images_is_enlarged_to_be_seen(side: int, columns: int, cell: int) -> None:
    page = grid(plain_cells(columns, side, side), columns, padding=0)
    assert page.size == (columns * cell, cell)
    assert page.width >= 960


@pytest.mark.parametrize(
    ("side", "columns", "cell"), [(8, 1, 256), (100, 1, 200), (32, 20, 96), (96, 20, 96)]
)
def test_no_image_is_enlarged_too_much_or_too_little(side: int, columns: int, cell: int) -> None:
    page = grid(plain_cells(columns, side, side), columns, padding=0)
    assert page.size == (columns * cell, cell)


@pytest.mark.parametrize(
    ("count", "columns"),
    [(1, 1), (2, 2), (4, 2), (7, 3), (8, 4), (10, 5), (12, 4), (16, 4), (40, 8), (64, 8)],
)
def test_columns_by_default(count: int, columns: int) -> None:
    page = grid(plain_cells(count), scale=1, padding=0)
    assert page.size == (columns * 96, math.ceil(count / columns) * 96)


def test_more_columns_than_images_leave_no_empty_ones() -> None:
    assert grid(plain_cells(3), columns=10, scale=1, padding=2).size == (3 * 98 + 2, 100)


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


# --- source and adapted --------------------------------------------------------------------


@pytest.mark.parametrize(("count", "bands"), [(3, 1), (8, 1), (11, 2)])
def test_the_sources_image_is_above_each_adapted_one(count: int, bands: int) -> None:
    source = torch.randint(255, (count, 3, 32, 32), dtype=torch.uint8)
    adapted = torch.randint(255, (count, 3, 32, 32), dtype=torch.uint8)
    page = np.asarray(comparison_page(source, adapted))
    columns = min(count, 8)
    strips = [
        np.asarray(grid(images[start : start + 8], scale=grid_scale(columns), columns=8))
        for start in range(0, count, 8)
        for images in (source, adapted)
    ]
    assert len(strips) == 2 * bands
    right = strips[0].shape[1]
    top = 0
    for i, strip in enumerate(strips):
        height, width, _ = strip.shape
        left = page.shape[1] - right
        np.testing.assert_array_equal(page[top : top + height, left : left + width], strip)
        caption = page[top : top + height, :left]
        assert (caption == 0).any(), "black letters"
        assert (caption[:, [0, 1, -2, -1]] == 255).all(), "none of them cut off"
        top += height + 14 * (i % 2)
    assert top - 14 == page.shape[0]


def grid_scale(columns: int) -> int:
    """By how much 32x32 images are enlarged, so many in a row."""
    return grid(plain_cells(columns, 32, 32), columns, padding=0).height // 32


def test_a_comparison_is_wide_enough_and_its_rows_are_named_apart() -> None:
    page = comparison_page(plain_cells(16, 32, 32), plain_cells(16, 32, 32))
    assert 960 <= page.width <= 1200
    pixels = np.asarray(page)
    names = [pixels[top : top + 132, :80] for top in (0, 132)]
    assert (names[0] != names[1]).any()


def test_images_that_are_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="not pairs"):
        comparison_page(plain_cells(3), plain_cells(4))
    with pytest.raises(ValueError, match=r"uint8 \[N, 3, H, W\]"):
        comparison_page(torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8))


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
