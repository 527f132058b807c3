"""The report of a run and the comparison of several, read as a browser reads them."""

from __future__ import annotations

import base64
import copy
import io
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from antcli.artifacts import file_hash, save_tensors, write_json
from antcli.config import AdaptConfig, StoppingConfig, TrainingConfig
from antcli.errors import AntError
from antcli.evaluation.frechet import Gaussian, frechet
from antcli.evaluation.intra_lpips import Cluster, IntraLpips
from antcli.evaluation.kernel import kernel_distance
from antcli.evaluation.manifold import prdc
from antcli.evaluation.memorization import memorization
from antcli.evaluation.pairs import read_pairs, write_pairs
from antcli.evaluation.report import report_html, write_report
from antcli.evaluation.report.advice import advise
from antcli.evaluation.report.comparison import Measured, compare
from antcli.evaluation.report.comparison_page import comparison_text, write_comparison
from antcli.evaluation.report.kept import read_evaluation
from antcli.evaluation.report.numbers import KINDS, plain
from antcli.evaluation.report.pictures import WIDEST, embedded
from antcli.evaluation.stopping import Score, write_scores
from antcli.images.folder import ImageFiles, check_folder
from antcli.runs import Run

LARGEST = 5_000_000
SCORES = [Score(0, 2.0, 1.0, 0.0), Score(25, 0.5, 0.95, 0.1), Score(50, 0.49, 0.9, 0.2)]
SOURCE_SPACE = "source tiny (sha256:" + "ab" * 32 + ", t=100)"
LPIPS_SPACE = "LPIPS-squeeze v0.1 (trunk sha256:" + "cd" * 32 + ")"
HOSTILE = "<script>\"'&"


# --- a run without a network -----------------------------------------------------------------


def noise(folder: Path, names: list[str], size: int) -> tuple[Path, ...]:
    """Images of noise, the hardest to make small."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(len(names))
    for name in names:
        pixels = draw.integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return tuple(folder / name for name in names)


def made(
    folder: Path, target: Path, *, size: int = 16, source: str = "avatars", auto: bool = False
) -> Run:
    """A finished run of 50 steps with 24 samples of its own and of its source."""
    run = Run(folder)
    config = AdaptConfig(
        source, str(target), training=TrainingConfig(steps=50), stopping=StoppingConfig(auto=auto)
    )
    identity = {
        "source_sha256": "12" * 32,
        "target_folder": str(target),
        "target_sha256": [file_hash(path) for path in check_folder(target)],
    }
    run.begin(config, identity, clear=False)
    run.write_facts(config, identity, status="finished", step=50)
    run.weights.write_bytes(b"weights")
    names = [f"{seed:06d}.png" for seed in range(24)]
    for samples in (run.samples, run.source_samples):
        noise(samples, names, size)
    return run


def metrics(fake: Tensor, real: Tensor) -> dict[str, Any]:
    """What is measured of features, and a cluster or two of Intra-LPIPS."""
    clusters = (Cluster("0.png", 23, 23, 0.25), Cluster("1.png", 1, 1, None))
    lpips = IntraLpips(0.25, None, clusters, 1, {"net": "squeeze", "size": 256, "images": 24})
    space = {"space": SOURCE_SPACE, "reference_sha256": "ef" * 32}
    copies = memorization(torch.cdist(fake, real), torch.cdist(real, real))
    return {
        "intra-lpips": {**lpips.as_dict(), "space": LPIPS_SPACE},
        "fid": {**frechet(Gaussian.fit(real), Gaussian.fit(fake)).as_dict(), **space},
        "kid": {**kernel_distance(real, fake).as_dict(), **space},
        "prdc": {**prdc(real, fake).as_dict(), **space},
        "memorization": {**copies.as_dict(), "space": LPIPS_SPACE},
    }


def measured(run: Run, shift: float = 0.5) -> dict[str, Any]:
    """What `ant evaluate all` keeps, of features that are drawn: the source's are far off."""
    draw = torch.Generator().manual_seed(0)
    real, fake, own = (torch.randn(n, 4, generator=draw).double() for n in (10, 24, 24))
    rows = [
        {"name": "adapted", "metrics": metrics(fake + shift, real)},
        {"name": "source, not adapted", "metrics": metrics(own + 3, real)},
    ]
    target = run.facts()["target_sha256"]
    evaluation = {
        "space": SOURCE_SPACE,
        "reference_images": 10,
        "reference_sha256": "ef" * 32,
        "target_images": 10,
        "target_sha256": target,
        "images": 24,
        "seed": 0,
        "left_out": {},
        "rows": rows,
        "weights_sha256": run.weights_sha256,
    }
    images = ImageFiles(tuple(sorted(run.samples.iterdir())))
    targets = ImageFiles(check_folder(Path(run.facts()["target_folder"])))
    pairs = rows[0]["metrics"]["memorization"]["pairs"]
    write_pairs(run.nearest_pairs, images, targets, pairs)
    write_json(run.evaluation, evaluation)
    return json.loads(run.evaluation.read_text(encoding="utf-8"))


def samples(run: Run) -> list[tuple[Path, Path]]:
    folders = (sorted(folder.iterdir()) for folder in (run.source_samples, run.samples))
    return list(zip(*folders, strict=True))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "sketches"
    noise(folder, [f"{i}.png" for i in range(10)], 24)
    return folder


@pytest.fixture
def run(tmp_path: Path, target: Path) -> Run:
    run = made(tmp_path / "run", target)
    write_scores(run.scores, SCORES)
    return run


# --- reading a page --------------------------------------------------------------------------

VOID = {"meta", "img", "br", "link"}


class Document(HTMLParser):
    """Tags, attributes and texts of a page; fails where tags are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def assert_needs_nothing(html: str) -> None:
    """No script, and nothing that a browser would fetch or follow elsewhere."""
    page = Document(html)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {
        tag for tag, _ in page.tags
    }
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "data", "poster", "action", "style"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/")), attributes
    assert "url(" not in html and "@import" not in html
    assert "http:" not in html and "https:" not in html


def image_of(attributes: dict[str, str | None]) -> Image.Image:
    kind, content = (attributes["src"] or "").split(",", 1)
    assert kind.startswith("data:image/")
    return Image.open(io.BytesIO(base64.b64decode(content)))


# --- the report ------------------------------------------------------------------------------


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
    assert len(links) == 7


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
    comparison = tmp_path / "comparison.html"
    one = Measured(str(run.folder), HOSTILE, evaluation)
    write_comparison(comparison, compare([one]), [(HOSTILE, [samples(run)[0][0]])])
    assert_needs_nothing(comparison.read_text(encoding="utf-8"))


def test_a_name_that_is_no_text_does_not_stop_the_report(run: Run, tmp_path: Path) -> None:
    facts = run.facts()
    folder = b"/photos/caf\xe9".decode("utf-8", "surrogateescape")
    write_json(run.facts_file, {**facts, "target_folder": folder})
    write_json(run.evaluation, {})
    evaluation = measured_elsewhere(run, facts)
    write_report(tmp_path / "report.html", run, evaluation, samples(run))
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
    write_report(place, run, measured(run), samples(run))
    assert place.stat().st_size < LARGEST
    page = Document(place.read_text(encoding="utf-8"))
    assert len(page.all("img")) == 12 + 2 * 24 + 20
    assert "2 more are not shown" in page.text


def test_images_are_the_ones_they_stand_for(run: Run) -> None:
    page = Document(report_html(run, measured(run), samples(run)))
    images = page.all("img")
    for attributes, path in zip(images[10:12], samples(run)[0], strict=True):
        with Image.open(path) as original:
            assert np.array_equal(np.array(image_of(attributes)), np.array(original))
    first, (picture, pair) = images[-20], read_pairs(run.nearest_pairs)[0]
    assert np.array_equal(np.array(image_of(first)), np.array(picture))
    assert f"1. seed {pair['sample']}, distance {plain(pair['distance'])}" in page.text


def test_a_drawing_stays_sharp_and_a_photograph_becomes_small() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (600, 400, 3), dtype=np.uint8)
    small = Image.fromarray(pixels[:32, :32])
    sharp = {"src": re.findall('src="([^"]*)"', embedded(small, "small"))[0]}
    assert image_of(sharp).format == "PNG"
    assert np.array_equal(np.array(image_of(sharp)), np.array(small))
    large = {"src": re.findall('src="([^"]*)"', embedded(Image.fromarray(pixels), "large"))[0]}
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
        write_report(place, run, measured(run), samples(run))
    assert list(place.iterdir()) == []
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


# --- what to try next --------------------------------------------------------------------------


def advice(run: Run, evaluation: dict[str, Any], scores: list[Score]) -> str:
    return "\n".join(f"{one.text}\n{one.command}" for one in advise(run, evaluation, scores))


def set_all(evaluation: dict[str, Any], row: int, metric: str, **values: float) -> None:
    evaluation["rows"][row]["metrics"][metric].update(values)


def test_sound_numbers_suggest_nothing_but_a_larger_reference(run: Run) -> None:
    evaluation = measured(run)
    sound = [Score(0, 2.0, 1.0, 0.0), Score(50, 0.5, 0.95, 0.1), Score(75, 0.5, 0.9, 0.1)]
    write_scores(run.scores, sound)
    assert [one.command.split()[-2:] for one in advise(run, evaluation, sound)] == [
        ["--reference", "FOLDER"]
    ]
    evaluation["reference_images"] = 500
    assert advise(run, evaluation, sound) == []
    assert "The numbers suggest nothing" in report_html(run, evaluation, samples(run))


def test_each_number_out_of_order_has_its_advice(run: Run) -> None:
    evaluation, level = measured(run), SCORES[:2]
    another = advice(run, evaluation, SCORES)
    assert "The weights are those of step 50; the scores favour step 25" in another
    assert f"ant evaluate checkpoints {run.folder} --take" in another
    copying = copy.deepcopy(evaluation)
    set_all(copying, 0, "memorization", copy_rate=0.8)
    told = advice(run, copying, [])
    assert "80% of the samples count as copies, against 18% by chance" in told
    assert "--steps auto" in told and "more steps" not in told
    narrow = [Score(0, 2.0, 1.0, 0.0), Score(50, 0.5, 0.4, 0.1)]
    assert "keep 40% of the source's diversity" in advice(run, evaluation, narrow)
    still = copy.deepcopy(evaluation)
    set_all(still, 0, "kid", value=0.95 * still["rows"][1]["metrics"]["kid"]["value"])
    assert "--steps 100" in advice(run, still, [])
    assert "below = 1.0" in advice(run, still, [])
    assert "The last step is the nearest" in advice(run, evaluation, level)


def test_a_command_of_the_advice_survives_a_shell(tmp_path: Path) -> None:
    target = tmp_path / "my ten; drawings"
    noise(target, [f"{i}.png" for i in range(10)], 16)
    run = made(tmp_path / "a run", target)
    evaluation = measured(run)
    set_all(evaluation, 0, "memorization", copy_rate=0.8)
    command = next(one.command for one in advise(run, evaluation, []) if "adapt" in one.command)
    words = shlex.split(command)
    assert words[words.index("--target") + 1] == str(target)
    assert words[words.index("--out") + 1] == str(tmp_path / "a run-next")


def test_a_classifier_of_no_use_is_said(run: Run) -> None:
    report = {"useless": True, "best_accuracy": 0.5}
    save_tensors(run.classifier, {"a": torch.zeros(1)}, {"ant.report": report})
    assert "near guessing at every noise level" in advice(run, measured(run), SCORES)
    report = {"useless": False, "best_accuracy": None}
    save_tensors(run.classifier, {"a": torch.zeros(1)}, {"ant.report": report})
    assert "How good the classifier is remains unknown" in advice(run, measured(run), SCORES)


# --- numbers that are kept -----------------------------------------------------------------------


def test_kept_numbers_count_as_long_as_they_are_of_the_weights(run: Run) -> None:
    assert read_evaluation(run) is None
    evaluation = measured(run)
    assert read_evaluation(run) == evaluation
    run.weights.write_bytes(b"other weights")
    assert read_evaluation(run) is None


def test_kept_numbers_that_cannot_be_read_do_not_count(run: Run) -> None:
    evaluation = measured(run)
    for content in ("", "[]", json.dumps(evaluation)[:-9], '{"weights_sha256": 1}'):
        run.evaluation.write_text(content, encoding="utf-8")
        assert read_evaluation(run) is None
    del evaluation["rows"][1]["metrics"]["fid"]["space"]
    write_json(run.evaluation, evaluation)
    assert read_evaluation(run) is None


# --- the comparison ------------------------------------------------------------------------------


@pytest.fixture
def two(run: Run) -> list[Measured]:
    """Two runs from one source, measured alike."""
    ways = (measured(run), measured(run, shift=0.7))
    return [
        Measured(name, "tiny, not adapted", way)
        for name, way in zip(("first", "second"), ways, strict=True)
    ]


def names_in(compared: Any) -> list[list[str]]:
    return [[name for name, _ in table.rows] for table in compared.tables]


def test_runs_measured_alike_share_a_table_and_their_source_a_row(two: list[Measured]) -> None:
    for compared in compare(two):
        assert names_in(compared) == [["first", "second", "tiny, not adapted"]]
        assert compared.warning == ""
    kid = compare(two)[2].tables[0]
    assert [found["value"] for _, found in kid.rows] == [
        two[0].evaluation["rows"][0]["metrics"]["kid"]["value"],
        two[1].evaluation["rows"][0]["metrics"]["kid"]["value"],
        two[0].evaluation["rows"][1]["metrics"]["kid"]["value"],
    ]


def changed(measured: Measured, metric: str, key: str, value: object) -> None:
    """Let it have been measured in another way."""
    for row in measured.evaluation["rows"]:
        found = row["metrics"][metric]
        (found if key in found else found["definition"])[key] = value


@pytest.mark.parametrize(
    ("metric", "key", "value", "said"),
    [
        ("kid", "space", "inception (sha256:12345678)", "space"),
        ("fid", "reference_sha256", "00" * 32, "images compared with"),
        ("intra-lpips", "space", "LPIPS-vgg v0.1 (torchvision)", "space"),
        ("memorization", "space", "LPIPS-vgg v0.1 (torchvision)", "space"),
        ("prdc", "generated_images", 1000, "generated images"),
        ("kid", "seed", 1, "seed"),
    ],
)
def test_what_does_not_compare_shares_no_table(
    two: list[Measured], metric: str, key: str, value: object, said: str
) -> None:
    changed(two[1], metric, key, value)
    for compared in compare(two):
        if compared.metric != metric:
            assert len(compared.tables) == 1
            continue
        assert names_in(compared) == [
            ["first", "tiny, not adapted"],
            ["second", "tiny, not adapted"],
        ]
        assert compared.differing == (said,)
        assert f"do not compare with each other: they differ in {said}" in compared.warning
        captions = [table.caption for table in compared.tables]
        assert captions[0] != captions[1], "told apart where they stand"


def test_other_target_images_keep_what_compares_with_them_apart(two: list[Measured]) -> None:
    two[1].evaluation["target_sha256"][0] = "00" * 32
    apart = {compared.metric for compared in compare(two) if len(compared.tables) > 1}
    assert apart == {"intra-lpips", "memorization"}


def test_the_comparison_as_text(two: list[Measured]) -> None:
    changed(two[1], "fid", "reference_sha256", "00" * 32)
    lines = comparison_text(compare(two)).splitlines()
    start = lines.index("Precision, recall, density, coverage")
    head, *rows = lines[start + 2 : start + 6]
    assert [row.split("  ")[1] for row in rows] == ["first", "second", "tiny, not adapted"]
    for number in KINDS["prdc"].numbers:
        place = head.index(number.head)
        assert {row[place - 1] for row in rows} == {" "} and all(row[place] != " " for row in rows)
    assert sum(line.startswith("  definition: ") for line in lines) == 6
    assert any("do not compare with each other" in line for line in lines)


def test_the_comparison_as_json(two: list[Measured]) -> None:
    found = [json.loads(json.dumps(compared.as_dict())) for compared in compare(two)]
    assert [one["metric"] for one in found] == list(KINDS)
    table = found[2]["tables"][0]
    assert table["space"] == SOURCE_SPACE
    assert table["definition"]["estimator"] == "unbiased"
    assert [row["name"] for row in table["rows"]] == ["first", "second", "tiny, not adapted"]
    assert {"value", "low", "high"} <= table["rows"][0].keys()


def test_the_comparison_as_a_page(two: list[Measured], run: Run, tmp_path: Path) -> None:
    changed(two[1], "kid", "space", "inception (sha256:12345678)")
    place = tmp_path / "comparison.html"
    strip = [adapted for _, adapted in samples(run)[:8]]
    write_comparison(place, compare(two), [("first", strip), ("tiny, not adapted", strip)])
    html = place.read_text(encoding="utf-8")
    assert_needs_nothing(html)
    page = Document(html)
    assert len(page.all("img")) == 16
    assert len(page.all("table")) == 6
    assert "Kernel distance in inception (sha256:12345678)" in page.text
    assert "do not compare with each other: they differ in space" in page.text


# --- in a browser --------------------------------------------------------------------------------

PHONE = 360
"""Pixels: a narrow one. The window of a browser is wider, so the page goes into a frame."""
FRAME = """<iframe id="page" src="{name}" style="width:{width}px;height:800px;border:0"></iframe>
<pre id="seen"></pre><script>
onload = () => {{
  const root = page.contentDocument.documentElement;
  const images = [...page.contentDocument.images];
  seen.textContent = JSON.stringify({{
    heading: page.contentDocument.querySelector("h1").innerText,
    sections: page.contentDocument.querySelectorAll("section").length,
    images: images.length,
    shown: images.filter(one => one.naturalWidth > 0 && one.clientWidth > 0).length,
    wide: root.scrollWidth, room: root.clientWidth, high: root.scrollHeight,
  }});
}};
</script>"""


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Any]:
    """Opens a page in Chromium and tells what is there."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed")

    def look(page: Path) -> dict[str, Any]:
        frame = page.with_name("frame.html")
        frame.write_text(FRAME.format(name=page.name, width=PHONE), encoding="utf-8")
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
        own = [f"--user-data-dir={tmp_path / 'profile'}", "--allow-file-access-from-files"]
        done = subprocess.run(
            [chromium, *options, *own, frame.as_uri()], capture_output=True, text=True, timeout=300
        )
        found = re.search('<pre id="seen">(.*)</pre>', done.stdout)
        assert found and found[1], done.stderr[-2000:]
        return dict(json.loads(found[1]))

    yield look


def test_a_phone_shows_the_whole_report(seen: Any, run: Run, tmp_path: Path) -> None:
    place = tmp_path / "report.html"
    write_report(place, run, measured(run), samples(run))
    page = seen(place)
    assert page["heading"] == "sketches from avatars by ant"
    assert page["sections"] == 7
    assert page["shown"] == page["images"] == 10 + 2 * 24 + 20 + 1
    assert page["wide"] <= page["room"] <= PHONE
    assert page["high"] > 2000


def test_a_phone_shows_the_whole_comparison(
    seen: Any, two: list[Measured], run: Run, tmp_path: Path
) -> None:
    changed(two[1], "kid", "space", "inception (sha256:12345678)")
    long = [Measured("runs/" + "a-long-name" * 9, one.source, one.evaluation) for one in two[:1]]
    place = tmp_path / "comparison.html"
    strip = [adapted for _, adapted in samples(run)[:8]]
    write_comparison(place, compare([*two, *long]), [(long[0].name, strip)])
    page = seen(place)
    assert page["shown"] == page["images"] == 8
    assert page["wide"] <= page["room"] <= PHONE
