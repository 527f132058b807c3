"""The package as a library: what the commands do, as functions."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image

import antcli
from antcli.cli.main import main
from antcli.errors import AntError
from antcli.training.adaptation import Preview
from antcli.training.loop import StepRecord

SETTINGS: dict[str, Any] = {
    "method": "adaptor",
    "device": "cpu",
    "mixed_precision": "no",
    "training": {"steps": 2, "batch_size": 2, "learning_rate": 0.01},
    "preview": {"images": 1, "every": 2, "sampling_steps": 1},
}


@pytest.fixture(scope="module")
def run(tiny_source: Path, tiny_target: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder.parent))
        records = list(antcli.adapt(str(tiny_source), tiny_target, folder, **SETTINGS))
    assert [type(record) for record in records] == [Preview, StepRecord, StepRecord, Preview]
    return folder


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import antcli, sys; assert 'torch' not in sys.modules, 'torch'; print(dir(antcli))"
    root = Path(antcli.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        antcli.nothing  # noqa: B018


def test_what_is_wrong_is_told_at_once(run: Path, tiny_source: Path, tiny_target: Path) -> None:
    with pytest.raises(AntError, match="unknown setting"):
        antcli.adapt(str(tiny_source), tiny_target, trainin={})
    with pytest.raises(AntError, match="is finished"):
        antcli.adapt(str(tiny_source), tiny_target, run, **SETTINGS)


def test_a_loaded_run_draws_what_the_command_draws(run: Path, tmp_path: Path) -> None:
    pipeline = antcli.load(run)
    assert isinstance(pipeline, DiffusionPipeline)
    with pytest.raises(AntError) as refused:
        pipeline.save_pretrained(tmp_path / "saved")
    assert "`ant export" in refused.value.hint
    assert not (tmp_path / "saved").exists()
    command = ["sample", run, "-n", 2, "--steps", 3, "--out", tmp_path / "images"]
    with pytest.raises(SystemExit) as end:
        main([*map(str, command), "--device", "cpu"])
    assert end.value.code == 0
    drawn = [Image.open(tmp_path / "images" / f"{seed:06d}.png") for seed in range(2)]
    images = pipeline.to("cpu")(batch_size=2, num_inference_steps=3).images
    for found, expected in zip(images, drawn, strict=True):
        difference = numpy.asarray(found).astype(int) - numpy.asarray(expected).astype(int)
        assert abs(difference).max() <= 1  # batches of other sizes round otherwise
    (floats,) = pipeline(seeds=[1], num_inference_steps=3, output_type="pt", return_dict=False)
    assert floats.shape == (1, 3, 16, 16)
    torch.testing.assert_close(
        floats[0].permute(1, 2, 0),
        torch.from_numpy(numpy.array(drawn[1])) / 255,
        rtol=0,
        atol=1.5 / 255,
    )
    seeded = [pipeline(2, torch.Generator().manual_seed(5), 1, "np").images for _ in range(2)]
    assert (seeded[0] == seeded[1]).all()
    assert (seeded[0][0] != seeded[0][1]).any()
