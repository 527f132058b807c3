"""Two processes must give the weights that one gives."""

import itertools
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

import antcli
from antcli.artifacts import load_tensors
from antcli.config import adapt_config_from, read_toml
from antcli.runs import Run
from antcli.training.adaptation import adapt
from antcli.training.inputs import check_inputs

PROCESSES = 2
SECONDS = 500
CONFIG = """
method = "{method}"
device = "cpu"
mixed_precision = "no"

[training]
steps = 4
batch_size = {batch}
micro_batch = {micro}

[counterparts]
draws = 2
steps = 2
noise = 0.4

[noise]
inner_steps = 1
omega = 0.2
gradient = "{gradient}"

[classifier]
steps = 3
batch_size = 4
source_samples = 5
sampling_steps = 2

[preview]
images = 1
sampling_steps = 2
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def launch(*arguments: str) -> None:
    """`accelerate launch -m antcli adapt ...`, as a user types it."""
    root = Path(antcli.__file__).parents[1]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]),
    }
    options = {
        "--num_processes": str(PROCESSES),
        "--num_machines": "1",
        "--main_process_port": str(free_port()),
        "--mixed_precision": "no",
        "--dynamo_backend": "no",
    }
    launcher = ["accelerate.commands.launch", "--cpu", *itertools.chain(*options.items())]
    found = subprocess.run(
        [sys.executable, "-m", *launcher, "-m", "antcli", "adapt", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert found.returncode == 0, found.stderr[-4000:]
    # Of the two only the first speaks.
    assert found.stdout.count("preview.png") == 1


@pytest.mark.parametrize(
    ("method", "batch", "micro", "gradient"),
    [("ant", 4, 0, "residual"), ("ant", 5, 1, "full"), ("bridge", 5, 2, "residual")],
)
def test_two_processes_give_the_weights_of_one(
    method: str,
    batch: int,
    micro: int,
    gradient: str,
    tiny_source: Path,
    tiny_target: Path,
    tmp_path: Path,
    accelerator: Accelerator,
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(CONFIG.format(method=method, batch=batch, micro=micro, gradient=gradient))
    names = {"source": str(tiny_source), "target": str(tiny_target)}
    config = adapt_config_from(read_toml(file), names)
    one, two = Run(tmp_path / "one"), Run(tmp_path / "two")

    inputs = check_inputs(config)
    one.begin(config, inputs.identity(), clear=False)
    list(adapt(inputs, config, one, accelerator))
    launch(
        *("--source", str(tiny_source), "--target", str(tiny_target), "--out", str(two.folder)),
        *("--config", str(file), "--device", "cpu", "--mixed-precision", "no"),
    )

    assert two.config() == config
    assert two.finished
    torch.testing.assert_close(
        load_tensors(two.classifier), load_tensors(one.classifier), rtol=0, atol=1e-5
    )
    expected = load_tensors(one.weights)
    # What begins at zero: the last layer of an adaptor, and B of a low-rank addition.
    last = ".up." if method == "ant" else ".1.weight"
    assert any(w.abs().max() > 1e-4 for name, w in expected.items() if last in name)
    torch.testing.assert_close(load_tensors(two.weights), expected, rtol=0, atol=1e-5)
    assert len(two.log.read_text().splitlines()) == config.training.steps
