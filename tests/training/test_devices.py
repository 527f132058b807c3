import os
from typing import Literal

import pytest
import torch
from accelerate import Accelerator

from antcli.errors import AntError
from antcli.training.devices import make_accelerator, resolve_device, resolve_precision


def has(monkeypatch: pytest.MonkeyPatch, *, cuda: bool = False, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "found"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_the_fastest_device(
    cuda: bool, mps: bool, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, cuda=cuda, mps=mps)
    assert resolve_device("auto") == found
    assert resolve_device("cpu") == "cpu"


def test_a_device_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, cuda=True)
    assert resolve_device("cuda:1") == "cuda:1"


@pytest.mark.parametrize("device", ["cuda", "cuda:3", "mps"])
def test_a_device_that_is_not_there(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch)
    with pytest.raises(AntError, match=r"there is no (cuda|mps) device here") as raised:
        resolve_device(device)
    assert "--device auto" in raised.value.hint
    assert raised.value.exit_code == 1


@pytest.mark.parametrize("device", ["gpu", "", "tpu:0", "CPU"])
def test_an_unknown_device(device: str) -> None:
    with pytest.raises(AntError, match="unknown device") as raised:
        resolve_device(device)
    assert raised.value.exit_code == 2


def test_precision_is_as_asked_or_what_the_device_does_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for asked in ("no", "fp16", "bf16"):
        assert resolve_precision(asked, "cpu") == asked  # type: ignore[arg-type]
    for native in (True, False):
        monkeypatch.setattr("antcli.training.devices._cpu_has_bf16", lambda native=native: native)
        assert resolve_precision("auto", "cpu") == ("bf16" if native else "no")
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda native=native: native)
        assert resolve_precision("auto", "cuda:0") == ("bf16" if native else "fp16")
    assert resolve_precision("auto", "mps") == "no"


@pytest.mark.parametrize("precisions", [("no", "bf16"), ("bf16", "no")])
def test_commands_of_one_process_have_each_their_precision(
    precisions: tuple[Literal["no", "bf16"], ...],
) -> None:
    layer, x = torch.nn.Linear(2, 2), torch.zeros(1, 2)
    for precision in precisions:
        accelerator = make_accelerator("cpu", precision)
        assert isinstance(accelerator, Accelerator)
        assert accelerator.device == torch.device("cpu")
        with accelerator.autocast():
            dtype = layer(x).dtype
        assert dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)


def test_the_cpu_of_one_command_is_not_that_of_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    make_accelerator("cpu", "no")
    assert "ACCELERATE_USE_CPU" not in os.environ
    monkeypatch.setenv("ACCELERATE_USE_CPU", "false")
    make_accelerator("cpu", "no")
    assert os.environ["ACCELERATE_USE_CPU"] == "false"
