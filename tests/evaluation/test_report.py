"""The report of a run, read as a browser reads it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from report_pages import (
    Document,
    assert_needs_nothing,
    image_of,
    made,
    measured,
    noise,
    samples,
)

from antcli.artifacts import save_tensors, write_json
from antcli.config import adapt_config_from
from antcli.errors import AntError
from antcli.evaluation.pairs import read_pairs
from antcli.evaluation.report.comparison import MeasuredRun, compare, comparison_html
from antcli.evaluation.report.content import report_html
from antcli.evaluation.report.page import WIDEST, WIDEST_PAGE, embedded, write_page
from antcli.evaluation.results import KINDS, plain
from antcli.images.conditions import Named
from antcli.runs.run import Run

LARGEST = 5_000_000
HOSTILE = "<script>\"'&"


def test_all_there_is_to_see_of_a_run(run: Run) -> None:
    html = report_html(run, measured(run), samples(run))
    page = Document(html)
    assert html.startswith("<!DOCTYPE html>")
    for part in (
        "sketches from avatars by ant",
        "What was adapted",
        "training.steps: 100 -> 50",
        "12" * 32,
        run.weights_sha256,
        "The target",
        "Samples beside the source's",
        "Over the steps",
        "The step to take is 25",
        "Measured",
        "Nearest pairs",
        "What to try next",
        *(kind.title for kind in KINDS.values()),
        *(kind.meaning for kind in KINDS.values()),
    ):
        assert part in page.text, part
    images = page.all("img")
    drawings = [one for one in images if (one["src"] or "").startswith("data:image/svg+xml")]
    assert len(drawings) == 1
    assert len(images) == 10 + 2 * 24 + 20 + 1
    assert all(one["alt"] for one in images)
    links = [link["href"] for link in page.all("a")]
    assert links == [f"#{section['id']}" for section in page.all("section")]
    assert len(links) == 8


def test_a_student_with_a_critic_shows_the_noise_before_it(run: Run) -> None:
    run.log.write_text('{"step": 1, "T": 5, "r_d": null}\n{"step": 2, "T": 9, "r_d": 0.9}\n')
    page = Document(report_html(run, measured(run), samples(run)))
    drawings = [i for i in page.all("img") if (i["src"] or "").startswith("data:image/svg+xml")]
    assert len(drawings) == 2
    assert "What lay before the critic" in page.text


@pytest.mark.parametrize(
    ("said", "told"), [({}, "nothing"), ({"training": {"steps": 50}}, "training.steps: 240 -> 50")]
)
def test_what_a_method_prefers_by_itself_is_no_changed_setting(
    said: dict[str, Any], told: str, run: Run
) -> None:
    facts = run.facts()
    names = {"source": "avatars", "target": facts["target_folder"], "method": "bridge"}
    config = asdict(adapt_config_from(names, said))
    write_json(run.facts_file, {**facts, "config": config})
    text = Document(report_html(run, measured(run), samples(run))).text
    assert f"Other than the defaults {told} Run" in " ".join(text.split())


def test_it_begins_with_the_pictures_and_ends_with_the_settings(run: Run) -> None:
    page = Image.fromarray(np.zeros((300, 2000, 3), np.uint8))
    page.save(run.preview)
    html = report_html(run, measured(run), samples(run))
    document = Document(html)
    preview = document.all("img")[0]
    assert preview["class"] == "hard", "enlarged with hard edges"
    assert image_of(preview).size == (WIDEST_PAGE, WIDEST_PAGE * 300 // 2000)
    worth = html[html.index(">What they are worth</h2>") : html.index(">What to try next</h2>")]
    assert "of the way from the source" in worth and "of the source&#39;s diversity" in worth
    assert "count as copies" in worth
    settings = html.index(">What was adapted</h2>")
    assert html.rindex("<h2>") < settings < html.index(run.weights_sha256)
    assert "12" * 32 not in html[:settings]
    assert html.index("seed 0") < html.index(">What they are worth</h2>")


def test_every_number_has_its_interval_space_and_definition(run: Run) -> None:
    evaluation = measured(run)
    text = Document(report_html(run, evaluation, samples(run))).text
    for row in evaluation["rows"]:
        kid = row["metrics"]["kid"]
        low, high = plain(kid["low"]), plain(kid["high"])
        assert f"{row['name']} {plain(kid['value'])} ({low} to {high})" in text
        assert f"{row['name']} {plain(row['metrics']['fid']['value'])} " in text
    assert "Kernel distance in source tiny (sha256:abababab, t=100)" in text
    assert "Memorization in LPIPS-squeeze v0.1 (trunk sha256:cdcdcdcd)" in text
    assert text.count("Definition: ") == len(KINDS)
    assert "kernel: (x.y / D + 1)^3; estimator: unbiased" in text
    assert "adapted: 1 of 2 target images have fewer than two samples" in text
    caution = evaluation["rows"][0]["metrics"]["prdc"]["cautions"][0]
    assert text.count(caution) == 1, "once, though both rows have it"


def test_the_page_needs_nothing_but_itself(run: Run) -> None:
    assert_needs_nothing(report_html(run, measured(run), samples(run)))


def test_names_are_text_whatever_they_are(tmp_path: Path) -> None:
    target = tmp_path / HOSTILE
    noise(target, [f"{i} <img src=x onerror=alert(1)>.png" for i in range(10)], 16)
    run = made(tmp_path / f"run {HOSTILE}", target, source=f"models/{HOSTILE}")
    evaluation = measured(run)
    evaluation["left_out"] = {"intra-lpips": HOSTILE}
    evaluation["rows"][0]["name"] = HOSTILE
    evaluation["rows"][0]["metrics"]["kid"]["space"] = f"source {HOSTILE}"
    html = report_html(run, evaluation, samples(run))
    assert_needs_nothing(html)
    text = Document(html).text
    assert f"{HOSTILE} from {HOSTILE} by ant" in text
    assert "3 <img src=x onerror=alert(1)>.png" in text
    assert f"Kernel distance in source {HOSTILE}" in text
    one = MeasuredRun(str(run.folder), HOSTILE, evaluation)
    assert_needs_nothing(comparison_html(compare([one]), [(HOSTILE, [samples(run)[0][0]])]))


def test_a_name_that_is_no_text_does_not_stop_the_report(run: Run, tmp_path: Path) -> None:
    facts = run.facts()
    folder = b"/photos/caf\xe9".decode("utf-8", "surrogateescape")
    write_json(run.facts_file, {**facts, "target_folder": folder})
    write_json(run.evaluation, {})
    evaluation = measured_elsewhere(run, facts)
    write_page(tmp_path / "report.html", report_html(run, evaluation, samples(run)))
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "/photos/caf?, 10 images" in text
    assert "are gone, or have changed since the run" in text


def measured_elsewhere(run: Run, facts: dict[str, Any]) -> dict[str, Any]:
    """`measured`, for a run whose target has been moved since."""
    now = run.facts()
    write_json(run.facts_file, facts)
    evaluation = measured(run)
    write_json(run.facts_file, now)
    return evaluation


def test_large_photographs_stay_small(tmp_path: Path) -> None:
    target = tmp_path / "photos"
    noise(target, [f"{i}.png" for i in range(14)], 256)
    run = made(tmp_path / "run", target, size=192)
    place = tmp_path / "report.html"
    write_page(place, report_html(run, measured(run), samples(run)))
    assert place.stat().st_size < LARGEST
    page = Document(place.read_text(encoding="utf-8"))
    assert len(page.all("img")) == 12 + 2 * 24 + 20
    assert "2 more are not shown" in page.text


def test_images_are_the_ones_they_stand_for(run: Run) -> None:
    page = Document(report_html(run, measured(run), samples(run)))
    images = page.all("img")
    for attributes, path in zip(images[:2], samples(run)[0], strict=True):
        with Image.open(path) as original:
            assert np.array_equal(np.array(image_of(attributes)), np.array(original))
    first, (picture, pair) = images[-21], read_pairs(run.nearest_pairs)[0]
    assert np.array_equal(np.array(image_of(first)), np.array(picture))
    assert f"1. seed {pair['sample']}, distance {plain(pair['distance'])}" in page.text


def test_a_drawing_stays_sharp_and_a_photograph_becomes_small() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (600, 400, 3), dtype=np.uint8)
    small = Image.fromarray(pixels[:32, :32])
    sharp = {"src": embedded(small, "small").uri}
    assert image_of(sharp).format == "PNG"
    assert np.array_equal(np.array(image_of(sharp)), np.array(small))
    large = {"src": embedded(Image.fromarray(pixels), "large").uri}
    assert image_of(large).format == "JPEG"
    assert image_of(large).size == (WIDEST, WIDEST * 600 // 400)


def test_what_is_missing_is_said_with_the_way_to_it(run: Run, target: Path) -> None:
    evaluation = measured(run)
    evaluation["left_out"] = {"intra-lpips": "cannot get vgg16.pth"}
    for row in evaluation["rows"]:
        del row["metrics"]["intra-lpips"]
    run.nearest_pairs.unlink()
    run.scores.unlink()
    (target / "0.png").unlink()
    text = Document(report_html(run, evaluation, samples(run))).text
    assert "Intra-LPIPS: left out, cannot get vgg16.pth" in text
    assert "The page of nearest pairs is gone" in text
    assert f"ant evaluate all {run.folder}" in text
    assert "too short to have kept a checkpoint" in text
    assert "are gone, or have changed since the run" in text
    save_tensors(run.checkpoint_at(25), {"a": torch.zeros(1)}, {})
    text = Document(report_html(run, evaluation, samples(run))).text
    assert f"ant evaluate checkpoints {run.folder}" in text


def test_pairs_of_another_measurement_are_not_passed_off_as_these(run: Run) -> None:
    evaluation = measured(run)
    measured(run, shift=0.7)
    page = Document(report_html(run, evaluation, samples(run)))
    assert "another measurement has drawn it anew" in page.text
    assert len(page.all("img")) == 10 + 2 * 24 + 1


@pytest.mark.parametrize("content", [b"", b"PNG", b"\x89PNG\r\n\x1a\n"])
def test_a_page_of_pairs_that_is_none(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "pairs.png"
    assert read_pairs(path) == []
    path.write_bytes(content)
    assert read_pairs(path) == []


def test_a_report_that_cannot_be_written_leaves_nothing(run: Run, tmp_path: Path) -> None:
    place = tmp_path / "folder.html"
    place.mkdir()
    with pytest.raises(AntError, match="cannot write"):
        write_page(place, report_html(run, measured(run), samples(run)))
    assert list(place.iterdir()) == []
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_a_run_of_several_conditions_has_a_row_for_each(run: Run) -> None:
    evaluation = measured(run)
    names = ("hats", "specs")
    evaluation["conditions"] = [{"name": name, "rows": evaluation["rows"]} for name in names]
    facts, known = run.facts(), Named(names, (0,) * 4 + (1,) * 6)
    write_json(run.facts_file, {**facts, "conditions": known.as_dict()})
    html = report_html(run, evaluation, samples(run))
    page = Document(html)
    assert html.count("each condition beside its own images alone") == 2 * len(KINDS)
    for name in names:
        assert html.count(f'<th scope="row">{name}: adapted</th>') == len(KINDS)
    assert "seed 1, specs" in page.text
