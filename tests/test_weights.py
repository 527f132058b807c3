import argparse
import os
import pickle
import shutil
import subprocess
import sys
from collections import OrderedDict, defaultdict
from pathlib import Path
from types import ModuleType

import numpy
import pytest
import torch
from safetensors.torch import save_file

from antcli.errors import AntError
from antcli.weights import MOST_LEFTOVERS, misfit, read_checkpoint, read_weights

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7)}


class Cannon:
    """Fires when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('fired')",)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_of_both_formats_of_torch(zipped: bool, tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    torch.save(OrderedDict(TENSORS), file, _use_new_zipfile_serialization=zipped)
    torch.testing.assert_close(dict(read_weights(file)), TENSORS, rtol=0, atol=0)


def test_safetensors(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "a.safetensors")
    torch.testing.assert_close(dict(read_weights(tmp_path / "a.safetensors")), TENSORS)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_pickle_is_not_copied_into_memory(tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    torch.save(TENSORS, file)
    read = read_weights(file)
    assert str(file) in Path("/proc/self/maps").read_text()
    del read
    assert str(file) not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9])
def test_a_file_cut_short(kept: float, zipped: bool, tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    torch.save({"a": torch.randn(100)}, file, _use_new_zipfile_serialization=zipped)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(AntError, match=r"a\.pt is not a whole PyTorch weights file"):
        read_weights(file)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_not_run(zipped: bool, tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    content = {"a": torch.zeros(2), "hook": Cannon()}
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(AntError, match=r"asks for .*exec, which is more than weights") as raised:
        read_weights(file)
    assert "safetensors" in raised.value.hint


def test_a_plain_pickle(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"G_ema": Path("x")}, protocol=2))
    with pytest.raises(AntError, match=r"asks for pathlib\.\w+"):
        read_weights(tmp_path / "a.pkl")


def test_the_notes_of_early_lightning_do_not_stand_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published latent-diffusion files have them; Lightning need not be installed."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    names = [name.rsplit(".", n)[0] for n in (2, 1, 0)]
    with monkeypatch.context() as patched:
        for module in names:
            patched.setitem(sys.modules, module, ModuleType(module))
        callback = type("ModelCheckpoint", (), {"__module__": name})
        sys.modules[name].ModelCheckpoint = callback  # type: ignore[attr-defined]
        notes = {"callbacks": {callback: {"best_model_score": torch.tensor(1.0)}}}
        torch.save({"state_dict": TENSORS, **notes}, tmp_path / "a.ckpt")
    read = read_weights(tmp_path / "a.ckpt")
    torch.testing.assert_close(read["state_dict"], TENSORS)


@pytest.mark.parametrize("zipped", [True, False])
def test_what_a_training_leaves_is_passed_over(
    zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As LDM's own scheduler leaves its last factor, a number of numpy, in the optimiser's state;
    and nothing of it is imported or executed.
    """
    module = ModuleType("somebodys_training")
    fired: list[str] = []

    class Settings:
        __module__ = "somebodys_training"
        __qualname__ = "Settings"

        def __init__(self) -> None:
            self.rate = 1.0

        def __setstate__(self, state: object) -> None:
            fired.append("state")

    class Callback:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return module.build, ("x",)  # type: ignore[attr-defined]

    def build(_name: str) -> str:
        fired.append("build")
        return "built"

    build.__module__, build.__qualname__ = "somebodys_training", "build"
    module.Settings, module.build = Settings, build  # type: ignore[attr-defined]
    left = {
        "lr_schedulers": [{"last_f": numpy.float64(0.5), "step": numpy.int64(3)}],
        "array": numpy.arange(3),
        "hyper_parameters": argparse.Namespace(path=Path("x")),
        "settings": {Settings(): [Callback()]},
        "defaults": defaultdict(int),
    }
    file = tmp_path / "a.ckpt"
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "somebodys_training", module)
        content = {"state_dict": TENSORS, **left}
        torch.save(content, file, _use_new_zipfile_serialization=zipped)
        torch.testing.assert_close(read_checkpoint(file), TENSORS, rtol=0, atol=0)
    torch.testing.assert_close(read_checkpoint(file), TENSORS, rtol=0, atol=0)
    assert fired == []
    assert "somebodys_training" not in sys.modules


def test_what_cannot_be_passed_over_is_named(tmp_path: Path) -> None:
    torch.save({**TENSORS, "counts": defaultdict(int, a=1)}, tmp_path / "a.pt")
    with pytest.raises(AntError, match=r"asks for (builtins\.int|collections\.defaultdict)"):
        read_weights(tmp_path / "a.pt")


def test_a_file_that_names_no_end_of_classes_is_refused(tmp_path: Path) -> None:
    names = [f"class{number}" for number in range(MOST_LEFTOVERS + 1)]
    module = ModuleType("many")
    for name in names:
        setattr(module, name, type(name, (), {"__module__": "many"}))
    sys.modules["many"] = module
    try:
        torch.save([getattr(module, name) for name in names], tmp_path / "a.pt")
    finally:
        del sys.modules["many"]
    with pytest.raises(AntError, match=r"asks for many\.class"):
        read_weights(tmp_path / "a.pt")


def test_of_a_list_of_states_the_averages_are_taken(tmp_path: Path) -> None:
    """As ddim saves them."""
    model = {f"module.{name}": tensor + 1 for name, tensor in TENSORS.items()}
    optimiser = {"state": {0: {"step": 1}}, "param_groups": [{"lr": 1.0}]}
    torch.save([model, optimiser, 3, 500, TENSORS], tmp_path / "averaged.pth")
    torch.save([model, optimiser, 3, 500], tmp_path / "stepped.pth")
    torch.testing.assert_close(read_checkpoint(tmp_path / "averaged.pth"), TENSORS)
    stepped = {name: tensor + 1 for name, tensor in TENSORS.items()}
    torch.testing.assert_close(read_checkpoint(tmp_path / "stepped.pth"), stepped)


@pytest.mark.parametrize("content", [{1: torch.zeros(2)}, {("a",): torch.zeros(2)}, [[]], {}])
def test_what_has_no_named_tensors(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(AntError, match="has no weights in it"):
        read_checkpoint(tmp_path / "a.pt")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("code", [os.system, subprocess.call, exec, shutil.rmtree])
def test_calls_of_every_kind_are_refused(code: object, protocol: int, tmp_path: Path) -> None:
    class Call:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return code, (f"touch {tmp_path / 'fired'}",)

    for number, zipped in enumerate((True, False)):
        file = tmp_path / f"{number}.pt"
        torch.save(
            {**TENSORS, "x": Call()},
            file,
            _use_new_zipfile_serialization=zipped,
            pickle_protocol=protocol,
        )
        with pytest.raises(AntError, match=r"more than weights|not a whole PyTorch"):
            read_weights(file)
    assert not (tmp_path / "fired").exists()


def test_a_state_that_holds_itself(tmp_path: Path) -> None:
    state: dict[str, object] = {**TENSORS}
    state["model"] = {"state_dict": state}
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(AntError, match="has no weights in it"):
        read_checkpoint(tmp_path / "a.pt")


def test_something_else_than_a_mapping_has_no_weights(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "a.pt")
    assert read_weights(tmp_path / "a.pt") == {}


def test_misfits() -> None:
    shapes = {name: tensor.shape for name, tensor in TENSORS.items()}
    assert misfit(TENSORS, shapes) == ""
    assert misfit({"a": TENSORS["a"]}, shapes) == "b is missing"
    assert misfit(TENSORS, shapes | {"a": torch.Size([3, 2])}) == "a is [2, 3], not [3, 2]"
