from collections.abc import Callable

import pytest
import torch
from diffusers import Transformer2DModel, UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from source_kinds import TEXT_DIMENSION, text_unet
from torch import Tensor

from antcli.diffusion.convention import Convention
from antcli.diffusion.path import BetaPath
from antcli.methods.trainable import adaptors
from antcli.methods.trainable.adaptors import AdaptedDenoiser, Adaptor, AdaptorConfig
from antcli.methods.trainable.denoiser import Denoiser

CONFIG = AdaptorConfig(t_limit=1.0)
MakeUnet = Callable[..., UNet2DModel]


def inputs(size: int = 16, batch: int = 2) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(batch, 3, size, size, generator=draw), torch.tensor([3, 800])[:batch]


def church() -> UNet2DModel:
    """The U-Net of google/ddpm-ema-church-256; on the meta device it takes no memory."""
    return UNet2DModel(
        sample_size=256,
        in_channels=3,
        out_channels=3,
        layers_per_block=2,
        block_out_channels=(128, 128, 256, 256, 512, 512),
        down_block_types=("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4,
        downsample_padding=0,
        attention_head_dim=None,
    )


def step(network: Denoiser, times: int = 1) -> None:
    """Train a little, on anything."""
    optimizer = torch.optim.AdamW(network.trained().values(), lr=1e-2)
    for _ in range(times):
        optimizer.zero_grad()
        x_t, t = inputs()
        (network(x_t, t) - x_t).square().mean().backward()
        optimizer.step()


# --- above a noise level the source predicts alone -----------------------------------------


def test_each_image_is_adapted_below_the_level_only(make_unet: MakeUnet) -> None:
    network = AdaptedDenoiser(make_unet(), AdaptorConfig(t_limit=0.6))
    everywhere = AdaptedDenoiser(make_unet(), CONFIG)
    for parameter in network.adaptors.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
    everywhere.adaptors.load_state_dict(network.adaptors.state_dict())
    x_t = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0, 599, 600, 999])
    with torch.no_grad():
        found, source, adapted = network(x_t, t), make_unet()(x_t, t).sample, everywhere(x_t, t)
    assert (adapted - source).abs().amax((1, 2, 3)).amin() > 0.01
    torch.testing.assert_close(found[:2], adapted[:2], rtol=0, atol=0)
    torch.testing.assert_close(found[2:], source[2:], rtol=0, atol=0)


def test_a_batch_above_the_level_does_not_pass_through_the_adaptors(make_unet: MakeUnet) -> None:
    network = AdaptedDenoiser(make_unet(), AdaptorConfig(t_limit=0.6))
    passes: list[str] = []
    for name, adaptor in network.adaptors.items():
        adaptor.register_forward_hook(lambda *_, name=name: passes.append(name))
    x_t = torch.zeros(2, 3, 16, 16)
    network(x_t, torch.tensor([600, 700]))
    assert passes == []
    network(x_t, torch.tensor([599, 700]))
    assert sorted(passes) == sorted(network.adaptors)


# --- an adapted network begins as its source -----------------------------------------------


def test_untrained_is_the_source_exactly(make_unet: MakeUnet) -> None:
    x_t, t = inputs()
    with torch.no_grad():
        expected = make_unet()(x_t, t).sample
        found = AdaptedDenoiser(make_unet(), CONFIG)(x_t, t)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_the_source_keeps_its_state_dict_and_is_frozen(make_unet: MakeUnet) -> None:
    before = {name: w.clone() for name, w in make_unet().state_dict().items()}
    unet = make_unet()
    network = AdaptedDenoiser(unet, CONFIG)
    step(network, times=2)
    torch.testing.assert_close(dict(unet.state_dict()), before, rtol=0, atol=0)
    assert not any(p.requires_grad for p in unet.parameters())
    assert all(p.grad is None for p in unet.parameters())
    trained = network.trained()
    assert trained.keys() == {f"adaptors.{n}" for n, _ in network.adaptors.named_parameters()}


# --- where adaptors are --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["default", "resnet"])
def test_one_beside_every_block_and_one_at_the_end(kind: str, make_unet: MakeUnet) -> None:
    unet = make_unet() if kind == "default" else resnet_unet(make_unet)
    blocks = [name for name, m in unet.named_modules() if isinstance(m, ResnetBlock2D | Attention)]
    network = AdaptedDenoiser(unet, CONFIG)
    assert list(network.adaptors) == [name.replace(".", "-") for name in [*blocks, "conv_out"]]
    # Down: 2 blocks of a ResNet each and an attention; middle: 2 and 1; up: 2 x 2 and 2.
    resizing = 2 if kind == "resnet" else 0
    assert len(network.adaptors) == (2 + 1) + (2 + 1) + (4 + 2) + 1 + resizing


def test_an_adaptor_adds_to_its_block(make_unet: MakeUnet) -> None:
    """A block's output becomes theta(x) + psi(x), psi seeing the block's own input."""
    unet = make_unet()
    network = AdaptedDenoiser(unet, CONFIG)
    step(network)
    x_t, t = inputs()
    block, adaptor = unet.mid_block.attentions[0], network.adaptors["mid_block-attentions-0"]
    seen: list[tuple[Tensor, Tensor]] = []
    block.register_forward_hook(lambda _, args, out: seen.append((args[0], out)))
    with torch.no_grad():
        network(x_t, t)
        ((x, out),) = seen
        theta = block.forward(x)
        psi = adaptor(x, None, out.shape[-2:])
    assert psi.abs().max() > 1e-3
    torch.testing.assert_close(out, theta + psi)


def test_the_time_reaches_the_adaptors_of_resnet_blocks(make_unet: MakeUnet) -> None:
    network = AdaptedDenoiser(make_unet(), CONFIG)
    timed = [name for name, a in network.adaptors.items() if a.time is not None]  # type: ignore[union-attr]
    assert timed == [name for name in network.adaptors if "resnets" in name]
    asked: list[Tensor] = []
    adaptor = network.adaptors["mid_block-resnets-0"]
    adaptor.register_forward_hook(lambda _, args, __: asked.append(args[1]))
    with torch.no_grad():
        network(*inputs())
    assert asked[0].shape == (2, 64)
    assert not torch.allclose(asked[0][0], asked[0][1])


# --- other U-Nets --------------------------------------------------------------------------


def resnet_unet(make_unet: MakeUnet) -> UNet2DModel:
    """ResNet blocks that resize, and a time embedding that scales and shifts."""
    return make_unet(
        down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        upsample_type="resnet",
        resnet_time_scale_shift="scale_shift",
    )


def test_blocks_that_resize(make_unet: MakeUnet) -> None:
    x_t, t = inputs()
    with torch.no_grad():
        expected = resnet_unet(make_unet)(x_t, t).sample
        network = AdaptedDenoiser(resnet_unet(make_unet), CONFIG)
        torch.testing.assert_close(network(x_t, t), expected, rtol=0, atol=0)
    assert sum("samplers" in name for name in network.adaptors) == 2
    step(network)
    with torch.no_grad():
        assert (network(x_t, t) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("size", [2, 4, 6, 10])
def test_maps_smaller_than_the_pooling_window(size: int, make_unet: MakeUnet) -> None:
    network = AdaptedDenoiser(make_unet(size), AdaptorConfig(pooling=8, t_limit=1.0))
    x_t, t = inputs(size)
    out = network(x_t, t)
    assert out.shape == x_t.shape
    out.square().mean().backward()
    last = network.adaptors["conv_out"].up
    assert last.weight.grad.abs().max() > 0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("pooling", "size", "tokens"), [(4, 16, 16), (4, 18, 16), (4, 3, 1), (1, 5, 25), (2, 4, 4)]
)
def test_pooling(pooling: int, size: int, tokens: int) -> None:
    adaptor = Adaptor(4, 6, None, AdaptorConfig(pooling=pooling))
    torch.nn.init.normal_(adaptor.up.weight)
    seen: list[Tensor] = []
    adaptor.transformer.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    psi = adaptor(torch.randn(2, 4, size, size), None, torch.Size((7, 9)))
    assert seen[0].shape[-2:].numel() == tokens
    assert psi.shape == (2, 6, 7, 9)
    assert psi.isfinite().all()


@pytest.mark.parametrize(("inputs_", "width"), [(3, 6), (5, 2), (2, 4), (16, 16)])
def test_odd_numbers_of_channels(inputs_: int, width: int) -> None:
    adaptor = Adaptor(inputs_, 3, None, AdaptorConfig(width=width, heads=2))
    psi = adaptor(torch.randn(2, inputs_, 8, 8), None, torch.Size((8, 8)))
    torch.testing.assert_close(psi, torch.zeros(2, 3, 8, 8), rtol=0, atol=0)


@pytest.mark.parametrize(("width", "published"), [(8, 2_464_603), (16, 4_939_699)])
def test_parameters_of_the_church_model(width: int, published: int) -> None:
    with torch.device("meta"):
        unet = church()
        network = AdaptedDenoiser(unet, AdaptorConfig(width=width, t_limit=1.0))
    assert sum(p.numel() for p in unet.parameters()) == 113_673_219
    assert len(network.adaptors) == 39
    # The published adaptors have a bias on the keys, which softmax does not see.
    trained = sum(p.numel() for p in network.trained().values())
    assert trained == published - 39 * width


# --- learning ------------------------------------------------------------------------------


def test_one_step_changes_the_output(make_unet: MakeUnet) -> None:
    network = AdaptedDenoiser(make_unet(), CONFIG)
    with torch.no_grad():
        before = network(*inputs())
    step(network)
    with torch.no_grad():
        after = network(*inputs())
    assert ((after - before).abs().mean(dim=(1, 2, 3)) > 1e-3).all()


def test_every_parameter_learns_after_the_first_step(make_unet: MakeUnet) -> None:
    """At first the last convolutions alone, at zero, receive a gradient; then all do."""
    network = AdaptedDenoiser(make_unet(), CONFIG)
    x_t, t = inputs()
    (network(x_t, t) - x_t).square().mean().backward()
    for name, parameter in network.trained().items():
        assert parameter.grad is not None
        assert (parameter.grad.abs().max() > 0) == (".up." in name), name
    step(network)
    network.zero_grad()
    (network(x_t, t) - x_t).square().mean().backward()
    for name, parameter in network.trained().items():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 1e-8, name


def test_a_sample_does_not_see_its_batch(make_unet: MakeUnet) -> None:
    network = AdaptedDenoiser(make_unet(), CONFIG)
    step(network)
    x_t, t = inputs()
    with torch.no_grad():
        together = network(x_t, t)
        alone = torch.cat([network(x_t[i : i + 1], t[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)


# --- networks that are conditional on text -------------------------------------------------


def test_a_transformer_is_one_block() -> None:
    unet = text_unet(in_channels=4, out_channels=4)
    text = torch.randn(1, 5, TEXT_DIMENSION)
    convention = Convention(BetaPath.linear(), condition={"encoder_hidden_states": text})
    x_t, t = torch.randn(2, 4, 8, 8), torch.tensor([3, 800])
    with torch.no_grad():
        expected = unet(x_t, t, text.expand(2, -1, -1)).sample
    network = AdaptedDenoiser(unet, CONFIG, convention)
    with torch.no_grad():
        torch.testing.assert_close(network(x_t, t), expected, rtol=0, atol=0)
    beside = [name for name in network.adaptors if "attentions" in name]
    transformers = [m for m in unet.modules() if isinstance(m, Transformer2DModel)]
    assert len(beside) == len(transformers) == 4
    passed: list[str] = []
    for name in beside:
        network.adaptors[name].register_forward_hook(lambda *_, name=name: passed.append(name))
    torch.nn.init.normal_(network.adaptors[beside[0]].up.weight)
    with torch.no_grad():
        assert (network(x_t, t) - expected).abs().max() > 0.01
    assert sorted(passed) == sorted(beside)


# --- attention on a GPU --------------------------------------------------------------------


@pytest.mark.parametrize("width", [2, 3, 8, 12])
def test_heads_that_are_filled_up_attend_as_before(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """softmax(q k / sqrt(width)) v, in float64."""
    query, key, value = (torch.randn(2, 4, 9, width, dtype=torch.float64) for _ in range(3))
    scores = torch.einsum("bhnd,bhmd->bhnm", query, key) / width**0.5
    expected = torch.einsum("bhnm,bhmd->bhnd", scores.softmax(-1), value)
    torch.testing.assert_close(adaptors.attention(query, key, value), expected)
    monkeypatch.setattr(adaptors, "NARROW", ("cpu",))
    torch.testing.assert_close(adaptors.attention(query, key, value), expected)
