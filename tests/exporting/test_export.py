"""What is exported computes and draws what the run does, and nothing is ever half there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline, DiffusionPipeline, LDMPipeline, UNet2DConditionModel
from source_kinds import KINDS
from torch import Tensor, nn

import antcli
from antcli.artifacts import load_metadata, load_tensors
from antcli.diffusion.sampler import FEW, Sampler
from antcli.diffusion.sampling import SchedulerName
from antcli.errors import AntError
from antcli.exporting import export as exporting
from antcli.exporting.card import Card
from antcli.exporting.export import export_run
from antcli.randomness import generator
from antcli.runs.adapted import check_run_source, load_adapted
from antcli.runs.run import Run

MakeRun = Callable[..., Run]
STEPS = FEW
"""Of sampling: not so few that they begin below the end of the path, and a divisor of 1000, so that
the schedulers of diffusers walk from step to step."""
EPS = {"rtol": 1e-3, "atol": 1e-4}
"""Two sums in another order through some twenty layers of float32."""


def eps_of(run: Run, t: Tensor) -> tuple[Tensor, Tensor]:
    """Some x_t, and what the run says of it."""
    source = check_run_source(run)
    x_t = torch.randn(len(t), *source.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return x_t, load_adapted(run, source)(x_t, t)


def drawn(pipeline: Any, **more: Any) -> Tensor:
    images = pipeline(batch_size=2, num_inference_steps=STEPS, output_type="np", **more).images
    return torch.from_numpy(images)


def drawn_by_ant(run: Run, scheduler: SchedulerName) -> Tensor:
    pipeline = antcli.load(run.folder)
    images = pipeline(2, None, STEPS, output_type="np", scheduler=scheduler).images
    return torch.from_numpy(images)


def noise() -> list[torch.Generator]:
    return [generator(seed, "sample") for seed in range(2)]


# --- whole pipelines ------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lora", "finetune", "encoder-decoder", "adam", "finetune-ada"])
def test_a_pipeline_says_and_draws_what_the_run_does(make_run: MakeRun, method: str) -> None:
    run = make_run(method=method)
    done = export_run(run)
    assert (done.folder, done.change) == (run.exports / "diffusers", None)
    pipeline = DDPMPipeline.from_pretrained(done.folder)
    assert pipeline.unet.dtype == torch.float32
    t = torch.tensor([3, 500, 999])
    x_t, eps = eps_of(run, t)
    with torch.no_grad():
        torch.testing.assert_close(pipeline.unet(x_t, t).sample, eps, **EPS)
        assert (check_run_source(run).load()(x_t, t).sample - eps).abs().max() > 0.05
    found = drawn(pipeline, generator=noise())
    torch.testing.assert_close(found, drawn_by_ant(run, "ddpm"), rtol=0, atol=1 / 255)
    assert (found[0] - found[1]).abs().max() > 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_source_gives_a_pipeline(make_run: MakeRun, kind: str) -> None:
    run = make_run(kind)
    latent = kind.startswith("ldm")
    folder = export_run(run).folder
    pipeline = (LDMPipeline if latent else DDPMPipeline).from_pretrained(folder)
    found = drawn(pipeline, generator=noise())
    expected = drawn_by_ant(run, "ddim" if latent else "ddpm")
    torch.testing.assert_close(found, expected, rtol=0, atol=1 / 255)


def text_run(make_run: MakeRun, **settings: Any) -> Run:
    run = make_run("text", condition={"prompt": "a drawing"}, **settings)
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "a"]}
    folder = Path(run.config().source)
    (folder / "model_index.json").write_text(json.dumps(index))
    return run


def text_eps(unet: UNet2DConditionModel, run: Run, x_t: Tensor, t: Tensor) -> Tensor:
    asked = load_tensors(run.condition)["encoder_hidden_states"]
    with torch.no_grad():
        return unet(x_t, t, asked.expand(len(x_t), -1, -1)).sample


def test_a_text_conditional_source_keeps_its_pipeline(make_run: MakeRun) -> None:
    run = text_run(make_run)
    folder = export_run(run).folder
    source = Path(run.config().source)
    for part in ("model_index.json", "scheduler/scheduler_config.json"):
        assert (folder / part).read_bytes() == (source / part).read_bytes()
    assert (folder / "vae" / "config.json").is_file()
    x_t, eps = eps_of(run, t := torch.tensor([3, 500, 999]))
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    torch.testing.assert_close(text_eps(unet, run, x_t, t), eps, **EPS)
    (source / "model_index.json").unlink()
    with pytest.raises(AntError, match=r"no model_index\.json"):
        export_run(run, out=folder.parent / "more")


# --- files of low-rank additions ------------------------------------------------------------


def source_unet(run: Run) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(Path(run.config().source) / "unet").eval()


def test_diffusers_itself_loads_the_file(make_run: MakeRun) -> None:
    pytest.importorskip("peft")
    from diffusers.loaders import StableDiffusionLoraLoaderMixin

    class Tiny(DiffusionPipeline, StableDiffusionLoraLoaderMixin):
        """As much of Stable Diffusion as loading needs."""

        text_encoder = None

        def __init__(self, unet: UNet2DConditionModel) -> None:
            super().__init__()
            self.register_modules(unet=unet)

    run = text_run(make_run, lora={"rank": 12})
    folder = export_run(run, "lora").folder
    pipeline = Tiny(source_unet(run))
    pipeline.load_lora_weights(folder)
    x_t, eps = eps_of(run, t := torch.tensor([3, 500, 999]))
    torch.testing.assert_close(text_eps(pipeline.unet, run, x_t, t), eps, **EPS)


NAMES = {
    "lora": ("lora_A.weight", "lora_B.weight", lambda layer: f"unet.{layer}."),
    "kohya": (
        "lora_down.weight",
        "lora_up.weight",
        lambda layer: f"lora_unet_{layer.replace('.', '_')}.",
    ),
}


@pytest.mark.parametrize("format", ["lora", "kohya"])
def test_a_file_of_low_rank_additions_has_its_readers_names_and_shapes(
    make_run: MakeRun, format: Any
) -> None:
    """Added by hand, as ComfyUI does it: W + alpha / rank * up @ down, of flattened kernels."""
    run = text_run(make_run, lora={"rank": 12})
    folder = export_run(run, format).folder
    file = "pytorch_lora_weights" if format == "lora" else "my-run"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", f"{file}.safetensors"]
    tensors = load_tensors(folder / f"{file}.safetensors")
    assert load_metadata(folder / f"{file}.safetensors")["format"] == "pt"
    down_name, up_name, prefix = NAMES[format]
    x_t, eps = eps_of(run, t := torch.tensor([3, 500, 999]))
    unet = source_unet(run)
    for name, layer in unet.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            down, up = (tensors.pop(prefix(name) + part) for part in (down_name, up_name))
            alpha = tensors.pop(f"{prefix(name)}alpha").item() if format == "kohya" else len(down)
            assert down.shape[1:] == layer.weight.shape[1:] and up.shape[2:].numel() == 1
            assert len(down) == up.shape[1] == 12
            product = alpha / len(down) * up.flatten(1) @ down.flatten(1)
            layer.weight.data += product.reshape(layer.weight.shape)
    assert not tensors
    torch.testing.assert_close(text_eps(unet, run, x_t, t), eps, **EPS)


@pytest.mark.parametrize("format", ["lora", "kohya"])
def test_what_has_no_low_rank_form_says_what_to_take(make_run: MakeRun, format: Any) -> None:
    with pytest.raises(AntError, match=r"no program reads .* for a UNet2DModel") as found:
        export_run(make_run(), format)
    assert "--format diffusers" in found.value.hint
    assert found.value.exit_code == 2


def test_all_weights_are_no_low_rank_additions(make_run: MakeRun) -> None:
    with pytest.raises(AntError, match="no low-rank additions were trained"):
        export_run(text_run(make_run, method="finetune"), "kohya")


def test_adaptors_go_into_no_file(make_run: MakeRun) -> None:
    run = make_run(method="adaptor")
    with pytest.raises(AntError, match="adaptors") as found:
        export_run(run)
    assert f"antcli.load({str(run.folder)!r})" in found.value.hint
    assert not run.exports.exists()


# --- the limit in t -------------------------------------------------------------------------


def test_a_limit_is_measured_and_refused_unless_it_may_be_left_out(make_run: MakeRun) -> None:
    run = make_run(lora={"t_limit": 0.4})
    with pytest.raises(AntError, match=r"below t = 400, .* eps changes by ") as found:
        export_run(run)
    assert "`ungated`" in found.value.hint and "antcli.load" in found.value.hint
    assert found.value.exit_code == 2
    assert not run.exports.exists()
    done = export_run(run, ungated=True)
    assert done.change is not None and done.change.told in (done.folder / "README.md").read_text()
    unet = DDPMPipeline.from_pretrained(done.folder).unet
    x_t, eps = eps_of(run, t := torch.tensor([3, 399, 400]))
    with torch.no_grad():
        found_eps = unet(x_t, t).sample
    torch.testing.assert_close(found_eps[:2], eps[:2], **EPS)
    assert (found_eps[2] - eps[2]).abs().max() > 0.05


def test_the_measure_is_a_mean_square_of_eps_along_the_way(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two steps the one above the limit is the first, at nothing but noise: by hand."""
    monkeypatch.setattr("antcli.exporting.ungated.STEPS", 2)
    run = make_run(lora={"t_limit": 0.6})
    done = export_run(run, ungated=True)
    x_t = torch.stack([torch.randn(3, 16, 16, generator=generator(i, "sample")) for i in range(4)])
    source = check_run_source(run)
    first = source.path.steps(2, Sampler(steps=2).limit(source.path))[0]
    with torch.no_grad():
        merged = DDPMPipeline.from_pretrained(done.folder).unet(x_t, first).sample
        unadapted = source.load()(x_t, first).sample
    expected = (merged - unadapted).square().mean().item()
    assert done.change is not None
    assert done.change.above == pytest.approx(expected, rel=1e-3)
    assert done.change.below > 0


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_limit_below_one_step_of_the_measure_still_has_steps_on_both_sides(
    make_run: MakeRun, method: str
) -> None:
    run = make_run(method=method, **{method: {"t_limit": 0.05}})
    change = export_run(run, ungated=True).change
    assert change is not None and change.above > 0 and change.below > 0


# --- where it goes --------------------------------------------------------------------------


def test_what_is_there_stays_unless_it_is_forced(make_run: MakeRun, tmp_path: Path) -> None:
    run, out = make_run(), tmp_path / "place"
    out.mkdir()
    export_run(run, out=out)  # an empty folder is a place
    (out / "README.md").write_text("mine")
    (out / "letter.txt").write_text("mine too")
    with pytest.raises(AntError, match="exists already") as found:
        export_run(run, out=out)
    assert "`force`" in found.value.hint
    assert (out / "README.md").read_text() == "mine"
    export_run(run, out=out, force=True)
    assert (out / "README.md").read_text() != "mine"
    assert (out / "letter.txt").read_text() == "mine too"
    with pytest.raises(AntError, match="is a file"):
        export_run(run, out=out / "letter.txt", force=True)


def test_an_export_that_fails_leaves_nothing(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(Card):
        def text(self) -> str:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "Card", Full)
    run, out = make_run(), tmp_path / "outside" / "place"
    with pytest.raises(AntError, match="No space left"):
        export_run(run, out=out)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize(("kind", "format"), [("ldm", "diffusers"), ("text", "lora")])
def test_no_folder_of_this_machine_is_told(
    make_run: MakeRun, tmp_path: Path, kind: str, format: Any
) -> None:
    run = text_run(make_run) if kind == "text" else make_run(kind)
    folder = export_run(run, format).folder
    texts = [p.read_text() for p in folder.rglob("*") if p.suffix in (".json", ".md")]
    texts += [str(load_metadata(path)) for path in folder.rglob("*.safetensors")]
    assert len(texts) >= 2
    assert not any(str(tmp_path) in text or "private" in text for text in texts)
