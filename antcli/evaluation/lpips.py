"""LPIPS as a squared distance between vectors, and where the weights of its trunk come from.

R. Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
CVPR 2018 (arXiv 1801.03924), in version 0.1 of the `lpips` package.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import lpips
import torch
from torch import Tensor, nn
from torchvision import models

from antcli.artifacts import file_hash
from antcli.errors import AntError
from antcli.evaluation.downloads import download, hub_checkpoints
from antcli.sources.transfer import Progress, silent
from antcli.weights import misfit, read_weights

Net = Literal["vgg", "alex", "squeeze"]

VERSION = "0.1"
_TORCHVISION: dict[Net, Any] = {
    "vgg": models.VGG16_Weights.IMAGENET1K_V1,
    "alex": models.AlexNet_Weights.IMAGENET1K_V1,
    "squeeze": models.SqueezeNet1_1_Weights.IMAGENET1K_V1,
}
_EPS = 1e-10  # of lpips.normalize_tensor, which adds it to the norm


class LpipsFeatures(nn.Module):
    """phi with |phi(a) - phi(b)|^2 = LPIPS(a, b), whatever the pair.

    LPIPS sums over the layers l of its trunk, with y the map of a layer and w its head,

        1/(H_l W_l) sum_hw sum_c w_lc (y^a_lchw / |y^a_lhw| - y^b_lchw / |y^b_lhw|)^2   (Eq. 1).

    The heads are not negative, so sqrt(w_lc / (H_l W_l)) y_lchw / |y_lhw|, laid end to end, is
    such a phi, and one pass of the trunk serves all the distances of an image.
    """

    def __init__(self, metric: lpips.LPIPS, trunk: str) -> None:
        """Take over the layers of `metric`; `trunk` says where its weights come from."""
        super().__init__()
        heads = [head.model[-1].weight.detach().flatten() for head in metric.lins]
        if metric.version != VERSION or any(bool((head < 0).any()) for head in heads):
            raise ValueError(f"not an LPIPS of version {VERSION}, whose heads are never negative")
        self.net: Net = metric.pnet_type
        self.trunk = trunk
        self.scaling = metric.scaling_layer
        # Channels last: on a CPU SqueezeNet takes half the time so, VGG four fifths.
        self.layers = metric.net.to(memory_format=torch.channels_last)
        for number, head in enumerate(heads):
            self.register_buffer(f"root{number}", head.sqrt(), persistent=False)
        self.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where images have to be."""
        return self.get_buffer("root0").device

    @property
    def definition(self) -> dict[str, str]:
        """What a reader of a distance has to know: net, version of LPIPS, source of the trunk."""
        return {"net": self.net, "version": VERSION, "trunk": self.trunk}

    @property
    def label(self) -> str:
        """Names the space and its weights: equal labels, comparable numbers."""
        return f"LPIPS-{self.net} v{VERSION} ({self.trunk})"

    @torch.no_grad()
    def forward(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """The vectors phi(x), [B, D] float32, of images x [B, 3, H, W] in [-1, 1].

        D grows with the area of the images; only vectors of equal D can be compared. With `out`,
        a contiguous [B, D], they are written there: fresh memory for each batch costs a CPU a
        third of a SqueezeNet pass.
        """
        scaled = self.scaling(x).contiguous(memory_format=torch.channels_last)
        maps = [y.permute(0, 2, 3, 1) for y in self.layers(scaled)]
        sizes = [y[0].numel() for y in maps]
        phi = x.new_empty(len(x), sum(sizes)) if out is None else out
        for number, (y, part) in enumerate(zip(maps, phi.split(sizes, dim=1), strict=True)):
            area = y.shape[1] * y.shape[2]
            root = self.get_buffer(f"root{number}") / area**0.5
            norm = torch.linalg.vector_norm(y, dim=-1, keepdim=True)
            # Straight into its place: a map of VGG's first layer has four million numbers.
            torch.mul(y, 1 / (norm + _EPS), out=part.view(y.shape)).mul_(root)
        return phi


def check_trunk(
    net: Net, trunk_weights: Path | None = None, on_progress: Progress = silent
) -> None:
    """Make sure that `load_lpips` will work, before an hour is spent on what it is to measure.

    Downloads torchvision's file if neither a file is given nor one lies in torch's hub folder.
    Raises `AntError` where that fails, and for a file that is missing, cut short, or of another
    network.
    """
    _trunk_state(net, _trunk_file(net, trunk_weights, on_progress))


def load_lpips(
    net: Net = "vgg", trunk_weights: Path | None = None, on_progress: Progress = silent
) -> LpipsFeatures:
    """LPIPS v0.1 on the CPU, its trunk read from a file under torchvision's names.

    Without `trunk_weights` (.safetensors, .pth or .pt) it is torchvision's own, from torch's hub
    folder or downloaded into it. Errors: as `check_trunk`.
    """
    file = _trunk_file(net, trunk_weights, on_progress)
    metric = _skeleton(net)
    names = _torchvision_names(metric)
    tensors = _trunk_state(net, file)
    heads = Path(lpips.__file__).parent / "weights" / f"v{VERSION}" / f"{net}.pth"
    state = torch.load(heads, map_location="cpu", weights_only=True)
    state |= {ours: tensors[theirs].float() for ours, theirs in names.items()}
    metric.load_state_dict(state, strict=False, assign=True)
    if trunk_weights is None:
        return LpipsFeatures(metric, f"torchvision {file.name}")
    return LpipsFeatures(metric, f"{file.name} sha256:{file_hash(file)}")


def _skeleton(net: Net) -> lpips.LPIPS:
    """The network without memory for its weights, and without the package's remarks."""
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        return lpips.LPIPS(
            net=net, version=VERSION, pretrained=False, pnet_rand=True, verbose=False
        )


def _torchvision_names(metric: lpips.LPIPS) -> dict[str, str]:
    """The trunk's weights: names in `metric` to names in torchvision's files.

    `lpips` cuts torchvision's `features` into slices and keeps the numbers of the layers.
    """
    own = (f"net.{name}" for name in metric.net.state_dict())
    return {name: re.sub(r"^net\.slice\d+\.", "features.", name) for name in own}


def _trunk_file(net: Net, trunk_weights: Path | None, on_progress: Progress) -> Path:
    """The file that holds the trunk: the one given, or torchvision's, downloaded if need be."""
    if trunk_weights is not None:
        if not trunk_weights.is_file():
            raise AntError(f"there is no file {trunk_weights}", "check `trunk_weights`")
        return trunk_weights
    url: str = _TORCHVISION[net].url
    file = hub_checkpoints() / url.rsplit("/", 1)[1]
    if not file.is_file():
        hint = "name your copy with `trunk_weights` FILE"
        download(url, file, f"the trunk of LPIPS-{net}", hint, on_progress)
    return file


def _trunk_state(net: Net, file: Path) -> Mapping[str, Tensor]:
    """The tensors of `file`, proved to be those of `net` by their names and shapes."""
    tensors = read_weights(file)
    reason = _misfit(net, tensors)
    if reason:
        fits = [other for other in get_args(Net) if not _misfit(other, tensors)]
        name = _TORCHVISION[net].url.rsplit("/", 1)[1]
        raise AntError(
            f"{file} is not the trunk of LPIPS-{net}: {reason}",
            f"it is that of `net` {fits[0]}" if fits else f"torchvision's {name} is such a file",
        )
    return tensors


def _misfit(net: Net, tensors: Mapping[str, Tensor]) -> str:
    """The first reason why `tensors` cannot be the trunk of `net`; empty if they can."""
    metric = _skeleton(net)
    own = metric.state_dict()
    names = _torchvision_names(metric)
    return misfit(tensors, {theirs: own[ours].shape for ours, theirs in names.items()})
