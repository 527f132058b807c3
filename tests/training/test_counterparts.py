"""The counterparts of a run: drawn once by the first process, kept, and learnt from."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from antcli.images.conditions import Named, Numbered
from antcli.images.grid import to_float, to_uint8
from antcli.methods.build import said_limit
from antcli.methods.choice import Predict
from antcli.methods.counterparts import LADDER, Counterparts, Rung, asked_for, shares
from antcli.methods.places import Places
from antcli.methods.trainable.denoiser import Denoiser
from antcli.runs.adapted import IMAGES, load_adapted
from antcli.runs.run import Run
from antcli.sources.source import Source, find_source
from antcli.training import adaptation, classifier_stage, ladder, source_samples, stages
from antcli.training import counterparts as counterparts_module
from antcli.training.adaptation import Preview, Resumed, adapt, build_training
from antcli.training.classifier import ClassifierTraining
from antcli.training.classifier_stage import train_classifier
from antcli.training.counterparts import (
    Chosen,
    CounterpartsDrawn,
    load_counterparts,
    make_counterparts,
)
from antcli.training.inputs import check_inputs, network_of
from antcli.training.ladder import Tried
from antcli.training.loop import StepRecord
from antcli.training.source_dimension import SourceDimension
from antcli.training.source_samples import SourceSamples, sample_source

DRAWS, NOISE = 3, 0.4
Adapt = Callable[..., tuple[Run, list[Any]]]
Make = Callable[..., Counterparts]


def settings(source: Path, target: Path, **more: Any) -> AdaptConfig:
    """Four steps of the default, with counterparts from noise that is asked for."""
    return adapt_config_from(
        {"source": str(source), "target": str(target), "seed": 3, **more},
        {"training": {"steps": 4, "batch_size": 4, "learning_rate": 0.01}},
        {"counterparts": {"draws": DRAWS, "steps": 2, "noise": NOISE}},
        {"classifier": {"steps": 2, "batch_size": 4}, "lora": {"rank": 2}},
        {"preview": {"images": 1, "every": 2, "sampling_steps": 1}},
    )


@pytest.fixture
def config(tiny_source: Path, tiny_target: Path) -> AdaptConfig:
    """Of the default."""
    return settings(tiny_source, tiny_target)


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


def slow(
    source: Source,
    x_0: Tensor,
    number: int,
    config: AdaptConfig,
    share: float = NOISE,
    changed: Tensor | None = None,
) -> Tensor:
    """Draw k of image i, each on its own."""
    network, count = Denoiser(source.load(), source.convention), len(x_0) * DRAWS
    limit, steps = source.path.limit(share), config.counterparts.steps
    given = {"steps": steps, "scheduler": "dpm++", "stream": "counterparts"}
    given["clip"] = not source.latent
    parts = []
    for i in range(len(x_0)):
        for k in range(DRAWS):
            seed = count * (2 * config.seed + number) + i * DRAWS + k
            image = x_0[i : i + 1]
            parts.append(
                resample(
                    network.guided, source.path, image, limit, [seed], changed=changed, **given
                )
            )
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
        CounterpartsDrawn(10 * DRAWS, 10 * DRAWS, Chosen(NOISE, NOISE, 1.0, said=True)),
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


@pytest.mark.parametrize("noise", [0.3, 0.7])
def test_what_is_read_of_them(
    noise: float, config: AdaptConfig, make: Make, tiny_source: Path
) -> None:
    path = find_source(str(tiny_source)).path
    found = make(replace(config, counterparts=replace(config.counterparts, noise=noise)))
    _, limit = asked_for(noise, path, 16)
    assert (limit == noise) == (noise < 0.4)
    assert (found.draws, found.t_limit) == (DRAWS, limit)
    alpha_bar = torch.cumprod(1 - path.betas, 0)[path.limit(limit) - 1].item()
    assert found.bridge == pytest.approx((alpha_bar / (1 - alpha_bar)) ** 0.5, rel=1e-9)


def test_a_limit_that_is_said_counts(config: AdaptConfig, make: Make, tiny_source: Path) -> None:
    said = make(replace(config, lora=replace(config.lora, t_limit=0.7)))
    assert said.t_limit == 0.7
    alpha_bar = torch.cumprod(1 - find_source(str(tiny_source)).path.betas, 0)[699].item()
    assert said.bridge == pytest.approx((alpha_bar / (1 - alpha_bar)) ** 0.5, rel=1e-9)
    # A default is nothing that anybody said.
    assert said_limit(config) is None
    assert make(config).t_limit != config.lora.t_limit


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

    def watched(network: Denoiser, x_t: Tensor, t: Tensor, condition: None) -> Tensor:
        asked.append(len(x_t))
        return guided(network, x_t, t)

    monkeypatch.setattr(Denoiser, "guided", watched)
    make(config)
    assert asked == [10 * DRAWS] * config.counterparts.steps


# --- the ladder ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own(tiny_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images that the source itself draws."""
    folder = tmp_path_factory.mktemp("own")
    drawn = sample_source(find_source(str(tiny_source)), range(990, 1000), 5, Accelerator(cpu=True))
    save(folder, torch.cat(list(drawn)))
    return folder


def save(folder: Path, images: Tensor) -> None:
    folder.mkdir(exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i}.png")


def smooth(source: Source, x_t: Tensor, t: Tensor) -> Tensor:
    """Eps of a source that has learnt its domain: smooth images, each of a colour of its own.

    They are normal, of the lowest three by three cosines alone, so that E[x_0 | x_t] is known.
    """
    waves, side = 3, x_t.shape[-1]
    places = torch.arange(side) + 0.5
    wave = torch.stack([torch.cos(math.pi * k * places / side) for k in range(waves)])
    wave = wave / wave.norm(dim=1, keepdim=True)
    basis = torch.einsum("iy,jx->ijyx", wave, wave).flatten(2).flatten(0, 1)
    variance = torch.full((waves * waves,), 0.02)
    variance[0] = 0.09
    variance = variance * side * side
    x = x_t.flatten(2)
    alpha, sigma = source.path.alpha_sigma(t, x)
    gain = alpha * variance / (alpha**2 * variance + sigma**2)
    return ((x - alpha * (gain * (x @ basis.T)) @ basis) / sigma).view_as(x_t)


@pytest.fixture
def learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source's network is `smooth` in the place of its random weights."""

    def source_predict(source: Source, accelerator: Accelerator) -> Predict:
        return lambda x_t, t: smooth(source, x_t, t)

    for module in (source_samples, ladder):
        monkeypatch.setattr(module, "source_predict", source_predict)


@pytest.fixture
def people(learnt: None, tiny_source: Path) -> Tensor:
    """Ten images of the learnt source's domain, which it is not asked for again."""
    found = sample_source(
        find_source(str(tiny_source)), range(990, 1000), 15, Accelerator(cpu=True)
    )
    return torch.cat(list(found))


@pytest.fixture
def climb(config: AdaptConfig, make: Make, tmp_path: Path) -> Callable[..., Any]:
    """Counterparts of images, and what was said of them."""

    def climbed(images: Tensor, name: str = "target") -> tuple[Counterparts, list[Any]]:
        save(tmp_path / name, images)
        counterparts = replace(config.counterparts, noise=0.0, steps=12)
        records: list[Any] = []
        target = str(tmp_path / name)
        return make(replace(config, target=target, counterparts=counterparts), records), records

    return climbed


def rungs(chosen: Chosen, path: Any) -> list[Rung]:
    """Those of this noise and limit."""
    return [rung for rung in LADDER if shares(rung, path, 16) == (chosen.noise, chosen.t_limit)]


def with_glasses(images: Tensor) -> Tensor:
    images = images.clone()
    images[:, :, 5:8, 4:7] = 20
    return images


def as_sketches(images: Tensor) -> Tensor:
    return (215 + images.float().mean(1, keepdim=True) / 8).expand(-1, 3, -1, -1).to(torch.uint8)


@pytest.mark.parametrize("count", [10, 3, 1])
def test_of_what_is_put_on_the_source_changes_the_place_alone(
    count: int, people: Tensor, climb: Callable[..., Any], tiny_source: Path
) -> None:
    images = with_glasses(people)[:count]
    found, records = climb(images)
    assert kinds(records) == [SourceSamples, SourceDimension, Tried, CounterpartsDrawn]
    assert [r for r in records if isinstance(r, SourceSamples)][-1] == SourceSamples(64, 64)
    chosen = records[-1].chosen
    assert 0.05 < chosen.anew < 0.8
    assert any(rung.reach for rung in rungs(chosen, find_source(str(tiny_source)).path))
    drawn = found.examples.x_0.view(count, DRAWS, 3, 16, 16).int()
    given = images[:, None].int()
    kept = ((drawn - given).abs() <= 1).float().mean()  # but for rounding
    assert kept > 0.5 * (1 - chosen.anew)
    # Where the glasses were there is what the source would have: as bright as all around.
    before, after = ((x[..., 5:8, 4:7].float() - 20).abs().mean() for x in (given, drawn))
    assert before == 0 and after > 30
    assert found.t_limit == chosen.t_limit


def test_of_each_image_the_source_changes_what_is_new_in_it_alone(
    people: Tensor, climb: Callable[..., Any]
) -> None:
    """Half of them wear something on the left, the others on the right."""
    images = people.clone()
    images[:5, :, 5:9, 2:6] = images[5:, :, 5:9, 10:14] = 20
    found, _ = climb(images)
    drawn = found.examples.x_0.view(10, DRAWS, 3, 16, 16).int()
    off = (drawn - images[:, None].int()).abs().float().mean((1, 2))
    left, right = off[..., 5:9, 2:6].mean((1, 2)), off[..., 5:9, 10:14].mean((1, 2))
    assert (left[:5] > 30).all() and (right[5:] > 30).all()
    # The other one's place has only what lies around its own.
    assert (right[:5] < left[:5] / 4).all() and (left[5:] < right[5:] / 4).all()


def test_what_is_put_on_is_put_on_others_too(people: Tensor, climb: Callable[..., Any]) -> None:
    """Each of ten in any colour, where it may be seen what is put where."""
    images = with_glasses(people)
    found, _ = climb(images)
    assert found.transplants is not None
    new, hosts = found.transplants.new, found.transplants.hosts
    assert new.shape == (10, 1, 16, 16) and len(hosts) == 64
    assert found.transplants.shifts is not None
    assert found.transplants.shifts.shape == (10, 64, 2)
    assert (new[:, :, 5:8, 4:7] > 0.8).all() and new.mean() < 0.3
    i, upright, t = torch.arange(10), torch.zeros(10, dtype=torch.bool), torch.full((10,), 400)
    own = to_float(images)
    x_0, other, _ = found.pairs(own, i, upright, t, torch.rand(10, 2))
    bare = {tuple(host.flatten().tolist()) for host in hosts.take(torch.arange(64), upright[:1])}
    assert all(tuple(x.flatten().tolist()) in bare for x in other)
    assert (x_0 - own)[:, :, 6, 5].abs().max() < 0.3  # a share of it is the host's
    assert ((x_0 - other)[:, :, 12:] == 0).all()
    # Of little noise each is as it is.
    x_0, other, _ = found.pairs(own, i, upright, 0 * t, torch.rand(10, 2))
    torch.testing.assert_close(x_0, own, rtol=0, atol=0)


def test_what_has_the_colour_of_something_beside_it_is_said_to(
    people: Tensor, climb: Callable[..., Any]
) -> None:
    """And goes where that colour is: glasses as dark as the image is bright, or as another is."""
    colours = 255 - people[:, :, 12:, 12:].float().mean((2, 3), keepdim=True).to(torch.uint8)
    for bound in (True, False):
        images = people.clone()
        images[:, :, 5:8, 4:7] = 255 - colours if bound else colours.roll(5, 0)
        images[:, :, 5:8, 4:7] = images[:, :, 5:8, 4:7] // 3
        found, records = climb(images, f"bound-{bound}")
        assert found.transplants is not None
        assert records[-1].chosen.bound == bound
        fits = [len(row.unique()) for row in found.transplants.fitting]
        assert fits == [4 if bound else 64] * 10


def test_each_image_is_a_condition_of_its_own_where_what_is_new_goes_with_anybody(
    people: Tensor, climb: Callable[..., Any], config: AdaptConfig
) -> None:
    found, _ = climb(with_glasses(people))
    assert found.transplants is not None
    inputs = check_inputs(config)  # ten images as well

    def images(
        counterparts: Counterparts, config: AdaptConfig = config, inputs: Any = inputs
    ) -> int:
        network = network_of(inputs, config, {"counterparts": counterparts})
        labels = inputs.labels(network)
        assert labels is None if not network.images else torch.equal(labels, torch.eye(10))
        return network.images

    def with_fitting(fitting: Tensor) -> Counterparts:
        return replace(found, transplants=replace(found.transplants, fitting=fitting))

    assert images(found) == 10
    together = replace(config, counterparts=replace(config.counterparts, apart=False))
    assert images(found, together) == 0
    # Nor is any of them mirrored, which would be another image under the same condition.
    for of, mirrors in ((config, False), (together, True)):
        training = build_training(inputs, of, Accelerator(cpu=True), {"counterparts": found})
        assert training.config.flip == mirrors
    # On a sample of the source, which has none of them, such a penalty would ask the source itself.
    kept = replace(config, penalties=replace(config.penalties, source=1.0))
    assert images(found, kept) == 0
    assert images(replace(found, transplants=None)) == 0
    # What is new has the colour of something beside it.
    assert images(with_fitting(found.transplants.fitting % 4)) == 0
    # One image keeps what is new.
    assert (
        images(with_fitting(torch.cat([torch.full((1, 64), -1), found.transplants.fitting[1:]])))
        == 0
    )
    some = torch.cat([found.transplants.fitting[:-1], found.transplants.fitting[-1:] % 4])
    assert images(with_fitting(some)) == 0
    # Of several domains as well, but for numbers, which lie on a line.
    for known, count in (
        (Named(("a", "b"), (0,) * 4 + (1,) * 6), 10),
        (Numbered(("age",), tuple((float(age),) for age in range(10))), 0),
    ):
        of = replace(inputs, target=replace(inputs.target, conditions=known))
        network = network_of(of, config, {"counterparts": found})
        assert network.images == count
        told = of.labels(network)
        assert told is not None
        assert told.shape[1] == (count or known.size)
    many = replace(inputs.target, images=inputs.target.images.repeat(3, 1, 1, 1))
    assert images(found, inputs=replace(inputs, target=many)) == 0


def test_samples_of_a_run_have_its_images_in_turn(
    people: Tensor, config: AdaptConfig, tmp_path: Path, start: Adapt
) -> None:
    save(tmp_path / "glasses", with_glasses(people))
    less = replace(config.counterparts, noise=0.0, steps=12)
    run, _ = start(replace(config, target=str(tmp_path / "glasses"), counterparts=less))
    assert load_metadata(run.weights)[IMAGES] == "10"
    source = find_source(config.source)
    network = load_adapted(run, source)
    assert network.images == 10
    x_t, t = torch.randn(2, *source.shape), torch.full((2,), 100)
    with torch.no_grad():
        one, other = (network.guided(x_t, t, network.in_turn(of)) for of in ([1, 12], [11, 3]))
    assert torch.allclose(one[0], other[0], atol=1e-5) and not torch.allclose(one[1], other[1])
    with torch.no_grad():
        drawn = torch.cat(list(source.sample(network, range(8, 12), steps=3)))
        asked = torch.cat(
            list(
                source.sample(
                    network, range(8, 12), steps=3, conditions=torch.eye(10)[[8, 9, 0, 1]]
                )
            )
        )
    assert torch.equal(drawn, asked)


def test_nothing_is_put_on_others_where_that_is_not_wanted(
    people: Tensor, climb: Callable[..., Any], config: AdaptConfig, make: Make
) -> None:
    save(Path(config.target).parent / "people", with_glasses(people))
    target, less = str(Path(config.target).parent / "people"), {"noise": 0.0, "transplants": False}
    without = replace(config, target=target, counterparts=replace(config.counterparts, **less))
    assert make(without).transplants is None
    # Nor where all of an image is drawn anew.
    assert make(config).transplants is None
    assert climb(as_sketches(people), "sketches")[0].transplants is None


@pytest.mark.parametrize("count", [10, 1])
def test_of_other_colours_everywhere_the_source_changes_all(
    count: int, people: Tensor, climb: Callable[..., Any], tiny_source: Path
) -> None:
    images = as_sketches(people)[:count]
    found, records = climb(images)
    chosen = records[-1].chosen
    assert chosen.anew == 1
    assert all(rung.reach is None for rung in rungs(chosen, find_source(str(tiny_source)).path))
    drawn = found.examples.x_0.float()
    # No longer on paper.
    assert drawn.mean() < images.float().mean() - 30
    spread = drawn.std(1).mean(), images.float().std(1).mean()
    assert spread[1] == 0 < spread[0]


def test_more_noise_is_taken_where_it_takes_more(people: Tensor, climb: Callable[..., Any]) -> None:
    """Own images < sketches, which have no colours."""
    limits = []
    for name, images in (("own", people), ("sketches", as_sketches(people))):
        _, records = climb(images, name)
        limits.append(records[-1].chosen.noise)
    assert limits[0] < limits[1]


def test_the_last_rung_is_taken_where_none_is_enough(
    people: Tensor, climb: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tiny_source: Path
) -> None:
    monkeypatch.setattr(ladder, "PASSED", -1.0)
    _, records = climb(with_glasses(people))
    count = len(LADDER)
    assert [r for r in records if isinstance(r, Tried)] == [Tried(i, count) for i in range(count)]
    last = shares(LADDER[-1], find_source(str(tiny_source)).path, 16)
    assert records[-1].chosen == Chosen(*last, 1.0)


def test_what_does_not_explain_the_domain_is_put_on_nothing(
    people: Tensor, climb: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where of a new head no more than pieces were found."""
    images = with_glasses(people)
    assert climb(images, "all")[0].transplants is not None
    monkeypatch.setattr(ladder, "newness", lambda images, *_: torch.zeros(len(images), 1, 16, 16))
    found, records = climb(images, "nothing")
    assert found.transplants is None
    tried = [r.done for r in records if isinstance(r, Tried)]
    assert len(tried) > sum(rung.closely > 0 for rung in LADDER)


def test_a_part_against_drawing_each_alone(
    config: AdaptConfig, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = check_inputs(config)
    changed = torch.rand(1, 1, 16, 16)
    rung = LADDER[0]

    def climb(*_: object) -> Iterator[Tried]:
        yield Tried(0, 1)
        return rung, changed

    monkeypatch.setattr(counterparts_module, "climb", climb)
    records: list[Any] = []
    auto = replace(config, counterparts=replace(config.counterparts, noise=0.0))
    found = make(auto, records)
    share, limit = shares(rung, inputs.source.path, 16)
    images = to_float(inputs.target.images)
    expected = to_uint8(slow(inputs.source, images, 0, config, share, changed))
    torch.testing.assert_close(found.examples.x_0.int(), expected.int(), rtol=0, atol=1)
    assert records[-1].chosen == Chosen(share, limit, float(changed.mean()))


def test_of_latents_the_part_is_made_for_their_size(
    config: AdaptConfig, tmp_path: Path, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And images are compared as images."""
    source = find_source(str(write_kind("ldm-kl", tmp_path / "ldm")))
    compared: list[tuple[int, ...]] = []
    parts: list[Tensor | None] = []
    real = Places.distances

    def distances(places: Places, images: Tensor) -> Tensor:
        assert images.dtype == torch.uint8
        compared.append(tuple(images.shape))
        found = real(places, images)
        place = torch.zeros_like(found)
        place[: len(found) // 3, : len(found) // 3] = 100 if len(compared) == 1 else 0
        return place  # as if something were new there

    def resampled(*given: Any, changed: Tensor | None, **more: Any) -> Tensor:
        parts.append(changed)
        return resample(*given, changed=changed, **more)

    monkeypatch.setattr(Places, "distances", distances)
    monkeypatch.setattr(ladder, "resample", resampled)
    monkeypatch.setattr(counterparts_module, "OWN_STEPS", 1)
    counterparts = replace(config.counterparts, noise=0.0)
    config = replace(config, source=source.name, counterparts=counterparts)
    inputs, file = check_inputs(config), tmp_path / "counterparts.safetensors"
    records = list(make_counterparts(inputs, config, accelerator, file))
    size = (3, source.size, source.size)
    # The images, the draws of each, and the images again with what is new on the source's.
    assert compared == [(10, *size)] * (2 + ladder.TRIALS)
    assert source.latent and source.shape[-1] < source.size
    drawn_first, *closely = [part for part in parts if part is not None]
    assert len(closely) == len(parts) - 1 and drawn_first.shape == (1, 1, *source.shape[1:])
    assert all(part.shape[1:] == (1, *source.shape[1:]) for part in closely)
    found = load_counterparts(file, source, torch.device("cpu"))
    transplants, drawn = found.transplants, found.examples
    assert transplants is not None and transplants.worn is not None
    assert transplants.new.shape == (10 * DRAWS, 1, *source.shape[1:])
    assert transplants.fitting.shape == (10, DRAWS)  # as many pass the autoencoder
    assert transplants.worn.x_0.shape == transplants.worn.mirrored.shape == drawn.x_0.shape
    assert drawn.x_0.shape == (10 * DRAWS, *source.shape)
    chosen = records[-1].chosen
    assert 0 < chosen.anew < 1
    codec = source.codec()
    upright, mirrored = closely[-2:]
    assert torch.equal(mirrored, upright.flip(-1)) and 0 < upright.mean() < 1
    for x_0, part, images in (
        (drawn.x_0, upright, inputs.target.images),
        (drawn.mirrored, mirrored, inputs.target.images.flip(-1)),
    ):
        kept = codec.encode(to_float(images)).repeat_interleave(DRAWS, 0)
        same = (part == 0).expand_as(kept)
        torch.testing.assert_close(x_0[same], kept[same], rtol=1e-4, atol=1e-4)


# --- a whole run ---------------------------------------------------------------------------


def kinds(records: list[Any]) -> list[type]:
    return list(dict.fromkeys(map(type, records)))


def test_a_run_that_was_cut_goes_on_with_its_counterparts(
    config: AdaptConfig, start: Adapt
) -> None:
    whole, records = start(config, "whole")
    assert kinds(records) == [CounterpartsDrawn, Preview, StepRecord]
    assert not whole.classifier.exists()
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
    limit = NOISE
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

    @contextmanager
    def waiting(accelerator: Accelerator) -> Iterator[None]:
        """As if the first process had written it while this one waited."""
        yield
        (tmp_path / "kept").rename(run.counterparts)

    monkeypatch.setattr(type(accelerator), "is_main_process", False)
    monkeypatch.setattr(stages, "others_wait", waiting)
    records, other = prepared()
    assert records == []
    torch.testing.assert_close(other.examples.x_0, first.examples.x_0, rtol=0, atol=0)
    assert replace(other, examples=first.examples) == first


# --- a classifier of pairs ----------------------------------------------------------------


@pytest.fixture
def guided(tiny_source: Path, tiny_target: Path) -> AdaptConfig:
    """Of a method without a name: noise of the pairs with ANT's target."""
    choices = {"noise": "bridged", "target": "guided"}
    return settings(tiny_source, tiny_target, method="custom", choices=choices)


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a classifier learns to tell apart: the source's examples and the target's."""
    given: list[Any] = []

    class Watched(ClassifierTraining):
        def __init__(self, *examples: Any, **more: Any) -> None:
            given.extend(examples[:2])
            super().__init__(*examples, **more)

    monkeypatch.setattr(classifier_stage, "ClassifierTraining", Watched)
    return given


def test_the_classifier_tells_images_from_their_counterparts(
    guided: AdaptConfig, start: Adapt, taught: list[Any]
) -> None:
    run, records = start(guided)
    source, target = taught
    drawn = load_tensors(run.counterparts)["x_0"]
    torch.testing.assert_close(source.x_0, drawn, rtol=0, atol=0)
    torch.testing.assert_close(target.x_0, check_inputs(guided).target.images, rtol=0, atol=0)
    assert not any(isinstance(record, SourceSamples) for record in records)


def test_counterparts_of_latents_pass_the_autoencoder_as_the_images_do(
    guided: AdaptConfig, start: Adapt, taught: list[Any], tmp_path: Path
) -> None:
    guided = replace(guided, source=str(write_kind("ldm-kl", tmp_path / "ldm")))
    run, _ = start(guided)
    source, codec = taught[0], find_source(guided.source).codec()
    drawn = load_tensors(run.counterparts)["x_0"]
    expected = codec.encode(to_float(to_uint8(codec.decode(drawn))))
    torch.testing.assert_close(source.x_0, expected, rtol=1e-4, atol=1e-4)


def test_images_of_the_source_that_are_given_are_taken(
    guided: AdaptConfig, start: Adapt, taught: list[Any], own: Path
) -> None:
    start(guided, source_images=own)
    assert len(taught[0]) == 10


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
