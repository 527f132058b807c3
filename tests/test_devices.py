import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Literal

import pytest
import torch
from accelerate import Accelerator, DistributedType

from antcli import devices
from antcli.devices import WAIT, make_accelerator, resolve_device, resolve_precision
from antcli.errors import AntError


def has(monkeypatch: pytest.MonkeyPatch, *, cuda: int = 0, mps: bool = False) -> None:
    """A machine with so many CUDA devices, or with that of a Mac."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "found"),
    [(1, True, "cuda"), (0, True, "mps"), (0, False, "cpu")],
)
def test_auto_takes_the_fastest_device(
    cuda: int, mps: bool, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, cuda=cuda, mps=mps)
    assert resolve_device("auto") == found
    assert resolve_device("cpu") == "cpu"


def test_a_device_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, cuda=2)
    assert resolve_device("cuda:1") == "cuda:1"


@pytest.mark.parametrize(("count", "there"), [(1, "cuda:0 alone is"), (2, "cuda:0 to cuda:1 are")])
def test_a_number_past_the_last_device(
    count: int, there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, cuda=count)
    for device in (f"cuda:{count}", "cuda:99"):
        with pytest.raises(AntError, match=f"no {device} here, {there}") as raised:
            resolve_device(device)
        assert raised.value.exit_code == 1


@pytest.mark.parametrize("device", ["cuda", "cuda:3", "mps"])
def test_a_device_that_is_not_there(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch)
    with pytest.raises(AntError, match=r"there is no (cuda|mps) device here") as raised:
        resolve_device(device)
    assert "auto" in raised.value.hint
    assert raised.value.exit_code == 1


@pytest.mark.parametrize(
    "device", ["gpu", "", "tpu:0", "CPU", "cuda:x", "cuda:", "cuda:-1", "cpu:1"]
)
def test_an_unknown_device(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, cuda=2)
    with pytest.raises(AntError, match="unknown device") as raised:
        resolve_device(device)
    assert raised.value.exit_code == 2


def test_precision_is_as_asked_or_what_the_device_does_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for asked in ("no", "fp16", "bf16"):
        assert resolve_precision(asked, "cpu") == asked  # type: ignore[arg-type]
    for native in (True, False):
        monkeypatch.setattr("antcli.devices._cpu_has_bf16", lambda native=native: native)
        assert resolve_precision("auto", "cpu") == ("bf16" if native else "no")
    assert resolve_precision("auto", "mps") == "no"


@pytest.mark.parametrize(
    ("generation", "best"),
    [(7, "fp16"), (8, "bf16"), (9, "bf16")],
    ids=["T4", "A100", "H100"],
)
def test_emulated_bf16_does_not_count(
    generation: int, best: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch emulates bf16 where the card has none, and calls it supported unless asked better."""
    has(monkeypatch, cuda=1)
    card = SimpleNamespace(major=generation, minor=0)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: card)
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda _device: True)
    assert torch.cuda.is_bf16_supported()
    assert resolve_precision("auto", "cuda:0") == best


def test_processes_wait_long_enough_for_one_that_trains_a_classifier() -> None:
    code = (
        "import torch\n"
        "from antcli.devices import make_accelerator\n"
        "for _ in range(2): accelerator = make_accelerator('cpu', 'no')\n"
        "assert accelerator.distributed_type == 'MULTI_CPU'\n"
        "group = torch.distributed.group.WORLD._get_backend(torch.device('cpu'))\n"
        "print(group.options._timeout.total_seconds())\n"
    )
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | alone | place,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == WAIT.total_seconds() >= 600


@pytest.mark.parametrize("kind", [DistributedType.FSDP, DistributedType.DEEPSPEED])
def test_what_takes_networks_apart_is_refused(
    kind: DistributedType, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = SimpleNamespace(distributed_type=kind)
    monkeypatch.setattr(devices, "Accelerator", lambda **_: made)
    with pytest.raises(AntError, match=f"configured for {kind.value}") as raised:
        make_accelerator("cpu", "no")
    assert raised.value.exit_code == 2


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
