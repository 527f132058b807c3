"""`ant evaluate intra-lpips` from the command line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from antcli.errors import AntError
from antcli.evaluation import evaluate
from antcli.evaluation.evaluate import evaluate_run
from antcli.evaluation.listener import Listener


def test_a_run_is_sampled_and_measured(ant: Callable, run: Path, random_trunk: Path) -> None:
    options = ["-n", 12, "--net", "squeeze", "--trunk-weights", random_trunk, "--device", "cpu"]
    done = ant("evaluate", "intra-lpips", run, *options, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["metric"] == "intra-lpips"
    own = {"metric", "value", "std", "clusters", "dropped", "definition", "space"}
    assert found.keys() == own | {"source"}
    assert found["source"].keys() == own
    assert sum(cluster["size"] for cluster in found["clusters"]) == 12
    assert len(found["clusters"]) == 10
    assert found["space"].startswith("LPIPS-squeeze v0.1 (")
    assert found["definition"]["net"] == "squeeze"
    assert len(list((run / "samples").iterdir())) == 12
    plain = ant("evaluate", "intra-lpips", run, *options)
    assert plain.out.startswith(f"intra-lpips {found['value']:.4f}")


def test_a_folder_against_a_target(ant: Callable, tiny_target: Path, random_trunk: Path) -> None:
    options = ["--net", "squeeze", "--trunk-weights", random_trunk, "--device", "cpu", "--json"]
    done = ant(
        "evaluate", "intra-lpips", "--images", tiny_target, "--target", tiny_target, *options
    )
    assert done.code == 0, done.err
    found = json.loads(done.out)
    # Every image is nearest to itself, so that no cluster has a pair.
    assert [cluster["size"] for cluster in found["clusters"]] == [1] * 10
    assert found["value"] is None
    assert found["dropped"] == 10


def test_the_crdi_protocol_counts_such_clusters_as_zero(
    ant: Callable, tiny_target: Path, random_trunk: Path
) -> None:
    options = ["--net", "squeeze", "--trunk-weights", random_trunk, "--protocol", "crdi", "--json"]
    folders = ["--images", tiny_target, "--target", tiny_target]
    found = json.loads(ant("evaluate", "intra-lpips", *folders, *options).out)
    assert found["definition"]["protocol"] == "crdi"
    assert found["dropped"] == 0
    assert all(c["mean"] == 0 for c in found["clusters"] if c["size"] < 2)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--images", "somewhere"], 2, "--target"),
        (["--images", "nowhere", "--target", "nowhere"], 1, "nowhere"),
        (["--net", "resnet"], 2, "--net"),
    ],
)
def test_wrong_usage(ant: Callable, arguments: list[str], code: int, says: str) -> None:
    done = ant("evaluate", "intra-lpips", *arguments)
    assert done.code == code
    assert says in done.err
    assert done.out == ""


def test_a_run_is_measured_by_its_own_source(ant: Callable, run: Path) -> None:
    done = ant("evaluate", "kid", run, "--source", "avatars")
    assert (done.code, "--source is for a folder of --images" in done.err) == (2, True)


def test_images_that_have_changed_since_are_not_measured_against(
    ant: Callable, run: Path, tiny_target: Path, tmp_path: Path
) -> None:
    facts = json.loads((run / "run.json").read_text())
    other = Path(shutil.copytree(tiny_target, tmp_path / "other"))
    (other / "0.png").unlink()
    (run / "run.json").write_text(json.dumps({**facts, "target_folder": str(other)}))
    done = ant("evaluate", "kid", run, "-n", 4)
    assert (done.code, "holds other images by now" in done.err) == (1, True)
    assert not (run / "samples").exists()
    assert ant("evaluate", "kid", run, "-n", 4, "--target", other).code == 0


def test_a_reference_serves_where_the_target_is_gone(
    ant: Callable, run: Path, tiny_target: Path
) -> None:
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "target_folder": "/gone/target"}))
    done = ant("evaluate", "kid", run, "-n", 4, "--reference", tiny_target)
    assert done.code == 0, done.err


def test_a_missing_trunk_is_said_before_anything_is_sampled(
    ant: Callable, run: Path, tmp_path: Path
) -> None:
    done = ant("evaluate", "intra-lpips", run, "--trunk-weights", tmp_path / "none.safetensors")
    assert done.code == 1
    assert "none.safetensors" in done.err
    assert not (run / "samples").exists()


def test_the_engine_is_heard_and_prints_nothing(
    run: Path, tiny_target: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    heard: list[tuple[str, int, int]] = []
    notes: list[str] = []
    listener = Listener(lambda *record: heard.append(record), notes.append)
    found = evaluate_run(
        run,
        metrics=["kid"],
        count=6,
        reference=str(tiny_target),
        device="cpu",
        listener=listener,
    )
    assert capfd.readouterr() == ("", "")
    assert [row["name"] for row in found["rows"]] == ["adapted", "source, not adapted"]
    assert list(found["rows"][0]["metrics"]) == ["kid"]
    assert heard[-1] == ("encoding: source, not adapted", 6, 6)
    assert {what for what, _, _ in heard} >= {"sampling", "sampling the source"}
    assert [note for note in notes if "`reference`" in note]
    assert not (run / "evaluation.json").exists(), "of one metric nothing is kept"


def test_numbers_that_are_none_are_null(
    ant: Callable, run: Path, random_trunk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = evaluate.measure

    def measure(*given: Any) -> Any:
        found = own(*given)
        found["kid"]["value"], found["fid"]["value"] = float("nan"), float("inf")
        return found

    monkeypatch.setattr(evaluate, "measure", measure)
    options = {"net": "squeeze", "trunk_weights": random_trunk, "device": "cpu"}
    found = evaluate_run(run, count=6, **options)
    metrics = found["rows"][0]["metrics"]
    assert (metrics["kid"]["value"], metrics["fid"]["value"]) == (None, None)
    kept = (run / "evaluation.json").read_text()
    assert json.loads(kept) == found
    assert "NaN" not in kept and "Infinity" not in kept
    trunk = ["--net", "squeeze", "--trunk-weights", random_trunk, "--device", "cpu"]
    done = ant("evaluate", "all", run, "-n", 6, *trunk)
    assert done.code == 0, done.err
    assert "kid none, 95 % interval" in done.out and "fid none" in done.out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"metrics": ["kid", "is"]}, "unknown metrics: is"),
        ({"metrics": []}, "no metric"),
        ({"count": 1}, "1 samples are too few"),
        ({"images": "photos"}, "both a run and `images`"),
    ],
)
def test_settings_that_cannot_be(run: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(AntError, match=says):
        evaluate_run(str(run), **options)
