"""LPIPS as features: equal to the package's own distances, and every way a trunk can be wrong."""

from __future__ import annotations

import os
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import get_args
from urllib.error import URLError

import lpips
import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from antcli.errors import AntError
from antcli.evaluation import downloads
from antcli.evaluation.listener import Listener
from antcli.evaluation.lpips import LpipsFeatures, Net, check_trunk, load_lpips
from antcli.sources import transfer

# Where the files are present: a SqueezeNet trunk and the example images of the lpips package.
TRUNK_DIR = Path(
    os.environ.get(
        "ANT_LPIPS_TRUNK_DIR", Path(__file__).parents[2] / ".." / "shared" / "data" / "lpips"
    )
)
TRUNK = TRUNK_DIR / "squeezenet1_1-onnxzoo.safetensors"
needs_trunk = pytest.mark.skipif(not TRUNK.is_file(), reason=f"there is no {TRUNK}")

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "vgg": models.vgg16,
    "alex": models.alexnet,
    "squeeze": models.squeezenet1_1,
}
LAST_LAYER = {"vgg": 30, "alex": 12, "squeeze": 13}
NETS = get_args(Net)


def distances(features: LpipsFeatures, a: Tensor, b: Tensor) -> Tensor:
    return (features(a) - features(b)).square().sum(dim=1)


def noise(count: int, size: int = 64) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(7)) * 2 - 1


def randomised(layers: nn.Module) -> nn.Module:
    """The layers with weights that keep the scale of what passes through them."""
    generator = torch.Generator().manual_seed(3)
    layers = layers.to_empty(device="cpu").eval().requires_grad_(False)
    for weight in layers.parameters():
        scale = (2 / weight[0].numel()) ** 0.5 if weight.ndim > 1 else 0.1
        nn.init.normal_(weight, std=scale, generator=generator)
    return layers


def random_metric(net: str, version: str = "0.1") -> lpips.LPIPS:
    """The package's metric with its own heads on a random trunk."""
    with warnings.catch_warnings(), torch.device("meta"):  # sparing the classifiers, large
        warnings.simplefilter("ignore")
        metric = lpips.LPIPS(
            net=net, version=version, pretrained=False, pnet_rand=True, verbose=False
        )
    heads = Path(lpips.__file__).parent / "weights" / f"v{version}" / f"{net}.pth"
    state = torch.load(heads, map_location="cpu", weights_only=True)
    metric.load_state_dict(state, strict=False, assign=True)
    randomised(metric.net)
    return metric


def random_trunk(net: str) -> nn.Module:
    with torch.device("meta"):
        return randomised(ARCHITECTURES[net](weights=None).features)


def state(net: str) -> dict[str, Tensor]:
    """Such layers under the names of torchvision's files."""
    return {f"features.{name}": value for name, value in random_trunk(net).state_dict().items()}


@pytest.fixture
def squeeze_file(tmp_path: Path) -> Path:
    path = tmp_path / "squeeze.safetensors"
    save_file(state("squeeze"), path)
    return path


@pytest.mark.parametrize("net", NETS)
def test_squared_distances_are_those_of_the_package(net: Net) -> None:
    metric = random_metric(net).double()
    for number, images in enumerate((noise(4).double(), noise(4, 96).double())):
        a, b = images.chunk(2)
        with torch.no_grad():
            expected = metric(a, b).flatten()
        assert expected.min() > 1e-4, "these images tell nothing"
        found = distances(LpipsFeatures(metric, f"random {number}"), a, b)
        torch.testing.assert_close(found, expected, atol=0, rtol=1e-9)


def test_dead_pixels_have_zero_features_not_nan() -> None:
    metric = random_metric("squeeze")
    for weight in metric.net.parameters():
        weight.data.zero_()
    assert torch.equal(LpipsFeatures(metric, "zero")(noise(1)).unique(), torch.zeros(1))


@pytest.mark.parametrize("negative", [True, False])
def test_another_lpips_than_v01_is_refused(negative: bool) -> None:
    metric = random_metric("squeeze", "0.1" if negative else "0.0")
    if negative:
        metric.lins[2].model[-1].weight.data[0, 5] = -0.01
    with pytest.raises(ValueError, match=r"version 0\.1"):
        LpipsFeatures(metric, "random")


def test_vectors_can_be_written_into_a_buffer(squeeze_file: Path) -> None:
    features, x = load_lpips("squeeze", squeeze_file), noise(3)
    expected = features(x)
    buffer = torch.full((5, expected.shape[1]), torch.nan)
    assert features(x, out=buffer[:3]).data_ptr() == buffer.data_ptr()
    torch.testing.assert_close(buffer[:3], expected, atol=0, rtol=0)
    assert buffer[3:].isnan().all()


@pytest.mark.parametrize("net", NETS)
def test_a_torchvision_file_fills_the_right_layers(net: Net, tmp_path: Path) -> None:
    path = tmp_path / "trunk.safetensors"
    classifier = {"classifier.1.weight": torch.ones(3)}
    save_file(state(net) | classifier, path)
    check_trunk(net, path)
    x = noise(1).double()
    expected = nn.Sequential(*list(random_trunk(net).children())[: LAST_LAYER[net]]).double()(x)
    torch.testing.assert_close(load_lpips(net, path).double().layers(x)[-1], expected)


def test_the_file_in_torchs_hub_folder_is_used_as_the_package_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    whole = models.squeezenet1_1(weights=None)
    file = tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    file.parent.mkdir(parents=True)
    torch.save(whole.state_dict(), file)
    check_trunk("squeeze")
    features = load_lpips("squeeze").double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric = lpips.LPIPS(net="squeeze", verbose=False).double()
    a, b = noise(2).double().chunk(2)
    with torch.no_grad():
        expected = metric(a, b).flatten()
    eps = torch.finfo(torch.float32).eps  # of the roots of the heads, taken before `double`
    torch.testing.assert_close(distances(features, a, b), expected, atol=0, rtol=eps)
    assert features.definition == {
        "net": "squeeze",
        "version": "0.1",
        "trunk": "torchvision squeezenet1_1-b8a52dc0.pth",
    }


def test_old_and_new_pth_files_and_half_precision_are_read(tmp_path: Path) -> None:
    tensors = state("squeeze")
    for name, new in (("old.pth", False), ("new.pt", True)):
        path = tmp_path / name
        half = {key: value.half() for key, value in tensors.items()}
        torch.save(half, path, _use_new_zipfile_serialization=new)
        check_trunk("squeeze", path)
        features = load_lpips("squeeze", path)
        assert {weight.dtype for weight in features.parameters()} == {torch.float32}
        torch.testing.assert_close(
            features.layers.slice1[0].weight, tensors["features.0.weight"], atol=1e-3, rtol=1e-3
        )


def test_loading_prints_nothing_and_names_the_file(
    squeeze_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features = load_lpips("squeeze", squeeze_file)
    assert capfd.readouterr() == ("", "")
    name, digest = features.trunk.split(" sha256:")
    assert name == "squeeze.safetensors"
    assert len(digest) == 64


def no_network(_request: object, timeout: float) -> None:
    assert timeout is not None, "would wait for ever"
    raise URLError(OSError(-2, "Name or service not known"))


def test_without_a_network_the_error_says_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(transfer, "PAUSE_S", 0.0)
    for command in (check_trunk, load_lpips):
        with pytest.raises(AntError, match="Name or service not known") as caught:
            command("vgg")
        assert "vgg16-397923af.pth" in caught.value.message
        assert str(tmp_path / "hub" / "checkpoints") in caught.value.hint
        assert "/vgg16-397923af.pth" in caught.value.hint
        assert "`trunk_weights` FILE" in caught.value.hint


def test_a_missing_trunk_is_downloaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def come(
        address: transfer.Address, file: Path, name: str, on_progress: transfer.Progress
    ) -> None:
        on_progress(transfer.Downloaded(name, 1_500_000, 5_000_000))
        calls.append((Path(address.url).name, address.sha256))
        file.parent.mkdir(parents=True)
        torch.save(state("squeeze"), file)

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(downloads, "transfer", come)
    told: list[tuple[str, int, int]] = []
    listener = Listener(lambda *what: told.append(what))
    check_trunk("squeeze", on_progress=listener.downloaded)
    load_lpips("squeeze")
    assert calls == [("squeezenet1_1-b8a52dc0.pth", "b8a52dc0")]
    assert told == [("downloading squeezenet1_1-b8a52dc0.pth, in MB", 2, 5)]


@pytest.mark.parametrize("wanted", ["vgg", "alex"])
def test_the_trunk_of_another_net_is_refused_and_recognised(
    wanted: Net, squeeze_file: Path
) -> None:
    with pytest.raises(AntError, match=f"not the trunk of LPIPS-{wanted}") as caught:
        load_lpips(wanted, squeeze_file)
    assert "`net` squeeze" in caught.value.hint


def test_a_trunk_that_lacks_a_layer_is_refused(tmp_path: Path) -> None:
    tensors = state("squeeze")
    del tensors["features.12.expand3x3.bias"]
    save_file(tensors, tmp_path / "trunk.safetensors")
    with pytest.raises(AntError, match=r"features\.12\.expand3x3\.bias is missing") as caught:
        check_trunk("squeeze", tmp_path / "trunk.safetensors")
    assert "squeezenet1_1-b8a52dc0.pth" in caught.value.hint


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("left", [0, 100, 0.5, 0.999])
def test_a_file_cut_short_is_refused(suffix: str, left: float, tmp_path: Path) -> None:
    path = tmp_path / f"trunk{suffix}"
    if suffix == ".pth":
        torch.save(state("squeeze"), path)
    else:
        save_file(state("squeeze"), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(left * len(whole) if left < 1 else left)])
    with pytest.raises(AntError, match="not a whole") as caught:
        check_trunk("squeeze", path)
    assert "cut short" in caught.value.hint


def test_other_files_are_refused(tmp_path: Path) -> None:
    text, module, number = (tmp_path / name for name in ("text.pth", "module.pt", "number.pth"))
    text.write_text("a page of text\n" * 20)
    torch.save(nn.Linear(2, 2), module)
    torch.save(3, number)
    with pytest.raises(AntError, match="not a whole PyTorch weights file"):
        check_trunk("squeeze", text)
    with pytest.raises(AntError, match=r"asks for torch\.nn.*, which is more than weights"):
        check_trunk("squeeze", module)
    with pytest.raises(AntError, match="not the trunk"):
        check_trunk("squeeze", number)
    for path in (tmp_path, tmp_path / "nowhere.pth"):
        with pytest.raises(AntError, match="there is no file") as caught:
            check_trunk("squeeze", path)
        assert "`trunk_weights`" in caught.value.hint


def example(name: str) -> Tensor:
    with Image.open(TRUNK_DIR / "imgs" / name) as image:
        pixels = torch.from_numpy(np.array(image.convert("RGB")))
    return pixels.permute(2, 0, 1)[None] / 127.5 - 1


@needs_trunk
def test_published_trunk_gives_the_known_distances() -> None:
    features = load_lpips("squeeze", TRUNK)
    reference = example("ex_ref.png")
    found = [distances(features, reference, example(f"ex_p{i}.png")).item() for i in (0, 1)]
    assert found == pytest.approx([0.39032, 0.19626], abs=1e-4)


@needs_trunk
def test_published_trunk_gives_the_known_distances_of_noise() -> None:
    draw = torch.Generator().manual_seed(42)
    a = torch.rand(2, 3, 100, 100, generator=draw) * 2 - 1
    b = torch.rand(2, 3, 100, 100, generator=draw) * 2 - 1
    found = distances(load_lpips("squeeze", TRUNK), a, b)
    torch.testing.assert_close(found, torch.tensor([0.2316, 0.2034]), atol=1e-4, rtol=0)
