from typing import Any

import pytest

from antcli.config import AdaptConfig, adapt_config_from
from antcli.errors import AntError
from antcli.methods.build import check_whole_batches, faster_than_all, stages_of
from antcli.methods.choice import Choice
from antcli.methods.table import CHOICES, METHODS, Method, choice

NAMES: dict[str, Any] = {"source": "a", "target": "b"}


def config_of(**settings: Any) -> AdaptConfig:
    return adapt_config_from(NAMES, settings)


def test_ant_is_adaptors_adversarial_noise_and_guidance() -> None:
    assert METHODS["ant"] == Method("adaptors", "adversarial", "guided")


def test_plain_fine_tuning_is_everything_and_nothing() -> None:
    assert METHODS["finetune"] == Method("all", "gaussian", "noise")


def test_plain_fine_tuning_has_its_name_of_before() -> None:
    assert config_of(method="full") == config_of(method="finetune")


def test_the_ablation_of_the_paper_is_there() -> None:
    """Adaptor only, with guidance, with adversarial noise, and both: four corners."""
    corners = {m for m in METHODS.values() if m.trains == "adaptors"}
    assert len(corners) == 4
    assert {(m.noise, m.target) for m in corners} == {
        (noise, target) for noise in ("gaussian", "adversarial") for target in ("noise", "guided")
    }


def test_no_point_of_the_grid_has_two_names() -> None:
    assert len({str(method) for method in METHODS.values()}) == len(METHODS)


def test_only_guidance_needs_a_classifier() -> None:
    needing = {name for name in METHODS if "classifier" in stages_of(config_of(method=name))}
    assert needing == {name for name, m in METHODS.items() if "guided" in m.target}


@pytest.mark.parametrize(("slot", "name"), [(s, n) for s, names in CHOICES.items() for n in names])
def test_every_choice_of_the_table_is_there_and_says_what_it_is(slot: str, name: str) -> None:
    found = choice(slot, name)
    assert isinstance(found, Choice)
    assert found.help


def test_what_trains_in_the_place_of_a_methods_own_has_its_own_rate() -> None:
    bridge = config_of(method="bridge").training
    other = config_of(method="bridge", choices={"trains": "norm"}).training
    alone = config_of(choices={"trains": "norm"}).training
    assert other.learning_rate == alone.learning_rate != bridge.learning_rate
    assert (other.steps, other.final_learning_rate) == (bridge.steps, bridge.final_learning_rate)
    same = config_of(method="bridge", choices={"trains": "lora", "target": "noise"}).training
    assert same == bridge


def test_counterparts_come_first_since_they_say_the_limit() -> None:
    stages = stages_of(config_of(method="bridge", choices={"trains": "modulation"}))
    assert stages[0] == "counterparts"
    assert set(stages) == {"counterparts", "modulated"}


@pytest.mark.parametrize(
    ("penalty", "fewest"), [("pairwise", 3), ("features", 3), ("contrastive", 2)]
)
def test_a_batch_too_small_to_compare_is_refused(penalty: str, fewest: int) -> None:
    def batch_of(size: int) -> AdaptConfig:
        return config_of(penalties={penalty: 1.0}, training={"batch_size": size})

    check_whole_batches(batch_of(fewest))
    with pytest.raises(AntError, match="compares the images of a batch") as refused:
        check_whole_batches(batch_of(fewest - 1))
    assert f"to {fewest} at least" in refused.value.hint


@pytest.mark.parametrize(("trains", "times"), [("norm", 5e-4 / 3e-2), ("all", 5e-4 / 7e-5)])
def test_what_a_network_is_told_of_its_images_trains_at_the_rate_of_additions(
    trains: str, times: float
) -> None:
    faster = faster_than_all(config_of(choices={"trains": trains}))
    assert faster == pytest.approx({"labels.": times, "conditions.": times, "own.": times})
    assert faster_than_all(config_of(method="bridge")) == {}
