"""List of the named networks, readable without loading PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from carl.files import resource_path
from carl.model.config import CARLConfig, SpatialEncoderConfig, SpectralEncoderConfig
from carl.user_folders import weights_folder

DEFAULT_MODEL = "carl-nano"


@dataclass(frozen=True, repr=False)
class ModelInfo:
    """Summary of a named network, as returned by `list_models`.

    Attributes:
        name: name to give to `load_model`.
        description: one line for the user.
        parameters: number of trainable parameters.
        trained: whether trained weights are installed; otherwise the weights are random.
        downloadable: whether ``carl download`` provides the weights; such a network is never
            loaded with random weights.
        default: whether it is used where no name is given.

    Examples:
        >>> from carl.model import list_models
        >>> nano = list_models()[0]
        >>> nano.name, nano.parameters, nano.default
        ('carl-nano', 2476768, True)
    """

    name: str
    description: str
    parameters: int
    trained: bool
    downloadable: bool
    default: bool

    def __repr__(self) -> str:
        weights = (
            "trained" if self.trained else "to be downloaded" if self.downloadable else "untrained"
        )
        default = ", default" if self.default else ""
        return (
            f"<ModelInfo {self.name} ({self.parameters / 1e6:.1f} M parameters, {weights}"
            f"{default}): {self.description}>"
        )


@dataclass(frozen=True)
class PublishedWeights:
    """A checkpoint that the authors of CARL have published on Zenodo.

    Attributes:
        record: number of the Zenodo record.
        file: name of the file in the record.
        wavelength_range_um: shortest and longest wavelength of the training data in µm.
    """

    record: int
    file: str
    wavelength_range_um: tuple[float, float]


@dataclass(frozen=True)
class NamedModel:
    """Definition of a named network.

    Attributes:
        description: one line for the user.
        parameters: number of trainable parameters.
        config: architecture.
        published: weights to download; None if they are shipped with the package.
    """

    description: str
    parameters: int
    config: CARLConfig
    published: PublishedWeights | None = None


_PAPER_PARAMETERS = 71_462_272
_EVA02_BASE = SpatialEncoderConfig("timm/eva02_base_patch14_224.mim_in22k", depth=8)

_PAPER = CARLConfig(
    spec_encoder_kwargs=SpectralEncoderConfig(
        embed_dim=384, n_queries=8, depth=8, num_heads=6, layer_scale=1e-4
    ),
    spat_encoder_kwargs=_EVA02_BASE,
)

# carl-nano has no LayerScale: it serves blocks initialised from DINOv2. Starting from random
# weights, its small factors would make the features of all patches equal to five digits.
NAMED_MODELS = {
    "carl-nano": NamedModel(
        "small enough for a laptop without a GPU",
        2_476_768,
        CARLConfig(
            spec_encoder_kwargs=SpectralEncoderConfig(
                embed_dim=96, n_queries=8, depth=6, num_heads=4, layer_scale=None
            ),
            # Rotary positions only: they encode relative positions. With absolute positions a
            # classifier can learn the location in the image instead of the material.
            spat_encoder_kwargs=SpatialEncoderConfig(
                "timm/eva02_tiny_patch14_224",
                depth=4,
                model_kwargs={"use_abs_pos_emb": False, "ref_feat_shape": None},
            ),
        ),
    ),
    "carl-small": NamedModel(
        "the network of the paper: D 384 and eight blocks of EVA-02-B",
        _PAPER_PARAMETERS,
        _PAPER,
    ),
    "carl-small-satellite": NamedModel(
        "carl-small with its authors' weights, self-supervised on satellite images",
        _PAPER_PARAMETERS,
        _PAPER,
        # Record: README of IMSY-DKFZ/CARL. Wavelengths: EnMAP, the widest range of its sensors.
        PublishedWeights(18671944, "ssl_checkpoint_carl.ckpt", (0.418, 2.446)),
    ),
    "carl-base": NamedModel(
        "the wider network of the paper's ablation: D 768 and eight blocks of EVA-02-B",
        114_299_392,
        CARLConfig(
            spec_encoder_kwargs=SpectralEncoderConfig(
                embed_dim=768, n_queries=8, depth=8, num_heads=12, layer_scale=1e-4
            ),
            spat_encoder_kwargs=_EVA02_BASE,
        ),
    ),
}


def list_models() -> tuple[ModelInfo, ...]:
    """List the named networks, the default first.

    Examples:
        >>> from carl.model import list_models
        >>> list_models()[0]
        <ModelInfo carl-nano (2.5 M parameters, trained, default): small enough for a laptop without a GPU>
        >>> [info.name for info in list_models()]
        ['carl-nano', 'carl-small', 'carl-small-satellite', 'carl-base']
    """  # noqa: E501  # the expected output is one line
    return tuple(
        ModelInfo(
            name=name,
            description=model.description,
            parameters=model.parameters,
            trained=weights_path(name).is_file(),
            downloadable=model.published is not None,
            default=name == DEFAULT_MODEL,
        )
        for name, model in NAMED_MODELS.items()
    )


def weights_path(name: str) -> Path:
    """Return the path of the trained weights of a named network; the file need not exist."""
    if NAMED_MODELS[name].published is not None:
        return weights_folder() / f"{name}.ckpt"
    return resource_path("weights", f"{name}.safetensors")
