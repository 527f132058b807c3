"""The picture of the noise before a critic, and where its numbers come from."""

from __future__ import annotations

import json
from pathlib import Path

from antcli.evaluation.critic_noise import critic_noise, critic_noise_svg, read_critic_noise

STEPS = [
    {"step": 1, "loss": 0.5, "T": 5, "r_d": None},
    {"step": 2, "loss": 0.4, "T": 9, "r_d": 0.75},
    {"step": 3, "loss": 0.4, "T": 7, "r_d": -0.5},
]


def written(path: Path, *lines: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_t_and_r_d_are_drawn_over_the_steps() -> None:
    top, below = critic_noise(STEPS).axes
    assert top.lines[0].get_xydata().tolist() == [[1, 5], [2, 9], [3, 7]]
    assert below.lines[0].get_xydata().tolist() == [[2, 0.75], [3, -0.5]]
    assert critic_noise_svg(STEPS[:1]).startswith("<?xml")
    assert critic_noise_svg(STEPS) == critic_noise_svg(STEPS)


def test_only_a_training_with_a_critic_has_such(tmp_path: Path) -> None:
    assert read_critic_noise(tmp_path / "none.jsonl") == []
    assert read_critic_noise(written(tmp_path / "adapted.jsonl", {"step": 1, "loss": 0.5})) == []
    assert read_critic_noise(written(tmp_path / "matched.jsonl", *STEPS)) == STEPS
