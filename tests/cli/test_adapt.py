"""`ant adapt` as a user types it: runs, resumes, refuses, and never half-writes."""

import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from diffusers import DDPMPipeline
from PIL import Image

import antcli.artifacts
from antcli.artifacts import load_metadata, load_tensors
from antcli.errors import AntError
from antcli.runs.run import Run
from antcli.training.loop import StepRecord, Training


def test_a_run_ends_with_a_page_weights_and_what_to_type_next(
    adapt: Callable, tmp_path: Path
) -> None:
    done = adapt()
    run = tmp_path / "run"
    assert done.code == 0, done.err
    assert done.out.strip() == str(run / "preview.png")
    assert f"ant sample {run}" in done.err
    assert f"ant evaluate intra-lpips {run}" in done.err
    assert sorted(path.name for path in (run / "previews").glob("*.png")) == [
        "step-00000.png",
        "step-00002.png",
        "step-00004.png",
    ]
    assert Image.open(run / "preview.png").size[0] > 96
    assert [json.loads(line)["step"] for line in (run / "log.jsonl").open()] == [1, 2, 3, 4]
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    assert not (run / "state.safetensors").exists()
    metadata = load_metadata(run / "weights.safetensors")
    assert metadata["format"] == "pt"
    assert metadata["modelspec.sai_model_spec"] == "1.0.1"
    assert len(json.loads(metadata["ant.target_sha256"])) == 10
    assert not list(tmp_path.rglob("*.part"))


def test_the_classifier_is_reported_on_images_it_has_not_seen(adapt: Callable) -> None:
    done = adapt("--method", "ant")
    assert "2 source and 2 target images it has not seen" in done.err
    assert "t=699" in done.err


def test_the_default_is_the_bridge_which_says_what_it_takes_for_new(
    adapt: Callable, quick: Path, tmp_path: Path
) -> None:
    file = tmp_path / "auto.toml"
    file.write_text(quick.read_text().replace("noise = 0.4\n", ""))
    done = adapt("--config", file)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["method"] == "bridge"
    assert done.err.count("what is new lies ") == 1
    assert "of the path hides it from the source" in done.err
    assert "classifier" not in done.err
    assert (tmp_path / "run" / "counterparts.safetensors").exists()


def test_a_rule_of_thumb_is_told_of_the_source_s_own_samples(
    adapt: Callable, quick: Path, tmp_path: Path
) -> None:
    """On the way, where a stage has drawn such; of a folder nobody knows how many it has seen."""
    file = tmp_path / "auto.toml"
    file.write_text(quick.read_text().replace("noise = 0.4", "noise = 0.0"))
    done = adapt("--config", file)
    assert done.code == 0, done.err
    assert "by nearest neighbours among 64 samples; so few read low" in done.err
    assert "rule of thumb, not a promise" in done.err
    assert "with 10000 to 1000000 (nobody knows) images of the source" in done.err


def test_noise_that_is_asked_for_is_said(adapt: Callable) -> None:
    done = adapt()
    said = "noise up to 0.40 of the path, as said, all of each image is drawn anew"
    assert done.err.count(said) == 1
    assert "sampling the source" not in done.err  # there is nothing to be found


def test_a_classifier_that_is_not_used_is_told(
    adapt: Callable, classifier: Path, tmp_path: Path
) -> None:
    given = ["--classifier", classifier, "--out", tmp_path / "other"]
    for method in ("bridge", "finetune"):
        plan = adapt("--method", method, *given, "--dry-run")
        assert plan.code == 0, plan.err
        assert plan.err.count(f"note: {method} asks no classifier") == 1
    assert "not used" not in adapt("--method", "ant", *given, "--dry-run").err


def test_a_plan_says_which_limit_counts(adapt: Callable, quick: Path, tmp_path: Path) -> None:
    told = "# below a limit in t that is read off the images"
    assert told in adapt("--dry-run").out
    assert told not in adapt("--method", "ant", "--dry-run").out
    file = tmp_path / "said.toml"
    file.write_text(f"{quick.read_text()}[lora]\nt_limit = 0.4\n")
    assert told not in adapt("--config", file, "--dry-run").out


def test_a_finished_run_is_not_overwritten_without_force(adapt: Callable, tmp_path: Path) -> None:
    assert adapt().code == 0
    weights = (tmp_path / "run" / "weights.safetensors").read_bytes()
    again = adapt("--seed", 1)
    assert again.code == 1
    assert "is finished" in again.err
    assert "--force" in again.err
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == weights
    assert adapt("--seed", 1, "--force").code == 0
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() != weights


def test_settings_come_from_defaults_preset_file_and_flags_in_this_order(
    adapt: Callable, ant: Callable, tiny_source: Path, tiny_target: Path, tmp_path: Path
) -> None:
    plan = adapt("--preset", "paper", "--dry-run", "--steps", 7)
    assert plan.code == 0
    assert 'method = "ant"' in plan.out
    assert "steps = 7" in plan.out
    assert "batch_size = 4" in plan.out  # of the file, over the preset's 40
    assert "learning_rate = 5e-05" in plan.out  # of the preset
    assert "11 denoiser forward, 11 denoiser backward" in plan.out
    assert not (tmp_path / "run").exists()


def test_the_plan_is_a_settings_file_that_gives_the_same_plan(
    adapt: Callable, ant: Callable, tiny_source: Path, tiny_target: Path, tmp_path: Path
) -> None:
    plan = adapt("--dry-run").out
    file = tmp_path / "again.toml"
    file.write_text(plan)
    options = ["--source", tiny_source, "--target", tiny_target, "--out", tmp_path / "run"]
    precision = ["--mixed-precision", "no", "--device", "cpu"]
    assert ant("adapt", *options, *precision, "--config", file, "--dry-run").out == plan


def test_full_fine_tuning_leaves_a_folder_that_diffusers_opens(
    adapt: Callable, tmp_path: Path
) -> None:
    assert adapt("--method", "full").code == 0
    pipeline = DDPMPipeline.from_pretrained(tmp_path / "run" / "model")
    assert pipeline.unet.config.sample_size == 16
    assert not (tmp_path / "run" / "classifier.safetensors").exists()


def weights_of_a_whole_run(adapt: Callable, run: Path) -> dict[str, torch.Tensor]:
    """What `run` comes to when nothing cuts it; the folder is free again."""
    assert adapt().code == 0
    whole = load_tensors(run / "weights.safetensors")
    shutil.rmtree(run)
    return whole


def test_a_run_that_was_cut_goes_on_to_the_same_weights(
    adapt: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = weights_of_a_whole_run(adapt, tmp_path / "run")

    from antcli.training.folder import RunFolder

    kept = RunFolder.log

    def cut(run: object, record: object) -> None:
        kept(run, record)
        if record.step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "log", cut)
    assert adapt().code == 130
    monkeypatch.setattr(RunFolder, "log", kept)
    again = adapt()
    assert again.code == 0
    assert "going on after step 2" in again.err
    resumed = load_tensors(tmp_path / "run" / "weights.safetensors")
    for name, tensor in whole.items():
        assert torch.equal(resumed[name], tensor), name
    log = [json.loads(line)["step"] for line in (tmp_path / "run" / "log.jsonl").open()]
    assert log == [1, 2, 3, 4]


def test_a_run_goes_on_with_less_memory(
    adapt: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = weights_of_a_whole_run(adapt, tmp_path / "run")
    kept = Training.steps

    def full(training: Training) -> Iterator[StepRecord]:
        yield from itertools.islice(kept(training), 3)
        raise torch.OutOfMemoryError("tried to allocate 2 GiB")

    monkeypatch.setattr(Training, "steps", full)
    assert adapt().code == 1
    monkeypatch.setattr(Training, "steps", kept)
    again = adapt("--low-memory")
    assert again.code == 0, again.err
    assert "going on after step 2" in again.err
    found = load_tensors(tmp_path / "run" / "weights.safetensors")
    for name, tensor in whole.items():
        assert torch.allclose(found[name], tensor, rtol=1e-4, atol=1e-6), name
    assert Run(tmp_path / "run").config().training.low_memory


def test_an_unfinished_run_with_other_settings_is_left_alone(
    adapt: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from antcli.training.folder import RunFolder

    def cut(run: object, record: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "log", cut)
        assert adapt().code == 130
    other = adapt("--batch-size", 5)
    assert other.code == 1
    assert "config.training.batch_size: 4 -> 5" in other.err


def test_ctrl_c_leaves_a_run_that_resumes(
    tiny_source: Path, tiny_target: Path, quick: Path, tmp_path: Path
) -> None:
    """A real signal to a real process, in the middle of the training."""
    command = [sys.executable, "-m", "antcli", "adapt", "--source", tiny_source]
    command += ["--target", tiny_target, "--out", tmp_path / "run", "--config", quick]
    command += ["--steps", "2000", "--method", "adaptor", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        list(map(str, command)), env=environment, stderr=subprocess.PIPE, text=True
    )
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and len(log.read_text().splitlines()) > 4):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "type the same command again" in err
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["status"] == "running"
    state = load_metadata(tmp_path / "run" / "state.safetensors")
    assert int(state["ant.step"]) == facts["step"] == len(log.read_text().splitlines())


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_state(
    adapt: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from antcli.methods.target.guided import GuidedTarget

    real = GuidedTarget.__call__
    calls = []

    def bad_from_the_fourth(rule: GuidedTarget, step: object) -> torch.Tensor:
        calls.append(1)
        target = real(rule, step)
        return target * float("nan") if len(calls) > 3 else target

    monkeypatch.setattr(GuidedTarget, "__call__", bad_from_the_fourth)
    done = adapt("--method", "ant", "--steps", 8)
    assert done.code == 1
    assert "the loss of step 4 is not a finite number" in done.err
    assert "--learning-rate" in done.err
    state = load_tensors(tmp_path / "run" / "state.safetensors")
    assert all(tensor.isfinite().all() for tensor in state.values())
    assert load_metadata(tmp_path / "run" / "state.safetensors")["ant.step"] == "2"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--source", "avatar"], 1, "did you mean avatars"),
        (["--source", "nobody/knows-this"], 1, "nobody/knows-this"),
        (["--steps", "0"], 2, "--steps"),
        (["--device", "tpu"], 2, "unknown device"),
        (["--method", "antt"], 2, "method is 'antt'"),
        (["--classifier", "missing.safetensors"], 1, "missing.safetensors"),
        (["--config", "missing.toml"], 2, "missing.toml"),
        (["--learning-rate", "-1"], 2, "training.learning_rate"),
    ],
)
def test_wrong_arguments_get_one_line_and_the_right_exit_code(
    adapt: Callable, arguments: list[str], code: int, says: str, tmp_path: Path
) -> None:
    done = adapt(*arguments)
    assert done.code == code, done.err
    assert says in done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    assert not (tmp_path / "run").exists()


def test_bad_images_are_all_named_before_anything_is_written(
    ant: Callable, tiny_source: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("RGB", (20, 20)).save(folder / "good.png")
    (folder / "text.png").write_text("no image")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.effect_noise((64, 64), 90).convert("RGB").save(folder / "cut.jpg")
    whole = (folder / "cut.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    done = ant("adapt", "--source", tiny_source, "--target", folder, "--out", tmp_path / "run")
    assert done.code == 1
    assert all(name in done.err for name in ("text.png", "dot.png", "cut.jpg"))
    assert "good.png" not in done.err
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_run_is_not_written_into(adapt: Callable, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "diary.txt").write_text("mine")
    done = adapt("--force")
    assert done.code == 1
    assert "no run of ant" in done.err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["diary.txt"]


def test_an_output_that_cannot_be_made_is_said_before_the_classifier_is_trained(
    adapt: Callable, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    done = adapt("--out", tmp_path / "file" / "run")
    assert done.code == 1
    assert "cannot write" in done.err
    assert "classifier" not in done.err


def test_a_full_disk_gets_one_line_and_leaves_no_half_file(
    adapt: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = antcli.artifacts.save_file

    def full(tensors: dict, path: Path, metadata: dict) -> None:
        if "state" in path.name:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(tensors, path, metadata=metadata)

    monkeypatch.setattr(antcli.artifacts, "save_file", full)
    done = adapt()
    assert done.code == 1
    assert "No space left on device" in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "run" / "state.safetensors").exists()
    assert not list(tmp_path.rglob("*.part"))


def test_a_classifier_for_another_size_is_refused(adapt: Callable, classifier: Path) -> None:
    done = adapt("--source", "avatars", "--classifier", classifier)
    assert done.code == 1
    assert "16-pixel" in done.err
    assert "ant train-classifier" in done.err


def test_a_settings_file_counts_for_every_option_that_is_not_typed(
    ant: Callable, tiny_source: Path, tiny_target: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('method = "full"\nseed = 5\ndevice = "cpu"\nmixed_precision = "no"\n')
    folders = ["--source", tiny_source, "--target", tiny_target, "--out", tmp_path / "run"]
    plan = ant("adapt", *folders, "--config", file, "--dry-run")
    # `full` is its old name.
    assert all(line in plan.out for line in ("seed = 5", 'method = "finetune"', 'device = "cpu"'))
    typed = ant("adapt", *folders, "--config", file, "--dry-run", "--seed", 7)
    assert "seed = 7" in typed.out


@pytest.mark.parametrize(
    ("source", "method", "pooling", "steps"),
    [
        ("avatars", "bridge", 4, 240),
        ("avatars-64", "bridge", 2, 240),
        ("avatars", "ant", 4, 100),
        ("avatars-64", "ant", 2, 200),
    ],
)
def test_defaults_fit_the_source(
    ant: Callable, tiny_target: Path, source: str, method: str, pooling: int, steps: int
) -> None:
    command = ["adapt", "--source", source, "--target", tiny_target, "--dry-run"]
    command += ["--method", method]
    plan = ant(*command).out
    assert f"pooling = {pooling}\n" in plan
    assert f"[training]\nsteps = {steps}\n" in plan
    assert "[training]\nsteps = 7\n" in ant(*command, "--steps", 7).out
    other = ant(*command, "--train", "encoder-decoder").out
    assert f"[training]\nsteps = {steps}\n" in other, "the method's, whatever trains"


@pytest.mark.parametrize("method", [None, "ant", "bridge", "finetune"])
def test_the_papers_preset_means_ant_unless_a_method_is_said(
    ant: Callable, tiny_target: Path, method: str | None
) -> None:
    command = ["adapt", "--source", "avatars", "--target", tiny_target, "--dry-run"]
    plan = ant(*command, "--preset", "paper", *(["--method", method] if method else []))
    assert plan.code == 0, plan.err
    assert f'method = "{method or "ant"}"\n' in plan.out
    assert f"# run: runs/avatars-colours-{method or 'ant'}\n" in plan.out
    assert "learning_rate = 5e-05\n" in plan.out
    assert "steps = 300\nbatch_size = 40\n" in plan.out


def test_a_run_with_another_classifier_is_another_run(
    adapt: Callable, classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from antcli.training.folder import RunFolder

    def cut(run: object, record: object) -> None:
        raise KeyboardInterrupt

    place = ["--method", "ant", "--out", tmp_path / "other"]
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "log", cut)
        assert adapt(*place).code == 130
    other = adapt(*place, "--classifier", classifier)
    assert other.code == 1
    assert "classifier_sha256 changed" in other.err


def test_too_little_memory_is_told_with_the_way_out(
    adapt: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("tried to allocate 2 GiB")

    monkeypatch.setattr(Training, "steps", full)
    found = adapt("--method", "adaptor")
    assert found.code == 1
    assert "the memory of cpu does not suffice" in found.err
    assert "--low-memory" in found.err


# --- settings from a file, stopping, what is checked first ----------------------------------


def test_the_settings_of_a_run_alone_make_the_run_again(
    ant: Callable, run: Path, tmp_path: Path
) -> None:
    again = ant("adapt", "--config", run / "config.toml", "--out", tmp_path / "again")
    assert again.code == 0, again.err
    weights = [load_tensors(r / "weights.safetensors") for r in (run, tmp_path / "again")]
    torch.testing.assert_close(*weights, rtol=0, atol=0)


@pytest.mark.parametrize("missing", ["source", "target"])
def test_without_a_file_source_and_target_have_to_be_typed(
    ant: Callable, tiny_source: Path, tiny_target: Path, missing: str
) -> None:
    typed = {"source": tiny_source, "target": tiny_target}
    del typed[missing]
    done = ant("adapt", *itertools.chain(*((f"--{k}", v) for k, v in typed.items())))
    assert done.code == 2
    assert f"--{missing}" in done.err


@pytest.mark.parametrize(
    ("said", "steps"),
    [("", 200), ("[training]\nsteps = 50\n", 150), ("[training]\nsteps = 400\n", 400)],
)
def test_auto_has_room_and_keeps_a_larger_number(
    ant: Callable, tiny_target: Path, tmp_path: Path, said: str, steps: int
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(said)
    command = ["adapt", "--source", "avatars-64", "--target", tiny_target, "--config", file]
    plan = ant(*command, "--method", "ant", "--steps", "auto", "--dry-run")
    assert f"[training]\nsteps = {steps}\n" in plan.out
    assert "auto = true" in plan.out


def test_auto_leaves_the_steps_of_a_rate_that_settles(ant: Callable, tiny_target: Path) -> None:
    command = ["adapt", "--source", "avatars", "--target", tiny_target]
    plan = ant(*command, "--steps", "auto", "--dry-run")
    assert "[training]\nsteps = 240\n" in plan.out
    assert "auto = true" in plan.out


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (["--device", "tpu"], 2, "unknown device"),
        (["--device", "cuda:99"], 1, "there is no"),
        (["--config", "bad.toml"], 2, "unknown setting"),
    ],
)
def test_a_plan_checks_everything_before_anything_is_fetched(
    ant: Callable,
    tiny_target: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: list[str],
    code: int,
    says: str,
) -> None:
    from antcli.cli import adapt as command

    def fetched(*_: object) -> None:
        raise AssertionError("a source was fetched first")

    monkeypatch.setattr(command, "have_source", fetched)
    monkeypatch.chdir(tmp_path)
    Path("bad.toml").write_text("[trainin]\nsteps = 1\n")
    done = ant("adapt", "--source", "ffhq", "--target", tiny_target, *more, "--dry-run")
    assert (done.code, says in done.err) == (code, True), done.err


def test_a_plan_of_what_cannot_begin_ends_as_the_command_would(
    adapt: Callable, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.txt").touch()
    for more, says in (
        (["--out", tmp_path / "mine"], "is no run of ant"),
        (["--num-processes", 5], "processes"),
    ):
        plan = adapt("--dry-run", *more)
        assert plan.code in (1, 2)
        assert says in plan.err
        assert "[training]" in plan.out
    assert adapt().code == 0
    assert adapt("--dry-run").code == 1
    assert adapt("--dry-run", "--force").code == 0


def test_a_run_finds_its_source_and_goes_on_from_anywhere(
    ant: Callable,
    adapt: Callable,
    tiny_source: Path,
    tiny_target: Path,
    quick: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from antcli.training.folder import RunFolder

    def cut(run: object, record: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tiny_source.parent)
    own = ["--source", tiny_source.name, "--out", tmp_path / "run", "--config", quick]
    precision = ["--mixed-precision", "no", "--device", "cpu"]
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "log", cut)
        begun = ant("adapt", *own, "--target", os.path.relpath(tiny_target), *precision)
        assert begun.code == 130, begun.err
    monkeypatch.chdir(tmp_path)
    assert adapt().code == 0
    assert ant("sample", "run", "-n", 1, "--steps", 1).code == 0
    assert (
        "from " + tiny_source.name
        in load_metadata(Path("run/weights.safetensors"))["modelspec.title"]
    )


def test_one_image_has_no_best_step(adapt: Callable, tiny_target: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    shutil.copy(tiny_target / "0.png", tmp_path / "one")
    done = adapt("--target", tmp_path / "one", "--steps", "auto")
    assert (done.code, "no step can be said to be the best" in done.err) == (1, True), done.err
    assert not (tmp_path / "run").exists()


def test_the_plan_says_what_the_method_does(adapt: Callable) -> None:
    plan = adapt("--dry-run", "--method", "ant-lora").out
    assert "# ant-lora: trains low-rank additions" in plan
    assert "# on noise that the network predicts worst, towards the noise, guided" in plan
    assert "[lora]\nt_limit = 1.0\nrank = 8\n" in plan


def test_sigterm_leaves_a_run_that_resumes(
    tiny_source: Path, tiny_target: Path, quick: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "antcli", "adapt", "--source", tiny_source]
    command += ["--target", tiny_target, "--out", tmp_path / "run", "--config", quick]
    command += ["--steps", "2000", "--method", "adaptor", "--device", "cpu"]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and len(log.read_text().splitlines()) > 4):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "type the same command again" in err
    state = load_metadata(tmp_path / "run" / "state.safetensors")
    assert int(state["ant.step"]) == len(log.read_text().splitlines())


# --- the paper's preset ---------------------------------------------------------------------


def test_the_preset_says_what_it_takes_where_the_papers_classifier_is_not_to_be_had(
    ant: Callable, tiny_target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from antcli.methods import imagenet_classifier
    from antcli.training import inputs

    asked = []

    def nowhere(init: str, size: int, *_: object) -> Path:
        asked.append((init, size))
        raise AntError("no network here", "try later")

    monkeypatch.setitem(imagenet_classifier.PUBLISHED, 32, imagenet_classifier.PUBLISHED[64])
    monkeypatch.setattr(inputs, "find_pretrained", nowhere)
    command = ["adapt", "--source", "avatars", "--target", tiny_target, "--dry-run"]
    plan = ant(*command, "--preset", "paper")
    assert plan.code == 0, plan.err
    assert asked == [("imagenet-32", 32)]
    assert "imagenet-32, cannot be had (no network here): a small one is trained" in plan.err
    assert '[classifier]\ninit = ""\n' in plan.out
    assert "learning_rate = 0.001\n" in plan.out  # of what begins from nothing
    assert "held_out = 0.0" in plan.out
    assert ant(*command, "--preset", "paper", "--method", "adaptor").code == 0
    assert len(asked) == 1


@pytest.mark.parametrize(("source", "rate"), [("avatars", "5e-05"), ("avatars-64", "1e-05")])
def test_the_preset_has_a_learning_rate_for_pixels_and_one_for_latents(
    ant: Callable, tiny_target: Path, source: str, rate: str
) -> None:
    command = ["adapt", "--source", source, "--target", tiny_target, "--dry-run"]
    assert f"learning_rate = {rate}\n" in ant(*command, "--preset", "paper").out


def test_any_choice_alone_makes_a_method_without_a_name(adapt: Callable) -> None:
    options = ["--train", "norm", "--noise", "adversarial", "--towards", "guided"]
    plan = adapt(*options, "--penalty", "pairwise=4", "--penalty", "self-similarity=2", "--dry-run")
    assert plan.code == 0
    assert 'method = "custom"' in plan.out
    assert 'trains = "norm"' in plan.out
    assert "pairwise = 4.0" in plan.out
    assert "# norm-adversarial-guided: trains scales and shifts" in plan.out
    assert "# penalty, 2 times: how places resemble one another" in plan.out


def test_a_penalty_alone_leaves_the_method_its_name(adapt: Callable) -> None:
    plan = adapt("--method", "full", "--penalty", "ewc=7", "--dry-run")
    assert 'method = "finetune"' in plan.out
    assert "ewc = 7.0" in plan.out


def test_images_are_augmented_where_that_is_said(
    adapt: Callable, ant: Callable, tiny_target: Path
) -> None:
    named, varied = adapt("--method", "finetune-ada", "--dry-run"), ["--augment", "ada"]
    assert "learns from images moved, bent and tinted" in named.out
    plan = adapt("--method", "finetune", *varied, "--dry-run")
    assert "# all-gaussian-noise-ada: trains all weights" in plan.out
    latents = ant("adapt", "--source", "avatars-64", "--target", tiny_target, *varied, "--dry-run")
    assert latents.code == 2
    assert "the source diffuses latents" in latents.err
    assert adapt("--method", "finetune-ada", "--steps", 2).code == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--method", "atn"], "it is one of bridge, ant,"),
        (["--train", "lorra"], "it is one of adaptors, lora,"),
        (["--penalty", "pairwise"], "NAME=WEIGHT"),
        (["--penalty", "pairwise=much"], "NAME=WEIGHT"),
        (["--penalty", "pairwize=1"], "did you mean penalties.pairwise?"),
        (["--method", "lora", "--penalty", "ewc=1"], "of these lora trains none"),
    ],
)
def test_choices_that_do_not_exist_are_told(options: list[str], says: str, adapt: Callable) -> None:
    done = adapt(*options, "--dry-run")
    assert done.code == 2
    assert says in done.err


def test_help_lists_the_methods_by_purpose(ant: Callable) -> None:
    told = ant("adapt", "--help").out
    assert "rivals: ddpm-pa, dogfit" in told
    assert "of GANs, carried to diffusion: ewc, adam, cdc, dcl, rssa" in told
