"""What a run has made of its source: the adapted network, and what it may be asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from antcli.artifacts import load_metadata, load_tensors
from antcli.config import adapt_config_from
from antcli.diffusion.sampler import FewSteps
from antcli.errors import AntError
from antcli.images.conditions import Conditions, conditions_from, known_apart
from antcli.methods.build import build_network
from antcli.methods.student import build_student
from antcli.methods.trainable.denoiser import Denoiser
from antcli.runs.run import Run
from antcli.sources.source import Source, find_source

SAMPLER = "ant.sampler"
"""Where the metadata of a student's weights has what it was made for."""
IMAGES = "ant.images_apart"
"""Where the metadata of weights has how many images are conditions of their own."""


def check_run_source(run: Run) -> Source:
    """The source a run was adapted from. Raises `AntError` where it has changed since."""
    facts = run.facts()
    source = find_source(facts["config"]["source"])
    if run.condition.exists():
        scale = run.config().condition.guidance_scale
        source = source.conditioned_by(load_tensors(run.condition), scale)
    if source.sha256 != facts["source_sha256"]:
        raise AntError(
            f"source {source.name} is not the one that {run.folder} was adapted from",
            "get that source back, or adapt again",
        )
    return source


def conditions_of(run: Run) -> Conditions | None:
    """Those that a run was adapted to, where they are several."""
    return conditions_from(run.facts().get("conditions"))


def images_apart(run: Run) -> int:
    """How many images of a finished run are conditions of their own; 0: they are none."""
    return int(_told(run, run.weights).get(IMAGES, 0))


def may_be_asked(run: Run) -> Conditions | None:
    """What samples of a finished run may be asked for: its conditions, and, where each image is one
    of its own, these by their numbers, in the order of their files' names.
    """
    return known_apart(images_apart(run), conditions_of(run))


def asked_labels(run: Run, seeds: Sequence[int], condition: str = "") -> Tensor | None:
    """What the network of a run is told of samples: of one condition, or of those in turn.

    None where it knows of none. Raises `AntError` (wrong usage) for a condition that it does not
    know.
    """
    known = may_be_asked(run)
    if known is not None:
        return known.labels_of(seeds, condition)
    if condition:
        raise AntError(
            f"the run in {run.folder} has no conditions",
            "leave `condition` out; a target with a folder for each makes a run that has some",
            exit_code=2,
        )
    return None


def load_adapted(
    run: Run, source: Source, weights: Path | None = None, condition: Tensor | None = None
) -> Denoiser:
    """The adapted network of a run, or of one of its checkpoints; on the CPU, in eval mode.

    Of a distilled run it is the student; of one whose images are conditions of their own for a
    single `condition`, [size], if that is given.
    """
    weights = weights or run.weights
    facts = _told(run, weights)
    if SAMPLER in facts:
        adapted = load_adapted(run, source, run.adapted)
        config = adapt_config_from(json.loads(facts["ant.config"]))
        sampler = FewSteps(**json.loads(facts[SAMPLER]))
        network = build_student(adapted, config, sampler, condition)
    else:
        t_limit = float(facts["ant.t_limit"]) if "ant.t_limit" in facts else None
        known, images = conditions_of(run), int(facts.get(IMAGES, 0))
        size = 0 if known is None else known.size
        given = run.config(), source.convention, t_limit, size, images
        network = build_network(source.load(), *given)
    _fill(network, weights)
    return network.requires_grad_(False).eval()


def _told(run: Run, weights: Path) -> dict[str, str]:
    """What the header of weights tells. Raises `AntError` where they are damaged."""
    try:
        return load_metadata(weights)
    except AntError as error:
        hint = run.mending if weights == run.weights else "remove it: the others may be whole"
        raise AntError(error.message, hint) from error


def _fill(network: Denoiser, weights: Path) -> None:
    """Give what trains the values of a file."""
    tensors = load_tensors(weights)
    parameters = network.trained()
    if tensors.keys() != parameters.keys() or any(
        tensors[name].shape != p.shape for name, p in parameters.items()
    ):
        raise AntError(
            f"{weights} holds the weights of another model",
            "adapt again with `ant adapt --force`",
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])
