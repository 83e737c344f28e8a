from .backend import has_fast_bf16
from .cache_keys import cube_key
from .embedding import Embedding, embed, embed_cached, embed_to_file, partial_folder
from .options import DEFAULT_OPTIONS, ComputeOptions, Precision, Speed
from .patches import normalisation
from .pca import pca_picture
from .upsampled_cube import embed_finely
from .upsampling import upsample

__all__ = [
    "DEFAULT_OPTIONS",
    "ComputeOptions",
    "Embedding",
    "Precision",
    "Speed",
    "cube_key",
    "embed",
    "embed_cached",
    "embed_finely",
    "embed_to_file",
    "has_fast_bf16",
    "normalisation",
    "partial_folder",
    "pca_picture",
    "upsample",
]
