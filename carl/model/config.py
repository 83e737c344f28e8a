"""What a CARL network is made of, under the original's keys.

Every ablation of the paper is one key: `pos_enc_sigma` (0 for no wavelength encoding), `n_queries`,
`embed_dim`, `depth` and `readout` of the spectral encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from carl.errors import CarlError, ModelError
from carl.parsing import load_yaml, parse_table

READOUTS = ("sum", "concat", "max", "attention")

_HEAD_KEYS = frozenset({"vit_adapter_kwargs", "upernet_head_kwargs", "mask2former_kwargs"})
"""Keys of the original's files that describe a head on top of this network, not the network."""


@dataclass(frozen=True)
class SpectralEncoderConfig:
    """The spectral encoder.

    Attributes:
        embed_dim: D, width of the band tokens; even.
        n_queries: K, learned spectral representations.
        pos_enc_sigma: σ of the wavelength frequencies; 0 for no encoding.
        depth: blocks, alternating self- and cross-attention.
        num_heads: attention heads; divides `embed_dim`.
        mlp_ratio: width of the hidden layer over `embed_dim`.
        qkv_bias: whether queries, keys and values have a bias.
        ffn_bias: whether the layers of the MLP have a bias.
        proj_bias: whether the layer after the attention has a bias.
        drop_path_rate: stochastic depth of the last block; rises linearly from 0.
        drop_path_uniform: the same stochastic depth in every block.
        proj_drop: dropout after the attention.
        drop: dropout in the MLP.
        attn_drop: dropout of attention weights.
        layer_scale: initial value of LayerScale; None or 0 for none.
        readout: how the K queries become one vector: sum, concat, max or attention.
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
        if self.pos_enc_sigma < 0:
            raise ModelError(f"pos_enc_sigma is {self.pos_enc_sigma}: it must be 0 or more.")
        if self.readout not in READOUTS:
            raise ModelError(f"'{self.readout}' is no readout: choose {', '.join(READOUTS)}.")


@dataclass(frozen=True)
class SpatialEncoderConfig:
    """The spatial encoder.

    Attributes:
        model_name: a ViT or EVA of timm, with or without ``timm/`` before its name.
        depth: how many of its blocks, the first ones; None for all.
        model_kwargs: passed on to ``timm.create_model``.
    """

    model_name: str = "timm/eva02_base_patch14_224.mim_in22k"
    depth: int | None = None
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.depth is not None:
            _require_positive(self, "depth")


@dataclass(frozen=True)
class SpectralPredictorConfig:
    """The spectral predictor of self-supervision; attributes as in `SpectralEncoderConfig`."""

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


@dataclass(frozen=True)
class SpatialPredictorConfig:
    """The spatial predictor of self-supervision; attributes as in `SpectralEncoderConfig`."""

    predictor_embed_dim: int = 384
    depth: int = 6
    num_heads: int = 12
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    drop_path_rate: float = 0.0

    def __post_init__(self) -> None:
        _require_positive(self, "predictor_embed_dim", "depth", "num_heads", "mlp_ratio")
        _require_heads(self.predictor_embed_dim, self.num_heads, "predictor_embed_dim")
        if self.predictor_embed_dim % 4:
            raise ModelError(
                f"predictor_embed_dim is {self.predictor_embed_dim}: its 2-D position code needs a "
                "multiple of 4."
            )


@dataclass(frozen=True)
class CARLConfig:
    """A whole network, and what its self-supervision adds to it.

    Attributes:
        patch_size: P, pixels.
        image_size: side of the images it is trained on, pixels; any size goes in otherwise.
        n_classes: classes of the data it is probed with in training, if any.
        spec_encoder_kwargs: the spectral encoder.
        spat_encoder_kwargs: the spatial encoder.
        spec_predictor_kwargs: the spectral predictor, used in self-supervision only.
        spat_predictor_kwargs: the spatial predictor, used in self-supervision only.
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
        """From the original's keys.

        Args:
            values: the network's keys, or a whole training configuration that has them under
                ``model_kwargs``; keys of heads are left to the heads.

        Raises:
            ModelError: an unknown key, or a value that does not fit.
        """
        network = values.get("model_kwargs", values) if isinstance(values, Mapping) else values
        if isinstance(network, Mapping):
            network = {key: value for key, value in network.items() if key not in _HEAD_KEYS}
        try:
            return parse_table(cls, network)
        except ModelError:
            raise
        except CarlError as error:
            raise ModelError(str(error)) from error

    @classmethod
    def from_file(cls, path: str | Path) -> CARLConfig:
        """From a JSON or YAML file with the original's keys.

        Raises:
            ModelError: it cannot be read, or holds an unknown key or a value that does not fit.
        """
        return load_yaml(path, cls.from_dict, ModelError)

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the original's keys, as JSON and YAML take them."""
        return asdict(self)


def _require_positive(config: object, *names: str) -> None:
    for name in names:
        if getattr(config, name) <= 0:
            raise ModelError(f"{name} is {getattr(config, name)}: it must be positive.")


def _require_heads(dim: int, num_heads: int, name: str) -> None:
    if dim % num_heads:
        raise ModelError(f"{name} is {dim}: it must be a multiple of num_heads, {num_heads}.")


def _require_even(dim: int, name: str) -> None:
    if dim % 2:
        raise ModelError(f"{name} is {dim}: sines and cosines need an even number.")
