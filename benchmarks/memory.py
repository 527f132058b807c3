"""What a step of ANT on a DDPM of 256 pixels takes of memory, setting by setting.

    python benchmarks/memory.py [--size 256] [--batch 1 4] [--device auto]

The network is that of google/ddpm-*-256 (113.673 M parameters) with random weights; the step is
that of `--preset paper`, one process a row so that no row inherits another's peak. Writes
benchmarks/results/memory.md: on a GPU the allocator's peak, on a CPU that of the process's resident
memory, the libraries included; and what is held with everything loaded, before the step.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import diffusers
import torch
from accelerate import Accelerator
from diffusers import UNet2DModel

from antcli.config import AdaptConfig, adapt_config_from
from antcli.devices import make_accelerator
from antcli.diffusion.convention import PLAIN
from antcli.diffusion.examples import Pixels
from antcli.methods.build import build_network, build_objective
from antcli.methods.classifier import new_classifier
from antcli.methods.presets import paper
from antcli.training.loop import Training

RESULT = Path(__file__).parent / "results" / "memory.md"
PARAMETERS = 113_673_219
PAPER = 6.0
"""GB at batch 1 (ANT, Table 8)."""
SETTINGS: dict[str, dict[str, object]] = {
    "all at once": {},
    "micro-batches of 1": {"micro_batch": 1},
    "gradient checkpointing": {"low_memory": True, "micro_batch": 1000},
    "low memory": {"low_memory": True},
}


def church(size: int) -> UNet2DModel:
    """The U-Net of google/ddpm-*-256."""
    return UNet2DModel(
        sample_size=size,
        in_channels=3,
        out_channels=3,
        layers_per_block=2,
        block_out_channels=(128, 128, 256, 256, 512, 512),
        down_block_types=("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4,
        downsample_padding=0,
        attention_head_dim=None,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
    )


def one_step(setting: str, batch: int, size: int, device: str, inner: int) -> dict[str, float]:
    """Peak and resting memory in GB, and seconds, of one step; in a process of its own."""
    training = {"steps": 1, "batch_size": batch, **SETTINGS[setting]}
    asked = {"training": training, "noise": {"inner_steps": inner}, "device": device}
    names = {"source": "church", "target": "shots"}
    config = adapt_config_from(paper((3, size, size), latent=False), asked, names)
    accelerator = make_accelerator(device, config.mixed_precision)
    ready = build(config, size, accelerator)
    resting = memory(accelerator.device)
    started = time.perf_counter()
    list(ready.steps())
    return {
        "peak": peak(accelerator.device),
        "resting": resting,
        "seconds": time.perf_counter() - started,
    }


def build(config: AdaptConfig, size: int, accelerator: Accelerator) -> Training:
    """The training, with everything loaded."""
    unet = church(size)
    count = sum(p.numel() for p in unet.parameters())
    assert count == PARAMETERS, count
    classifier = new_classifier(size, 0).eval().requires_grad_(False)
    if not config.training.low_memory:
        classifier.to(accelerator.device)
    return Training(
        build_network(unet, config, PLAIN),
        Pixels(torch.zeros(10, 3, size, size, dtype=torch.uint8)),
        config.training,
        accelerator,
        objective=build_objective(config, {"classifier": classifier}),
    )


def memory(device: torch.device) -> float:
    """What is held now, in GB."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 1e9
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e9


def peak(device: torch.device) -> float:
    """The most that was held, in GB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def in_a_process(setting: str, batch: int, asked: argparse.Namespace) -> dict[str, float]:
    """`one_step` in a fresh process."""
    options = ["--row", setting, "--batch", str(batch), "--size", str(asked.size)]
    options += ["--device", asked.device, "--inner-steps", str(asked.inner_steps)]
    done = subprocess.run(
        [sys.executable, __file__, *options], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def page(rows: list[tuple[str, int, dict[str, float]]], asked: argparse.Namespace) -> str:
    """The result as a Markdown table."""
    lines = [
        "# Memory of a step",
        "",
        f"`python benchmarks/memory.py --size {asked.size} --device {asked.device} "
        f"--inner-steps {asked.inner_steps}`, torch {torch.__version__}, "
        f"diffusers {diffusers.__version__}, {platform.machine()}. "
        f"The paper: {PAPER} GB at batch 1, on a GPU.",
        "",
        "| setting | batch | peak, GB | of these at rest | seconds |",
        "|---|---|---|---|---|",
    ]
    for setting, batch, found in rows:
        numbers = f"{found['peak']:.2f} | {found['resting']:.2f} | {found['seconds']:.0f}"
        lines.append(f"| {setting} | {batch} | {numbers} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Every setting at every batch size, one process at a time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--inner-steps", type=int, default=1, help="J; it does not move the peak")
    parser.add_argument("--row", choices=SETTINGS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    if asked.row:
        found = one_step(asked.row, asked.batch[0], asked.size, asked.device, asked.inner_steps)
        print(json.dumps(found))
        return
    rows = []
    for batch in asked.batch:
        for setting in SETTINGS:
            rows.append((setting, batch, in_a_process(setting, batch, asked)))
            asked.out.write_text(page(rows, asked), encoding="utf-8")
            print(*rows[-1], flush=True)


if __name__ == "__main__":
    main()
