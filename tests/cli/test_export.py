"""`ant export`: a run for other programs."""

from collections.abc import Callable
from pathlib import Path

from adapted_runs import adapted_run
from diffusers import DDPMPipeline


def test_export(ant: Callable, tiny_source: Path, tiny_target: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    settings = {"method": "lora", "lora": {"t_limit": 0.5}}
    adapted_run(folder, tiny_source, tiny_target, **settings)
    refused = ant("export", folder, "--device", "cpu")
    assert refused.code == 2
    assert refused.out == ""
    assert refused.err.count("\n") == 2
    assert "--ungated exports without it" in refused.err
    done = ant("export", folder, "--ungated", "--device", "cpu")
    assert done.code == 0, done.err
    assert done.out.strip() == str(folder / "exports" / "diffusers")
    assert "note: the limit, t = 500" in done.err
    DDPMPipeline.from_pretrained(done.out.strip())
    again = ant("export", folder, "--ungated", "--device", "cpu")
    assert again.code == 1
    assert "write over it with --force" in again.err
    assert ant("export", folder, "--format", "lora").code == 2
    assert ant("export", folder, "--format", "onnx").code == 2
