"""The pages in a real browser, on a narrow phone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_pages import (
    changed,
    measured,
    samples,
)

from antcli.evaluation.report.comparison import MeasuredRun, compare, comparison_html
from antcli.evaluation.report.content import report_html
from antcli.evaluation.report.page import write_page
from antcli.runs.run import Run

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
    write_page(place, report_html(run, measured(run), samples(run)))
    page = seen(place)
    assert page["heading"] == "sketches from avatars by ant"
    assert page["sections"] == 8
    assert page["shown"] == page["images"] == 10 + 2 * 24 + 20 + 1
    assert page["wide"] <= page["room"] <= PHONE
    assert page["high"] > 2000


def test_a_phone_shows_the_whole_comparison(
    seen: Any, two: list[MeasuredRun], run: Run, tmp_path: Path
) -> None:
    changed(two[1], "kid", "space", "inception (sha256:12345678)")
    long = [MeasuredRun("runs/" + "a-long-name" * 9, one.source, one.evaluation) for one in two[:1]]
    place = tmp_path / "comparison.html"
    strip = [adapted for _, adapted in samples(run)[:8]]
    write_page(place, comparison_html(compare([*two, *long]), [(long[0].name, strip)]))
    page = seen(place)
    assert page["shown"] == page["images"] == 8
    assert page["wide"] <= page["room"] <= PHONE
