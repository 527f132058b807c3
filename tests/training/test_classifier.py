import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from antcli.artifacts import save_tensors
from antcli.devices import make_accelerator
from antcli.diffusion.examples import Pixels
from antcli.diffusion.path import BetaPath
from antcli.errors import AntError
from antcli.methods.classifier import LEVELS, ClassifierConfig, NoisyClassifier, new_classifier
from antcli.methods.target.guided import TARGET_CLASS
from antcli.training.classifier import (
    LEAST_VIEWS,
    NOISE_LEVELS,
    VIEWS,
    ClassifierReport,
    ClassifierTraining,
    NoiseLevel,
)
from antcli.training.classifier_files import check_classifier, load_classifier, save_classifier

SIZE = 8
CONFIG = ClassifierConfig(steps=30, batch_size=16, learning_rate=3e-3)
PATH = BetaPath.linear()
CPU = make_accelerator("cpu", "no")
ALPHA_BAR = torch.cumprod(1 - PATH.betas, 0)


def plain(level: int, count: int) -> Pixels:
    """Images of about one grey, no two alike."""
    draw = torch.Generator().manual_seed(level)
    shape = (count, 3, SIZE, SIZE)
    return Pixels(torch.randint(level, level + 30, shape, dtype=torch.uint8, generator=draw))


def train(source: Pixels, target: Pixels, config: ClassifierConfig = CONFIG) -> ClassifierTraining:
    training = ClassifierTraining(source, target, PATH, config, CPU)
    list(training.steps())
    return training


@pytest.fixture(scope="module")
def easy() -> ClassifierTraining:
    """Of black source images and white target images."""
    return train(plain(0, 20), plain(225, 10))


# --- an easy pair --------------------------------------------------------------------------


def test_black_is_told_from_white(easy: ClassifierTraining) -> None:
    report = easy.report()
    assert (report.held_out_source, report.held_out_target) == (4, 2)
    assert [level.t for level in report.levels] == [round(s * 999) for s in NOISE_LEVELS]
    for level in report.levels[:5]:
        assert level.source is not None
        assert level.target is not None
        assert level.source > 0.95
        assert level.target > 0.95
    assert report.best_accuracy == pytest.approx(1, abs=0.01)
    assert not report.useless


def test_the_logits_are_source_then_target(easy: ClassifierTraining) -> None:
    t = torch.tensor([50, 50])
    x_t = torch.stack([-torch.ones(3, SIZE, SIZE), torch.ones(3, SIZE, SIZE)])
    with torch.no_grad():
        assert easy.classifier(x_t, t).argmax(1).tolist() == [1 - TARGET_CLASS, TARGET_CLASS]


def test_the_loss_falls_and_steps_are_counted() -> None:
    training = ClassifierTraining(plain(0, 20), plain(225, 10), PATH, CONFIG, CPU)
    records = list(training.steps())
    assert [record.step for record in records] == list(range(1, 31))
    assert {record.steps for record in records} == {30}
    assert records[0].loss == pytest.approx(0.69, abs=0.2)
    assert sum(r.loss for r in records[-5:]) / 5 < 0.35


def test_a_trained_classifier_is_frozen(easy: ClassifierTraining) -> None:
    assert not easy.classifier.training
    assert not any(p.requires_grad for p in easy.classifier.parameters())


def test_equal_seeds_give_equal_classifiers(easy: ClassifierTraining) -> None:
    again = train(plain(0, 20), plain(225, 10))
    assert again.report() == easy.report()
    torch.testing.assert_close(
        again.classifier.state_dict(), easy.classifier.state_dict(), rtol=0, atol=0
    )


def test_accuracy_is_the_share_of_right_answers() -> None:
    """A classifier that looks at the first pixel, on a held-out set that it half knows."""

    class FirstPixel(nn.Module):
        confidence = torch.ones(LEVELS)

        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            return torch.stack([-x_t[:, 0, 0, 0], x_t[:, 0, 0, 0]], dim=1)

    training = ClassifierTraining(plain(0, 10), plain(225, 10), PATH, CONFIG, CPU)
    training.classifier = FirstPixel()  # type: ignore[assignment]
    black, white = torch.zeros(1, 3, SIZE, SIZE), torch.full((1, 3, SIZE, SIZE), 255.0)
    training.held_out = tuple(
        Pixels(torch.cat(images).byte()) for images in ([black, white], [white] * 3 + [black])
    )
    first = training.report().levels[0]
    assert (first.source, first.target) == (0.5, 0.75)
    # With noise eps, x_t is on the wrong side with probability Phi(-sqrt(ab / (1 - ab))).
    last = training.report().levels[-1]
    alpha_bar = ALPHA_BAR[last.t]
    wrong = torch.distributions.Normal(0, 1).cdf(-(alpha_bar / (1 - alpha_bar)).sqrt()).item()
    assert last.target == pytest.approx(0.75 * (1 - wrong) + 0.25 * wrong, abs=0.1)


# --- useless classifiers -------------------------------------------------------------------


def test_a_classifier_of_one_and_the_same_domain_is_useless() -> None:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (400, 3, SIZE, SIZE), dtype=torch.uint8, generator=draw)
    report = train(Pixels(images[:200]), Pixels(images[200:])).report()
    assert report.useless
    assert report.best_accuracy == pytest.approx(0.5, abs=0.1)
    assert report.as_dict()["useless"] is True


@pytest.mark.parametrize("answer", ["source", "target"])
def test_one_answer_for_all_is_useless(answer: str) -> None:
    share = (1.0, 0.0) if answer == "source" else (0.0, 1.0)
    assert ClassifierReport((NoiseLevel(50, *share),), 10, 10).useless


def test_the_best_noise_level_counts() -> None:
    levels = (NoiseLevel(50, 0.5, 0.4), NoiseLevel(99, 0.9, 0.7), NoiseLevel(900, 0.2, 0.9))
    report = ClassifierReport(levels, 10, 10)
    assert report.best_accuracy == pytest.approx(0.8)
    assert not report.useless


def test_the_report_is_plain_json(easy: ClassifierTraining) -> None:
    report = easy.report()
    values = json.loads(json.dumps(report.as_dict()))
    assert len(values["levels"]) == len(NOISE_LEVELS)
    assert values["levels"][0].keys() == {"t", "source", "target"}
    assert values["best_accuracy"] == report.best_accuracy
    assert values["held_out_target"] == 2


# --- what is held out ----------------------------------------------------------------------


class WatchingPath(BetaPath):
    """Notes every image that noise is added to."""

    seen: list[Tensor]

    def add_noise(self, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        self.seen.append(x_0)
        return super().add_noise(x_0, eps, t)


def numbers(x_0: list[Tensor]) -> set[int]:
    """Which images these are, where each is of a grey of its own."""
    return {round((float(image.mean()) + 1) * 127.5) for batch in x_0 for image in batch}


def test_held_out_images_are_never_trained_on() -> None:
    path = WatchingPath(PATH.betas)
    object.__setattr__(path, "seen", [])
    greys = torch.arange(35, dtype=torch.uint8).view(35, 1, 1, 1).expand(35, 3, SIZE, SIZE)
    training = ClassifierTraining(
        Pixels(greys[:20]), Pixels(greys[20:]), path, replace(CONFIG, steps=10), CPU
    )
    steps = training.steps()
    for _ in range(10):
        next(steps)
    trained = numbers(path.seen)
    assert list(steps) == []
    path.seen.clear()
    training.report()
    reported = numbers(path.seen)
    assert trained & reported == set()
    assert trained | reported == set(range(35))
    assert len(reported & set(range(20))) == 4
    assert len(reported & set(range(20, 35))) == 3


def test_half_of_each_batch_is_of_either_class() -> None:
    training = ClassifierTraining(plain(0, 20), plain(225, 3), PATH, CONFIG, CPU)
    x_t, t, labels = training._batch(0)
    assert x_t.shape == (16, 3, SIZE, SIZE)
    assert labels.tolist() == [0] * 8 + [1] * 8
    assert len(t.unique()) > 8
    assert t.min() >= 0
    assert t.max() < 1000


@pytest.mark.parametrize(("source", "target"), [(20, 1), (20, 4), (4, 10), (1, 1)])
def test_none_of_a_few_images_is_held_out_and_no_verdict_given(source: int, target: int) -> None:
    """One answer for all would look perfect on the other class alone."""
    report = train(plain(0, source), plain(225, target), replace(CONFIG, steps=2)).report()
    assert (report.held_out_source, report.held_out_target) == (source // 5, target // 5)
    for level in report.levels:
        assert (level.source is None) == (source < 5)
        assert (level.target is None) == (target < 5)
    assert report.best_accuracy is None
    assert not report.useless
    assert json.loads(json.dumps(report.as_dict()))["best_accuracy"] is None


@pytest.mark.parametrize(("size", "views"), [(8, VIEWS), (128, 50), (256, LEAST_VIEWS)])
def test_large_images_are_looked_at_less_often(size: int, views: int) -> None:
    images = Pixels(torch.zeros(10, 3, size, size, dtype=torch.uint8))
    assert ClassifierTraining(images, images, PATH, CONFIG, CPU).views == views


def test_checking_is_told_level_by_level(easy: ClassifierTraining) -> None:
    checks = list(easy.checked())
    assert [check.done for check in checks] == list(range(1, LEVELS + len(NOISE_LEVELS) + 1))
    assert {check.total for check in checks} == {len(checks)}


def test_with_nothing_held_out_all_images_are_learnt_and_nothing_calibrated() -> None:
    training = train(plain(0, 20), plain(225, 10), replace(CONFIG, held_out=0.0))
    report = training.report()
    assert [len(images) for images in training.training_images] == [20, 10]
    assert (report.held_out_source, report.held_out_target, report.best_accuracy) == (0, 0, None)
    assert (training.classifier.confidence == 1).all()


# --- files ---------------------------------------------------------------------------------


def test_a_classifier_comes_back(easy: ClassifierTraining, tmp_path: Path) -> None:
    path = tmp_path / "classifier.safetensors"
    save_classifier(path, easy.classifier, {"ant.report": easy.report().as_dict()})
    loaded = load_classifier(path, SIZE)
    torch.testing.assert_close(loaded.state_dict(), easy.classifier.state_dict(), rtol=0, atol=0)
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    metadata = check_classifier(path, SIZE)
    assert json.loads(metadata["ant.report"])["useless"] is False


def test_a_classifier_of_another_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "classifier.safetensors"
    save_classifier(path, new_classifier(SIZE, 0), {})
    for refuse in (check_classifier, load_classifier):
        with pytest.raises(AntError, match="8-pixel images, the source makes 32"):
            refuse(path, 32)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_tensors(path, {"a": torch.zeros(2)}, {"ant.size": str(SIZE)})
    with pytest.raises(AntError, match="is no classifier"):
        check_classifier(path, SIZE)
    with pytest.raises(AntError, match="there is no file"):
        check_classifier(tmp_path / "none.safetensors", SIZE)


def test_a_file_of_before_architectures_were_told_still_loads(tmp_path: Path) -> None:
    path = tmp_path / "classifier.safetensors"
    classifier = new_classifier(SIZE, 0)
    told = {"ant.kind": "classifier", "ant.size": str(SIZE), "ant.timesteps": "1000"}
    save_tensors(path, classifier.state_dict(), told)
    loaded = load_classifier(path, SIZE)
    torch.testing.assert_close(loaded.state_dict(), classifier.state_dict(), rtol=0, atol=0)


def test_a_file_without_its_timesteps_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "classifier.safetensors"
    told = {"ant.kind": "classifier", "ant.size": str(SIZE)}
    save_tensors(path, new_classifier(SIZE, 0).state_dict(), told)
    for refuse in (check_classifier, load_classifier):
        with pytest.raises(AntError, match="does not tell what classifier"):
            refuse(path, SIZE)


def test_a_classifier_of_other_layers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "classifier.safetensors"
    classifier = NoisyClassifier(SIZE)
    classifier.head = nn.Linear(classifier.head.in_features, 3)
    save_classifier(path, classifier, {})
    with pytest.raises(AntError, match="another kind of classifier"):
        load_classifier(path, SIZE)
