"""A run without a network, measured, and reading the pages that are made of it."""

from __future__ import annotations

import base64
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from antcli.artifacts import file_hash, write_json
from antcli.config import AdaptConfig, StoppingConfig, TrainingConfig
from antcli.evaluation.frechet import Gaussian, frechet
from antcli.evaluation.intra_lpips import Cluster, IntraLpips
from antcli.evaluation.kernel import kernel_distance
from antcli.evaluation.manifold import prdc
from antcli.evaluation.memorization import memorization
from antcli.evaluation.pairs import write_pairs
from antcli.evaluation.report.comparison import MeasuredRun
from antcli.evaluation.stopping import Score
from antcli.images.folder import ImageFiles, check_folder
from antcli.runs.run import Run

SCORES = [Score(0, 2.0, 1.0, 0.0), Score(25, 0.5, 0.95, 0.1), Score(50, 0.49, 0.9, 0.2)]
SOURCE_SPACE = "source tiny (sha256:" + "ab" * 32 + ", t=100)"
LPIPS_SPACE = "LPIPS-squeeze v0.1 (trunk sha256:" + "cd" * 32 + ")"


def noise(folder: Path, names: list[str], size: int) -> tuple[Path, ...]:
    """Images of noise, the hardest to make small."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(len(names))
    for name in names:
        pixels = draw.integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return tuple(folder / name for name in names)


def made(
    folder: Path, target: Path, *, size: int = 16, source: str = "avatars", auto: bool = False
) -> Run:
    """A finished run of 50 steps with 24 samples of its own and of its source."""
    run = Run(folder)
    config = AdaptConfig(
        source,
        str(target),
        method="ant",
        training=TrainingConfig(steps=50),
        stopping=StoppingConfig(auto=auto),
    )
    identity = {
        "source_sha256": "12" * 32,
        "target_folder": str(target),
        "target_sha256": [file_hash(path) for path in check_folder(target)],
    }
    run.begin(config, identity, clear=False)
    run.write_facts(config, identity, status="finished", step=50)
    run.weights.write_bytes(b"weights")
    names = [f"{seed:06d}.png" for seed in range(24)]
    for samples in (run.samples, run.source_samples):
        noise(samples, names, size)
    return run


def metrics(fake: Tensor, real: Tensor) -> dict[str, Any]:
    """What is measured of features, and a cluster or two of Intra-LPIPS."""
    clusters = (Cluster("0.png", 23, 23, 0.25), Cluster("1.png", 1, 1, None))
    lpips = IntraLpips(0.25, None, clusters, 1, {"net": "squeeze", "size": 256, "images": 24})
    space = {"space": SOURCE_SPACE, "reference_sha256": "ef" * 32}
    copies = memorization(torch.cdist(fake, real), torch.cdist(real, real))
    return {
        "intra-lpips": {**lpips.as_dict(), "space": LPIPS_SPACE},
        "fid": {**frechet(Gaussian.fit(real), Gaussian.fit(fake)).as_dict(), **space},
        "kid": {**kernel_distance(real, fake).as_dict(), **space},
        "prdc": {**prdc(real, fake).as_dict(), **space},
        "memorization": {**copies.as_dict(), "space": LPIPS_SPACE},
    }


def measured(run: Run, shift: float = 0.5) -> dict[str, Any]:
    """What `ant evaluate all` keeps, of features that are drawn: the source's are far off."""
    draw = torch.Generator().manual_seed(0)
    real, fake, own = (torch.randn(n, 4, generator=draw).double() for n in (10, 24, 24))
    rows = [
        {"name": "adapted", "metrics": metrics(fake + shift, real)},
        {"name": "source, not adapted", "metrics": metrics(own + 3, real)},
    ]
    target = run.facts()["target_sha256"]
    evaluation = {
        "space": SOURCE_SPACE,
        "reference_images": 10,
        "reference_sha256": "ef" * 32,
        "target_images": 10,
        "target_sha256": target,
        "images": 24,
        "seed": 0,
        "left_out": {},
        "rows": rows,
        "weights_sha256": run.weights_sha256,
    }
    images = ImageFiles(tuple(sorted(run.samples.iterdir())))
    targets = ImageFiles(check_folder(Path(run.facts()["target_folder"])))
    pairs = rows[0]["metrics"]["memorization"]["pairs"]
    write_pairs(run.nearest_pairs, images, targets, pairs)
    write_json(run.evaluation, evaluation)
    return json.loads(run.evaluation.read_text(encoding="utf-8"))


def samples(run: Run) -> list[tuple[Path, Path]]:
    folders = (sorted(folder.iterdir()) for folder in (run.source_samples, run.samples))
    return list(zip(*folders, strict=True))


def changed(measured: MeasuredRun, metric: str, key: str, value: object) -> None:
    """Let it have been measured in another way."""
    for row in measured.evaluation["rows"]:
        found = row["metrics"][metric]
        (found if key in found else found["definition"])[key] = value


VOID = {"meta", "img", "br", "link"}


class Document(HTMLParser):
    """Tags, attributes and texts of a page; fails where tags are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def assert_needs_nothing(html: str) -> None:
    """No script, and nothing that a browser would fetch or follow elsewhere."""
    page = Document(html)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {
        tag for tag, _ in page.tags
    }
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "data", "poster", "action", "style"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/")), attributes
    assert "url(" not in html and "@import" not in html
    assert "http:" not in html and "https:" not in html


def image_of(attributes: dict[str, str | None]) -> Image.Image:
    kind, content = (attributes["src"] or "").split(",", 1)
    assert kind.startswith("data:image/")
    return Image.open(io.BytesIO(base64.b64decode(content)))
