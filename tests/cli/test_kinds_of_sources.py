"""Every kind of source, from `ant adapt` to images."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, LDMPipeline, UNet2DModel
from PIL import Image
from source_kinds import COLUMNS, KINDS, TEXT_DIMENSION, write_kind

from antcli.artifacts import load_tensors
from antcli.devices import make_accelerator
from antcli.diffusion.examples import Latents
from antcli.diffusion.sampling import resample
from antcli.methods.trainable.denoiser import Denoiser
from antcli.runs.adapted import check_run_source, load_adapted
from antcli.runs.run import Run
from antcli.sources import condition, source
from antcli.training.adaptation import build_training
from antcli.training.counterparts import load_counterparts
from antcli.training.inputs import check_inputs

Start = Callable[..., Run]
EXTRAS = {"class-conditional": ["--class-label", "1"]}


@pytest.fixture
def start(ant: Callable[..., Any], tiny_target: Path, quick: Path, tmp_path: Path) -> Start:
    """Types `ant adapt` with a source of some kind."""

    def run(kind: str, *more: str) -> Run:
        folder = write_kind(kind, tmp_path / kind)
        options = ["--target", tiny_target, "--out", tmp_path / "run", "--config", quick]
        plain = ["--mixed-precision", "no", "--device", "cpu", "--steps", "2"]
        extra = EXTRAS.get(kind, [])
        found = ant("adapt", "--source", folder, *options, *plain, *extra, *more)
        assert found.code == 0, found.err
        return Run(tmp_path / "run")

    return run


def sizes(folder: Path) -> list[tuple[int, int]]:
    return [Image.open(path).size for path in sorted(folder.glob("*.png"))]


@pytest.mark.parametrize("kind", KINDS)
def test_adapted_and_sampled(
    kind: str, start: Start, ant: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(kind)
    assert run.finished
    assert run.config().adaptor.pooling == (2 if kind.startswith("ldm") else 4)

    def ask_again(*_: object) -> None:
        raise AssertionError("asked again what is kept in the run")

    monkeypatch.setattr(source, "make_condition", ask_again)
    found = ant("sample", run.folder, "-n", 2, "--steps", 2, "--device", "cpu")
    assert found.code == 0, found.err
    assert sizes(run.samples) == [(16, 16)] * 2
    found = ant("evaluate", "kid", run.folder, "-n", 4, "--device", "cpu", "--json")
    assert found.code == 0, found.err


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_predicted_is_the_noise(kind: str, start: Start) -> None:
    """The network's own answer, converted by hand in float64, at one noise level."""
    run = start(kind, "--method", "full")
    asked = check_run_source(run)
    network, t = load_adapted(run, asked), torch.tensor([300])
    x_t = torch.randn(1, *asked.shape)
    with torch.no_grad():
        labels = {"class-conditional": torch.tensor([1]), "columns": torch.zeros(1, COLUMNS)}
        told = {"class_labels": labels[kind]} if kind in labels else {}
        output = network.unet(x_t, t, **told).sample[:, : asked.shape[0]].double()
        found = network(x_t, t)
    alpha_bar = float(torch.cumprod(1 - asked.scheduler.betas.double(), 0)[300])
    a, b = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    expected = {
        "v_prediction": a * output + b * x_t,
        "sample": (x_t - a * output) / b,
    }.get(kind, output)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


def test_a_latent_source_is_written_whole(start: Start) -> None:
    run = start("ldm", "--method", "full")
    pipeline = LDMPipeline.from_pretrained(run.model)
    original = LDMPipeline.from_pretrained(check_run_source(run).folder)
    torch.testing.assert_close(
        dict(pipeline.vqvae.state_dict()), dict(original.vqvae.state_dict()), rtol=0, atol=0
    )
    adapted = load_adapted(run, check_run_source(run)).unet.half().float().state_dict()
    torch.testing.assert_close(
        dict(pipeline.unet.float().state_dict()), dict(adapted), rtol=0, atol=0
    )


def test_a_learned_variance_is_kept(start: Start) -> None:
    run = start("learned-variance", "--method", "full")
    scheduler = DDPMScheduler.from_pretrained(run.model, subfolder="scheduler")
    assert scheduler.config.variance_type == "learned_range"
    assert UNet2DModel.from_pretrained(run.model, subfolder="unet").config.out_channels == 6


def test_training_sees_latents_of_mirror_images(start: Start) -> None:
    run = start("ldm-kl", "--method", "adaptor")
    inputs = check_inputs(run.config())
    training = build_training(inputs, run.config(), make_accelerator("cpu", "no"), {})
    autoencoder = AutoencoderKL.from_pretrained(inputs.source.folder / "vae")
    images = inputs.target.images.float() / 127.5 - 1
    with torch.no_grad():
        plain, mirrored = (
            autoencoder.encode(x).latent_dist.mean * 0.7 for x in (images, images.flip(-1))
        )
    assert isinstance(training.examples, Latents)
    torch.testing.assert_close(training.examples.x_0, plain)
    torch.testing.assert_close(training.examples.mirrored, mirrored)
    assert (plain.flip(-1) - mirrored).abs().max() > 0.01
    drawn = torch.cat([training._draw()[0].x_0 for training.step in range(4)])
    both = torch.stack([plain, mirrored])
    distance = (drawn[:, None, None] - both).abs().amax((3, 4, 5)).flatten(1)
    assert distance.amin(1).max() < 1e-5
    assert len(distance.argmin(1).unique()) > 10


def test_a_prompt_is_encoded_once(
    start: Start, ant: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    encoded = {prompt: torch.randn(1, 5, TEXT_DIMENSION) for prompt in ("a drawing", "")}

    def encode(folder: Path, name: str, prompt: str) -> torch.Tensor:
        asked.append(prompt)
        return encoded[prompt]

    monkeypatch.setattr(condition, "encode_prompt", encode)
    run = start("text", "--prompt", "a drawing", "--method", "adaptor")
    both = ["a drawing", ""]  # and what classifier-free guidance leads away from
    assert asked == both
    kept = load_tensors(run.condition)
    names = ("encoder_hidden_states", "nothing.encoder_hidden_states")
    expected = {name: encoded[prompt] for name, prompt in zip(names, both, strict=True)}
    torch.testing.assert_close(kept, expected, rtol=0, atol=0)
    found = ant("sample", run.folder, "-n", 2, "--steps", 2, "--device", "cpu")
    assert found.code == 0, found.err
    assert sizes(run.samples) == [(16, 16)] * 2
    usual = (run.samples / "000000.png").read_bytes()
    for scale, same in ((7.5, True), (1, False)):
        again = ant(
            *("sample", run.folder, "-n", 1, "--steps", 2, "--device", "cpu"),
            *("--guidance-scale", scale, "--out", run.folder / f"scale-{scale}"),
        )
        assert again.code == 0, again.err
        drawn = Image.open(run.folder / f"scale-{scale}" / "000000.png")
        assert (drawn.tobytes() == Image.open(io.BytesIO(usual)).tobytes()) == same
    assert asked == both
    adapted = [name for name in load_tensors(run.weights) if "attentions" in name]
    assert adapted
    assert not any("transformer_blocks" in name for name in adapted)


def test_counterparts_of_a_prompt_are_drawn_with_its_guidance(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = {prompt: torch.randn(1, 5, TEXT_DIMENSION) for prompt in ("a drawing", "")}
    monkeypatch.setattr(condition, "encode_prompt", lambda _, __, prompt: encoded[prompt])
    run = start("text", "--prompt", "a drawing")
    asked = check_run_source(run)
    network = Denoiser(asked.load(), asked.convention)
    assert asked.guidance_scale == 7.5
    kept = load_counterparts(run.counterparts, asked, torch.device("cpu"))
    x_0 = asked.codec().encode(check_inputs(run.config()).target.images[:1] / 127.5 - 1)

    given = {"steps": 2, "stream": "counterparts", "clip": False}
    limit = asked.path.limit(run.config().counterparts.noise)
    alone = resample(network.guided, asked.path, x_0, limit, [0], **given)
    torch.testing.assert_close(kept.examples.x_0[:1], alone, rtol=1e-3, atol=1e-3)


def test_a_class_has_to_be_named(
    ant: Callable[..., Any], tiny_target: Path, tmp_path: Path
) -> None:
    folder = write_kind("class-conditional", tmp_path / "classes")
    found = ant("adapt", "--source", folder, "--target", tiny_target, "--dry-run")
    assert found.code == 2
    assert "one of 3 classes" in found.err
    assert "--class-label" in found.err


def test_guidance_is_for_prompts_alone(
    ant: Callable[..., Any], tiny_source: Path, tiny_target: Path
) -> None:
    command = ["adapt", "--source", tiny_source, "--target", tiny_target, "--dry-run"]
    found = ant(*command, "--guidance-scale", 3)
    assert found.code == 2
    assert "nothing to guide towards" in found.err
