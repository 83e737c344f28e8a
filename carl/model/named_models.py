"""The networks that have a name. Reading this list does not load PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from carl.files import resource_path
from carl.folders import weights_folder
from carl.model.config import CARLConfig, SpatialEncoderConfig, SpectralEncoderConfig

DEFAULT_MODEL = "carl-nano"


@dataclass(frozen=True)
class ModelInfo:
    """A named network.

    Attributes:
        name: as `carl.load_model` takes it.
        description: one line for a person.
        parameters: how many numbers it learns.
        trained: whether trained weights are installed; an untrained network has random ones.
        downloadable: whether its weights are had by ``carl download``; it never has random ones.
        default: whether it is the one used when none is named.
    """

    name: str
    description: str
    parameters: int
    trained: bool
    downloadable: bool
    default: bool


@dataclass(frozen=True)
class Publication:
    """A checkpoint of the original's that its authors have published.

    Attributes:
        record: number of the record at Zenodo.
        file: its name there.
        wavelength_range_um: of the images it was trained on.
    """

    record: int
    file: str
    wavelength_range_um: tuple[float, float]


@dataclass(frozen=True)
class NamedModel:
    """What a name stands for.

    Attributes:
        description: one line for a person.
        parameters: how many numbers it learns.
        config: what it is made of.
        publication: where its weights are, if they do not come with this program.
    """

    description: str
    parameters: int
    config: CARLConfig
    publication: Publication | None = None


_PAPER_PARAMETERS = 71_462_272
_EVA02_BASE = SpatialEncoderConfig("timm/eva02_base_patch14_224.mim_in22k", depth=8)

_PAPER = CARLConfig(
    spec_encoder_kwargs=SpectralEncoderConfig(
        embed_dim=384, n_queries=8, depth=8, num_heads=6, layer_scale=1e-4
    ),
    spat_encoder_kwargs=_EVA02_BASE,
)

# LayerScale keeps blocks with DINOv2 weights quiet at first. In a network that starts from random
# weights it would make the features of all patches the same to five digits, so nano has none.
NAMED_MODELS = {
    "carl-nano": NamedModel(
        "small enough for a laptop without a GPU",
        2_476_768,
        CARLConfig(
            spec_encoder_kwargs=SpectralEncoderConfig(
                embed_dim=96, n_queries=8, depth=6, num_heads=4, layer_scale=None
            ),
            # Rotary positions alone: where a patch lies in an image says nothing about what it is.
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
        # Address: README of IMSY-DKFZ/CARL. Wavelengths: EnMAP's, the widest of the sensors.
        Publication(18671944, "ssl_checkpoint_carl.ckpt", (0.418, 2.446)),
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
    """All networks that have a name, the default first."""
    return tuple(
        ModelInfo(
            name=name,
            description=named.description,
            parameters=named.parameters,
            trained=weights_path(name).is_file(),
            downloadable=named.publication is not None,
            default=name == DEFAULT_MODEL,
        )
        for name, named in NAMED_MODELS.items()
    )


def weights_path(name: str) -> Path:
    """Where the trained weights of a named network lie, once they are installed."""
    if NAMED_MODELS[name].publication is not None:
        return weights_folder() / f"{name}.ckpt"
    return resource_path("weights", f"{name}.safetensors")
