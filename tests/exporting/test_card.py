"""The model card, read by the model hub's own reader."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from report_pages import made, measured

from antcli.exporting.card import Card
from antcli.exporting.ungated import Change
from antcli.runs.run import Run
from antcli.sources.catalog import catalog
from antcli.sources.source import Source, find_source

CHANGE = Change("t = 500, 0.50 of the path of noise", 0.0123, 0.0456)


@pytest.fixture
def run(tmp_path: Path, tiny_target: Path) -> Run:
    return made(tmp_path / "my-run", tiny_target)


@pytest.fixture
def avatars() -> Source:
    return find_source("avatars")


def test_it_tells_source_licence_settings_and_hashes(run: Run, avatars: Source) -> None:
    card = ModelCard(Card(run, avatars, "diffusers", None).text())
    assert card.data.license == "mit"
    assert card.data.pipeline_tag == "unconditional-image-generation"
    assert 'DDPMPipeline.from_pretrained("THIS_FOLDER")' in card.text
    facts = run.facts()
    assert len(facts["target_sha256"]) == 10
    for told in (*facts["target_sha256"], facts["source_sha256"], run.weights_sha256):
        assert f"`{told}`" in card.text
    assert 'target = "colours"' in card.text and "[training]\nsteps = 50" in card.text
    assert str(run.folder.parent) not in card.text
    assert "leave out" not in card.text
    assert "`ant evaluate all RUN`" in card.text


def test_it_tells_what_was_measured_and_how_that_is_defined(run: Run, avatars: Source) -> None:
    evaluation = measured(run)
    text = Card(run, avatars, "diffusers", CHANGE).text()
    value = evaluation["rows"][0]["metrics"]["kid"]["value"]
    (row,) = (line for line in text.splitlines() if line.startswith(f"| adapted | {value:.3f} ("))
    assert row.endswith(" |")
    before, after = text.split(row)
    assert before.endswith("|  | kernel distance ↓ |\n| --- | --- |\n")
    assert after.startswith("\n| source, not adapted | ")
    assert "Definition: " in text and "estimator" in text
    assert CHANGE.told in text and "with the limit" in text
    run.weights.write_bytes(b"others")
    assert "kernel distance" not in Card(run, avatars, "diffusers", None).text()


@pytest.mark.parametrize(
    ("source", "licence", "base"),
    [
        ("ffhq", "other", catalog()["ffhq"].hub),
        ("church", "apache-2.0", catalog()["church"].hub),
        ("google/ddpm-ema-church-256", "apache-2.0", "google/ddpm-ema-church-256"),
        ("somebody/faces", "unknown", "somebody/faces"),
    ],
)
def test_the_licence_is_that_of_the_catalogue_or_unknown(
    source: str, licence: str, base: str, avatars: Source, tmp_path: Path, tiny_target: Path
) -> None:
    run = made(tmp_path / "run", tiny_target, source=source)
    card = ModelCard(Card(run, avatars, "kohya", None).text())
    assert (card.data.license, card.data.base_model) == (licence, base)
    if source == "ffhq":
        assert card.data.license_name == catalog()["ffhq"].licence
        assert f"It forbids {catalog()['ffhq'].forbids}" in card.text
    assert "run.safetensors" in card.text


def test_a_folder_of_this_machine_is_told_by_its_last_name(
    avatars: Source, tmp_path: Path, tiny_source: Path, tiny_target: Path
) -> None:
    run = made(tmp_path / "run", tiny_target, source=str(tiny_source))
    card = ModelCard(Card(run, avatars, "diffusers", None).text())
    assert card.data.license == "unknown" and card.data.base_model is None
    assert f"# colours from tiny, {run.config().method}" in card.text
    assert str(tiny_source) not in card.text
