"""What a report suggests to try next, and which kept numbers it takes."""

from __future__ import annotations

import copy
import json
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from report_pages import (
    SCORES,
    made,
    measured,
    noise,
    samples,
)

from antcli.artifacts import save_tensors, write_json
from antcli.evaluation.advice import advise
from antcli.evaluation.report.content import report_html
from antcli.evaluation.results import read_evaluation
from antcli.evaluation.stopping import Score, write_scores
from antcli.runs.run import Run


def advice(run: Run, evaluation: dict[str, Any], scores: list[Score]) -> str:
    return "\n".join(f"{one.text}\n{one.command}" for one in advise(run, evaluation, scores))


def set_all(evaluation: dict[str, Any], row: int, metric: str, **values: float) -> None:
    evaluation["rows"][row]["metrics"][metric].update(values)


def test_sound_numbers_suggest_nothing_but_a_larger_reference(run: Run) -> None:
    evaluation = measured(run)
    sound = [Score(0, 2.0, 1.0, 0.0), Score(50, 0.5, 0.95, 0.1), Score(75, 0.5, 0.9, 0.1)]
    write_scores(run.scores, sound)
    assert [one.command.split()[-2:] for one in advise(run, evaluation, sound)] == [
        ["--reference", "FOLDER"]
    ]
    evaluation["reference_images"] = 500
    assert advise(run, evaluation, sound) == []
    assert "The numbers suggest nothing" in report_html(run, evaluation, samples(run))


def test_each_number_out_of_order_has_its_advice(run: Run) -> None:
    evaluation, level = measured(run), SCORES[:2]
    another = advice(run, evaluation, SCORES)
    assert "The weights are those of step 50; the scores favour step 25" in another
    assert f"ant evaluate checkpoints {run.folder} --take" in another
    copying = copy.deepcopy(evaluation)
    set_all(copying, 0, "memorization", copy_rate=0.8)
    told = advice(run, copying, [])
    assert "80% of the samples count as copies, against 18% by chance" in told
    assert "--steps auto" in told and "more steps" not in told
    narrow = [Score(0, 2.0, 1.0, 0.0), Score(50, 0.5, 0.4, 0.1)]
    assert "keep 40% of the source's diversity" in advice(run, evaluation, narrow)
    still = copy.deepcopy(evaluation)
    set_all(still, 0, "kid", value=0.95 * still["rows"][1]["metrics"]["kid"]["value"])
    assert "--steps 100" in advice(run, still, [])
    assert "[adaptor]\nt_limit = 1.0" in advice(run, still, [])
    assert "The last step is the nearest" in advice(run, evaluation, level)


def test_where_the_learning_rate_settles_auto_would_do_the_same_again(run: Run) -> None:
    training = replace(run.config().training, final_learning_rate=0.02)
    stopping = replace(run.config().stopping, auto=True)
    evaluation = measured(run)
    set_all(evaluation, 0, "memorization", copy_rate=0.8)
    still = copy.deepcopy(measured(run))
    set_all(still, 0, "kid", value=0.95 * still["rows"][1]["metrics"]["kid"]["value"])
    for config in (
        replace(run.config(), training=training),
        replace(run.config(), training=training, stopping=stopping),
    ):
        write_json(run.facts_file, {**run.facts(), "config": asdict(config)})
        fewer, more = advice(run, evaluation, []), advice(run, still, [])
        assert "--steps 25" in fewer and "--steps auto" not in fewer
        assert "--steps 100" in more


@pytest.mark.parametrize(
    ("method", "lines"),
    [
        ("ant", "[adaptor]\nt_limit = 1.0"),
        ("bridge", "[counterparts]\nnoise = 0.9"),
        ("lora", ""),
    ],
)
def test_where_what_trains_has_a_limit_in_t_that_is_advised(
    method: str, lines: str, run: Run
) -> None:
    config = asdict(replace(run.config(), method=method))
    write_json(run.facts_file, {**run.facts(), "config": config})
    evaluation = measured(run)
    set_all(evaluation, 0, "kid", value=0.95 * evaluation["rows"][1]["metrics"]["kid"]["value"])
    told = advice(run, evaluation, [])
    assert ("at high noise, too" in told) == bool(lines) and lines in told


def test_a_command_of_the_advice_survives_a_shell(tmp_path: Path) -> None:
    target = tmp_path / "my ten; drawings"
    noise(target, [f"{i}.png" for i in range(10)], 16)
    run = made(tmp_path / "a run", target)
    evaluation = measured(run)
    set_all(evaluation, 0, "memorization", copy_rate=0.8)
    command = next(one.command for one in advise(run, evaluation, []) if "adapt" in one.command)
    words = shlex.split(command)
    assert words[words.index("--target") + 1] == str(target)
    assert words[words.index("--out") + 1] == str(tmp_path / "a run-next")


def test_a_classifier_of_no_use_is_said(run: Run) -> None:
    report = {"useless": True, "best_accuracy": 0.5}
    save_tensors(run.classifier, {"a": torch.zeros(1)}, {"ant.report": report})
    assert "near guessing at every noise level" in advice(run, measured(run), SCORES)
    report |= {"hardly_trained": True, "steps": 1}
    save_tensors(run.classifier, {"a": torch.zeros(1)}, {"ant.report": report})
    told = advice(run, measured(run), SCORES)
    assert "too few training steps (1)" in told and "too alike" not in told
    report = {"useless": False, "best_accuracy": None}
    save_tensors(run.classifier, {"a": torch.zeros(1)}, {"ant.report": report})
    assert "How good the classifier is remains unknown" in advice(run, measured(run), SCORES)


def test_kept_numbers_count_as_long_as_they_are_of_the_weights(run: Run) -> None:
    assert read_evaluation(run) is None
    evaluation = measured(run)
    assert read_evaluation(run) == evaluation
    run.weights.write_bytes(b"other weights")
    assert read_evaluation(run) is None


def test_kept_numbers_that_cannot_be_read_do_not_count(run: Run) -> None:
    evaluation = measured(run)
    for content in ("", "[]", json.dumps(evaluation)[:-9], '{"weights_sha256": 1}'):
        run.evaluation.write_text(content, encoding="utf-8")
        assert read_evaluation(run) is None
    del evaluation["rows"][1]["metrics"]["fid"]["space"]
    write_json(run.evaluation, evaluation)
    assert read_evaluation(run) is None


def test_numbers_that_are_none_do_not_stop_a_report(run: Run) -> None:
    evaluation = measured(run)
    for row in evaluation["rows"]:
        row["metrics"]["kid"].update(value=None, low=None)
        row["metrics"]["intra-lpips"]["value"] = None
    html = report_html(run, evaluation, samples(run))
    assert "none (none to " in html
    assert "of the way from the source" not in html
