"""Feature spaces: the same numbers as by the slow way, and every way one can be missing."""

from __future__ import annotations

import io
import socket
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DModel
from huggingface_hub import constants
from PIL import Image
from precision import rounding
from safetensors.torch import save_file
from source_kinds import write_kind
from torch import Tensor, nn

from antcli.errors import AntError
from antcli.evaluation.features import extract, open_space
from antcli.evaluation.features.source import SourceSpace
from antcli.randomness import normal
from antcli.sources import transfer
from antcli.sources.source import Source, find_source
from antcli.training.pretraining import write_source

KINDS: dict[str, dict[str, Any]] = {
    "attention": {},
    "no mid block": {"mid_block_type": None},
    "skip": {
        "block_out_channels": (32, 64),
        "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D"),
        "up_block_types": ("AttnSkipUpBlock2D", "SkipUpBlock2D"),
        "time_embedding_type": "fourier",
    },
    "resnet": {
        "down_block_types": ("ResnetDownsampleBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "ResnetUpsampleBlock2D"),
        "center_input_sample": True,
        "layers_per_block": 2,
    },
}


def pixels(count: int, size: int = 16) -> Tensor:
    draw = torch.Generator().manual_seed(5)
    return torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=draw)


def picture(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


@pytest.fixture
def source(tiny_source: Path) -> Source:
    return find_source(str(tiny_source))


# --- the source's space --------------------------------------------------------------------


def by_hand(unet: UNet2DModel, images: Tensor, t: int) -> Tensor:
    """The features from the whole network and diffusers' own noising, image by image."""
    eps = normal(0, "source-features", 0, [0], images.shape[1:])
    maps: list[Tensor] = []
    for block in (*unet.down_blocks, unet.mid_block):
        if block is not None:
            block.register_forward_hook(lambda _block, _inputs, output: maps.append(output))
    found = []
    for image in images:
        maps.clear()
        x_0 = image[None].double() / 255 * 2 - 1
        x_t = DDPMScheduler().add_noise(x_0, eps.double(), torch.tensor([t]))
        with torch.no_grad():
            unet(x_t.float(), t)
        first = [y if isinstance(y, Tensor) else y[0] for y in maps]
        channels = [channel for y in first for channel in y[0].double()]
        found.append([float((channel**2).sum() / channel.numel()) ** 0.5 for channel in channels])
    return torch.tensor(found)


@pytest.mark.parametrize("kind", KINDS)
def test_source_features_are_root_mean_squares_of_the_encoders_maps(
    kind: str, make_unet: Callable[..., UNet2DModel], tmp_path: Path
) -> None:
    write_source(tmp_path / "source", make_unet(**KINDS[kind]), DDPMScheduler())
    source, images = find_source(str(tmp_path / "source")), pixels(3)
    space = open_space("source", source=source)
    found = space(images)
    assert found.shape == (3, space.dimension)
    assert found.dtype == torch.float32
    expected = by_hand(source.load(), images, t=100)
    off = rounding(source.load()) * float(expected.norm())
    torch.testing.assert_close(found, expected, atol=off, rtol=0)
    assert (found[0] - found[1]).abs().max() > 1e-3, "these images tell nothing"


def test_source_features_depend_on_the_image_alone(source: Source) -> None:
    space, images = open_space("source", source=source), pixels(5)
    whole = space(images)
    alone = torch.cat([space(image[None]) for image in images])
    off = rounding(source.load()) * float(whole.norm())
    torch.testing.assert_close(alone, whole, atol=off, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(space(images), whole)


def test_other_sizes_are_resized_as_pillow_does(source: Source) -> None:
    space, large = open_space("source", source=source), pixels(2, 40)
    small = [picture(x).resize((16, 16), Image.Resampling.BILINEAR) for x in large]
    expected = space(torch.stack([torch.from_numpy(np.array(x)).permute(2, 0, 1) for x in small]))
    torch.testing.assert_close(space(large), expected, atol=2e-3, rtol=2e-3)
    nearest = space(large[:, :, ::2, ::2][:, :, :16, :16].contiguous())
    assert (nearest - expected).abs().max() > 0.02, "such images would not show another resize"


def test_the_label_follows_the_weights_not_the_way_to_them(
    source: Source,
    tiny_source: Path,
    make_unet: Callable[..., UNet2DModel],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    label = open_space("source", source=source).label
    assert f"source tiny (sha256:{source.sha256[:8]}, t=100" in label
    monkeypatch.chdir(tiny_source)
    assert open_space("source", source=find_source(".")).label == label
    write_source(tmp_path / "tiny", make_unet(seed=1), DDPMScheduler())
    other = open_space("source", source=find_source(str(tmp_path / "tiny")))
    assert other.label != label


def test_the_drawn_source_has_a_moderate_dimension() -> None:
    space = open_space("source", source=find_source("avatars"))
    assert space.label.startswith("source avatars (sha256:")
    assert space.dimension == space.definition["dimension"] == 336
    assert space(pixels(1, 32)).shape == (1, 336)


# --- many images ---------------------------------------------------------------------------


class MeanColours:
    """A space simple enough to be seen through, which remembers the batches it was given."""

    label, dimension, definition = "mean colours", 3, {}

    def __init__(self) -> None:
        self.given: list[tuple[int, ...]] = []

    def __call__(self, images: Tensor) -> Tensor:
        assert images.dtype == torch.uint8
        self.given.append(tuple(images.shape))
        return images.float().mean((2, 3))


class Opened:
    """Images that count how often one is opened."""

    def __init__(self, images: list[Image.Image]) -> None:
        self.images = images
        self.count = 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int, /) -> Image.Image:
        self.count += 1
        return self.images[index]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_images_of_several_sizes_keep_their_order(batch_size: int) -> None:
    images = [pixels(7, size)[i] for i, size in enumerate((8, 8, 12, 8, 9, 9, 9))]
    space = MeanColours()
    found = extract(space, [picture(x) for x in images], batch_size=batch_size)
    expected = torch.stack([x.double().mean((1, 2)) for x in images])
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=0)
    assert found.dtype == torch.float32
    assert sum(shape[0] for shape in space.given) == 7


def test_no_more_than_a_batch_is_opened_at_a_time() -> None:
    images, opened = Opened([picture(x) for x in pixels(7)]), []
    steps: list[int] = []

    def advance(done: int) -> None:
        steps.append(done)
        opened.append(images.count)

    space = MeanColours()
    extract(space, images, batch_size=3, advance=advance)
    assert steps == [3, 3, 1]
    assert opened == [3, 6, 7]
    assert [shape[0] for shape in space.given] == [3, 3, 1]


# --- what is missing -----------------------------------------------------------------------


def test_a_space_is_not_opened_with_what_it_cannot_use(tmp_path: Path) -> None:
    with pytest.raises(AntError, match="needs to know the source") as caught:
        open_space("source")
    assert (caught.value.exit_code, caught.value.hint) == (2, "name it with `source`")
    with pytest.raises(AntError, match="inception space only, not for dinov2"):
        open_space("dinov2", weights=tmp_path / "weights.pth")


@pytest.mark.parametrize("name", ["inception", "dinov2"])
def test_without_the_extra_the_error_says_what_to_install(
    name: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("feature_extractor_inceptionv3", "feature_extractor_dinov2"):
        monkeypatch.setitem(sys.modules, f"torch_fidelity.{module}", None)
    with pytest.raises(AntError, match="needs torch-fidelity") as caught:
        open_space(name)
    assert "pip install 'ant-cli[inception]'" in caught.value.hint
    assert "`features` source" in caught.value.hint


def no_network(*_args: Any, **more: Any) -> None:
    assert more.get("timeout") or socket.getdefaulttimeout(), "would wait for ever"
    raise URLError(OSError(-2, "Name or service not known"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch's folder for downloads, empty, and no network to fill it from."""
    pytest.importorskip("torch_fidelity")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(transfer, "PAUSE_S", 0.0)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("name", "file", "way_out"),
    [
        ("inception", "weights-inception-2015-12-05-6726825d.pth", "`feature_weights` FILE"),
        ("dinov2", "dinov2_vits14_pretrain.pth", "`features` source"),
    ],
)
def test_without_a_network_the_error_says_what_to_put_where(
    name: Any, file: str, way_out: str, hub: Path
) -> None:
    with pytest.raises(AntError, match="Name or service not known") as caught:
        open_space(name)
    assert file in caught.value.message
    assert "\n" not in caught.value.message
    for part in (f"/{file}", str(hub), way_out):
        assert part in caught.value.hint
    assert all(path.suffix == ".lock" for path in hub.iterdir())


# --- Inception -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the file format of the published ones."""
    library = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")

    class Untrained(library.FeatureExtractorInceptionV3):
        def load_state_dict(self, *_args: Any, **_kwargs: Any) -> None: ...

    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    with torch.device("meta"):
        network = Untrained("random", ["2048"], feature_extractor_weights_path=empty)
    network.to_empty(device="cpu")
    draw = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            scale = (2 / module.weight[0].numel()) ** 0.5
            nn.init.normal_(module.weight, std=scale, generator=draw)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    torch.save(network.state_dict(), path)
    return path


def test_inception_features_are_those_of_the_library(inception_file: Path) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    space = open_space("inception", weights=inception_file)
    assert space.label.startswith("inception (other weights, sha256:")
    assert space.dimension == space.definition["dimension"] == 2048
    network = FeatureExtractorInceptionV3(
        "own", ["2048"], feature_extractor_weights_path=str(inception_file)
    )
    images = pixels(2, 24)
    (expected,) = network(images)
    assert expected.std(0).mean() > 0.001, "these images tell nothing"
    off = rounding(network) * float(expected.norm())
    torch.testing.assert_close(space(images), expected, atol=off, rtol=0)


@pytest.mark.parametrize(
    "name",
    ["pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth"],
)
def test_the_published_file_is_found_under_both_its_names(
    name: str, hub: Path, inception_file: Path
) -> None:
    (hub / name).symlink_to(inception_file)
    open_space("inception")


def test_other_files_than_inceptions_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch_fidelity")
    other, cut = tmp_path / "other.safetensors", tmp_path / "cut.pth"
    save_file({"fc.weight": torch.zeros(3)}, other)
    torch.save({"fc.weight": torch.zeros(300)}, cut)
    cut.write_bytes(cut.read_bytes()[:800])
    for path, message in (
        (other, "is not the Inception network"),
        (cut, "not a whole PyTorch weights file"),
        (tmp_path / "nowhere.pth", "there is no file"),
    ):
        with pytest.raises(AntError, match=message) as caught:
            open_space("inception", weights=path)
        assert str(path) in caught.value.message
        assert "\n" not in caught.value.message


# --- DINOv2 --------------------------------------------------------------------------------


def tiny_dino() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.AvgPool2d(56), nn.Flatten(), nn.Linear(48, 384)).eval()


def put_dino(hub: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, Tensor]) -> None:
    torch.save(state, hub / "dinov2_vits14_pretrain.pth")
    loaded = {("facebookresearch/dinov2", "dinov2_vits14"): tiny_dino()}
    monkeypatch.setattr(torch.hub, "load", lambda *names: loaded[names])
    monkeypatch.setenv("XFORMERS_DISABLED", "1")  # the library sets it for good


def test_dinov2_is_the_model_of_the_hub(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_dino(hub, monkeypatch, tiny_dino().state_dict())
    space = open_space("dinov2")
    assert space.label.startswith("dinov2 vits14 (sha256:")
    images = pixels(2, 224)
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    with torch.no_grad():
        expected = tiny_dino()((images / 255 - mean) / std)
    off = rounding(tiny_dino()) * float(expected.norm())
    torch.testing.assert_close(space(images), expected, atol=off, rtol=0)
    assert expected.shape == (2, space.dimension)


def test_dinov2_with_other_weights_is_refused(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_dino(hub, monkeypatch, {"0.weight": torch.zeros(3)})
    with pytest.raises(AntError, match=r"not DINOv2's ViT-S/14: 2\.weight is missing"):
        open_space("dinov2")


def test_dinov2_without_its_code_is_one_line(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_dino(hub, monkeypatch, tiny_dino().state_dict())
    monkeypatch.setattr(torch.hub, "load", no_network)
    with pytest.raises(AntError, match=r"cannot load DINOv2: .*Name or service") as caught:
        open_space("dinov2")
    assert str(hub.parent / "facebookresearch_dinov2_main") in caught.value.hint


def test_a_latent_source_looks_at_latents(tmp_path: Path) -> None:
    source = find_source(str(write_kind("ldm-kl", tmp_path / "ldm")))
    space = SourceSpace(source)
    images = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8)
    autoencoder, unet = AutoencoderKL.from_pretrained(source.folder / "vae"), source.load()
    seen: list[Tensor] = []
    unet.mid_block.register_forward_hook(lambda _, args, output: seen.append(output))
    with torch.no_grad():
        x_0 = autoencoder.encode(images / 127.5 - 1).latent_dist.mean * 0.7
        t = torch.full((2,), space.t)
        eps = normal(0, "source-features", 0, [0], (4, 8, 8))
        unet(source.path.add_noise(x_0, eps, t), t)
    found = space(images)
    assert found.shape == (2, space.dimension)
    expected = seen[0].square().mean((2, 3)).sqrt()
    torch.testing.assert_close(found[:, -expected.shape[1] :], expected)
