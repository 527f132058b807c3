import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from source_kinds import write_kind

from antcli.artifacts import load_metadata, load_tensors, save_tensors
from antcli.config import (
    AdaptConfig,
    PreviewConfig,
    StoppingConfig,
    TrainingConfig,
    adapt_config_from,
)
from antcli.devices import make_accelerator
from antcli.diffusion.examples import Latents
from antcli.errors import AntError
from antcli.evaluation import scoring
from antcli.evaluation.stopping import ChosenStep, Score, choose, read_scores
from antcli.methods.build import stages_of
from antcli.methods.classifier import ClassifierConfig
from antcli.methods.counterparts import CounterpartSettings
from antcli.methods.table import METHODS
from antcli.methods.trainable.denoiser import Denoiser
from antcli.runs.adapted import load_adapted
from antcli.runs.run import Run
from antcli.sources.source import Source, find_source
from antcli.training import adaptation, classifier_stage
from antcli.training.adaptation import Preview, Resumed, adapt
from antcli.training.classifier import (
    ClassifierChecked,
    ClassifierReport,
    ClassifierStep,
    ClassifierTraining,
)
from antcli.training.classifier_stage import train_classifier
from antcli.training.folder import may_be_taken
from antcli.training.inputs import check_inputs
from antcli.training.loop import StepRecord
from antcli.training.source_examples import FisherEstimated
from antcli.training.source_samples import SourceSamples

Adapt = Callable[..., tuple[Run, list[Any]]]


@pytest.fixture
def config(tiny_source: Path, tiny_target: Path) -> AdaptConfig:
    """Four steps of ANT."""
    return AdaptConfig(
        str(tiny_source),
        str(tiny_target),
        method="ant",
        training=TrainingConfig(steps=4, batch_size=2, learning_rate=0.01),
        classifier=ClassifierConfig(steps=2, batch_size=4, source_samples=5, sampling_steps=1),
        counterparts=CounterpartSettings(draws=2, steps=1, noise=0.4),
        preview=PreviewConfig(images=1, every=2, sampling_steps=1),
    )


@pytest.fixture
def start(tmp_path: Path, accelerator: Accelerator) -> Adapt:
    """Adapts into tmp_path/NAME, to the end or until `stop()`."""

    def run(config: AdaptConfig, name: str = "run", **more: Any) -> tuple[Run, list[Any]]:
        run, inputs, records = Run(tmp_path / name), check_inputs(config), []
        run.begin(config, inputs.identity(), clear=False)
        try:
            for record in adapt(inputs, config, run, accelerator, **more):
                records.append(record)
        except KeyboardInterrupt:
            assert more
        return run, records

    return run


def kinds(records: list[Any]) -> list[type]:
    """The kinds of records in the order of their first."""
    return list(dict.fromkeys(map(type, records)))


def test_records_come_in_the_order_of_the_work(config: AdaptConfig, start: Adapt) -> None:
    run, records = start(config)
    assert kinds(records) == [
        *(SourceSamples, ClassifierStep, ClassifierChecked, ClassifierReport, Preview, StepRecord)
    ]
    assert [r.step for r in records if isinstance(r, Preview)] == [0, 2, 4]
    assert all(r.path.is_file() for r in records if isinstance(r, Preview))
    assert records[0] == SourceSamples(5, 5)
    assert run.finished
    assert run.facts()["step"] == 4
    assert not run.state.exists()
    assert [json.loads(line)["step"] for line in run.log.read_text().splitlines()] == [1, 2, 3, 4]


@pytest.mark.parametrize("method", ["ant", "finetune-ada"])
def test_a_run_that_was_stopped_goes_on_to_the_same_weights(
    method: str, config: AdaptConfig, start: Adapt
) -> None:
    config = replace(config, method=method)
    whole, _ = start(config, "whole")
    stops = iter([False, False, True])
    run, records = start(config, "cut", stop=lambda: next(stops))
    assert isinstance(records[-1], StepRecord)
    assert (records[-1].step, run.facts()["step"], run.finished) == (3, 3, False)
    # A machine that broke off right after may have logged a step that was not saved.
    with run.log.open("a") as log:
        log.write('{"step": 4, "loss": 99}\n')

    run, records = start(config, "cut")
    assert kinds(records) == [Resumed, StepRecord, Preview]
    assert records[0] == Resumed(3)
    torch.testing.assert_close(
        load_tensors(run.weights), load_tensors(whole.weights), rtol=0, atol=0
    )
    losses = [
        [json.loads(line)["loss"] for line in r.log.read_text().splitlines()] for r in (run, whole)
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(("damaged", "step"), [(1, 2), (2, 0)])
def test_a_damaged_state_is_noticed_and_the_one_before_it_taken(
    damaged: int, step: int, config: AdaptConfig, start: Adapt
) -> None:
    whole, _ = start(config, "whole")
    stops = iter([False, False, True])
    run, _ = start(config, "cut", stop=lambda: next(stops))
    states = (run.state, run.state_before)
    assert [load_metadata(state)["ant.step"] for state in states] == ["3", "2"]
    for state in states[:damaged]:
        found = bytearray(state.read_bytes())
        found[-5] ^= 1  # of a moment of the optimiser: nothing else would tell
        state.write_bytes(found)
    run, records = start(config, "cut")
    assert records[0] == Resumed(step, states[:damaged])
    assert run.finished
    assert not any(state.exists() for state in states)
    weights = [load_tensors(r.weights) for r in (run, whole)]
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_a_state_that_was_cut_short_is_damaged(config: AdaptConfig, start: Adapt) -> None:
    stops = iter([False, False, True])
    run, _ = start(config, stop=lambda: next(stops))
    run.state.write_bytes(run.state.read_bytes()[:-100])
    assert start(config)[1][0] == Resumed(2, (run.state,))


def test_two_runs_do_not_share_a_folder(config: AdaptConfig, start: Adapt, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    with run.held(), pytest.raises(AntError, match="another process is at work"):
        start(config)
    start(config)
    assert run.finished


def test_a_page_after_a_cut_does_not_load_the_source_again(
    config: AdaptConfig, start: Adapt, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = start(replace(config, method="adaptor"), "whole")
    stops = iter([False, False, True])
    start(replace(config, method="adaptor"), stop=lambda: next(stops))
    loaded: list[str] = []
    load = Source.load
    monkeypatch.setattr(Source, "load", lambda source: loaded.append("source") or load(source))
    run, _ = start(replace(config, method="adaptor"))
    assert len(loaded) == 1  # what is trained
    assert run.preview.read_bytes() != b""
    pages = [Image.open(r.preview).convert("RGB").tobytes() for r in (run, whole)]
    assert pages[0] == pages[1]


def test_what_is_kept_is_the_average(config: AdaptConfig, start: Adapt) -> None:
    config = replace(config, method="adaptor")
    stops = iter([False, False, False, True])
    run, _ = start(config, stop=lambda: next(stops))
    state = load_tensors(run.state)
    assert not run.finished
    run, records = start(config)
    assert records == [Resumed(4), Preview(4, run.preview_at(4))]  # which the stop left out
    assert run.finished
    for name, weight in load_tensors(run.weights).items():
        torch.testing.assert_close(weight, state[f"average/{name}"], rtol=0, atol=0)
        assert not torch.equal(weight, state[f"weights/{name}"])


@pytest.mark.parametrize("method", METHODS)
def test_the_adapted_network_comes_back(
    method: str, config: AdaptConfig, start: Adapt, tiny_source: Path
) -> None:
    few = {"source_examples": {"count": 4, "steps": 1}}
    modulation = {"modulation": {"probe_steps": 2, "probe_draws": 3}}
    kept = ("training", "classifier", "counterparts", "preview")
    tables = {name: asdict(getattr(config, name)) for name in kept}
    names = {"source": config.source, "target": config.target, "method": method}
    config = adapt_config_from(
        names,
        tables,
        {"training": {"batch_size": 3}},
        few,
        {"ewc": {"draws": 3}, "score": {"start": 1}},
        modulation,
    )
    run, records = start(config)
    assert StepRecord in kinds(records)
    assert (ClassifierReport in kinds(records)) == ("classifier" in stages_of(config))
    source = find_source(str(tiny_source))
    network = load_adapted(run, source)
    stored = load_tensors(run.weights)
    assert not any(p.requires_grad for p in network.parameters())
    found = dict(network.named_parameters())
    for name, weight in stored.items():
        torch.testing.assert_close(found[name].detach(), weight, rtol=0, atol=0)
    x_t, t = torch.randn(1, 3, 16, 16), torch.tensor([300])
    with torch.no_grad():
        assert (network(x_t, t) - source.load()(x_t, t).sample).abs().max() > 1e-3
    assert (run.folder / "model").exists() == (METHODS[method].trains == "all")


def test_a_method_without_a_name_goes_on_and_comes_back(
    config: AdaptConfig, start: Adapt, tiny_source: Path
) -> None:
    """With stages of its own, which are not prepared again."""
    chosen = {"trains": "bias", "noise": "adversarial", "target": "score"}
    tables = {name: asdict(getattr(config, name)) for name in ("training", "preview")}
    weights = {"ewc": 1.0, "source": 1.0}
    config = adapt_config_from(
        {"source": config.source, "target": config.target, "choices": chosen},
        {**tables, "penalties": weights, "score": {"start": 0}, "ewc": {"draws": 3}},
        {"source_examples": {"count": 4, "steps": 1}},
    )
    whole, records = start(config, "whole")
    assert kinds(records) == [SourceSamples, FisherEstimated, Preview, StepRecord]
    stops = iter([False, True])
    start(config, "cut", stop=lambda: next(stops))
    cut, records = start(config, "cut")
    assert kinds(records) == [Resumed, Preview, StepRecord]
    found, expected = load_tensors(cut.weights), load_tensors(whole.weights)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert all(name.endswith("bias") for name in found)
    network = load_adapted(cut, find_source(str(tiny_source)))
    loaded = dict(network.named_parameters())
    assert all(torch.equal(loaded[name], weight) for name, weight in found.items())


def test_metadata_of_the_weights(config: AdaptConfig, start: Adapt) -> None:
    run, _ = start(replace(config, method="adaptor"))
    metadata = load_metadata(run.weights)
    assert metadata["format"] == "pt"
    assert metadata["modelspec.sai_model_spec"] == "1.0.1"
    assert metadata["modelspec.resolution"] == "16x16"
    assert metadata["ant.source_sha256"] == find_source(config.source).sha256
    assert len(json.loads(metadata["ant.target_sha256"])) == 10
    assert json.loads(metadata["ant.config"])["training"]["steps"] == 4


def test_a_given_classifier_is_used(config: AdaptConfig, start: Adapt, tmp_path: Path) -> None:
    first, _ = start(config, "first")
    file = first.classifier.rename(tmp_path / "mine.safetensors")
    inputs = check_inputs(config, classifier=file)
    assert inputs.classifier_file == file
    second = Run(tmp_path / "second")
    second.begin(config, inputs.identity(), clear=False)
    accelerator = Accelerator(cpu=True)
    records = list(adapt(inputs, config, second, accelerator))
    assert kinds(records) == [Preview, StepRecord]
    torch.testing.assert_close(
        load_tensors(second.weights), load_tensors(first.weights), rtol=0, atol=0
    )


def test_weights_of_another_model_are_refused(
    config: AdaptConfig, start: Adapt, tiny_source: Path
) -> None:
    run, _ = start(replace(config, method="adaptor"))
    source, stored = find_source(str(tiny_source)), load_tensors(run.weights)
    name = "adaptors.conv_out.up.bias"
    for tensors in (
        {n: w for n, w in stored.items() if n != name},
        {**stored, "another": torch.zeros(1)},
        {**stored, name: torch.zeros(7)},
    ):
        save_tensors(run.weights, tensors, {})
        with pytest.raises(AntError, match="another model"):
            load_adapted(run, source)


def test_a_batch_too_small_is_refused_before_the_classifier_is_trained(
    config: AdaptConfig, tmp_path: Path, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(accelerator), "num_processes", 3)
    run, inputs = Run(tmp_path / "run"), check_inputs(config)
    with pytest.raises(AntError, match="3 processes cannot share a batch of 2"):
        next(adapt(inputs, config, run, accelerator))


def test_inputs_are_checked_before_anything_is_done(
    config: AdaptConfig, tmp_path: Path, tiny_target: Path
) -> None:
    with pytest.raises(AntError, match="no source"):
        check_inputs(replace(config, source="nothing"))
    with pytest.raises(AntError):
        check_inputs(replace(config, target=str(tmp_path / "none")))
    with pytest.raises(AntError, match="no file"):
        check_inputs(config, classifier=tmp_path / "none.safetensors")
    with pytest.raises(AntError, match="none"):
        check_inputs(config, source_images=tmp_path / "none")
    assert check_inputs(config, source_images=tiny_target).source_images == tiny_target


def test_checkpoints_are_kept_along_the_way(config: AdaptConfig, start: Adapt) -> None:
    run, _ = start(config)
    assert list(run.checkpoints) == [2, 4]
    last, weights = load_tensors(run.checkpoints[4]), load_tensors(run.weights)
    torch.testing.assert_close(last, weights, rtol=0, atol=0)
    first = load_tensors(run.checkpoints[2])
    assert first.keys() == weights.keys()
    assert any(not torch.equal(first[name], weights[name]) for name in weights)


@pytest.fixture
def auto(config: AdaptConfig, monkeypatch: pytest.MonkeyPatch) -> AdaptConfig:
    """Finds its own end; the scores are given: the best is at step 4."""
    given = {0: 9.0, 2: 5.0, 4: 1.0, 6: 1.1, 8: 1.2, 10: 0.0, 12: 0.0}
    monkeypatch.setattr(scoring, "SAMPLES", 2)
    monkeypatch.setattr(scoring, "SAMPLING_STEPS", 1)

    class Given(scoring.Scorer):
        def _score(self, features: torch.Tensor, step: int) -> Score:
            return replace(super()._score(features, step), distance=given[step])

    monkeypatch.setattr(adaptation, "Scorer", Given)
    training = replace(config.training, steps=12)
    return replace(config, training=training, stopping=StoppingConfig(auto=True))


def test_auto_stops_and_takes_the_best_step(auto: AdaptConfig, start: Adapt) -> None:
    run, records = start(auto)
    assert [r.step for r in records if isinstance(r, Score)] == [0, 2, 4, 6, 8]
    assert isinstance(records[-1], ChosenStep)
    assert records[-1].step == run.taken_step == 4
    assert run.facts()["step"] == 8
    taken, weights = load_tensors(run.checkpoints[4]), load_tensors(run.weights)
    torch.testing.assert_close(taken, weights, rtol=0, atol=0)
    assert [score.step for score in read_scores(run.scores)] == [0, 2, 4, 6, 8]


def test_auto_takes_the_last_step_of_a_rate_that_settles(auto: AdaptConfig, start: Adapt) -> None:
    training = replace(auto.training, final_learning_rate=0.02, steps=8)
    run, records = start(replace(auto, training=training))
    done = [record.step for record in records if isinstance(record, StepRecord)]
    assert done == list(range(1, training.steps + 1))
    assert run.taken_step == 8, "the nearest by its score was step 4"


def test_auto_goes_on_after_a_cut_to_the_same_end(auto: AdaptConfig, start: Adapt) -> None:
    whole, _ = start(auto, "whole")
    stops = iter([False] * 4 + [True])
    run, _ = start(auto, "cut", stop=lambda: next(stops))
    assert not run.finished
    run, records = start(auto, "cut")
    assert [r.step for r in records if isinstance(r, Score)] == [6, 8]
    assert run.taken_step == 4
    weights = [load_tensors(r.weights) for r in (run, whole)]
    torch.testing.assert_close(*weights, rtol=0, atol=0)
    assert read_scores(run.scores) == read_scores(whole.scores)


def test_a_score_is_told_when_its_step_is_safe(
    auto: AdaptConfig, tmp_path: Path, accelerator: Accelerator
) -> None:
    """Who is told may be asked to stop, and asks for no more."""
    run, inputs = Run(tmp_path / "run"), check_inputs(auto)
    records = adapt(inputs, auto, run, accelerator)
    score = next(r for r in records if isinstance(r, Score) and r.step == 2)
    records.close()  # type: ignore[attr-defined]
    assert int(load_metadata(run.state)["ant.step"]) == score.step


def test_without_auto_nothing_is_scored(config: AdaptConfig, start: Adapt) -> None:
    run, records = start(config)
    assert not any(isinstance(record, Score | ChosenStep) for record in records)
    assert not run.scores.exists()
    assert run.taken_step == 4


def test_old_checkpoints_go_where_few_are_to_be_kept(config: AdaptConfig, start: Adapt) -> None:
    preview = replace(config.preview, every=1, keep=2)
    run, _ = start(replace(config, method="adaptor", preview=preview))
    assert list(run.checkpoints) == [3, 4]


def test_checkpoints_that_may_be_taken_are_kept(auto: AdaptConfig, start: Adapt) -> None:
    run, _ = start(replace(auto, preview=replace(auto.preview, keep=1)))
    assert run.taken_step == 4
    assert list(run.checkpoints) == [4, 8]


def test_no_later_score_makes_a_step_that_was_removed_the_choice() -> None:
    draw = torch.Generator().manual_seed(0)
    for _ in range(200):
        distances = torch.rand(12, generator=draw).tolist()
        scores = [Score(i, distance, 1.0, 0.0) for i, distance in enumerate(distances)]
        for seen in range(2, 12):
            later = {choose(scores[:end]).step for end in range(seen, 13)}
            assert {step for step in later if step < seen} <= may_be_taken(scores[:seen])


@pytest.mark.parametrize("kind", ["ldm-kl", "ldm"])
def test_the_classifier_of_latents_sees_both_domains_through_the_encoder(
    kind: str,
    config: AdaptConfig,
    tmp_path: Path,
    accelerator: Accelerator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = find_source(str(write_kind(kind, tmp_path / kind)))
    config = replace(config, source=source.name)
    given = []

    class Watched(ClassifierTraining):
        def __init__(self, *examples: Any, **more: Any) -> None:
            given.extend(examples[:2])
            super().__init__(*examples, **more)

    monkeypatch.setattr(classifier_stage, "ClassifierTraining", Watched)
    inputs, out = check_inputs(config), tmp_path / "classifier.safetensors"
    list(train_classifier(inputs, config, accelerator, out))
    codec = source.codec()
    for examples in given:
        assert isinstance(examples, Latents)
        # What the encoder makes of an image, and of its mirror image: not of a flipped latent.
        assert examples.mirrored is not None
        assert (examples.x_0.flip(-1) - examples.mirrored).abs().max() > 0.01
    images = inputs.target.images.float() / 127.5 - 1
    torch.testing.assert_close(given[1].x_0, codec.encode(images))
    network = Denoiser(source.load(), source.convention)
    drawn = next(source.sample(network.guided, range(5), steps=1))
    pixels = ((codec.decode(drawn).clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
    torch.testing.assert_close(given[0].x_0, codec.encode(pixels), rtol=1e-3, atol=1e-3)


def test_autocast_does_not_leak_out_of_the_records(config: AdaptConfig, tmp_path: Path) -> None:
    accelerator = make_accelerator("cpu", "bf16")
    inputs, run = check_inputs(config), Run(tmp_path / "run")
    for _ in adapt(inputs, config, run, accelerator):
        assert not torch.is_autocast_enabled("cpu")
