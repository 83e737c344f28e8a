"""Load trained networks, and build untrained ones, by name, file or configuration."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import constants
from torch import Tensor

from carl.errors import ModelError
from carl.model.carl import CARL
from carl.model.checkpoint import Part, read_checkpoint, read_model, save_model
from carl.model.config import CARLConfig
from carl.model.device import resolve_device
from carl.model.download import is_reachable
from carl.model.named_models import DEFAULT_MODEL, NAMED_MODELS, weights_path
from carl.model.spatial_encoder import create_backbone

_LOG = logging.getLogger(__name__)

_DINOV2 = {
    384: "vit_small_patch14_dinov2.lvd142m",
    768: "vit_base_patch14_dinov2.lvd142m",
}
"""timm name of the DINOv2 ViT for each width of the spectral encoder."""


def load_model(
    name_or_path: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    config: CARLConfig | Mapping[str, Any] | str | Path | None = None,
) -> CARL:
    """Load a network in eval mode.

    A named network without trained weights is returned with random weights, the same on every call,
    and with `CARL.trained` False. Nothing is downloaded here; see `download_weights`.

    Args:
        name_or_path: a name of `list_models`, a file written by `save_model`, or a checkpoint of
            the original implementation.
        device: a device name as accepted by `resolve_device`.
        config: the configuration of an original checkpoint, or a JSON or YAML file with it.

    Raises:
        ModelError: there is no such name or file, its weights are not downloaded yet, or the file
            is damaged or does not match the configuration.

    Examples:
        >>> import carl
        >>> model = carl.load_model("carl-nano", device="cpu")
        >>> model.name, model.trained, model.patch_size
        ('carl-nano', True, 8)
    """
    torch_device = resolve_device(device)
    return _load(name_or_path, config).to(torch_device).eval()


def import_checkpoint(
    checkpoint: str | Path,
    config: CARLConfig | Mapping[str, Any] | str | Path,
    output: str | Path | None = None,
    *,
    part: Part = "student",
    half: bool = False,
) -> CARL:
    """Convert a Lightning checkpoint of the original CARL; no code in the file is run.

    Args:
        checkpoint: the ``.ckpt`` file.
        config: configuration of its network: the JSON or YAML file, or its content.
        output: the ``.safetensors`` file to write, or None to write nothing.
        part: which of the two networks of self-supervised training: "student" or "teacher".
        half: whether to write the weights in half precision.

    Returns:
        the network in eval mode on the CPU, named after `output`.

    Raises:
        ModelError: the file is not such a checkpoint, or does not fit the configuration.
        OutputError: the file cannot be written.
    """
    model = read_checkpoint(checkpoint, config, part)
    if output is not None:
        model.name = Path(output).stem
        save_model(model, output, half=half)
    return model


def build_model(
    name_or_config: str | CARLConfig = DEFAULT_MODEL, *, pretrained: bool = False, seed: int = 0
) -> CARL:
    """Build a network that has not been trained on spectral images.

    Args:
        name_or_config: a name of `list_models`, or a configuration.
        pretrained: initialise from public weights of timm and DINOv2, see `load_public_weights`.
        seed: seed of the random weights.

    Raises:
        ModelError: the name is unknown, or public weights were requested and are not available.

    Examples:
        >>> from carl.model import build_model
        >>> model = build_model("carl-nano", seed=1)
        >>> model.trained, sum(parameter.numel() for parameter in model.parameters())
        (False, 2476768)
    """
    if isinstance(name_or_config, CARLConfig):
        name, config = "carl", name_or_config
    elif name_or_config in NAMED_MODELS:
        name, config = name_or_config, NAMED_MODELS[name_or_config].config
    else:
        raise ModelError(_unknown(name_or_config))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CARL(config, name=name)
    if pretrained:
        load_public_weights(model)
    return model


def load_public_weights(model: CARL) -> None:
    """Initialise the blocks of both encoders from public weights, in place.

    The spatial encoder takes the weights of its timm backbone. The spectral encoder takes the
    blocks of the DINOv2 ViT of the same width (Oquab et al. 2023, https://arxiv.org/abs/2304.07193)
    with the joint query-key-value layers split in three; there is none for other widths, in which
    case a warning is logged. Weights missing in timm's cache are downloaded from the Hugging Face
    hub.

    Raises:
        ModelError: the weights are not in timm's cache and cannot be downloaded.
    """
    config = model.config
    backbone = _download_backbone(
        config.spat_encoder_kwargs.model_name,
        lambda: create_backbone(config.spat_encoder_kwargs, pretrained=True),
    )
    own = model.spatial_encoder.state_dict()
    public = backbone.state_dict()
    model.spatial_encoder.load_state_dict({name: public[name] for name in own})

    width = config.spec_encoder_kwargs.embed_dim
    if width not in _DINOV2:
        _LOG.warning(
            "There is no DINOv2 network of width %d: the spectral encoder keeps its random "
            "weights.",
            width,
        )
        return
    name = _DINOV2[width]
    dino = _download_backbone(name, lambda: timm.create_model(name, pretrained=True))
    blocks = split_qkv(dino.blocks.state_dict())
    own = model.spectral_encoder.blocks.state_dict()
    model.spectral_encoder.blocks.load_state_dict(
        {name: blocks.get(name, tensor) for name, tensor in own.items()}
    )


def split_qkv(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Split the joint query-key-value layers of timm blocks into layers `q`, `k` and `v`."""
    split: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if ".attn.qkv." in name:
            for letter, third in zip("qkv", tensor.chunk(3), strict=True):
                split[name.replace(".qkv.", f".{letter}.")] = third
        else:
            split[name] = tensor
    return split


def _load(
    name_or_path: str | Path, config: CARLConfig | Mapping[str, Any] | str | Path | None
) -> CARL:
    path = Path(name_or_path)
    if config is not None:
        return read_checkpoint(path, config)
    if str(name_or_path) in NAMED_MODELS:
        return _load_named(str(name_or_path))
    if not path.is_file():
        raise ModelError(_unknown(name_or_path))
    if path.suffix.lower() in (".ckpt", ".pt", ".pth"):
        raise ModelError(
            f"{path} does not contain the configuration of its network: give the configuration "
            "(JSON or YAML) that it was trained with."
        )
    return read_model(path)


def _load_named(name: str) -> CARL:
    weights, published = weights_path(name), NAMED_MODELS[name].published
    if published is None:
        return read_model(weights) if weights.is_file() else build_model(name)
    if not weights.is_file():
        raise ModelError(
            f"The weights of {name} are not installed: run 'carl download {name}' first."
        )
    model = read_checkpoint(weights, NAMED_MODELS[name].config)
    model.wavelength_range_um = published.wavelength_range_um
    return model


def _unknown(name: str | Path) -> str:
    return f"'{name}' is neither a file nor a known model: choose one of {', '.join(NAMED_MODELS)}."


def _download_backbone(name: str, create: Callable[[], Any]) -> Any:
    """Call `create`, converting the many errors of a failed download to one `ModelError`."""
    try:
        with _offline_if_unreachable():
            return create()
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"The public weights of {name} are neither in the cache of timm nor can they be "
            "downloaded: connect this machine to the internet, or start from random weights."
        ) from error


@contextmanager
def _offline_if_unreachable() -> Iterator[None]:
    """Set the Hugging Face hub offline if it is unreachable; it would retry for a minute."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not is_reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
