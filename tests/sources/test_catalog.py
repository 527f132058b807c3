import re
from pathlib import Path

import pytest

import antcli
from antcli.errors import AntError
from antcli.sources.catalog import HERE, Entry, catalog, entry_called

NAMES = {
    *(
        "avatars",
        "avatars-64",
        "ffhq",
        "ffhq-p2",
        "ffhq-large",
        "celebahq",
        "church",
        "bedroom",
        "cat",
        "cifar10",
    ),
    *("ffhq-ldm", "celebahq-ldm", "church-ldm", "imagenet-64", "imagenet-256"),
}
each = pytest.mark.parametrize("entry", catalog().values(), ids=lambda entry: entry.name)


def test_it_has_all_names() -> None:
    assert catalog().keys() >= NAMES


@each
def test_every_entry_is_whole(entry: Entry) -> None:
    assert sum(map(bool, (entry.builtin, entry.hub, entry.address))) == 1
    assert entry.resolution in (32, 64, 128, 256)
    assert entry.kind in ("pixels", "latents", "classifier")
    assert entry.licence
    assert entry.about
    assert entry.parameters
    assert entry.schedule["num_train_timesteps"] == 1000
    assert bool(entry.architecture) != bool(entry.builtin)


@each
def test_a_place_is_one_that_can_be_asked(entry: Entry) -> None:
    assert entry.hub.count("/") == (1 if entry.hub else 0)
    assert entry.address.startswith("https://") or not entry.address
    assert not entry.hub or re.fullmatch("[0-9a-f]{40}", entry.revision)
    assert re.fullmatch("([0-9a-f]{64})?", entry.sha256)
    assert re.fullmatch("([0-9a-f]{32})?", entry.md5)
    assert bool(entry.member) == entry.address.endswith(".zip")
    if entry.hub:  # the one file of a model is what has another format
        assert bool(entry.file) == (entry.format != "diffusers")


@each
def test_an_architecture_agrees_with_the_rest(entry: Entry) -> None:
    """What the original options tell is what the entry says in the program's own words."""
    told, schedule = entry.architecture, entry.schedule
    if entry.code == "ldm":
        assert told["linear_start"] == schedule["beta_start"]
        assert told["linear_end"] == schedule["beta_end"]
        assert schedule["beta_schedule"] == "scaled_linear"
        assert told["first_stage_config"]["ddconfig"]["resolution"] == entry.resolution
    elif entry.code == "adm":
        assert told["image_size"] == entry.resolution
        cosine = schedule["beta_schedule"] == "squaredcos_cap_v2"
        assert told["noise_schedule"] == ("cosine" if cosine else "linear")
    elif entry.code == "pesser":
        assert told["resolution"] == entry.resolution


def test_a_size_in_bytes_fits_the_parameters() -> None:
    """A file of float32 weights has four bytes for each, and little else."""
    for entry in catalog().values():
        if entry.bytes:
            assert entry.parameters
            assert 0 < entry.bytes - 4 * entry.parameters < 0.001 * entry.bytes


def test_terms_are_told_where_the_training_images_have_some() -> None:
    for name, entry in catalog().items():
        if re.search("ffhq|celeba|imagenet", name):
            assert "commercial" in entry.forbids


def test_every_address_of_a_source_is_in_the_catalogue_alone() -> None:
    for path in Path(antcli.__file__).parent.rglob("*.py"):
        text = path.read_text()
        for entry in catalog().values():
            assert not entry.address or entry.address not in text
            assert not entry.hub or entry.hub not in text
        if path.parent == HERE:
            assert "https://" not in text


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    assert entry_called("church").hub == "google/ddpm-ema-church-256"
    with pytest.raises(AntError, match="there is no source 'fhq'") as raised:
        entry_called("fhq")
    assert "did you mean ffhq" in raised.value.hint
