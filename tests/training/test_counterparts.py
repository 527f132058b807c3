"""The counterparts of a run: drawn once by the first process, kept, and learnt from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from source_kinds import write_kind
from torch import Tensor

from antcli.artifacts import load_metadata, load_tensors
from antcli.config import AdaptConfig, adapt_config_from
from antcli.diffusion.examples import Latents, Pixels
from antcli.diffusion.sampling import resample
from antcli.evaluation.samples import load_adapted
from antcli.images.grid import to_float, to_uint8
from antcli.methods.counterparts import (
    JOINED,
    NEW_FROM,
    REFERENCE_SIDE,
    Counterparts,
    CounterpartSettings,
    joined,
    levels,
)
from antcli.methods.trainable.denoiser import Denoiser
from antcli.runs import Run
from antcli.sources.source import Source, find_source
from antcli.training import adaptation, stages
from antcli.training import inputs as inputs_module
from antcli.training.adaptation import Preview, Resumed, adapt
from antcli.training.classifier import ClassifierReport, ClassifierTraining
from antcli.training.counterparts import (
    CounterpartsDrawn,
    load_counterparts,
    make_counterparts,
)
from antcli.training.inputs import SourceSamples, check_inputs, sample_source, train_classifier
from antcli.training.loop import StepRecord
from antcli.training.source_dimension import SourceDimension

DRAWS = 3
Adapt = Callable[..., tuple[Run, list[Any]]]
Make = Callable[..., Counterparts]


@pytest.fixture
def config(tiny_source: Path, tiny_target: Path) -> AdaptConfig:
    """Four steps of the default, whose target is of the source's colours."""
    return adapt_config_from(
        {"source": str(tiny_source), "target": str(tiny_target), "seed": 3},
        {"training": {"steps": 4, "batch_size": 4, "learning_rate": 0.01}},
        {"counterparts": {"draws": DRAWS, "steps": 2, "colours": "kept"}},
        {"classifier": {"steps": 2, "batch_size": 4}, "lora": {"rank": 2}},
        {"preview": {"images": 1, "every": 2, "sampling_steps": 1}},
    )


@pytest.fixture
def start(tmp_path: Path, accelerator: Accelerator) -> Adapt:
    """Adapts into tmp_path/NAME, to the end or until `stop()`."""

    def run(config: AdaptConfig, name: str = "run", **more: Any) -> tuple[Run, list[Any]]:
        run, records = Run(tmp_path / name), []
        given = {k: more.pop(k) for k in ("source_images",) if k in more}
        try:
            for record in adapt(check_inputs(config, **given), config, run, accelerator, **more):
                records.append(record)
        except KeyboardInterrupt:
            assert more
        return run, records

    return run


@pytest.fixture
def make(tmp_path: Path, accelerator: Accelerator) -> Make:
    """Draws counterparts into a file and reads them."""

    def drawn(config: AdaptConfig, records: list[Any] | None = None) -> Counterparts:
        inputs, file = check_inputs(config), tmp_path / "counterparts.safetensors"
        found = list(make_counterparts(inputs, config, accelerator, file))
        if records is not None:
            records.extend(found)
        return load_counterparts(file, inputs.source, torch.device("cpu"))

    return drawn


def slow(source: Source, x_0: Tensor, number: int, config: AdaptConfig) -> Tensor:
    """Draw k of image i, each on its own: resampled, joined to the image, resampled again."""
    side = source.shape[-1]
    share, _ = levels(False, source.path, side)
    join = source.path.share_where(JOINED * side / REFERENCE_SIDE)
    network, count = Denoiser(source.load(), source.convention), len(x_0) * DRAWS

    def again(x_0: Tensor, share: float, seed: int, stream: str) -> Tensor:
        limit, steps = source.path.limit(share), config.counterparts.steps
        settings = {"steps": steps, "stream": stream, "clip": not source.latent}
        return resample(network.guided, source.path, x_0, limit, [seed], **settings)

    parts = []
    for i in range(len(x_0)):
        for k in range(DRAWS):
            image, seed = x_0[i : i + 1], count * (2 * config.seed + number) + i * DRAWS + k
            first = again(image, share, seed, "counterparts")
            parts.append(again(joined(image, first), join, seed, "join"))
    return torch.cat(parts)


# --- drawing them --------------------------------------------------------------------------


def test_counterparts_of_pixels_against_drawing_each_alone(config: AdaptConfig, make: Make) -> None:
    records: list[Any] = []
    found, inputs = make(config, records), check_inputs(config)
    expected = to_uint8(slow(inputs.source, to_float(inputs.target.images), 0, config))
    assert isinstance(found.examples, Pixels)
    assert found.examples.x_0.shape == (10 * DRAWS, 3, 16, 16)
    # A batch of another size may round a level the other way.
    torch.testing.assert_close(found.examples.x_0.int(), expected.int(), rtol=0, atol=1)
    own = to_float(inputs.target.images).repeat_interleave(DRAWS, 0)
    assert (to_float(expected) - own).abs().mean() > 0.05
    assert records == [
        CounterpartsDrawn(10 * DRAWS, 10 * DRAWS),
        CounterpartsDrawn(10 * DRAWS, 10 * DRAWS, new_colours=False, colour_distance=None),
    ]


def test_counterparts_of_latents_come_with_those_of_the_mirror_images(
    config: AdaptConfig, make: Make, tmp_path: Path
) -> None:
    config = replace(config, source=str(write_kind("ldm-kl", tmp_path / "ldm")))
    records: list[Any] = []
    found, inputs = make(config, records), check_inputs(config)
    source, images = inputs.source, to_float(inputs.target.images)
    codec = source.codec()
    assert isinstance(found.examples, Latents)
    assert found.examples.mirrored is not None
    both = (found.examples.x_0, images, 0), (found.examples.mirrored, images.flip(-1), 1)
    for drawn, upright, number in both:
        expected = slow(source, codec.encode(upright), number, config)
        torch.testing.assert_close(drawn, expected, rtol=1e-3, atol=1e-3)
    assert [record.done for record in records] == [10 * DRAWS, 20 * DRAWS, 20 * DRAWS]
    assert all(record.total == 20 * DRAWS for record in records)


def test_without_mirroring_latents_have_no_mirror_images(
    config: AdaptConfig, make: Make, start: Adapt, tmp_path: Path
) -> None:
    training = replace(config.training, flip=False)
    kind = str(write_kind("ldm-kl", tmp_path / "ldm"))
    config = replace(config, source=kind, training=training)
    examples = make(config).examples
    assert isinstance(examples, Latents)
    assert examples.mirrored is None
    run, _ = start(config)
    assert run.finished


def test_what_is_read_of_them(config: AdaptConfig, make: Make, tiny_source: Path) -> None:
    path = find_source(str(tiny_source)).path
    for colours in ("kept", "new"):
        settings = CounterpartSettings(draws=DRAWS, steps=2, colours=colours)  # type: ignore[arg-type]
        found = make(replace(config, counterparts=settings))
        assert found.new_colours == (colours == "new")
        assert found.draws == DRAWS
        _, limit = levels(colours == "new", path, 16)
        assert found.t_limit == limit
        alpha_bar = torch.cumprod(1 - path.betas, 0)[path.limit(limit) - 1].item()
        assert found.bridge == pytest.approx((alpha_bar / (1 - alpha_bar)) ** 0.5, rel=1e-9)


def test_they_follow_from_the_seed(config: AdaptConfig, make: Make) -> None:
    first, again = make(config).examples.x_0, make(config).examples.x_0
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    other = make(replace(config, seed=4)).examples.x_0
    assert (other != first).float().mean() > 0.5


def test_a_source_that_is_guided_draws_them_with_guidance(
    config: AdaptConfig, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    guided = Denoiser.guided

    def watched(network: Denoiser, x_t: Tensor, t: Tensor) -> Tensor:
        asked.append(len(x_t))
        return guided(network, x_t, t)

    monkeypatch.setattr(Denoiser, "guided", watched)
    make(config)
    assert asked == [10 * DRAWS] * 2 * config.counterparts.steps  # and once more, to join


# --- whether colours are new ---------------------------------------------------------------


@pytest.fixture(scope="module")
def own(tiny_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images that the source itself draws."""
    folder = tmp_path_factory.mktemp("own")
    drawn = sample_source(find_source(str(tiny_source)), 10, 5, 99, Accelerator(cpu=True))
    for i, image in enumerate(torch.cat(list(drawn))):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize("new", [False, True])
def test_colours_are_read_off_the_images(
    new: bool, own: Path, config: AdaptConfig, make: Make, tmp_path: Path
) -> None:
    """Sketches of the source's images, on paper, against these images as they are."""
    target = tmp_path / "target"
    target.mkdir()
    for file in own.glob("*.png"):
        image = Image.open(file)
        if new:
            image = image.convert("L").point(lambda v: 215 + v // 8).convert("RGB")
        image.save(target / file.name)
    counterparts = replace(config.counterparts, colours="auto")
    records: list[Any] = []
    found = make(replace(config, target=str(target), counterparts=counterparts), records)
    assert found.new_colours == new
    assert records[0] == SourceSamples(64, 64)
    assert [type(record) for record in records[1:3]] == [SourceDimension, CounterpartsDrawn]
    told = records[-1]
    assert (told.new_colours, told.colour_distance >= NEW_FROM) == (new, new)


def test_one_image_alone_has_colours_too(
    own: Path, config: AdaptConfig, make: Make, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    Image.new("RGB", (16, 16), (250, 250, 250)).save(target / "white.png")
    counterparts = replace(config.counterparts, colours="auto")
    assert make(replace(config, target=str(target), counterparts=counterparts)).new_colours


# --- a whole run ---------------------------------------------------------------------------


def kinds(records: list[Any]) -> list[type]:
    return list(dict.fromkeys(map(type, records)))


def test_a_run_that_was_cut_goes_on_with_its_counterparts(
    config: AdaptConfig, start: Adapt
) -> None:
    whole, records = start(config, "whole")
    assert kinds(records)[0] == CounterpartsDrawn
    assert kinds(records)[-3:] == [ClassifierReport, Preview, StepRecord]
    stops = iter([False, False, True])
    run, _ = start(config, "cut", stop=lambda: next(stops))
    assert not run.finished
    drawn = run.counterparts.read_bytes()
    run, records = start(config, "cut")
    assert kinds(records) == [Resumed, StepRecord, Preview]
    assert run.counterparts.read_bytes() == drawn
    torch.testing.assert_close(
        load_tensors(run.counterparts), load_tensors(whole.counterparts), rtol=0, atol=0
    )
    torch.testing.assert_close(
        load_tensors(run.weights), load_tensors(whole.weights), rtol=0, atol=0
    )
    losses = [[json.loads(line)["loss"] for line in r.log.open()] for r in (run, whole)]
    assert losses[0] == losses[1]


def test_the_weights_carry_the_limit_and_speak_below_it_alone(
    config: AdaptConfig, start: Adapt, tiny_source: Path
) -> None:
    run, _ = start(config)
    source = find_source(str(tiny_source))
    _, limit = levels(False, source.path, 16)
    assert limit < 1 == config.lora.t_limit
    for file in (run.weights, *run.checkpoints.values()):
        assert float(load_metadata(file)["ant.t_limit"]) == limit
    network = load_adapted(run, source)
    end = source.path.limit(limit)
    assert (network.t_limit, network.limit) == (limit, end)
    x_t = torch.randn(2, *source.shape)
    with torch.no_grad():
        for t, same in ((end, True), (end - 1, False)):
            at = torch.full((2,), t)
            off = (network(x_t, at) - source.load()(x_t, at).sample).abs().max()
            assert (off < 1e-5) == same


def test_starting_over_draws_them_again(config: AdaptConfig, start: Adapt) -> None:
    run, _ = start(config)
    before = load_tensors(run.counterparts)["x_0"]
    run, records = start(replace(config, seed=5), clear=True)
    assert CounterpartsDrawn in kinds(records)
    assert not torch.equal(load_tensors(run.counterparts)["x_0"], before)


def test_another_process_draws_nothing_and_reads_the_same(
    config: AdaptConfig, tmp_path: Path, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, inputs = Run(tmp_path / "run"), check_inputs(config)

    def prepared() -> tuple[list[Any], Counterparts]:
        stage, records = stages.counterparts(inputs, config, run, accelerator, {}), []
        while True:
            try:
                records.append(next(stage))
            except StopIteration as end:
                return records, end.value

    _, first = prepared()
    run.counterparts.rename(tmp_path / "kept")

    def appears() -> None:
        """As if the first process had written it while this one waited."""
        (tmp_path / "kept").rename(run.counterparts)

    monkeypatch.setattr(type(accelerator), "is_main_process", False)
    monkeypatch.setattr(accelerator, "wait_for_everyone", appears)
    records, other = prepared()
    assert records == []
    torch.testing.assert_close(other.examples.x_0, first.examples.x_0, rtol=0, atol=0)
    assert replace(other, examples=first.examples) == first


# --- the classifier ------------------------------------------------------------------------


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a classifier learns to tell apart: the source's examples and the target's."""
    given: list[Any] = []

    class Watched(ClassifierTraining):
        def __init__(self, *examples: Any, **more: Any) -> None:
            given.extend(examples[:2])
            super().__init__(*examples, **more)

    monkeypatch.setattr(inputs_module, "ClassifierTraining", Watched)
    return given


def test_the_classifier_tells_images_from_their_counterparts(
    config: AdaptConfig, start: Adapt, taught: list[Any]
) -> None:
    run, records = start(config)
    source, target = taught
    drawn = load_tensors(run.counterparts)["x_0"]
    torch.testing.assert_close(source.x_0, drawn, rtol=0, atol=0)
    torch.testing.assert_close(target.x_0, check_inputs(config).target.images, rtol=0, atol=0)
    assert not any(isinstance(record, SourceSamples) for record in records)


def test_counterparts_of_latents_pass_the_autoencoder_as_the_images_do(
    config: AdaptConfig, start: Adapt, taught: list[Any], tmp_path: Path
) -> None:
    config = replace(config, source=str(write_kind("ldm-kl", tmp_path / "ldm")))
    run, _ = start(config)
    source, codec = taught[0], find_source(config.source).codec()
    drawn = load_tensors(run.counterparts)["x_0"]
    expected = codec.encode(to_float(to_uint8(codec.decode(drawn))))
    torch.testing.assert_close(source.x_0, expected, rtol=1e-4, atol=1e-4)


def test_images_of_the_source_that_are_given_are_taken(
    config: AdaptConfig, start: Adapt, taught: list[Any], own: Path
) -> None:
    start(config, source_images=own)
    assert len(taught[0]) == 10


def test_where_colours_are_new_there_is_no_classifier(
    config: AdaptConfig, start: Adapt, taught: list[Any]
) -> None:
    config = replace(config, counterparts=replace(config.counterparts, colours="new"))
    run, records = start(config)
    assert kinds(records) == [CounterpartsDrawn, Preview, StepRecord]
    assert taught == []
    assert run.finished
    assert not run.classifier.exists()


def test_a_classifier_alone_learns_from_samples_of_the_source(
    config: AdaptConfig, taught: list[Any], tmp_path: Path, accelerator: Accelerator
) -> None:
    """As `ant train-classifier` trains it, which knows no counterparts."""
    classifier = replace(config.classifier, source_samples=7, sampling_steps=2)
    config = replace(config, classifier=classifier)
    file = tmp_path / "classifier.safetensors"
    records = list(train_classifier(check_inputs(config), config, accelerator, file))
    assert records[0] == SourceSamples(7, 7)
    assert len(taught[0]) == 7
    assert not (tmp_path / "counterparts.safetensors").exists()


# --- less memory ---------------------------------------------------------------------------


@pytest.mark.parametrize("less", [{"micro_batch": 1}, {"micro_batch": 3}, {"low_memory": True}])
def test_less_memory_gives_the_same_run(
    less: dict[str, Any], config: AdaptConfig, start: Adapt, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = adaptation.Training._draw

    def watched(training: Any) -> Iterator[Any]:
        steps = real(training)
        sizes.extend(len(step.t) for step in steps)
        return steps

    monkeypatch.setattr(adaptation.Training, "_draw", watched)
    whole, _ = start(config, "whole")
    assert sizes == [4] * 4
    sizes.clear()
    parts, _ = start(replace(config, training=replace(config.training, **less)), "parts")
    assert max(sizes) == less.get("micro_batch", 1)
    found, expected = (
        [json.loads(line) for line in run.log.read_text().splitlines()] for run in (parts, whole)
    )
    for one, other in zip(found, expected, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert one["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-3)
