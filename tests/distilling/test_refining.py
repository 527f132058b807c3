"""A student that goes on with a critic, from beginning to end, on a tiny teacher."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from adapted_runs import adapted_run

from antcli.config import PreviewConfig
from antcli.distilling import distillation, refining
from antcli.distilling.adversarial import AdversarialRecord
from antcli.distilling.distillation import check_teacher, distill
from antcli.distilling.refining import (
    RefineConfig,
    Student,
    check_student,
    refine,
    refine_config_from,
)
from antcli.distilling.settings import distill_config_from
from antcli.errors import AntError
from antcli.runs.adapted import check_run_source, load_adapted
from antcli.runs.run import Run

QUICK = {"steps": 2, "images": 2, "window_steps": 1, "rank": 2, "device": "cpu"}


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (distillation, refining):
        monkeypatch.setattr(module, "PREVIEW", PreviewConfig(images=1, every=2))


@pytest.fixture(scope="module", params=[0, 10], ids=["one domain", "images apart"])
def teacher(
    tiny_source: Path,
    tiny_target: Path,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Run:
    folder, said = tmp_path_factory.mktemp("teacher") / "run", {"rank": 2, "t_limit": 0.5}
    return adapted_run(
        folder, tiny_source, tiny_target, images=request.param, method="lora", lora=said
    )


@pytest.fixture
def student(teacher: Run, accelerator: Accelerator, tmp_path: Path) -> Student:
    run = Run(tmp_path / "student")
    config = distill_config_from({**QUICK, "training": {"steps": 1, "batch_size": 2}})
    for _ in distill(check_teacher(teacher), config, run, accelerator):
        pass
    return check_student(run)


@pytest.fixture
def config() -> RefineConfig:
    return refine_config_from(
        {"training": {"steps": 4, "batch_size": 2}, "adversarial": {"updates": 2}}
    )


def eps_of(run: Run) -> torch.Tensor:
    source = check_run_source(run)
    x_t = torch.randn(2, *source.shape, generator=torch.Generator().manual_seed(1))
    return load_adapted(run, source)(x_t, torch.full((2,), 500))


def test_a_student_goes_on_and_is_a_run_like_any_other(
    student: Student, config: RefineConfig, accelerator: Accelerator, tmp_path: Path
) -> None:
    run, cut = Run(tmp_path / "refined"), Run(tmp_path / "cut")
    records = [
        r for r in refine(student, config, run, accelerator) if isinstance(r, AdversarialRecord)
    ]
    assert [record.step for record in records] == [1, 2, 3, 4]
    assert run.finished and run.sampler == student.sampler
    assert not torch.equal(eps_of(run), eps_of(student.run))
    logged = [json.loads(line) for line in run.log.read_text().splitlines()]
    assert [line["T"] for line in logged] == [record.T for record in records]
    assert logged[-1]["r_d"] is not None
    # A run that is cut comes to the same.
    done: list[AdversarialRecord] = []
    with pytest.raises(KeyboardInterrupt):
        for record in refine(student, config, cut, accelerator, lambda: len(done) == 2):
            if isinstance(record, AdversarialRecord):
                done.append(record)
    for _ in refine(student, config, cut, accelerator):
        pass
    torch.testing.assert_close(eps_of(cut), eps_of(run), rtol=0, atol=0)
    assert [json.loads(line)["r_d"] for line in cut.log.read_text().splitlines()] == [
        line["r_d"] for line in logged
    ]


def test_what_lies_before_the_critic_makes_a_difference(
    student: Student, config: RefineConfig, accelerator: Accelerator, tmp_path: Path
) -> None:
    losses = []
    for before in ("none", "uniform"):
        critic = replace(config.adversarial.critic, before=before)
        asked = replace(config, adversarial=replace(config.adversarial, critic=critic))
        records = refine(student, asked, Run(tmp_path / before), accelerator)
        losses.append(next(r for r in records if isinstance(r, AdversarialRecord)).critic_loss)
    assert losses[0] != losses[1]


def test_what_was_not_distilled_is_refused(teacher: Run) -> None:
    with pytest.raises(AntError, match="draws in many steps") as error:
        check_student(teacher)
    assert "ant distill" in (error.value.hint or "")
