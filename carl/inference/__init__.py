"""A cube and a model in, maps of features out."""

from carl.inference.blocks import mirrored, normalisation
from carl.inference.cache import FeatureCache
from carl.inference.embedding import Embedding, embed, embed_to_file, partial_folder
from carl.inference.enlarging import embed_finely
from carl.inference.identity import cube_key
from carl.inference.pca import pca_picture
from carl.inference.precision import has_fast_bf16
from carl.inference.upsampling import upsample

__all__ = [
    "Embedding",
    "FeatureCache",
    "cube_key",
    "embed",
    "embed_finely",
    "embed_to_file",
    "has_fast_bf16",
    "mirrored",
    "normalisation",
    "partial_folder",
    "pca_picture",
    "upsample",
]
