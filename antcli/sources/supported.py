"""Which networks and schedules can be adapted, told from their configs alone."""

from __future__ import annotations

from typing import Any, get_args

from diffusers import DDPMScheduler

from antcli.diffusion.path import Prediction
from antcli.errors import AntError
from antcli.sources.codec import Autoencoder
from antcli.sources.networks import NETWORKS

MORE_CONDITIONS = ("class_embed_type", "addition_embed_type", "encoder_hid_dim_type")
"""Settings of networks that want something beside a class or an encoded text."""
ON_BETAS = [kind for kind in get_args(Prediction) if kind != "flow_prediction"]
"""What networks of a beta schedule predict."""
HINT = "`ant fetch-source` lists sources that can be adapted"


def check_network(name: str, unet: dict[str, Any], autoencoder: Autoencoder | None) -> None:
    """Raise `AntError` unless a network of this config can be adapted."""
    kind = unet.get("_class_name")
    if kind not in NETWORKS:
        raise AntError(f"source {name} is a {kind}, not a {' or '.join(NETWORKS)}", HINT)
    more = [setting for setting in MORE_CONDITIONS if unet.get(setting)]
    if kind == "UNet2DConditionModel" and unet.get("num_class_embeds"):
        more.append("num_class_embeds")
    if more:
        raise AntError(
            f"source {name} wants more than a class or a text ({more[0]} is {unet[more[0]]})", HINT
        )
    size = unet.get("sample_size")
    if not isinstance(size, int) and not (isinstance(size, list) and len(set(size)) == 1):
        raise AntError(f"source {name} makes no square images (sample_size is {size})", HINT)
    _check_channels(name, unet, autoencoder)


def _check_channels(name: str, unet: dict[str, Any], autoencoder: Autoencoder | None) -> None:
    taken, given = unet.get("in_channels"), unet.get("out_channels")
    expected = 3 if autoencoder is None else autoencoder.channels
    if taken == expected and given in (expected, 2 * expected):  # the second for the variance
        return
    made = f"source {name} takes {taken} channels and gives {given}"
    if autoencoder is None:
        raise AntError(f"{made}: RGB images have three, and it has no autoencoder in vae/", HINT)
    raise AntError(f"{made}: its autoencoder has {expected}", HINT)


def make_scheduler(name: str, config: dict[str, Any]) -> DDPMScheduler:
    """The schedule of a scheduler's config. Raises `AntError` where ANT's losses have no sense."""
    kind = config.get("_class_name")
    if config.get("beta_start", config.get("trained_betas")) is None:
        raise AntError(f"source {name} has a {kind}, not a schedule of betas", HINT)
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in ON_BETAS:
        known = ", ".join(ON_BETAS)
        raise AntError(f"source {name} predicts {prediction}; known are {known}", HINT)
    if config.get("rescale_betas_zero_snr"):
        raise AntError(
            f"the noise of source {name} ends in nothing but noise (rescale_betas_zero_snr), "
            "where eps does not tell x_0",
            HINT,
        )
    try:
        return DDPMScheduler.from_config(config)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise AntError(f"source {name} has a schedule that is not known: {error}", HINT) from error
