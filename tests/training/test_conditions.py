"""An adaptation to several conditions from beginning to end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from spread import adapt_into, spread

from antcli.artifacts import load_tensors
from antcli.config import AdaptConfig, adapt_config_from
from antcli.images.conditions import Named
from antcli.methods.counterparts import LADDER
from antcli.methods.trainable.denoiser import TOLD
from antcli.runs.adapted import conditions_of, load_adapted
from antcli.runs.run import Run
from antcli.training import counterparts as module
from antcli.training.adaptation import adapt, build_training
from antcli.training.counterparts import CounterpartsDrawn, load_counterparts, make_counterparts
from antcli.training.inputs import Inputs, check_inputs
from antcli.training.ladder import Tried
from antcli.training.loop import StepRecord

DRAWS = 2
QUICK: dict[str, Any] = {
    "device": "cpu",
    "mixed_precision": "no",
    "training": {"steps": 4, "batch_size": 5, "learning_rate": 0.01},
    "counterparts": {"draws": DRAWS, "steps": 2, "noise": 0.4},
    "classifier": {"steps": 2, "batch_size": 4, "source_samples": 5, "sampling_steps": 1},
    "modulation": {"probe_steps": 1, "probe_draws": 2},
    "preview": {"images": 2, "every": 2, "sampling_steps": 1},
}


@pytest.fixture
def settings(tiny_source: Path, tiny_conditions: Path) -> dict[str, Any]:
    return {**QUICK, "source": str(tiny_source), "target": str(tiny_conditions)}


def inputs_of(settings: dict[str, Any]) -> tuple[Inputs, AdaptConfig]:
    config = adapt_config_from(settings)
    return check_inputs(config), config


@pytest.mark.parametrize("method", ["bridge", "ant", "lora", "finetune", "adaptor", "adam"])
def test_every_method_trains_what_tells_conditions_apart(
    method: str, settings: dict[str, Any], tmp_path: Path, accelerator: Accelerator
) -> None:
    inputs, config = inputs_of({**settings, "method": method})
    run = Run(tmp_path / "run")
    records = [*adapt(inputs, config, run, accelerator)]
    assert sum(isinstance(record, StepRecord) for record in records) == 4
    assert isinstance(conditions_of(run), Named)
    weights = load_tensors(run.weights)
    assert weights["conditions.linear.weight"].shape[1] == 2
    apart = weights["conditions.linear.weight"].diff(dim=1).abs()
    assert apart.max() > 1e-4
    # No folder of one network says what several conditions come to.
    assert not run.model.exists()
    network = load_adapted(run, inputs.source)
    torch.testing.assert_close(
        network.state_dict()["conditions.linear.weight"].diff(dim=1).abs(), apart
    )


def test_a_run_that_was_cut_goes_on_as_if_it_had_not_been(
    settings: dict[str, Any], tmp_path: Path, accelerator: Accelerator
) -> None:
    inputs, config = inputs_of(settings)
    whole, cut = Run(tmp_path / "whole"), Run(tmp_path / "cut")
    for _ in adapt(inputs, config, whole, accelerator):
        pass
    with pytest.raises(KeyboardInterrupt):
        for _ in adapt(inputs, config, cut, accelerator, lambda: True):
            pass
    assert cut.facts()["step"] == 1
    for _ in adapt(inputs, config, cut, accelerator):
        pass
    found, expected = load_tensors(cut.weights), load_tensors(whole.weights)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_two_processes_give_the_weights_of_one(settings: dict[str, Any], tmp_path: Path) -> None:
    settings = {**settings, "training": {**QUICK["training"], "learning_rate": 1e-3}}
    one, two = Run(tmp_path / "one"), Run(tmp_path / "two")
    assert spread(1, adapt_into, one.folder, settings) == [1]
    assert spread(2, adapt_into, two.folder, settings) == [2, 2]
    found, expected = load_tensors(two.weights), load_tensors(one.weights)
    assert expected["conditions.linear.weight"].abs().max() > 1e-4
    # As for `bridge` in test_processes.py: Adam divides rounding by gradients next to none.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


# --- counterparts ----------------------------------------------------------------------------


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every other image is of the first domain; the second one takes more noise to hide."""
    found: list[int] = []

    def climb(own: Any, images: Any, drawing: Any, x_0: Any) -> Any:
        assert len(images) == len(x_0)
        found.append(len(images))
        changed = torch.zeros(1, 1, 16, 16)
        changed[..., :8, :] = 1
        rung = LADDER[0] if len(found) == 1 else LADDER[4]
        yield Tried(0, 1)
        return (rung, changed) if len(found) == 1 else (rung, None)

    monkeypatch.setattr(module, "climb", climb)
    return found


def test_each_domain_has_counterparts_in_its_own_way(
    settings: dict[str, Any],
    ways: list[int],
    tmp_path: Path,
    accelerator: Accelerator,
) -> None:
    settings["counterparts"] = {"draws": DRAWS, "steps": 2}
    inputs, config = inputs_of(settings)
    file = tmp_path / "counterparts.safetensors"
    records = [*make_counterparts(inputs, config, accelerator, file)]
    chosen = [r.chosen for r in records if isinstance(r, CounterpartsDrawn) and r.chosen]
    assert ways == [4, 6]
    assert [one.condition for one in chosen] == ["hats", "specs"]
    assert [one.anew for one in chosen] == [0.5, 1.0]
    assert chosen[0].noise < chosen[1].noise
    found = load_counterparts(file, inputs.source, torch.device("cpu"))
    path = inputs.source.path
    highest = module.shares(LADDER[4], path, 16)[1]
    assert found.t_limit == chosen[0].t_limit == chosen[1].t_limit == highest
    x_0 = found.examples.x_0.view(10, DRAWS, 3, 16, 16).int()
    given = inputs.target.images[:, None].int()
    # The lower half of hats has stayed; of the others nothing has.
    stayed = ((x_0 - given).abs() <= 1).float()[..., 8:, :].mean((1, 2, 3, 4))
    assert stayed[:4].min() == 1
    assert stayed[4:].max() < 0.5


def test_draws_are_of_their_image_whatever_the_order_of_domains(
    settings: dict[str, Any],
    tmp_path: Path,
    accelerator: Accelerator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the same noise for all, domains change nothing: seeds count images, not domains."""
    inputs, config = inputs_of(settings)
    files = [tmp_path / f"{name}.safetensors" for name in ("apart", "mixed", "one")]
    orders: list[Callable[[Inputs], dict[str, list[int]]] | None] = [
        None,
        lambda _: {"a": [1, 3, 5, 7, 9], "b": [0, 2, 4, 6, 8]},
        lambda _: {"": [*range(10)]},
    ]
    for file, order in zip(files, orders, strict=True):
        if order is not None:
            monkeypatch.setattr(Inputs, "domains", property(order))
        for _ in make_counterparts(inputs, config, accelerator, file):
            pass
    apart, mixed, one = (load_tensors(file)["x_0"].int() for file in files)
    # A batch of another size may round a level the other way.
    torch.testing.assert_close(apart, one, rtol=0, atol=1)
    torch.testing.assert_close(mixed, one, rtol=0, atol=1)


def test_conditions_train_at_their_own_rate(
    tiny_source: Path, tiny_conditions: Path, accelerator: Accelerator
) -> None:
    names = {"source": str(tiny_source), "target": str(tiny_conditions)}
    config = adapt_config_from(names, {"choices": {"trains": "norm"}, "training": {"steps": 2}})
    training = build_training(check_inputs(config), config, accelerator, {})
    part = training.parts[""]
    next(training.steps())
    rates = {
        id(parameter): group["lr"]
        for group in part.stepping.param_groups
        for parameter in group["params"]
    }
    low, high = (
        {rates[id(p)] for name, p in training.parameters.items() if name.startswith(TOLD) == told}
        for told in (True, False)
    )
    assert len(low) == len(high) == 1
    assert low.pop() == pytest.approx(high.pop() * 5e-4 / 3e-2)
