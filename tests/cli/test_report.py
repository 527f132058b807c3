"""`ant evaluate report` and `ant evaluate compare` from the command line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from antcli.errors import AntError
from antcli.evaluation import lpips, scoring
from antcli.evaluation.report import comparison, content
from antcli.runs.run import Run, take_checkpoint

OFFLINE = ["--device", "cpu"]
LARGEST = 5_000_000


@pytest.fixture(autouse=True)
def quick_and_without_a_trunk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Few samples; LPIPS's trunk cannot be had, as on a machine without a network."""

    def unreachable(url: str, file: Path, *_: object, **__: object) -> None:
        raise AntError(f"cannot get {file.name}", "put it there")

    monkeypatch.setattr(content, "MEASURED", 12)
    monkeypatch.setattr(content, "SHOWN", 6)
    monkeypatch.setattr(comparison, "STRIP", 4)
    monkeypatch.setattr(scoring, "SAMPLES", 6)
    monkeypatch.setattr(scoring, "SAMPLING_STEPS", 2)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(lpips, "download", unreachable)


@pytest.fixture(scope="module")
def measured_once(
    finished_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Callable], Path]:
    """A run that `ant evaluate all` has measured, where it stays."""
    folder = tmp_path_factory.mktemp("measured") / "run"

    def measure(ant: Callable) -> Path:
        if not folder.exists():
            shutil.copytree(finished_run, folder)
            done = ant("evaluate", "all", folder, "-n", 12, *OFFLINE)
            assert done.code == 0, done.err
        return folder

    return measure


@pytest.fixture
def measured(ant: Callable, measured_once: Callable[[Callable], Path], tmp_path: Path) -> Path:
    """A measured run of the test's own; its samples name the folder they were drawn for."""
    return Path(shutil.copytree(measured_once(ant), tmp_path / "measured"))


def test_a_report_does_first_what_is_missing(ant: Callable, run: Path) -> None:
    done = ant("evaluate", "report", run, *OFFLINE)
    assert done.code == 0, done.err
    assert done.out == f"{run / 'report.html'}\n"
    assert "has no numbers of its present weights: measuring 12 samples" in done.err
    html = (run / "report.html").read_text(encoding="utf-8")
    assert len(html) < LARGEST
    for part in (
        "colours from tiny by bridge",
        "The step to take is",
        "Kernel distance",
        "Nearest pairs",
        "Intra-LPIPS: left out, cannot get vgg16",
        "What to try next",
    ):
        assert part in html, part
    assert html.count("<img") == 1 + 10 + 2 * 6 + 12 + 1
    assert json.loads((run / "evaluation.json").read_text())["images"] == 12
    assert (run / "curve.svg").is_file()


def test_kept_numbers_are_taken_and_the_target_may_be_gone(
    ant: Callable, measured: Path, tmp_path: Path
) -> None:
    facts = json.loads((measured / "run.json").read_text())
    (measured / "run.json").write_text(json.dumps({**facts, "target_folder": "/gone/target"}))
    kept = (measured / "evaluation.json").read_bytes()
    done = ant("evaluate", "report", measured, "--out", tmp_path / "new" / "page.html", *OFFLINE)
    assert done.code == 0, done.err
    assert "measuring" not in done.err
    assert "left out: the scores over the steps: the images that" in done.err
    assert "not in /gone/target any more" in done.err
    html = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert "The images in /gone/target are gone" in html
    assert "ant evaluate checkpoints" in html
    assert (measured / "evaluation.json").read_bytes() == kept
    assert not (measured / "report.html").exists()


def test_the_target_may_be_elsewhere(
    ant: Callable, measured: Path, tiny_target: Path, tmp_path: Path
) -> None:
    facts = json.loads((measured / "run.json").read_text())
    (measured / "run.json").write_text(json.dumps({**facts, "target_folder": "/gone/target"}))
    gone = ant("evaluate", "checkpoints", measured)
    assert (gone.code, "as --target" in gone.err) == (1, True), gone.err
    done = ant("evaluate", "report", measured, "--target", tiny_target, *OFFLINE)
    assert done.code == 0, done.err
    assert "left out" not in done.err
    assert "The images in /gone/target are gone" not in (measured / "report.html").read_text()


def test_numbers_of_other_weights_are_measured_again(ant: Callable, measured: Path) -> None:
    before = json.loads((measured / "evaluation.json").read_text())
    take_checkpoint(Run(measured), 2, "a test wants it")
    done = ant("evaluate", "compare", measured, "--out", measured / "c.html", *OFFLINE)
    assert (done.code, done.out) == (1, "")
    assert "has not been measured, or its weights have changed since" in done.err
    assert f"hint: ant evaluate all {measured}" in done.err
    assert not (measured / "c.html").exists()
    done = ant("evaluate", "report", measured, *OFFLINE)
    assert done.code == 0, done.err
    assert "has no numbers of its present weights" in done.err
    after = json.loads((measured / "evaluation.json").read_text())
    assert after["weights_sha256"] == Run(measured).weights_sha256 != before["weights_sha256"]
    values = [one["rows"][0]["metrics"]["kid"]["value"] for one in (before, after)]
    assert values[0] != values[1]
    assert after["weights_sha256"] in (measured / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["report", "compare"])
@pytest.mark.parametrize("out", ["folder", "folder.html", "file/page.html", "page.txt"])
def test_a_page_that_has_no_place_is_said_first(
    command: str, out: str, ant: Callable, run: Path, tmp_path: Path
) -> None:
    for folder in ("folder", "folder.html"):
        (tmp_path / folder).mkdir()
    (tmp_path / "file").write_text("mine")
    done = ant("evaluate", command, run, "--out", tmp_path / out, *OFFLINE)
    assert (done.code, done.out) == (2, "")
    assert "--out" in done.err
    assert not (run / "samples").exists()
    assert (tmp_path / "file").read_text() == "mine"


def test_the_name_of_a_folder_is_no_part_of_the_page(
    ant: Callable, measured: Path, tmp_path: Path
) -> None:
    hostile = measured.rename(tmp_path / "<script>alert(1)")
    report_page, comparison = tmp_path / "r.html", tmp_path / "c.html"
    assert ant("evaluate", "report", hostile, "--out", report_page, *OFFLINE).code == 0
    assert ant("evaluate", "compare", hostile, "--out", comparison, *OFFLINE).code == 0
    for page in (report_page, comparison):
        html = page.read_text(encoding="utf-8")
        assert "<script" not in html
        assert "&lt;script&gt;alert(1)" in html


def test_runs_are_compared(ant: Callable, measured: Path, run: Path, tmp_path: Path) -> None:
    assert ant("evaluate", "all", run, "-n", 10, *OFFLINE).code == 0
    page = tmp_path / "comparison.html"
    done = ant("evaluate", "compare", measured, run, measured, "--out", page, *OFFLINE)
    assert done.code == 0, done.err
    kernel = done.out[done.out.index("Kernel distance\n") :].partition("\n\n")[0]
    assert "was measured in 2 ways, which do not compare" in kernel
    assert "they differ in generated images" in kernel
    names = [line.split("  ")[1] for line in kernel.splitlines() if line.startswith("  /")]
    assert names == [str(measured), str(run)], "each once, in two tables"
    html = page.read_text(encoding="utf-8")
    assert html.count("<img") == 3 * 4, "of both runs, and of their source once"
    found = json.loads(ant("evaluate", "compare", measured, "--json", "--out", page, *OFFLINE).out)
    assert [one["metric"] for one in found["metrics"]] == ["fid", "kid", "prdc", "memorization"]
    kept = json.loads((measured / "evaluation.json").read_text())
    value = kept["rows"][0]["metrics"]["fid"]["value"]
    assert found["metrics"][0]["tables"][0]["rows"][0]["value"] == value


def test_what_is_no_run_is_not_compared(ant: Callable, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = ant("evaluate", "compare", tmp_path / "empty", "--out", tmp_path / "c.html", *OFFLINE)
    assert (done.code, done.out) == (1, "")
    assert "is no run of ant" in done.err
    assert not (tmp_path / "c.html").exists()
