"""A cube and a model in, maps of features out."""

from carl.inference.blocks import normalisation
from carl.inference.cache import FeatureCache, embed_cached
from carl.inference.cache_keys import cube_key
from carl.inference.embedding import Embedding, embed, embed_to_file, partial_folder
from carl.inference.options import ComputeOptions
from carl.inference.pca import pca_picture
from carl.inference.precision import has_fast_bf16
from carl.inference.upsampled_cube import embed_finely
from carl.inference.upsampling import upsample

__all__ = [
    "ComputeOptions",
    "Embedding",
    "FeatureCache",
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
