"""What a user sets in the environment, in processes of their own: the client reads it once."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FETCH = ("-m", "antcli", "fetch-source")
LOCATE = "-cfrom antcli.sources.fetch import locate; print(locate('someone/tiny'))"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(server: Any, model: dict[str, bytes], tmp_path: Path) -> Run:
    """Run Python with a hub on loopback, and more or other variables in the environment."""
    server.models["someone/tiny"] = model
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    base = {
        **kept,
        "HOME": str(tmp_path / "home"),
        "HF_ENDPOINT": server.endpoint,
        "HF_HUB_DISABLE_XET": "1",
        "OMP_NUM_THREADS": "1",
        "NO_PROXY": "*",
    }

    def typed(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            env=base | variables,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return typed


def test_home_and_endpoint_and_offline_take_effect(run: Run, server: Any, tmp_path: Path) -> None:
    there = {"HF_HOME": str(tmp_path / "elsewhere")}
    done = run(LOCATE, **there)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(tmp_path / "elsewhere" / "hub")
    assert done.stderr == ""
    assert not (tmp_path / "home").exists()

    server.asked.clear()
    assert run(LOCATE, HF_HUB_OFFLINE="1", **there).stdout == done.stdout
    assert server.asked == []


def test_offline_without_the_model_is_one_clear_line(run: Run, server: Any) -> None:
    for name in ("someone/tiny", "ffhq", "ffhq-large", "imagenet-256"):
        done = run(*FETCH, name, HF_HUB_OFFLINE="1")
        assert done.returncode == 1
        said = done.stderr.splitlines()
        assert [line.split(":")[0] for line in said] == ["error", "hint"]
        assert "HF_HUB_OFFLINE forbids the network" in said[0]
        assert done.stdout == ""
    assert server.asked == []


def test_a_mirror_that_is_not_there(run: Run) -> None:
    done = run(*FETCH, "ffhq", HF_ENDPOINT="http://127.0.0.1:1")
    assert done.returncode == 1
    assert "error: cannot reach the model hub at http://127.0.0.1:1" in done.stderr
    assert "HF_ENDPOINT" in done.stderr


def test_a_token_is_shown_to_the_hub(run: Run, server: Any) -> None:
    server.gated.add("someone/tiny")
    refused = run(*FETCH, "someone/tiny", HF_TOKEN="hf_other")
    assert refused.returncode == 1
    assert "error: someone/tiny is gated" in refused.stderr
    assert f"{server.endpoint}/someone/tiny" in refused.stderr
    # The hub's client may ask for other things of its own, which are nobody's secret.
    of_model = [asked for asked in server.asked if "someone/tiny" in asked.path]
    tokens = {asked.headers.get("authorization") for asked in of_model}
    assert tokens == {"Bearer hf_other"}


def test_the_list_asks_nobody(run: Run, server: Any) -> None:
    done = run(*FETCH)
    assert done.returncode == 0
    assert "celebahq" in done.stdout
    assert server.asked == []
