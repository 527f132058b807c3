"""What an adaptation starts from, checked before a network is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from antcli import __version__
from antcli.artifacts import file_hash
from antcli.config import AdaptConfig, adapt_config_from, method_said
from antcli.errors import AntError
from antcli.evaluation.scoring import LEAST_TARGETS
from antcli.images.conditions import Conditions, Named, Numbered, known_apart
from antcli.images.folder import ImageFolder, check_folder
from antcli.images.target import read_target
from antcli.methods.build import (
    build_network,
    check_encoder,
    check_pixels,
    check_tuned,
    check_whole_batches,
    stages_of,
)
from antcli.methods.counterparts import FULL, Counterparts
from antcli.methods.presets import PRESETS, Preset
from antcli.methods.table import Method
from antcli.methods.trainable.denoiser import Denoiser
from antcli.sources.catalog import catalog
from antcli.sources.source import Source, find_source
from antcli.sources.transfer import Progress, silent
from antcli.training.classifier_files import check_classifier
from antcli.training.pretrained import check_pretrained, find_pretrained


@dataclass(frozen=True)
class Inputs:
    """What an adaptation starts from, all of it checked."""

    source: Source
    target: ImageFolder
    classifier_file: Path | None = None
    source_images: Path | None = None
    pretrained: Path | None = None
    """What the training of the classifier starts from; without, from nothing."""

    @property
    def conditions(self) -> Conditions | None:
        """Of the target's images, where these have several."""
        return self.target.conditions

    def labels(self, network: Denoiser) -> Tensor | None:
        """What a network is told of the condition of each image, [N, size]."""
        known = known_apart(network.images, self.conditions)
        return None if known is None else known.labels

    def shown(self, network: Denoiser) -> Conditions | None:
        """Those of a target that has several, as the samples of a network may be asked for them."""
        return self.conditions and known_apart(network.images, self.conditions)

    @property
    def domains(self) -> Mapping[str, Sequence[int]]:
        """The places of the images of each domain, by its name; of a single one, without."""
        known = self.conditions
        if not isinstance(known, Named):
            return {"": list(range(len(self.target.images)))}
        return known.places

    def identity(self) -> dict[str, Any]:
        """What tells two runs with equal settings apart."""
        return {
            "source_sha256": self.source.sha256,
            "target_sha256": list(self.target.hashes),
            "target_folder": str(self.target.folder.resolve()),
            "conditions": self.conditions and self.conditions.as_dict(),
            "classifier_sha256": file_hash(self.classifier_file) if self.classifier_file else None,
            "source_images": str(self.source_images.resolve()) if self.source_images else None,
        }


def defaults_for(source: Source, method: Method) -> dict[str, Any]:
    """The settings whose defaults depend on the source."""
    if not source.latent:
        return {}
    # The paper's c of its LDM; and glasses that 100 steps leave half-drawn are there after 200.
    longer = {} if "steps" in method.settings.get("training", {}) else {"steps": 200}
    return {"adaptor": {"pooling": 2}, "training": longer}


def settings_for(
    said: Mapping[str, Any],
    preset: Preset | None = None,
    on_progress: Progress = silent,
    *,
    has_classifier: bool = False,
) -> tuple[AdaptConfig, str]:
    """All settings, from what is `said` as nested tables; and a remark, where one is due.

    What is not said is the preset's, the source's or the method's default. A preset's classifier
    is got, if one is needed; where it cannot be had, the remark says what is taken instead.
    Raises `AntError` as `find_source` and `adapt_config_from`.
    """
    checked = adapt_config_from(said)
    source = find_source(checked.source)
    layers, remark = [defaults_for(source, method_said(said)[0])], ""
    if preset is not None:
        layers.append(PRESETS[preset](source.shape, source.latent))
        init = layers[-1]["classifier"]["init"]
        asked = adapt_config_from(*layers, said)
        needed = "classifier" in stages_of(asked) and not has_classifier
        if init and needed and "init" not in said.get("classifier", {}):
            try:
                find_pretrained(init, source.shape[-1], on_progress)
            except AntError as error:
                layers.append({"classifier": {"init": ""}})
                remark = (
                    f"the {preset}'s classifier, {init}, cannot be had ({error.message}): a small "
                    "one is trained from nothing instead"
                )
    return _placed(adapt_config_from(*layers, said)), remark


def _placed(config: AdaptConfig) -> AdaptConfig:
    """With folders by their whole paths, by which a run finds them from anywhere."""
    is_folder = config.source not in catalog() and Path(config.source).is_dir()
    source = str(Path(config.source).resolve()) if is_folder else config.source
    return replace(config, source=source, target=str(Path(config.target).resolve()))


def check_inputs(
    config: AdaptConfig,
    *,
    classifier: Path | None = None,
    source_images: Path | None = None,
    on_progress: Progress = silent,
) -> Inputs:
    """Check all that can be wrong before a network is loaded. Raises `AntError`.

    Only a pretrained classifier that is asked for by name may be downloaded here.
    """
    check_whole_batches(config)
    check_tuned(config)
    source = find_source(config.source)
    check_pixels(config, latent=source.latent)
    encodes = any(source.unet_config.get(key) for key in ("num_class_embeds", "columns"))
    check_encoder(config, encodes=encodes)
    target = read_target(Path(config.target), source.size)
    if config.stopping.auto and len(target.images) < LEAST_TARGETS:
        raise AntError(
            f"of {len(target.images)} image no step can be said to be the best",
            f"say a number of `steps`, or give {LEAST_TARGETS} images or more",
        )
    if classifier is not None:
        channels, size, _ = source.shape
        check_classifier(classifier, size, channels)
    if source_images is not None:
        check_folder(source_images)
    source = source.conditioned(config.condition)
    pretrained = None
    if config.classifier.init and classifier is None and "classifier" in stages_of(config):
        channels, size, _ = source.shape
        pretrained = find_pretrained(config.classifier.init, size, on_progress)
        check_pretrained(pretrained, size, channels)
    return Inputs(source, target, classifier, source_images, pretrained)


def network_of(inputs: Inputs, config: AdaptConfig, prepared: Mapping[str, Any]) -> Denoiser:
    """The network that the settings train, as it begins; `prepared` is what stages gave so far."""
    pairs: Counterparts | None = prepared.get("counterparts")
    t_limit = None if pairs is None else pairs.t_limit
    asked, known = inputs.source.convention, inputs.conditions
    size = 0 if known is None else known.size
    images = _images_apart(inputs, config, pairs)
    return build_network(inputs.source.load(), config, asked, t_limit, size, images)


def _images_apart(inputs: Inputs, config: AdaptConfig, pairs: Counterparts | None) -> int:
    """How many images are conditions of their own; numbers lie on a line and are not, and a sample
    of the source's, on which some penalties are asked, has the condition of none.
    """
    count, wanted = len(inputs.target.images), config.counterparts.apart
    if pairs is None or not wanted or count > FULL or "source_examples" in stages_of(config):
        return 0
    return count if pairs.unbound and not isinstance(inputs.conditions, Numbered) else 0


def metadata(inputs: Inputs, config: AdaptConfig, title: str) -> dict[str, Any]:
    """What the header of a weights file tells of its making."""
    return described(inputs.source, inputs.target.hashes, config, title)


def described(
    source: Source, target_sha256: Sequence[str], config: AdaptConfig, title: str
) -> dict[str, Any]:
    """The same, of the target's images nothing but the hashes being at hand."""
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{source.unet_config['_class_name']}/ant",
        "modelspec.implementation": "ant",
        "modelspec.title": title,
        "modelspec.resolution": f"{source.size}x{source.size}",
        "modelspec.date": datetime.now(UTC).isoformat(timespec="seconds"),
        "modelspec.prediction_type": source.convention.prediction.removesuffix("_prediction"),
        "ant.version": __version__,
        "ant.config": asdict(config),
        "ant.source": config.source,
        "ant.source_sha256": source.sha256,
        "ant.target_sha256": list(target_sha256),
    }
