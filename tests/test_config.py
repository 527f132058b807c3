import tomllib
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from antcli.config import (
    AdaptConfig,
    adapt_config_from,
    differences,
    label,
    method_of,
    read_toml,
    to_toml,
)
from antcli.errors import AntError
from antcli.methods.build import stages_of
from antcli.methods.presets import paper
from antcli.methods.table import METHODS, Method, choice
from antcli.methods.trainable.lora import LoraSettings
from antcli.settings import checked, settings

NAMES: dict[str, Any] = {"source": "avatars", "target": "photos"}


def config_of(**settings: Any) -> AdaptConfig:
    return adapt_config_from(NAMES, settings)


def wrong(**settings: Any) -> AntError:
    with pytest.raises(AntError) as raised:
        adapt_config_from(NAMES, settings)
    assert raised.value.exit_code == 2
    assert raised.value.hint
    return raised.value


# --- layers --------------------------------------------------------------------------------


def test_defaults_hold_where_nothing_is_said() -> None:
    plain = AdaptConfig(source="avatars", target="photos", method="ant")
    assert adapt_config_from(NAMES, {"method": "ant"}) == plain


def test_the_bridge_is_the_default_with_settings_of_its_own() -> None:
    bridge = adapt_config_from(NAMES)
    assert bridge.method == AdaptConfig("", "").method == "bridge"
    assert (bridge.training.steps, bridge.training.ema_decay) == (240, 0.97)
    assert (bridge.training.learning_rate, bridge.training.final_learning_rate) == (1e-3, 0.02)
    assert bridge.lora.rank == 16
    said = adapt_config_from(NAMES, {"training": {"steps": 7}, "lora": {"rank": 4}})
    assert (said.training.steps, said.training.learning_rate, said.lora.rank) == (7, 1e-3, 4)
    assert adapt_config_from(NAMES, {"method": "lora"}).lora.rank == LoraSettings().rank


def test_later_layers_win_setting_by_setting() -> None:
    layers: list[dict[str, Any]] = [
        {"training": {"steps": 5, "batch_size": 6}, "seed": 1},
        {"training": {"steps": 7}},
        {"training": {}, "noise": {"omega": 0.5}},
    ]
    config = adapt_config_from(NAMES, *layers)
    assert (config.training.steps, config.training.batch_size) == (7, 6)
    assert (config.seed, config.noise.omega) == (1, 0.5)
    assert config.training.learning_rate == adapt_config_from(NAMES).training.learning_rate


def test_layers_are_not_changed() -> None:
    first, second = {**NAMES, "training": {"steps": 5}}, {"training": {"steps": 7}}
    adapt_config_from(first, second)
    assert first["training"] == {"steps": 5}
    assert second["training"] == {"steps": 7}


def test_the_paper_preset_holds_the_papers_settings() -> None:
    config = adapt_config_from(paper((3, 256, 256), latent=False), NAMES)
    assert config.method == "ant"
    assert (config.noise.inner_steps, config.noise.omega) == (10, 0.02)
    assert config.noise.gradient == "full"
    assert (config.guidance.gamma, config.guidance.coefficient) == (5.0, "paper")
    assert (config.adaptor.pooling, config.adaptor.width) == (4, 8)
    assert (config.training.batch_size, config.training.learning_rate) == (40, 5e-5)


def test_whole_numbers_serve_as_floats() -> None:
    gamma = adapt_config_from(NAMES, {"guidance": {"gamma": 3}}).guidance.gamma
    assert gamma == 3.0
    assert type(gamma) is float


# --- TOML ----------------------------------------------------------------------------------


def test_every_setting_survives_toml(tmp_path: Path) -> None:
    config = adapt_config_from(
        {"source": 'C:\\my "models"\t', "target": "Fotos/grün – 日本 😀 \x7f", "method": "full"},
        {"seed": 2**40, "device": "cuda:1", "mixed_precision": "bf16"},
        {"training": {"learning_rate": 1e-7, "flip": False}},
        {"noise": {"omega": 1 / 3, "gradient": "full"}, "guidance": {"gamma": 1e20}},
    )
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    assert adapt_config_from(read_toml(path)) == config


def test_toml_names_every_setting() -> None:
    values = tomllib.loads(to_toml(adapt_config_from(NAMES)))
    assert values == asdict(adapt_config_from(NAMES))
    assert {f.name for f in fields(AdaptConfig)} == set(values)


@pytest.mark.parametrize("content", [b"steps = ", b"[training\n", b"a = 1\na = 2\n", b"\xff\xfe"])
def test_a_file_that_is_no_toml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(AntError, match=r"mine\.toml is not valid TOML") as raised:
        read_toml(path)
    assert raised.value.exit_code == 2


def test_no_such_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(AntError, match="cannot read") as raised:
            read_toml(path)
        assert raised.value.exit_code == 2


# --- what is refused -----------------------------------------------------------------------


def test_an_unknown_setting_is_answered_with_the_nearest() -> None:
    error = wrong(training={"learning_rte": 1.0})
    assert "unknown setting training.learning_rte" in error.message
    assert "training.learning_rate" in error.hint
    error = wrong(trainin={})
    assert "did you mean training?" in error.hint
    error = wrong(noise={"zzz": 1})
    assert "inner_steps, omega, gradient" in error.hint


@pytest.mark.parametrize(
    ("settings", "name", "kind"),
    [
        ({"training": {"steps": "many"}}, "training.steps", "int"),
        ({"training": {"steps": 2.5}}, "training.steps", "int"),
        ({"training": {"steps": True}}, "training.steps", "int"),
        ({"training": {"flip": 1}}, "training.flip", "bool"),
        ({"noise": {"omega": "big"}}, "noise.omega", "float"),
        ({"noise": {"omega": False}}, "noise.omega", "float"),
        ({"source": 3}, "source", "str"),
        ({"seed": {"a": 1}}, "seed", "int"),
        ({"training": 3}, "training", "table"),
        ({"training": ["steps"]}, "training", "table"),
    ],
)
def test_a_value_of_the_wrong_kind(settings: dict[str, Any], name: str, kind: str) -> None:
    error = wrong(**settings)
    assert error.message.startswith(f"{name} is ")
    assert kind in error.hint


def test_a_choice_that_does_not_exist() -> None:
    error = wrong(guidance={"coefficient": "papr"})
    assert "guidance.coefficient is 'papr'" in error.message
    assert "paper, code, derived" in error.hint
    wrong(mixed_precision=16)
    error = wrong(method="antt")
    assert "adaptor-guided" in error.hint


@pytest.mark.parametrize("missing", ["source", "target"])
def test_source_and_target_must_be_there(missing: str) -> None:
    with pytest.raises(AntError, match=missing) as raised:
        adapt_config_from({k: v for k, v in NAMES.items() if k != missing})
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("table", "key", "bad", "good"),
    [
        ("training", "steps", [0, -1], [1]),
        ("training", "batch_size", [0], [1]),
        ("training", "learning_rate", [0.0, -1.0], [1e-9]),
        ("training", "warmup_steps", [-1], [0]),
        ("training", "final_learning_rate", [-0.1], [0.0, 1.0]),
        ("training", "beta1", [-0.1, 1.0], [0.0]),
        ("training", "beta2", [-0.1, 1.0], [0.5]),
        ("training", "weight_decay", [-0.1], [0.0]),
        ("training", "ema_decay", [-0.1, 1.0], [0.0, 0.9999]),
        ("training", "clip_norm", [0.0, -1.0], [0.1]),
        ("adaptor", "pooling", [0], [1, 3]),
        ("adaptor", "heads", [0, 3, -4], [2]),
        ("adaptor", "width", [0, 6, -4], [4, 16]),
        ("noise", "inner_steps", [-1], [0]),
        ("noise", "omega", [-0.1], [0.0]),
        ("guidance", "gamma", [-1.0], [0.0]),
        ("classifier", "steps", [0], [1]),
        ("classifier", "batch_size", [1], [2]),
        ("classifier", "learning_rate", [0.0], [1.0]),
        ("classifier", "weight_decay", [-1.0], [0.0]),
        ("classifier", "source_samples", [4], [5]),
        ("classifier", "sampling_steps", [0], [1]),
        ("preview", "images", [0], [1]),
        ("preview", "every", [0], [1]),
        ("preview", "sampling_steps", [-1], [0, 1]),
    ],
)
def test_ranges(table: str, key: str, bad: list[Any], good: list[Any]) -> None:
    for value in bad:
        error = wrong(**{table: {key: value}})
        assert table in error.message
        assert "out of range" in error.message
    for value in good:
        config = adapt_config_from(NAMES, {table: {key: value}})
        assert getattr(getattr(config, table), key) == value


def test_what_is_wrong_with_settings_as_a_whole_is_told_too() -> None:
    @settings
    class Whole:
        """Settings that check themselves."""

        least: int = 0

        def __post_init__(self) -> None:
            if self.least > 1:
                raise ValueError("least: 0 or 1")

    assert checked(Whole, {"least": 1}) == Whole(1)
    with pytest.raises(AntError, match=r"^least is out of range"):
        checked(Whole, {"least": 2})


def test_every_number_has_a_range() -> None:
    """-1e9 makes sense nowhere."""
    for table in fields(AdaptConfig):
        settings = getattr(AdaptConfig("", ""), table.name)
        if is_dataclass(settings):
            for key, value in asdict(settings).items():
                if type(value) in (int, float):
                    wrong(**{table.name: {key: type(value)(-1e9)}})


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_every_number_is_finite(bad: float) -> None:
    for table in fields(AdaptConfig):
        settings = getattr(AdaptConfig("", ""), table.name)
        if is_dataclass(settings):
            for key, value in asdict(settings).items():
                if type(value) is float:
                    assert "finite" in wrong(**{table.name: {key: bad}}).hint


def test_seeds_fit_the_generators() -> None:
    assert adapt_config_from(NAMES, {"seed": 2**63 - 1}).seed == 2**63 - 1
    for seed in (-1, 2**63):
        assert "seed" in wrong(seed=seed).message


def test_a_number_is_no_table() -> None:
    flags = {"training": {"steps": 5}}
    with pytest.raises(AntError, match="training is 3") as raised:
        adapt_config_from(NAMES, {"training": 3}, flags)
    assert raised.value.hint == "it is a table, [training]"


def test_a_setting_outside_of_its_table_is_sent_there() -> None:
    assert "[counterparts] has a setting noise" in wrong(noise=0.9).hint
    assert wrong(learning_rate=1e-3).hint == "it belongs below [training] or [classifier]"


# --- choices -------------------------------------------------------------------------------


def test_choices_without_a_name_are_a_method_of_their_own() -> None:
    chosen = {"trains": "norm", "noise": "adversarial", "target": "guided"}
    config = config_of(choices=chosen)
    assert config.method == "custom"
    assert method_of(config) == Method(**chosen)
    assert label(config) == "norm-adversarial-guided"
    assert (
        config.training.learning_rate
        == choice("trains", "norm").defaults["training"]["learning_rate"]
    )
    assert stages_of(config) == ("classifier",)


def test_what_is_not_chosen_is_plain() -> None:
    config = config_of(choices={"noise": "adversarial"})
    assert method_of(config) == Method("lora", "adversarial", "noise")


def test_a_named_method_that_is_varied_loses_its_name_and_keeps_its_preferences() -> None:
    bridge, varied = config_of(), config_of(method="bridge", choices={"target": "noise"})
    assert (bridge.method, varied.method) == ("bridge", "custom")
    assert varied.training == bridge.training
    assert replace(METHODS["bridge"], target="noise") == replace(
        method_of(varied), settings=METHODS["bridge"].settings
    )


def test_its_own_choice_leaves_a_method_its_name() -> None:
    assert config_of(method="ant", choices={"trains": "adaptors"}) == config_of(method="ant")


def test_choices_survive_their_file(tmp_path: Any) -> None:
    config = config_of(method="bridge", choices={"trains": "bias"}, penalties={"pairwise": 4.0})
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    assert adapt_config_from(read_toml(path)) == config


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ({"trains": "lorra"}, "choices.trains is 'lorra'"),
        ({"target": 3}, "choices.target is 3"),
        ({"penalties": "pairwise"}, "unknown setting choices.penalties"),
    ],
)
def test_choices_that_do_not_exist(choices: dict[str, Any], says: str) -> None:
    with pytest.raises(AntError, match=says) as raised:
        config_of(choices=choices)
    assert raised.value.exit_code == 2


# --- differences ---------------------------------------------------------------------------


def test_differences_name_what_changed() -> None:
    a = {"seed": 0, "training": {"steps": 5, "flip": True}, "gone": 1}
    b = {"seed": 0, "training": {"steps": 7, "flip": True}, "new": [2]}
    assert differences(a, b) == {
        "gone": "gone: 1 -> None",
        "new": "new: None -> [2]",
        "training.steps": "training.steps: 5 -> 7",
    }
    assert differences(a, a) == {}


def test_a_pretrained_classifier_is_trained_more_slowly() -> None:
    base = {"source": "avatars", "target": "x"}

    def rate(**settings: Any) -> float:
        return adapt_config_from(base, {"classifier": settings}).classifier.learning_rate

    assert rate() == 1e-3
    assert rate(init="imagenet-256") == 1e-4
    assert rate(init="imagenet-256", learning_rate=3e-4) == 3e-4
    assert rate(init="") == 1e-3
