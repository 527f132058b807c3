from typing import get_args, get_type_hints

from antcli.cli.adapt import adapt_command
from antcli.config import adapt_config_from
from antcli.methods.build import stages_of
from antcli.methods.table import METHODS, Method


def test_ant_is_adaptors_adversarial_noise_and_guidance() -> None:
    assert METHODS["ant"] == Method("adaptors", "adversarial", "guided")


def test_plain_fine_tuning_is_everything_and_nothing() -> None:
    assert METHODS["full"] == Method("full", "gaussian", "noise")


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
    names = {"source": "a", "target": "b"}
    configs = {name: adapt_config_from(names, {"method": name}) for name in METHODS}
    needing = {name for name, config in configs.items() if "classifier" in stages_of(config)}
    assert needing == {"ant", "adaptor-guided", "ant-lora", "bridge"}


def test_the_command_offers_every_method() -> None:
    # Written out there, so that `ant --help` imports nothing heavy.
    offered, _none = get_args(get_type_hints(adapt_command)["method"])
    assert set(get_args(offered)) == set(METHODS)
