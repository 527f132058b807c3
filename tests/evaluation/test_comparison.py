"""Several runs side by side: what does not compare shares no table."""

from __future__ import annotations

import json
from typing import Any

import pytest
from report_pages import (
    SOURCE_SPACE,
    Document,
    assert_needs_nothing,
    changed,
    samples,
)

from antcli.evaluation.report.comparison import (
    MeasuredRun,
    compare,
    comparison_html,
    comparison_text,
)
from antcli.evaluation.results import KINDS
from antcli.runs.run import Run


def names_in(compared: Any) -> list[list[str]]:
    return [[name for name, _ in table.rows] for table in compared.tables]


def test_runs_measured_alike_share_a_table_and_their_source_a_row(two: list[MeasuredRun]) -> None:
    for compared in compare(two):
        assert names_in(compared) == [["first", "second", "tiny, not adapted"]]
        assert compared.warning == ""
    kid = compare(two)[2].tables[0]
    assert [found["value"] for _, found in kid.rows] == [
        two[0].evaluation["rows"][0]["metrics"]["kid"]["value"],
        two[1].evaluation["rows"][0]["metrics"]["kid"]["value"],
        two[0].evaluation["rows"][1]["metrics"]["kid"]["value"],
    ]


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
    two: list[MeasuredRun], metric: str, key: str, value: object, said: str
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


def test_other_target_images_keep_what_compares_with_them_apart(two: list[MeasuredRun]) -> None:
    two[1].evaluation["target_sha256"][0] = "00" * 32
    apart = {compared.metric for compared in compare(two) if len(compared.tables) > 1}
    assert apart == {"intra-lpips", "memorization"}


def test_the_comparison_as_text(two: list[MeasuredRun]) -> None:
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


def test_the_comparison_as_json(two: list[MeasuredRun]) -> None:
    found = [json.loads(json.dumps(compared.as_dict())) for compared in compare(two)]
    assert [one["metric"] for one in found] == list(KINDS)
    table = found[2]["tables"][0]
    assert table["space"] == SOURCE_SPACE
    assert table["definition"]["estimator"] == "unbiased"
    assert [row["name"] for row in table["rows"]] == ["first", "second", "tiny, not adapted"]
    assert {"value", "low", "high"} <= table["rows"][0].keys()


def test_the_comparison_as_a_page(two: list[MeasuredRun], run: Run) -> None:
    changed(two[1], "kid", "space", "inception (sha256:12345678)")
    strip = [adapted for _, adapted in samples(run)[:8]]
    html = comparison_html(compare(two), [("first", strip), ("tiny, not adapted", strip)])
    assert_needs_nothing(html)
    page = Document(html)
    assert len(page.all("img")) == 16
    assert len(page.all("table")) == 6
    assert "Kernel distance in inception (sha256:12345678)" in page.text
    assert "do not compare with each other: they differ in space" in page.text
