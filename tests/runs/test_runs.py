import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from antcli import __version__
from antcli.artifacts import file_hash
from antcli.config import AdaptConfig, TrainingConfig, adapt_config_from, read_toml
from antcli.errors import AntError
from antcli.methods.noise.adversarial import NoiseConfig
from antcli.runs.latest import find_run, remember_latest
from antcli.runs.run import Run, default_folder

CONFIG = AdaptConfig(
    source="avatars",
    target="photos/cats",
    method="ant",
    seed=3,
    training=TrainingConfig(steps=300),
    noise=NoiseConfig(omega=0.1),
)
IDENTITY = {"source_sha256": "ab", "target_sha256": ["c", "d"], "target_folder": "/photos/cats"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has begun."""
    run = Run(tmp_path / "deep" / "run")
    run.begin(CONFIG, IDENTITY, clear=False)
    return run


def finish(run: Run) -> None:
    run.write_facts(CONFIG, IDENTITY, status="finished", step=300)
    run.weights.touch()


def refusal(run: Run, config: AdaptConfig = CONFIG, **identity: Any) -> AntError:
    with pytest.raises(AntError) as raised:
        run.check_can_start(config, {**IDENTITY, **identity})
    assert "`out`" in raised.value.hint
    return raised.value


# --- what a run says of itself -------------------------------------------------------------


def test_a_run_tells_its_settings_and_identity(run: Run) -> None:
    facts = run.facts()
    assert run.config() == CONFIG
    assert {key: facts[key] for key in IDENTITY} == IDENTITY
    assert (facts["status"], facts["step"], facts["version"]) == ("running", 0, __version__)
    assert adapt_config_from(read_toml(run.folder / "config.toml")) == CONFIG


def test_a_run_begins_then_finishes(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    assert (run.started, run.finished) == (False, False)
    run.begin(CONFIG, IDENTITY, clear=False)
    assert (run.started, run.finished) == (True, False)
    finish(run)
    assert (run.started, run.finished) == (True, True)


def test_begin_leaves_an_unfinished_run_as_it_is(run: Run) -> None:
    run.write_facts(CONFIG, IDENTITY, status="running", step=50)
    run.state.write_text("state")
    run.begin(CONFIG, IDENTITY, clear=False)
    assert run.facts()["step"] == 50
    assert run.state.read_text() == "state"


def test_previews_sort_by_step(run: Run) -> None:
    paths = [run.preview_at(step) for step in (0, 50, 1000)]
    assert paths == sorted(paths)
    assert len(set(paths)) == 3
    assert all(path.parent.parent == run.folder for path in paths)


@pytest.mark.parametrize("content", [None, "", "{", "[]", '"text"', "{}", '{"status": 3}'])
def test_a_folder_that_is_no_run(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(AntError, match="is no run of ant"):
        Run(tmp_path).facts()
    with pytest.raises(AntError, match="is no run of ant"):
        find_run(tmp_path)


# --- starting, going on, starting over -----------------------------------------------------


def test_a_run_starts_where_there_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "new" / "deep", tmp_path / "empty"):
        Run(folder).check_can_start(CONFIG, IDENTITY)


def test_the_same_command_goes_on(run: Run) -> None:
    run.write_facts(CONFIG, IDENTITY, status="running", step=50)
    run.check_can_start(CONFIG, IDENTITY)


def test_less_memory_goes_on(run: Run) -> None:
    run.write_facts(CONFIG, IDENTITY, status="running", step=50)
    small = replace(CONFIG, training=replace(CONFIG.training, low_memory=True, micro_batch=2))
    run.check_can_start(small, IDENTITY)
    run.begin(small, IDENTITY, clear=False)
    assert adapt_config_from(read_toml(run.folder / "config.toml")) == small
    refusal(run, replace(small, training=replace(small.training, batch_size=99)))


def test_a_run_of_an_older_version_goes_on(run: Run) -> None:
    run.write_facts(CONFIG, IDENTITY, status="running", step=50)
    facts = json.loads(run.facts_file.read_text())
    for table in ("full", "lora", "penalties", "counterparts"):
        del facts["config"][table]
    facts["config"]["adaptor"]["below"] = facts["config"]["adaptor"].pop("t_limit")
    run.facts_file.write_text(json.dumps(facts))
    assert run.config() == CONFIG
    run.check_can_start(CONFIG, IDENTITY)


def test_other_settings_do_not_go_on(run: Run) -> None:
    changed = replace(CONFIG, seed=4, noise=NoiseConfig(omega=0.2))
    message = refusal(run, changed).message
    assert "config.seed: 3 -> 4" in message
    assert "config.noise.omega: 0.1 -> 0.2" in message
    assert "training" not in message


@pytest.mark.parametrize(
    "changed",
    [{"source_sha256": "other"}, {"target_sha256": ["c"]}, {"conditions": {"names": ["a", "b"]}}],
)
def test_another_source_or_target_does_not_go_on(run: Run, changed: dict[str, Any]) -> None:
    assert next(iter(changed)) in refusal(run, **changed).message


def test_where_a_source_and_a_target_lie_is_no_matter(run: Run) -> None:
    moved = replace(CONFIG, source="/models/mine", target="../cats")
    run.check_can_start(moved, {**IDENTITY, "target_folder": "/other/cats"})


def test_a_finished_run_is_not_overwritten(run: Run) -> None:
    finish(run)
    error = refusal(run)
    assert "is finished" in error.message
    assert "`force`" in error.hint


def test_somebody_elses_folder_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path, tmp_path / "file"):
        assert "no run of ant" in refusal(Run(place)).message


def test_a_place_that_cannot_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(AntError, match="cannot write"):
        Run(tmp_path / "file" / "run").begin(CONFIG, IDENTITY, clear=False)


def test_starting_over_removes_the_run_and_nothing_else(run: Run) -> None:
    mine = run.folder / "notes.txt"
    mine.write_text("mine")
    written = [run.weights, run.state, run.classifier, run.log, run.preview, run.preview_at(50)]
    written += [run.counterparts, run.samples / "0.png", run.folder / "model" / "config.json"]
    for path in written:
        path.parent.mkdir(exist_ok=True)
        path.write_text("old")
    finish(run)
    run.begin(replace(CONFIG, seed=9), IDENTITY, clear=True)
    assert not run.finished
    assert run.config().seed == 9
    assert mine.read_text() == "mine"
    left = {p.name for p in run.folder.iterdir()}
    assert left == {"run.json", "config.toml", "notes.txt"}


def test_starting_over_may_be_cut_and_begun_again(run: Run) -> None:
    run.clear()
    assert not any(run.folder.rglob("*.toml")), "settings alone are nobody's run"
    run.begin(CONFIG, IDENTITY, clear=False)
    assert run.started


def test_starting_over_leaves_a_folder_that_is_no_run_alone(tmp_path: Path) -> None:
    mine = tmp_path / "samples" / "photo.png"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(AntError, match="no run of ant"):
        Run(tmp_path).begin(CONFIG, IDENTITY, clear=True)
    assert mine.read_text() == "mine"


# --- finding a run -------------------------------------------------------------------------


def test_the_latest_run_is_found(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(run)
    monkeypatch.chdir(run.folder.parent)
    remember_latest(Run(Path(run.folder.name)))
    monkeypatch.chdir(tmp_path)
    assert find_run(None).folder == run.folder.resolve()
    other = Run(tmp_path / "other")
    other.begin(CONFIG, IDENTITY, clear=False)
    finish(other)
    remember_latest(other)
    assert find_run(None).folder == other.folder.resolve()
    assert find_run(run.folder) == run


def test_there_is_no_run_yet() -> None:
    with pytest.raises(AntError, match="there is no run yet") as raised:
        find_run(None)
    assert raised.value.exit_code == 2
    assert "ant adapt" in raised.value.hint


def test_an_unfinished_run_cannot_be_used(run: Run) -> None:
    run.write_facts(CONFIG, IDENTITY, status="running", step=50)
    with pytest.raises(AntError, match=r"not finished \(50 of 300 steps\)"):
        find_run(run.folder)


def test_a_run_that_has_lost_its_weights(run: Run) -> None:
    finish(run)
    run.weights.unlink()
    with pytest.raises(AntError, match="has lost its weights") as raised:
        find_run(run.folder)
    assert "`force`" in raised.value.hint
    run.checkpoint_at(25).parent.mkdir()
    run.checkpoint_at(25).touch()
    (run.checkpoint_at(25).parent / "step-mine.safetensors").touch()
    assert list(run.checkpoints) == [25]
    with pytest.raises(AntError) as raised:
        find_run(run.folder)
    assert f"`ant evaluate checkpoints {run.folder} --take`" in raised.value.hint
    assert find_run(run.folder, whole=False).folder == run.folder


def test_the_latest_run_may_be_gone(run: Run, tmp_path: Path) -> None:
    finish(run)
    remember_latest(run)
    run.folder.rename(tmp_path / "elsewhere")
    with pytest.raises(AntError, match="there is no run in"):
        find_run(None)


def test_a_home_that_cannot_be_written_to_costs_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    remember_latest(run)
    with pytest.raises(AntError, match="there is no run yet"):
        find_run(None)


# --- names and hashes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target", "name"),
    [
        ("avatars", "photos/cats", "avatars-cats-bridge"),
        ("avatars", "photos/cats/", "avatars-cats-bridge"),
        ("google/ddpm-church", "cats", "ddpm-church-cats-bridge"),
        ("./models/mine/", ".", "mine-here-bridge"),
        (".", "../here", "here-here-bridge"),
    ],
)
def test_the_default_folder(
    source: str, target: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert default_folder(AdaptConfig(source, target)) == Path("runs") / name
    other = default_folder(AdaptConfig(source, target, method="ant"))
    assert other.name == name.removesuffix("bridge") + "ant"


def test_hash_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert file_hash(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()
