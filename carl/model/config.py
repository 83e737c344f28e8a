"""Configuration of the CARL network, with the keys of the original implementation.

Each ablation of the paper corresponds to one key of the spectral encoder: `pos_enc_sigma` (0 for no
wavelength encoding), `n_queries`, `embed_dim`, `depth` and `readout`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from carl.errors import CarlError, ModelError
from carl.parsing import load_yaml, parse_dataclass

READOUTS = ("sum", "concat", "max", "attention")

_MAX_DEPTH = 256
_MAX_SIZE = 1 << 16
"""Largest number of blocks, and largest other size of a network: a damaged file may state any."""
_MAX_OPTIONS = 1000
"""Most options of a timm backbone."""
_READING_OPTIONS = frozenset(
    {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"}
)
"""Options of ``timm.create_model`` that read or download other files."""

_HEAD_KEYS = frozenset({"vit_adapter_kwargs", "upernet_head_kwargs", "mask2former_kwargs"})
"""Keys of original configuration files that describe a head; ignored here."""


@dataclass(frozen=True)
class SpectralEncoderConfig:
    """Configuration of the spectral encoder.

    Attributes:
        embed_dim: D, channels of the band tokens; must be even.
        n_queries: K, number of learned queries.
        pos_enc_sigma: σ of the wavelength encoding in cycles per µm; 0 for no encoding.
        depth: number of blocks, alternating self-attention and cross-attention.
        num_heads: number of attention heads; must divide `embed_dim`.
        mlp_ratio: width of the hidden layer of the MLP relative to `embed_dim`.
        qkv_bias: whether the layers of queries, keys and values have a bias.
        ffn_bias: whether the layers of the MLP have a bias.
        proj_bias: whether the output layer of the attention has a bias.
        drop_path_rate: stochastic depth rate of the last block, rising linearly from 0.
        drop_path_uniform: use `drop_path_rate` in every block instead.
        proj_drop: dropout rate of the attention's output.
        drop: dropout rate in the MLP.
        attn_drop: dropout rate of the attention weights.
        layer_scale: initial value of LayerScale; None or 0 for no LayerScale.
        readout: aggregation of the K queries: sum, concat, max or attention.
    """

    embed_dim: int = 768
    n_queries: int = 4
    pos_enc_sigma: float = 3.0
    depth: int = 8
    num_heads: int = 12
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    ffn_bias: bool = True
    proj_bias: bool = True
    drop_path_rate: float = 0.0
    drop_path_uniform: bool = False
    proj_drop: float = 0.0
    drop: float = 0.0
    attn_drop: float = 0.0
    layer_scale: float | None = 1e-5
    readout: str = "sum"

    def __post_init__(self) -> None:
        _require_positive(self, "embed_dim", "n_queries", "depth", "num_heads", "mlp_ratio")
        _require_heads(self.embed_dim, self.num_heads, "embed_dim")
        _require_even(self.embed_dim, "embed_dim")
        _require_rates(self, "drop_path_rate", "proj_drop", "drop", "attn_drop")
        if self.pos_enc_sigma < 0:
            raise ModelError(f"pos_enc_sigma is {self.pos_enc_sigma}: it must be 0 or more.")
        if self.readout not in READOUTS:
            raise ModelError(f"readout is '{self.readout}': choose one of {', '.join(READOUTS)}.")


@dataclass(frozen=True)
class SpatialEncoderConfig:
    """Configuration of the spatial encoder.

    Attributes:
        model_name: name of a ViT or EVA of timm, with or without the prefix ``timm/``.
        depth: number of blocks to use, from the first; None for all.
        model_kwargs: keyword arguments of ``timm.create_model``.
    """

    model_name: str = "timm/eva02_base_patch14_224.mim_in22k"
    depth: int | None = None
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.depth is not None:
            _require_positive(self, "depth")
        _check_options(self.model_kwargs)


@dataclass(frozen=True)
class SpectralPredictorConfig:
    """Configuration of the spectral predictor; attributes as in `SpectralEncoderConfig`."""

    predictor_embed_dim: int = 384
    depth: int = 6
    num_heads: int = 12
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    drop_rate: float = 0.0
    attn_drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    pos_enc_sigma: float = 3.0

    def __post_init__(self) -> None:
        _require_positive(self, "predictor_embed_dim", "depth", "num_heads", "mlp_ratio")
        _require_heads(self.predictor_embed_dim, self.num_heads, "predictor_embed_dim")
        _require_even(self.predictor_embed_dim, "predictor_embed_dim")
        _require_rates(self, "drop_rate", "attn_drop_rate", "drop_path_rate")


@dataclass(frozen=True)
class SpatialPredictorConfig:
    """Configuration of the spatial predictor; attributes as in `SpectralEncoderConfig`."""

    predictor_embed_dim: int = 384
    depth: int = 6
    num_heads: int = 12
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    drop_path_rate: float = 0.0

    def __post_init__(self) -> None:
        _require_positive(self, "predictor_embed_dim", "depth", "num_heads", "mlp_ratio")
        _require_heads(self.predictor_embed_dim, self.num_heads, "predictor_embed_dim")
        _require_rates(self, "drop_path_rate")
        if self.predictor_embed_dim % 4:
            raise ModelError(
                f"predictor_embed_dim is {self.predictor_embed_dim}: it must be a multiple of 4 "
                "for the 2-D position encoding."
            )


@dataclass(frozen=True)
class CARLConfig:
    """Configuration of a network and of its self-supervised training.

    Attributes:
        patch_size: P in pixels.
        image_size: side of the training images in pixels; the network accepts any size.
        n_classes: number of classes of the data used for probing during training, if any.
        spec_encoder_kwargs: spectral encoder.
        spat_encoder_kwargs: spatial encoder.
        spec_predictor_kwargs: spectral predictor, used in self-supervision only.
        spat_predictor_kwargs: spatial predictor, used in self-supervision only.

    Examples:
        >>> from carl.model import CARLConfig
        >>> config = CARLConfig.from_dict({"spec_encoder_kwargs": {"n_queries": 8}})
        >>> config.patch_size, config.spec_encoder_kwargs.n_queries
        (8, 8)
    """

    patch_size: int = 8
    image_size: int = 224
    n_classes: int | None = None
    spec_encoder_kwargs: SpectralEncoderConfig = field(default_factory=SpectralEncoderConfig)
    spat_encoder_kwargs: SpatialEncoderConfig = field(default_factory=SpatialEncoderConfig)
    spec_predictor_kwargs: SpectralPredictorConfig | None = None
    spat_predictor_kwargs: SpatialPredictorConfig | None = None

    def __post_init__(self) -> None:
        _require_positive(self, "patch_size", "image_size")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CARLConfig:
        """Parse a mapping with the keys of the original implementation.

        Args:
            values: the keys of the network, or a complete training configuration with these keys
                under ``model_kwargs``. Keys of heads are ignored.

        Raises:
            ModelError: a key is unknown or a value is invalid.
        """
        network = values.get("model_kwargs", values) if isinstance(values, Mapping) else values
        if isinstance(network, Mapping):
            network = {key: value for key, value in network.items() if key not in _HEAD_KEYS}
        try:
            return parse_dataclass(cls, network)
        except ModelError:
            raise
        except CarlError as error:
            raise ModelError(str(error)) from error

    @classmethod
    def from_file(cls, path: str | Path) -> CARLConfig:
        """Read a JSON or YAML file with the keys of the original implementation.

        Raises:
            ModelError: the file cannot be read, a key is unknown, or a value is invalid.
        """
        return load_yaml(path, cls.from_dict, ModelError)

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain values, ready for JSON or YAML."""
        return asdict(self)


def _require_positive(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value <= 0:
            raise ModelError(f"{name} is {value}: it must be positive.")
        _require_at_most(value, name)


def _require_rates(config: object, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise ModelError(f"{name} is {getattr(config, name)}: it must be at least 0, below 1.")


def _require_at_most(value: float, name: str) -> None:
    largest = _MAX_DEPTH if name == "depth" else _MAX_SIZE
    if not value <= largest:
        raise ModelError(f"{name} is {value}: it must be at most {largest}.")


def _check_options(options: Mapping[str, Any]) -> None:
    """Check the options of a timm backbone, which may come from a file of unknown origin."""
    if names := sorted(_READING_OPTIONS & set(options)):
        raise ModelError(f"model_kwargs has {', '.join(names)}: it must not read other files.")
    n_values, waiting = 0, list(options.items())
    while waiting:
        name, value = waiting.pop()
        n_values += 1
        if isinstance(value, Mapping):
            waiting.extend((str(key), each) for key, each in value.items())
        elif isinstance(value, list | tuple):
            waiting.extend((name, each) for each in value)
        elif isinstance(value, int | float):
            _require_at_most(abs(value), name)
        if n_values > _MAX_OPTIONS:
            raise ModelError(f"model_kwargs has more than {_MAX_OPTIONS} values.")


def _require_heads(dim: int, num_heads: int, name: str) -> None:
    if dim % num_heads:
        raise ModelError(f"{name} is {dim}: it must be a multiple of num_heads ({num_heads}).")


def _require_even(dim: int, name: str) -> None:
    if dim % 2:
        raise ModelError(f"{name} is {dim}: it must be even.")
