"""The model card: what a person who finds the files has to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from antcli import __version__
from antcli.config import AdaptConfig, label, source_name, to_toml
from antcli.diffusion.sampler import FewSteps
from antcli.evaluation.results import metric_tables, read_evaluation
from antcli.exporting.pipeline_folder import pipeline_name
from antcli.exporting.ungated import Change
from antcli.runs.run import Run
from antcli.sources.catalog import Entry, catalog
from antcli.sources.condition import TEXT
from antcli.sources.source import Source

HUB_LICENCES = ("MIT", "Apache-2.0")
"""Licences of the catalogue that the model hub knows by the same name, in small letters."""

MOST_STEPS = 250
"""Of sampling, in its example: fewer spoil the samples of DDPM's scheduler."""


@dataclass(frozen=True)
class Card:
    """What is told of an export. Of this machine's paths it tells last names alone."""

    run: Run
    source: Source
    format: str
    change: Change | None
    condition: str = ""
    """Of several, the one that the files hold."""

    def text(self) -> str:
        """The card as Markdown, its head as YAML."""
        evaluation = read_evaluation(self.run)
        return _template().render(
            card=self,
            toml=to_toml(self.config).strip(),
            facts=self.run.facts(),
            weights_sha256=self.run.weights_sha256,
            version=__version__,
            text=TEXT in self.source.condition,
            size=self.source.size,
            steps=self.few or min(MOST_STEPS, int(self.source.path.span)),
            guidance_scale=self.source.guidance_scale,
            evaluation=evaluation,
            metrics=[*metric_tables(evaluation)] if evaluation else [],
        )

    def metadata(self) -> Mapping[str, Any]:
        """Of a file of tensors."""
        facts, size = self.run.facts(), self.source.size
        return {
            "modelspec.sai_model_spec": "1.0.1",
            "modelspec.architecture": f"{self.source.unet_config['_class_name']}/lora",
            "modelspec.implementation": self.format,
            "modelspec.title": self.title,
            "modelspec.license": self.licence,
            "modelspec.resolution": f"{size}x{size}",
            "modelspec.date": datetime.now(UTC).isoformat(timespec="seconds"),
            "ant.version": __version__,
            "ant.source_sha256": facts["source_sha256"],
            "ant.target_sha256": facts["target_sha256"],
            "ant.weights_sha256": self.run.weights_sha256,
        }

    @cached_property
    def config(self) -> AdaptConfig:
        """The run's settings, without this machine's folders."""
        config = self.run.config()
        return replace(
            config, source=source_name(config), target=Path(config.target).resolve().name
        )

    @property
    def title(self) -> str:
        """Target, source and method."""
        which = f" ({self.condition})" if self.condition else ""
        return f"{self.config.target}{which} from {self.config.source}, {label(self.config)}"

    @property
    def few(self) -> int:
        """The steps that it was distilled to; 0: it was not."""
        sampler = self.run.sampler
        return sampler.steps if isinstance(sampler, FewSteps) else 0

    @property
    def base_model(self) -> str:
        """The source's hub id; empty where it is not from there."""
        if self._entry is not None:
            return self._entry.hub
        source = Path(self.run.config().source)
        return "" if source.is_absolute() or source.is_dir() else self.config.source

    @property
    def licence(self) -> str:
        """Of the source, as the catalogue states it."""
        return "unknown" if self._entry is None else self._entry.licence

    @property
    def forbids(self) -> str:
        """What that licence does not allow."""
        return "" if self._entry is None else self._entry.forbids

    @property
    def hub_licence(self) -> str:
        """In the model hub's words."""
        if self._entry is None:
            return "unknown"
        return self.licence.lower() if self.licence in HUB_LICENCES else "other"

    @property
    def pipeline(self) -> str:
        """The class of diffusers that draws the samples."""
        return pipeline_name(self.source) if self.format == "diffusers" else "DiffusionPipeline"

    @property
    def kohya_file(self) -> str:
        """The name under which ComfyUI shows it."""
        return f"{self.run.folder.resolve().name}.safetensors"

    @property
    def _entry(self) -> Entry | None:
        named = self.run.config().source
        return next((e for e in catalog().values() if named in (e.name, e.hub)), None)


def _template() -> Template:
    return Environment(
        loader=PackageLoader("antcli.exporting", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    ).get_template("card.md")
