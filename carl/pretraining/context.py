"""What a network makes of the patches it sees, while the others are hidden."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from carl.model.carl import CARL
from carl.model.spectral_encoder import take_tokens


class ContextFeatures(NamedTuple):
    """Features of the n patches that are seen of each of B images.

    Attributes:
        queries: (B·n, K, D') of the spectral encoder, image after image.
        features: (B, n, D) of the spatial encoder, with mean 0 and variance 1 over D.
    """

    queries: Tensor
    features: Tensor


def encode_context(
    network: CARL,
    patches: Tensor,
    wavelengths_um: Tensor,
    bands: Tensor,
    context: Tensor,
    grid: tuple[int, int],
) -> ContextFeatures:
    """Encode the patches that are seen: hidden ones enter the spatial encoder as nothing.

    Args:
        network: CARL.
        patches: (B·n, C, P²) of the patches that are seen, image after image.
        wavelengths_um: (B·n, C) in µm.
        bands: (B·n, c) indices of the bands that are seen of each.
        context: (B, n) indices of these patches in the grid.
        grid: (h, w), patches.
    """
    encoding = network.spectral_encoder.wavelength_encoding(wavelengths_um)
    queries = network.spectral_encoder(network.embed_patches(patches), encoding, bands).queries
    batch, n_seen = context.shape
    vectors = network.read_out(queries).view(batch, n_seen, -1)
    n_patches = grid[0] * grid[1]
    feature_map = vectors.new_zeros(batch, n_patches, vectors.shape[2])
    feature_map = feature_map.scatter(1, context[..., None].expand_as(vectors), vectors)
    visible = torch.zeros(batch, n_patches, dtype=torch.bool, device=context.device)
    visible = visible.scatter(1, context, True)
    encoded = network.spatial_features(
        feature_map.transpose(1, 2).reshape(batch, -1, *grid), visible.view(batch, *grid)
    )
    features = take_tokens(encoded.flatten(2).transpose(1, 2), context)
    return ContextFeatures(queries, normalised(features))


def normalised(x: Tensor) -> Tensor:
    """(..., D) with mean 0 and variance 1 over the channels."""
    return F.layer_norm(x, x.shape[-1:])
