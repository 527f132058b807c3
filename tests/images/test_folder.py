import hashlib
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from antcli.drawn_faces.domains import avatar
from antcli.errors import AntError
from antcli.images.folder import ImageFiles, check_folder, read_folder
from antcli.images.reading import read_image

ORIENTATION = 0x0112
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def save_drawings(folder: Path, names: list[str], size: int = 32) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        avatar(seed, size)[0].save(folder / name)
    return folder


def pixel(image: Image.Image, x: int, y: int) -> tuple[int, int, int]:
    assert image.mode == "RGB"
    red, green, blue = np.asarray(image)[y, x].tolist()
    return red, green, blue


def mode_of(path: Path) -> str:
    with Image.open(path) as image:
        return image.mode


def raw_png(depth: int, colour_type: int, row: bytes, transparent: bytes = b"") -> bytes:
    """An 8x8 PNG with equal rows, for kinds of PNG that Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", 8, 8, depth, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"tRNS", transparent) if transparent else b"")
        + chunk(b"IDAT", zlib.compress((b"\0" + row) * 8))
        + chunk(b"IEND", b"")
    )


# --- as a person sees it -------------------------------------------------------------------


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.round(values / 65535 * 255).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    Image.fromarray(values.astype(np.int32)).save(tmp_path / "b.tif")
    for name, mode in (("a.png", "I;16"), ("b.tif", "I")):
        assert mode_of(tmp_path / name) == mode
        seen = np.asarray(read_image(tmp_path / name))
        np.testing.assert_array_equal(seen, np.repeat(expected[:, :, None], 3, axis=2))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_an_alpha_channel_is_composited_on_white(tmp_path: Path, mode: str) -> None:
    black = Image.new("RGBA", (8, 8), (0, 0, 0, 255))
    for x, alpha in ((0, 0), (1, 128)):
        for y in range(8):
            black.putpixel((x, y), (0, 0, 0, alpha))
    path = tmp_path / ("a.tif" if mode == "PA" else "a.png")
    black.convert(mode).save(path)
    assert mode_of(path) == mode
    seen = read_image(path)
    assert [pixel(seen, x, 4)[0] for x in (0, 1, 2)] == [255, 127, 0]


@pytest.mark.parametrize(
    ("depth", "colour_type", "row", "transparent"),
    [
        (1, 0, b"\xf0", struct.pack(">H", 1)),
        (2, 0, b"\x55\x00", struct.pack(">H", 1)),
        (4, 0, b"\x55\x55\x00\x00", struct.pack(">H", 5)),
        (8, 0, bytes([77] * 4 + [0] * 4), struct.pack(">H", 77)),
        (16, 0, struct.pack(">8H", *[0x1234] * 4, *[0] * 4), struct.pack(">H", 0x1234)),
        (8, 2, bytes([10, 20, 30] * 4 + [0] * 12), struct.pack(">3H", 10, 20, 30)),
        (
            16,
            2,
            struct.pack(">24H", *[0x1234, 0x5678, 0x9ABC] * 4, *[0] * 12),
            struct.pack(">3H", 0x1234, 0x5678, 0x9ABC),
        ),
    ],
    ids=["1-bit", "2-bit", "4-bit", "8-bit", "16-bit", "RGB", "16-bit RGB"],
)
def test_a_transparent_colour_is_white(
    tmp_path: Path, depth: int, colour_type: int, row: bytes, transparent: bytes
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(raw_png(depth, colour_type, row, transparent))
    seen = read_image(path)
    assert pixel(seen, 0, 0) == WHITE
    assert pixel(seen, 7, 7) == (0, 0, 0)
    path.write_bytes(raw_png(depth, colour_type, row))
    opaque = pixel(read_image(path), 0, 0)
    assert opaque != WHITE or depth == 1


@pytest.mark.parametrize("transparent", [None, 1, bytes([255, 0, 128])])
def test_palettes(tmp_path: Path, transparent: int | bytes | None) -> None:
    image = Image.new("P", (9, 9))
    image.putpalette([*RED, *GREEN, *BLUE])
    image.putdata([i % 3 for i in range(81)])
    if transparent is not None:
        image.info["transparency"] = transparent
    image.save(tmp_path / "a.png")
    seen = [pixel(read_image(tmp_path / "a.png"), x, 0) for x in range(3)]
    clear = GREEN if transparent is None else WHITE
    assert seen == [RED, clear, (127, 127, 255) if isinstance(transparent, bytes) else BLUE]


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "RGB"])
def test_other_modes_keep_black_and_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGB", (16, 16), "white")
    image.paste("black", (0, 0, 8, 16))
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    image.convert(mode).save(path)
    assert mode_of(path) == mode
    seen = read_image(path)
    assert max(pixel(seen, 2, 8)) < 8
    assert min(pixel(seen, 13, 8)) > 247


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_exif_orientation_is_turned_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = Image.new("RGB", (16, 24), "black")
    upright.paste(RED, (0, 0, 8, 12))
    upright.paste(BLUE, (8, 0, 16, 12))
    # What a camera held that way stores: the inverse of what a viewer does (EXIF 2.3, 4.6.4).
    stored = {
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.rotate(180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.rotate(90, expand=True),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.rotate(-90, expand=True),
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / f"a.{suffix}"
    stored.save(path, exif=exif, lossless=True)
    np.testing.assert_array_equal(np.asarray(read_image(path)), np.asarray(upright))


def test_the_first_frame_of_an_animation_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN, BLUE)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "a.gif") as image:
        assert len(ImageSequence.all_frames(image)) == 3
    assert pixel(read_image(tmp_path / "a.gif"), 8, 8) == RED


def test_the_first_picture_of_a_camera_file_with_two(tmp_path: Path) -> None:
    """Phones write such files (MPO) under the name of a JPEG, a preview behind the picture."""
    picture, preview = (Image.new("RGB", (16, 16), colour) for colour in ("white", "black"))
    picture.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[preview])
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "MPO"
    assert min(pixel(read_image(tmp_path / "a.jpg"), 8, 8)) > 250


def test_read_image_names_a_bad_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(AntError, match=r"a\.png is not an image"):
        read_image(tmp_path / "a.png")


# --- a whole folder ------------------------------------------------------------------------


def test_a_folder_in_natural_order(tmp_path: Path) -> None:
    folder = save_drawings(tmp_path / "ten", ["img10.png", "img2.png", "IMG1.PNG", "b.png"])
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    read = read_folder(folder, 32)
    assert [path.name for path in read.paths] == ["b.png", "IMG1.PNG", "img2.png", "img10.png"]
    assert read.folder == folder
    assert read.passed_over == 0
    assert read.notes == ()
    drawings = np.stack([np.asarray(avatar(seed, 32)[0]) for seed in (3, 2, 1, 0)])
    expected = torch.from_numpy(drawings).permute(0, 3, 1, 2)
    torch.testing.assert_close(read.images, expected, rtol=0, atol=0)
    assert read.hashes == tuple(hashlib.sha256(before[p][0]).hexdigest() for p in read.paths)
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    assert after == before


def test_every_kind_of_file_is_found(tmp_path: Path) -> None:
    names = ["a.png", "b.jpg", "c.JPEG", "d.webp", "e.bmp", "f.tif", "g.TIFF", "h.gif"]
    read = read_folder(save_drawings(tmp_path, names), 16)
    assert [path.name for path in read.paths] == names


def test_resizing_takes_the_mean_of_many_pixels(tmp_path: Path) -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 200
    Image.fromarray(stripes).save(tmp_path / "a.png")
    for resample in (Image.Resampling.LANCZOS, Image.Resampling.BILINEAR):
        inner = read_folder(tmp_path, 16, resample).images[:, :, :, 2:-2]
        torch.testing.assert_close(inner, torch.full_like(inner, 100), rtol=0, atol=1)


def test_the_centre_of_an_oblong_image_is_kept(tmp_path: Path) -> None:
    wide = Image.new("RGB", (60, 20), RED)
    wide.paste(GREEN, (20, 0, 40, 20))
    wide.save(tmp_path / "wide.png")
    wide.rotate(90, expand=True).save(tmp_path / "tall.png")
    read = read_folder(tmp_path, 20)
    green = torch.tensor(GREEN, dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 20, 20)
    torch.testing.assert_close(read.images, green, rtol=0, atol=0)
    assert (
        read.notes
        == (
            "2 images are not square and were cropped at the centre: tall.png, wide.png",
            "wide.png has the same content as tall.png",
        )[:1]
    )


def test_notes(tmp_path: Path) -> None:
    save_drawings(tmp_path, ["a.png", "c.png"], size=32)
    avatar(0, 32)[0].save(tmp_path / "b.bmp")
    avatar(7, 16)[0].save(tmp_path / "small.png")
    (tmp_path / "readme.txt").write_text("not an image")
    (tmp_path / ".hidden.png").write_text("not an image")
    (tmp_path / "inner.png").mkdir()
    read = read_folder(tmp_path, 32)
    assert [path.name for path in read.paths] == ["a.png", "b.bmp", "c.png", "small.png"]
    assert read.passed_over == 2
    assert read.notes == (
        "1 image is smaller than 32x32 pixels, enlarged: small.png",
        "b.bmp has the same content as a.png",
        "2 other files passed over: .hidden.png, readme.txt",
    )


def test_long_notes_are_cut(tmp_path: Path) -> None:
    save_drawings(tmp_path, [f"{i}.png" for i in range(11)], size=8)
    (note,) = read_folder(tmp_path, 16).notes
    assert note.endswith("0.png, 1.png, 2.png, 3.png, 4.png, 5.png, 6.png, 7.png, 3 more")


def test_files_are_squares_in_their_own_resolution(tmp_path: Path) -> None:
    save_drawings(tmp_path, ["a.png"], size=40)
    wide = Image.new("RGB", (60, 20), RED)
    wide.paste(GREEN, (20, 0, 40, 20))
    wide.save(tmp_path / "b.png")
    files = ImageFiles(check_folder(tmp_path))
    assert len(files) == 2
    assert files[0].tobytes() == avatar(0, 40)[0].tobytes()
    assert files[1].size == (20, 20)
    assert files[1].getcolors() == [(400, GREEN)]


# --- what a user can get wrong -------------------------------------------------------------


def folder_of_bad_files(folder: Path) -> Path:
    save_drawings(folder, ["good.png", "short.jpg", "short.png", "turned.jpg"], size=64)
    for name in ("short.jpg", "short.png"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])
    (folder / "empty.png").touch()
    Image.new("RGB", (1, 1)).save(folder / "pixel.png")
    Image.new("RGB", (40, 7)).save(folder / "strip.png")
    (folder / "text.png").write_text("a text file, renamed")
    (folder / "link.png").symlink_to(folder / "gone.png")
    Image.new("F", (16, 16)).save(folder / "float.tif")
    # A header that promises 10^10 pixels: opened in good faith it would fill the memory.
    bomb = bytearray((folder / "good.png").read_bytes())
    bomb[16:24] = struct.pack(">II", 100_000, 100_000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bytes(bomb[12:29])))
    (folder / "vast.png").write_bytes(bomb)
    return folder


SEEN_IN_THE_HEADER = (
    "empty.png is empty; "
    "float.tif has floating-point pixels, which have no fixed black and white; "
    "link.png is a link to a file that is not there; "
    "pixel.png is 1x1 pixels, at least 8x8 are needed; "
)
SEEN_IN_THE_PIXELS = "short.jpg is cut short; short.png is cut short; "
SEEN_AFTER = (
    "strip.png is 40x7 pixels, at least 8x8 are needed; "
    "text.png is not an image; "
    "vast.png has too many pixels to be opened safely"
)


def test_every_bad_file_is_named_at_once(tmp_path: Path) -> None:
    folder = folder_of_bad_files(tmp_path / "few")
    with pytest.raises(AntError) as caught:
        read_folder(folder, 32)
    expected = SEEN_IN_THE_HEADER + SEEN_IN_THE_PIXELS + SEEN_AFTER
    assert caught.value.message == f"9 of 11 images in {folder} cannot be used: {expected}"
    assert caught.value.hint == "remove or replace them, then run the command again"
    assert caught.value.exit_code == 1


def test_headers_are_checked_without_reading_on(tmp_path: Path) -> None:
    folder = folder_of_bad_files(tmp_path / "few")
    with pytest.raises(AntError) as caught:
        check_folder(folder)
    expected = SEEN_IN_THE_HEADER + SEEN_AFTER
    assert caught.value.message == f"7 of 11 images in {folder} cannot be used: {expected}"


def test_all_images_damaged_further_in_are_named(tmp_path: Path) -> None:
    folder = save_drawings(tmp_path / "many", [f"{i}.jpg" for i in range(6)], size=64)
    for name in ("2.jpg", "5.jpg"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:-200])
    with pytest.raises(AntError, match=r"2 of 6 .*: 2\.jpg is cut short; 5\.jpg is cut short$"):
        read_folder(folder, 32)


def test_one_bad_file_is_it(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(AntError) as caught:
        read_folder(tmp_path, 32)
    assert "1 of 1 image in" in caught.value.message
    assert caught.value.hint.startswith("remove or replace it,")


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused by a stand-in for the system: root, who may read all, runs these tests too."""
    folder = save_drawings(tmp_path, ["a.png", "b.png"])
    real: Callable[..., Image.Image] = Image.open

    def refuse_b(path: Path, **options: object) -> Image.Image:
        if path.name == "b.png":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **options)

    monkeypatch.setattr(Image, "open", refuse_b)
    with pytest.raises(AntError, match=r"b\.png cannot be read: permission denied$"):
        read_folder(folder, 32)


def test_a_file_that_hides_another_format(tmp_path: Path) -> None:
    """PostScript under the name of an image is not handed to an interpreter."""
    (tmp_path / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EOF\n")
    with pytest.raises(AntError, match=r"a\.png is not an image"):
        read_folder(tmp_path, 32)


def test_a_missing_folder_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "10shots" / "sunglasses").mkdir(parents=True)
    (tmp_path / "10shots" / "sunglases.txt").touch()
    for missing, near in (
        ("10shots/sunglases", "10shots/sunglasses"),
        ("10shot/sunglasses", "10shots"),
    ):
        with pytest.raises(AntError) as caught:
            read_folder(tmp_path / missing, 32)
        assert caught.value.message == f"there is no folder {tmp_path / missing}"
        assert caught.value.hint == f"check the path; did you mean {tmp_path / near}?"
    with pytest.raises(AntError) as caught:
        read_folder(tmp_path / "zebra", 32)
    assert caught.value.hint == "check the path"


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    save_drawings(tmp_path, ["a.png"])
    with pytest.raises(AntError, match="is a file, not a folder") as caught:
        read_folder(tmp_path / "a.png", 32)
    assert str(tmp_path) in caught.value.hint


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "data.csv").touch()
    with pytest.raises(AntError) as caught:
        read_folder(tmp_path, 32)
    expected = f"there are no images in {tmp_path} (2 other files passed over)"
    assert caught.value.message == expected
    assert "png" in caught.value.hint
    (tmp_path / "a_empty").mkdir()
    save_drawings(tmp_path / "train", ["a.png", "b.png"])
    with pytest.raises(AntError) as caught:
        read_folder(tmp_path, 32)
    assert caught.value.message == expected
    assert caught.value.hint == f"{tmp_path / 'train'} holds 2 images: give that folder"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_named_like_an_image_does_not_hang(tmp_path: Path) -> None:
    folder = save_drawings(tmp_path, ["a.png"])
    os.mkfifo(folder / "b.png")
    (folder / "c.png").symlink_to(folder / "b.png")
    assert read_folder(folder, 32).passed_over == 2
