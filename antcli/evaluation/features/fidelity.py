"""Feature spaces of networks trained on many images, as torch-fidelity (an extra) runs them.

The published numbers are in these: Inception's of FID (Heusel et al. 2017) and DINOv2's (G. Stein
et al., "Exposing flaws of generative model evaluation metrics", NeurIPS 2023, arXiv 2306.04675;
there its ViT-L/14, here the ViT-S/14, whose 384 features suit the few images at hand better).
"""

from __future__ import annotations

import io
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from antcli.artifacts import file_hash
from antcli.errors import AntError
from antcli.evaluation.downloads import download, hub_checkpoints, patience
from antcli.sources.transfer import Progress, silent
from antcli.weights import misfit, read_weights

INCEPTION = "pt_inception-2015-12-05"
_INCEPTION_SHA256 = "6726825d"  # how it begins
_DINOV2_URL = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth"
_DINOV2_CODE = "facebookresearch_dinov2_main"  # as torch.hub names the folder
_HANDLING = {
    "extractor": "torch-fidelity",
    "resize": "bilinear as in TensorFlow 1, not antialiased",
}


class FidelitySpace:
    """A feature extractor of torch-fidelity, which resizes by itself."""

    def __init__(
        self,
        extractor: nn.Module,
        device: torch.device | str,
        *,
        label: str,
        dimension: int,
        definition: dict[str, object],
    ) -> None:
        """Take over `extractor`, which gives one kind of features, `dimension` of them."""
        self.label = label
        self.dimension = dimension
        self.definition = {**definition, **_HANDLING, "dimension": dimension}
        self._device = torch.device(device)
        self._extractor = extractor.to(self._device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Features [B, D], float32, of images uint8 [B, 3, H, W]."""
        with torch.autocast(self._device.type, enabled=False):  # one label, one precision
            (features,) = self._extractor(images.to(self._device))
        return features


def open_inception(
    weights: Path | None, device: torch.device | str, on_progress: Progress = silent
) -> FidelitySpace:
    """The 2048 features of FID: Inception of 2015 as TensorFlow had it, images at 299x299."""
    library = _library("feature_extractor_inceptionv3")
    file = _inception_file(weights, library.URL_INCEPTION_V3, on_progress)
    # The library would unpickle the file without care; it gets what was read with care.
    read = io.BytesIO()
    torch.save({k: v for k, v in read_weights(file).items() if isinstance(v, Tensor)}, read)
    read.seek(0)
    try:
        extractor = library.FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=read
        )
    except RuntimeError as error:
        raise AntError(
            f"{file} is not the Inception network of FID: its tensors do not fit",
            f"{INCEPTION}-{_INCEPTION_SHA256}.pth is such a file",
        ) from error
    digest = file_hash(file)
    name = INCEPTION if digest.startswith(_INCEPTION_SHA256) else "other weights"
    return FidelitySpace(
        extractor,
        device,
        label=f"inception ({name}, sha256:{digest[:8]})",
        dimension=2048,
        definition={"space": "inception", "weights": name, "weights_sha256": digest, "size": 299},
    )


def open_dinov2(device: torch.device | str, on_progress: Progress = silent) -> FidelitySpace:
    """The 384 features of DINOv2's ViT-S/14 (its class token), images at 224x224.

    Its code is not part of the library: torch.hub gets it from its authors and runs it.
    """
    library = _library("feature_extractor_dinov2")
    folder = hub_checkpoints()
    file = folder / _DINOV2_URL.rsplit("/", 1)[1]
    if not file.is_file():
        hint = "use `features` source, which needs no download"
        download(_DINOV2_URL, file, "the weights of DINOv2", hint, on_progress)
    tensors = read_weights(file)
    try:
        with patience():
            extractor = library.FeatureExtractorDinoV2("dinov2-vit-s-14", ["dinov2"])
    except Exception as error:  # code from elsewhere, which may fail in any way
        reason = str(getattr(error, "reason", error)).partition("\n")[0]
        raise AntError(
            f"cannot load DINOv2: {reason}",
            f"{file} has to be its ViT-S/14, and {folder.parent / _DINOV2_CODE} its code, the "
            "repository facebookresearch/dinov2; or use `features` source, which needs neither",
        ) from error
    reason = misfit(tensors, {k: v.shape for k, v in extractor.model.state_dict().items()})
    if reason:  # the code would go on with random numbers in their place
        raise AntError(f"{file} is not DINOv2's ViT-S/14: {reason}", "remove it and get it again")
    digest = file_hash(file)
    return FidelitySpace(
        extractor,
        device,
        label=f"dinov2 vits14 (sha256:{digest[:8]})",
        dimension=384,
        definition={"space": "dinov2", "net": "vits14", "weights_sha256": digest, "size": 224},
    )


def _library(module: str) -> Any:
    """A module of torch-fidelity, which not everybody has."""
    try:
        return import_module(f"torch_fidelity.{module}")
    except ImportError as error:
        raise AntError(
            "this feature space needs torch-fidelity 0.4 or newer",
            "python -m pip install 'ant-cli[inception]', or use `features` source, "
            "which needs nothing more",
        ) from error


def _inception_file(weights: Path | None, url: str, on_progress: Progress) -> Path:
    """The file given, or the published one: it is about under two names."""
    if weights is not None:
        if not weights.is_file():
            raise AntError(f"there is no file {weights}", "check `feature_weights`")
        return weights
    folder = hub_checkpoints()
    usual = folder / f"{INCEPTION}-{_INCEPTION_SHA256}.pth"
    file = folder / url.rsplit("/", 1)[1]
    if usual.is_file():
        return usual
    if not file.is_file():
        hint = "name your copy with `feature_weights` FILE"
        download(url, file, "the Inception network of FID", hint, on_progress)
    return file
