import json
import math
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from diffusers import UNet2DModel
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from antcli.artifacts import to_json
from antcli.config import TrainingConfig, adapt_config_from
from antcli.diffusion.convention import PLAIN
from antcli.diffusion.examples import Latents, Pixels
from antcli.diffusion.path import BetaPath
from antcli.errors import AntError
from antcli.methods.build import Objective, build_network, build_objective
from antcli.methods.choice import Rule, Step
from antcli.methods.classifier import new_classifier
from antcli.methods.counterparts import Counterparts
from antcli.methods.noise.adversarial import AdversarialNoise, NoiseConfig
from antcli.methods.target.guided import GuidanceConfig, GuidedTarget
from antcli.methods.trainable.adaptors import AdaptedDenoiser, AdaptorConfig
from antcli.methods.trainable.denoiser import Denoiser
from antcli.methods.trainable.tuned import TunedDenoiser
from antcli.methods.transplants import Transplants
from antcli.training.loop import StepRecord, Training
from antcli.training.part import NonFiniteLossError, Part, learning_rate

CONFIG = TrainingConfig(steps=6, batch_size=4, warmup_steps=2)
PATH = BetaPath.linear()
ALPHA_BAR = torch.cumprod(1 - PATH.betas, 0)
SIZE = 8
METHODS: list[dict[str, bool]] = [{}, {"ant": True}, {"bridge": True}]
MakeUnet = Callable[..., UNet2DModel]
MakeTraining = Callable[..., Training]


def some_images(count: int = 3) -> Tensor:
    draw = torch.Generator().manual_seed(5)
    return torch.randint(256, (count, 3, SIZE, SIZE), dtype=torch.uint8, generator=draw)


@pytest.fixture
def make_training(make_unet: MakeUnet, accelerator: Accelerator) -> MakeTraining:
    """Makes trainings of a small network, with all parts of ANT, or of bridge, where asked to."""

    def make(
        config: TrainingConfig = CONFIG, *, ant: bool = False, bridge: bool = False, **more: Any
    ) -> Training:
        unet = make_unet(SIZE, (8, 16))
        images, parts = more.pop("images", some_images()), {}
        network = TunedDenoiser(unet)
        if ant:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                network = AdaptedDenoiser(unet, AdaptorConfig())
            classifier = new_classifier(SIZE, seed=0).requires_grad_(False)
            noise = NoiseConfig(inner_steps=2, omega=0.05, gradient="residual")
            guidance = GuidanceConfig(gamma=5.0, coefficient="paper", sign="minus")
            rules = AdversarialNoise(noise), GuidedTarget(guidance, classifier)
            parts = {"objective": Objective(*rules, visiting=config.low_memory)}
        if bridge:
            names = {"source": "a", "target": "b", "method": "bridge"}
            settings = adapt_config_from(names, {"training": {"low_memory": config.low_memory}})
            of = torch.rand(3, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(6))
            hosts = Pixels(some_images(5))
            fitting = torch.tensor([[0, 1, 2, 3, 4], [-1] * 5, [4] * 5])
            shifts = torch.stack([fitting % 3 - 1, fitting % 2], 2)
            moved = Transplants(hosts, of, fitting, t_least=100, shifts=shifts)
            pairs = Counterparts(Pixels(some_images(6)), 2, 0.5, 0.3, moved)
            network = build_network(unet, settings, PLAIN, pairs.t_limit)
            parts = {"objective": build_objective(settings, {"counterparts": pairs})}
        return Training(
            network, Pixels(images), config, **{"accelerator": accelerator, **parts, **more}
        )

    return make


def as_rule(rule: Callable[[Step], Tensor]) -> Rule:
    class AsRule(Rule):
        def __call__(self, step: Step) -> Tensor:
            return rule(step)

    return AsRule()


def weights(training: Training) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in training.parameters.items()}


def everything(training: Training) -> dict[str, Tensor]:
    """All that the next steps depend on."""
    state = {f"weights/{n}": p for n, p in weights(training).items()}
    state |= {f"average/{n}": a.clone() for n, a in training.ema.average.items()}
    for name, p in training.parameters.items():
        for key, value in training.parts[""].optimizer.state[p].items():
            state[f"{key}/{name}"] = torch.as_tensor(value).clone()
    return state


def watch_batches(training: Training) -> list[tuple[Tensor, Tensor, Tensor]]:
    """x_0, t and eps of each step to come, float64."""
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    draw = training._draw

    def drawn() -> list[Step]:
        steps = draw()
        x_0, t, eps = (torch.cat([getattr(s, name) for s in steps]) for name in ("x_0", "t", "eps"))
        seen.append((x_0.double(), t, eps.double()))
        return steps

    training._draw = drawn  # type: ignore[method-assign]
    return seen


def seen_images(batches: list[tuple[Tensor, Tensor, Tensor]], images: Tensor) -> list[int]:
    """Which image each sample of each batch is, mirrored or not."""
    pixels = images.double() / 127.5 - 1
    both = torch.stack([pixels, pixels.flip(-1)])
    found = []
    for x_0, _, _ in batches:
        for sample in x_0:
            distance = (both - sample).abs().amax((2, 3, 4)).amin(0)
            assert distance.min() < 1e-5
            found.append(int(distance.argmin()))
    return found


# --- one step, in float64 ------------------------------------------------------------------


def add_noise(x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """DDPM, Eq. 4, sample by sample."""
    steps = [math.prod(1 - b for b in PATH.betas[: i + 1].tolist()) for i in t]
    mixed = [
        math.sqrt(a) * x + math.sqrt(1 - a) * e for a, x, e in zip(steps, x_0, eps, strict=True)
    ]
    return torch.stack(mixed)


def test_loss_is_that_of_ddpm(make_training: MakeTraining) -> None:
    training = make_training()
    network, batches = deepcopy(training.network).double(), watch_batches(training)
    record = next(training.steps())
    ((x_0, t, eps),) = batches
    with torch.no_grad():
        residual = eps - network(add_noise(x_0, eps, t), t)
    expected = sum(float(r.square().mean()) for r in residual) / CONFIG.batch_size
    assert record.loss == pytest.approx(expected, rel=1e-4)
    assert record.step == 1


def test_loss_is_that_of_ant(make_training: MakeTraining) -> None:
    """Eq. 7, then Eq. 8, on the network as it was before the step."""
    training = make_training(ant=True, config=replace(CONFIG, learning_rate=0.01))
    batches, steps = watch_batches(training), training.steps()
    next(steps)  # untrained adaptors are not there yet
    network = deepcopy(training.network).double()
    classifier = new_classifier(SIZE, seed=0).double()
    record = next(steps)
    x_0, t, eps = batches[1]
    alpha_bar, losses = ALPHA_BAR.tolist(), []
    for i in range(CONFIG.batch_size):
        x, e, at = x_0[i : i + 1], eps[i : i + 1], t[i : i + 1]
        for _ in range(2):
            with torch.no_grad():
                e = e + 0.05 * 2 * (e - network(add_noise(x, e, at), at))
            e = (e - e.mean()) / e.std(correction=0)
        x_t = add_noise(x, e, at).requires_grad_()
        log_p = classifier(x_t, at).log_softmax(1)[0, 1]
        (gradient,) = torch.autograd.grad(log_p, x_t)
        before, now = alpha_bar[int(at) - 1], alpha_bar[int(at)]
        sigma_hat = (1 - before) * math.sqrt((now / before) / (1 - now))
        with torch.no_grad():
            residual = e - network(x_t, at) - sigma_hat**2 * 5.0 * gradient
        losses.append(float(residual.square().mean()))
    assert record.loss == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_a_step_is_that_of_adamw(make_training: MakeTraining) -> None:
    """The first step of AdamW by its formula, the gradient cut to clip_norm, in float64."""
    config = replace(CONFIG, clip_norm=0.05, weight_decay=0.1, learning_rate=0.01)
    training = make_training(config)
    network, batches = deepcopy(training.network).double(), watch_batches(training)
    record = next(training.steps())
    ((x_0, t, eps),) = batches
    (eps - network(add_noise(x_0, eps, t), t)).square().mean().backward()
    gradients = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradients.values()))
    assert record.gradient_norm == pytest.approx(norm, rel=1e-3)
    assert norm > config.clip_norm
    rate = learning_rate(config, 0)
    for name, p in network.named_parameters():
        gradient = gradients[name] * config.clip_norm / norm
        # AdamW's 1e-8 is felt where the gradient is about as small.
        expected = p * (1 - rate * 0.1) - rate * gradient / (gradient.abs() + 1e-8)
        clear = gradient.abs() > 1e-5
        torch.testing.assert_close(
            training.parameters[name].detach()[clear].double(),
            expected.detach()[clear],
            rtol=1e-4,
            atol=1e-6,
        )


def test_training_learns(make_training: MakeTraining) -> None:
    training = make_training(replace(CONFIG, steps=40, learning_rate=0.005, flip=False))
    losses = [record.loss for record in training.steps()]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_what_does_not_train_stays(make_training: MakeTraining) -> None:
    training = make_training(ant=True)
    before = deepcopy(training.network.unet.state_dict())
    records = list(training.steps())
    torch.testing.assert_close(training.network.unet.state_dict(), before, rtol=0, atol=0)
    assert [record.step for record in records] == [1, 2, 3, 4, 5, 6]
    assert all(record.seconds > 0 and record.gradient_norm > 0 for record in records)


# --- learning rate -------------------------------------------------------------------------


def test_learning_rate() -> None:
    config = TrainingConfig(steps=110, learning_rate=2.0, warmup_steps=10, final_learning_rate=0.5)
    expected = {0: 0.2, 5: 1.1, 10: 2.0, 35: 2 - (1 - math.sqrt(0.5)) / 2, 60: 1.5, 110: 1.0}
    for step, rate in expected.items():
        assert learning_rate(config, step) == pytest.approx(rate)
    rates = [learning_rate(config, step) for step in range(110)]
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 10), (5, 10), (10, 10), (3, 0)])
def test_learning_rate_of_short_runs(steps: int, warmup: int) -> None:
    config = TrainingConfig(steps=steps, learning_rate=1.0, warmup_steps=warmup)
    rates = [learning_rate(config, step) for step in range(steps)]
    assert all(0.1 <= rate <= 1 for rate in rates)
    assert rates[0] == (0.1 if warmup else 1.0)


def test_the_optimiser_follows_the_learning_rate(make_training: MakeTraining) -> None:
    training = make_training()
    for record in training.steps():
        assert record.learning_rate == learning_rate(CONFIG, record.step - 1)
        rates = {group["lr"] for group in training.parts[""].stepping.param_groups}
        assert rates == {record.learning_rate}


# --- what is drawn -------------------------------------------------------------------------


def test_images_are_chosen_in_balance(make_training: MakeTraining) -> None:
    images = some_images(3)
    training = make_training(replace(CONFIG, batch_size=7, steps=5), images=images)
    batches = watch_batches(training)
    list(training.steps())
    chosen = seen_images(batches, images)
    for start in range(0, len(chosen), 7):
        counts = [chosen[start : start + 7].count(i) for i in range(3)]
        assert sorted(counts) == [2, 2, 3]
    assert len(set(map(tuple, (chosen[i : i + 7] for i in range(0, 35, 7))))) > 1


def test_half_of_the_images_are_mirrored(make_training: MakeTraining) -> None:
    images = some_images(3)
    pixels = images.float() / 127.5 - 1
    for flip in (True, False):
        training = make_training(replace(CONFIG, flip=flip, batch_size=64))
        (step,) = training._draw()
        x_0, t, eps = step.x_0, step.t, step.eps
        upright = (x_0[:, None] - pixels).abs().amax((2, 3, 4)).amin(1) < 1e-6
        share = upright.float().mean().item()
        assert 0.3 < share < 0.7 if flip else share == 1
    assert (t[:32] + t[32:] == 999).all()
    assert eps.shape == (64, 3, SIZE, SIZE)
    assert eps.std().item() == pytest.approx(1, abs=0.02)


def test_latents_come_with_those_of_the_mirror_images(make_training: MakeTraining) -> None:
    x_0, mirrored = torch.zeros(3, 3, SIZE, SIZE), torch.ones(3, 3, SIZE, SIZE)
    training = make_training(replace(CONFIG, batch_size=64))
    training.examples = Latents(x_0, mirrored)
    (step,) = training._draw()
    assert 0.3 < step.mirrored.float().mean() < 0.7
    torch.testing.assert_close(step.x_0.mean((1, 2, 3)), step.mirrored.float())
    training.examples = Latents(x_0)
    with pytest.raises(ValueError, match="no mirror images"):
        training._draw()


def test_steps_and_seeds_draw_anew(make_training: MakeTraining) -> None:
    batches = []
    for seed in (0, 1):
        training = make_training(seed=seed)
        seen = watch_batches(training)
        list(training.steps())
        batches += seen
    noise = torch.stack([eps for _, _, eps in batches]).flatten(0, 1)
    assert len(noise.flatten(1)[:, 0].unique()) == 2 * 6 * 4


# --- stopping and going on -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "stop"), [({}, 1), ({}, 6), ({"ant": True}, 4), ({"bridge": True}, 3)]
)
def test_a_training_that_stopped_goes_on_bit_for_bit(
    method: dict[str, bool], stop: int, make_training: MakeTraining, tmp_path: Path
) -> None:
    whole = make_training(**method)
    losses = [record.loss for record in whole.steps()]

    first = make_training(**method)
    for record in first.steps():
        if record.step == stop:
            break
    first.save(tmp_path / "state.safetensors", {})
    second = make_training(**method)
    second.load(tmp_path / "state.safetensors")
    assert second.step == stop
    records: list[StepRecord] = list(second.steps())
    assert [record.step for record in records] == list(range(stop + 1, 7))
    assert [record.loss for record in records] == losses[stop:]
    torch.testing.assert_close(everything(second), everything(whole), rtol=0, atol=0)


def test_saving_does_not_disturb(make_training: MakeTraining, tmp_path: Path) -> None:
    quiet, saving = make_training(), make_training()
    list(quiet.steps())
    for record in saving.steps():
        saving.save(tmp_path / "state.safetensors", {"ant.config": {"step": record.step}})
        with saving.averaged():
            pass
    torch.testing.assert_close(everything(saving), everything(quiet), rtol=0, atol=0)


def test_inside_averaged_the_network_has_its_average(make_training: MakeTraining) -> None:
    training = make_training(replace(CONFIG, ema_decay=0.4))
    slow = weights(training)
    for record in training.steps():
        decay = min(0.4, (1 + record.step) / (10 + record.step))
        slow = {n: decay * slow[n] + (1 - decay) * w for n, w in weights(training).items()}
    trained = weights(training)
    with training.averaged():
        torch.testing.assert_close(weights(training), slow, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(weights(training), trained, rtol=0, atol=0)


def test_a_state_of_another_model_is_refused(make_training: MakeTraining, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    make_training(ant=True).save(path, {})
    training = make_training()
    before = everything(training)
    with pytest.raises(AntError, match="another model"):
        training.load(path)
    torch.testing.assert_close(everything(training), before, rtol=0, atol=0)


def test_a_state_of_other_shapes_is_refused(
    make_training: MakeTraining, make_unet: MakeUnet, accelerator: Accelerator, tmp_path: Path
) -> None:
    wide = AdaptedDenoiser(make_unet(SIZE, (8, 16)), AdaptorConfig(width=16))
    path = tmp_path / "state.safetensors"
    Training(wide, Pixels(some_images()), CONFIG, accelerator).save(path, {})
    training = make_training(ant=True)
    before = everything(training)
    with pytest.raises(AntError, match="another model"):
        training.load(path)
    torch.testing.assert_close(everything(training), before, rtol=0, atol=0)


def test_the_scale_of_fp16_is_part_of_the_state(
    make_training: MakeTraining, tmp_path: Path
) -> None:
    first, second = (
        make_training(accelerator=OneOfSeveral(0, 1, torch.amp.GradScaler("cpu", init_scale=scale)))
        for scale in (512.0, 2.0)
    )
    first.accelerator.scaler.load_state_dict(
        {**first.accelerator.scaler.state_dict(), "_growth_tracker": 7}
    )
    first.save(tmp_path / "state.safetensors", {})
    second.load(tmp_path / "state.safetensors")
    assert second.accelerator.scaler.get_scale() == 512
    assert second.accelerator.scaler.state_dict() == first.accelerator.scaler.state_dict()


# --- a loss that is no number --------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_bad_loss_stops_before_the_weights_change(
    value: float, make_training: MakeTraining
) -> None:
    def bad_at_last(step: Step) -> Tensor:
        return step.eps * value if training.step == 2 else step.eps

    training = make_training(objective=Objective(target=as_rule(bad_at_last)))
    steps = training.steps()
    next(steps)
    next(steps)
    before = everything(training)
    with pytest.raises(NonFiniteLossError, match="the loss of step 3 is") as raised:
        next(steps)
    assert raised.value.step == 3
    assert training.step == 2
    assert all(p.grad is None for p in training.parameters.values())
    torch.testing.assert_close(everything(training), before, rtol=0, atol=0)


def test_a_step_that_fp16_passes_over_has_no_norm(make_training: MakeTraining) -> None:
    """Its gradient is infinite, which JSON has not."""

    class Overflowing(OneOfSeveral):
        def clip_grad_norm_(self, parameters: Any, norm: float) -> Tensor:
            return torch.tensor(math.inf)

    accelerator = Overflowing(0, 1, torch.amp.GradScaler("cpu"))
    record = next(make_training(accelerator=accelerator).steps())
    assert record.gradient_norm is None
    assert json.loads(to_json(asdict(record)))["gradient_norm"] is None


def test_a_bad_gradient_stops_before_the_weights_change(make_training: MakeTraining) -> None:
    """A loss may be finite where its gradient is not: sqrt at 0."""
    training = make_training()
    forward = training.network.unet.conv_out.forward

    def bad(h: Tensor) -> Tensor:
        out: Tensor = forward(h)
        return out + torch.sqrt(out - out.detach()) if training.step == 1 else out

    training.network.unet.conv_out.forward = bad
    steps = training.steps()
    next(steps)
    before = everything(training)
    with pytest.raises(NonFiniteLossError, match="the gradient of step 2 is"):
        next(steps)
    torch.testing.assert_close(everything(training), before, rtol=0, atol=0)


# --- less memory, same result --------------------------------------------------------------


def watch_gradients(training: Training) -> list[dict[str, Tensor]]:
    """The gradients, clipped, of each step to come."""
    seen: list[dict[str, Tensor]] = []
    take = training.parts[""].stepping.step

    def step() -> None:
        seen.append({n: p.grad.clone() for n, p in training.parameters.items()})
        take()

    training.parts[""].stepping.step = step
    return seen


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("less", [{"micro_batch": 1}, {"micro_batch": 3}, {"low_memory": True}])
def test_less_memory_gives_the_same_result(
    less: dict[str, Any], method: dict[str, bool], make_training: MakeTraining
) -> None:
    whole, parts = make_training(**method), make_training(replace(CONFIG, **less), **method)
    gradients = watch_gradients(parts), watch_gradients(whole)
    sizes: list[int] = []
    parts.network.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    for one, other in zip(parts.steps(), whole.steps(), strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
        assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-4)
    assert max(sizes) == less.get("micro_batch", 1)
    found, expected = (steps[:3] for steps in gradients)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    # Not the weights: of a bias that a norm takes away again, Adam makes steps out of rounding.
    x_t, t = torch.randn(3, 3, SIZE, SIZE), torch.tensor([0, 300, 700])
    with torch.no_grad():
        found, expected, before = (
            training.network(x_t, t) for training in (parts, whole, make_training(**method))
        )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert (found - before).abs().max() > 1e-3


def test_low_memory_recomputes_what_it_does_not_keep(make_training: MakeTraining) -> None:
    passes = {}
    for low in (False, True):
        config = replace(CONFIG, steps=1, batch_size=1, low_memory=low)
        training, passes[low] = make_training(config, ant=True), 0
        blocks = [m for m in training.network.unet.modules() if isinstance(m, ResnetBlock2D)]

        def count(*_: object, low: bool = low) -> None:
            passes[low] += 1

        for block in blocks:
            block.register_forward_pre_hook(count)
        list(training.steps())
    # Twice in the inner loop, which keeps nothing, and forward; then once more on the way back,
    # as far as it leads.
    assert passes[False] == 3 * len(blocks)
    assert 3.5 * len(blocks) < passes[True] <= 4 * len(blocks)


# --- shares of several processes -----------------------------------------------------------


class OneOfSeveral:
    """Stands in for one process's accelerator; keeps the gradients of its only step."""

    def __init__(self, index: int, processes: int, scaler: Any = None) -> None:
        self.process_index, self.num_processes = index, processes
        self.device, self.scaler = torch.device("cpu"), scaler
        self.gradients: list[Tensor] = []
        self.losses: list[float] = []

    def prepare(self, network: nn.Module, optimizer: Any) -> tuple[nn.Module, Any]:
        return network, optimizer

    def autocast(self) -> nullcontext[None]:
        return nullcontext()

    def reduce(self, loss: Tensor, how: str) -> Tensor:
        assert how == "mean"
        self.losses.append(loss.item())
        return loss

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def clip_grad_norm_(self, parameters: Any, norm: float) -> Tensor:
        self.gradients = [p.grad.clone() for p in parameters]
        return torch.zeros(())


@pytest.mark.parametrize("method", [{"ant": True}, {"bridge": True}], ids=str)
@pytest.mark.parametrize(("batch", "processes"), [(4, 2), (5, 2), (5, 3), (3, 3)])
def test_shares_add_up_to_the_global_batch(
    batch: int, processes: int, method: dict[str, bool], make_training: MakeTraining
) -> None:
    """What DDP and `reduce` make of the shares, the mean over processes, is the whole."""
    config = replace(CONFIG, batch_size=batch)

    def one(index: int, processes: int) -> OneOfSeveral:
        accelerator = OneOfSeveral(index, processes)
        next(make_training(config, **method, accelerator=accelerator).steps())
        return accelerator

    whole, parts = one(0, 1), [one(i, processes) for i in range(processes)]
    loss = sum(part.losses[0] for part in parts) / processes
    assert loss == pytest.approx(whole.losses[0], rel=1e-5)
    for i, gradient in enumerate(whole.gradients):
        mean = torch.stack([part.gradients[i] for part in parts]).mean(0)
        torch.testing.assert_close(mean, gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("less", [{}, {"micro_batch": 2}, {"low_memory": True}])
def test_what_is_drawn_counts_by_the_place_in_the_global_batch(
    less: dict[str, Any], processes: int, make_training: MakeTraining
) -> None:
    """The chance that rules choose by, as all else of a sample."""
    names = ("chance", "x_0", "eps", "t", "images", "mirrored")

    def drawn(index: int, processes: int, **less: Any) -> list[Tensor]:
        config = replace(CONFIG, batch_size=7, **less)
        training = make_training(config, accelerator=OneOfSeveral(index, processes))
        training.step = 4
        steps = training._draw()
        return [torch.cat([getattr(step, name) for step in steps]) for name in names]

    whole = drawn(0, 1)
    assert whole[0].shape == (7, 3)
    assert whole[0].min() >= 0 and whole[0].max() < 1
    assert len(whole[0].unique()) == 21
    for i in range(processes):
        mine = [found[i::processes] for found in whole]
        torch.testing.assert_close(drawn(i, processes, **less), mine, rtol=0, atol=0)


def test_more_processes_than_samples_is_refused(make_training: MakeTraining) -> None:
    with pytest.raises(AntError, match="2 processes") as raised:
        make_training(replace(CONFIG, batch_size=1), accelerator=OneOfSeveral(1, 2))
    assert raised.value.exit_code == 2


def test_denoiser_takes_a_plain_unet(make_unet: MakeUnet) -> None:
    unet = make_unet(SIZE, (8, 16))
    x_t, t = torch.randn(2, 3, SIZE, SIZE), torch.tensor([1, 999])
    with torch.no_grad():
        torch.testing.assert_close(Denoiser(unet)(x_t, t), unet(x_t, t).sample)


def test_only_noise_levels_that_are_adapted_are_drawn(
    make_unet: MakeUnet, accelerator: Accelerator
) -> None:
    network = AdaptedDenoiser(make_unet(SIZE, (8, 16)), AdaptorConfig(t_limit=0.3))
    drawn: list[int] = []

    def target(step: Step) -> Tensor:
        drawn.extend(step.t.tolist())
        return step.eps

    config, objective = replace(CONFIG, steps=40), Objective(target=as_rule(target))
    images = Pixels(some_images())
    list(Training(network, images, config, accelerator, objective=objective).steps())
    assert max(drawn) < 0.3 * PATH.span
    assert max(drawn) > 0.25 * PATH.span


# --- several parts -------------------------------------------------------------------------


class Critic(nn.Module):
    """Something else that trains: its one weight follows the noise that is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.guess = nn.Parameter(torch.zeros(()))


class CriticObjective(Objective):
    def __init__(self, critic: Critic) -> None:
        super().__init__()
        object.__setattr__(self, "critic", critic)

    def loss(self, step: Step, target: Tensor) -> Tensor:
        return (self.critic.guess - target - 1).square().mean()  # type: ignore[attr-defined]


def with_critic(make_training: MakeTraining, accelerator: Accelerator) -> Training:
    critic = Critic()
    config = replace(CONFIG, learning_rate=0.1, weight_decay=0.0)
    part = Part(critic, CriticObjective(critic), config, accelerator)
    return make_training(others={"critic": part})


def test_another_part_trains_beside_and_goes_on_bit_for_bit(
    make_training: MakeTraining, accelerator: Accelerator, tmp_path: Path
) -> None:
    alone, whole = make_training(), with_critic(make_training, accelerator)
    losses = [record.loss for record in alone.steps()]
    assert [record.loss for record in whole.steps()] == losses
    guess = whole.parts["critic"].parameters["guess"]
    assert guess.item() == pytest.approx(0.3, abs=0.15)  # six steps of 0.1 at most, towards 1

    first = with_critic(make_training, accelerator)
    for record in first.steps():
        if record.step == 3:
            break
    first.save(tmp_path / "state.safetensors", {})
    second = with_critic(make_training, accelerator)
    second.load(tmp_path / "state.safetensors")
    list(second.steps())
    torch.testing.assert_close(everything(second), everything(alone), rtol=0, atol=0)
    found = second.parts["critic"]
    torch.testing.assert_close(found.parameters["guess"], guess, rtol=0, atol=0)
    torch.testing.assert_close(found.ema.average, whole.parts["critic"].ema.average)
    with pytest.raises(AntError, match="another model"):
        make_training().load(tmp_path / "state.safetensors")
