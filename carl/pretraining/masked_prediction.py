"""Encode the visible part of an image, and predict the hidden patches and bands from it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carl.errors import ModelError
from carl.model.blocks import TransformerBlock, drop_path_rates, init_linear_layers
from carl.model.carl import CARL
from carl.model.config import CARLConfig, SpatialPredictorConfig, SpectralPredictorConfig
from carl.model.spectral_encoder import WavelengthEncoding, sincos_1d, take_tokens

_NORM_EPS = 1e-5
"""Epsilon of the layer normalisations of both predictors, as in the original CARL."""


class VisibleFeatures(NamedTuple):
    """The n visible patches of each of B images, and their features; N = B·n, image after image.

    Attributes:
        patches: (N, C, P²) pixels.
        wavelengths_um: (N, C) in µm.
        queries: (N, K, D') queries of the spectral encoder.
        features: (B, n, D) features of the spatial encoder, with mean 0 and variance 1 over D.
    """

    patches: Tensor
    wavelengths_um: Tensor
    queries: Tensor
    features: Tensor


def encode_visible(
    network: CARL, image_patches: Tensor, wavelengths_um: Tensor, bands: Tensor, context: Tensor
) -> VisibleFeatures:
    """Encode the visible patches and bands.

    Hidden patches enter the spatial encoder as zeros and are masked out as attention keys.

    Args:
        network: CARL network.
        image_patches: (B, h, w, C, P²) pixels of all patches.
        wavelengths_um: (B, C) in µm.
        bands: (N, c) indices of the visible bands of each visible patch.
        context: (B, n) indices of the visible patches in the grid.
    """
    batch, n_visible = context.shape
    grid = image_patches.shape[1:3]
    images = torch.arange(batch, device=context.device)[:, None]
    patches = image_patches.flatten(1, 2)[images, context].flatten(0, 1)
    table = wavelengths_um.repeat_interleave(n_visible, dim=0)
    encoding = network.spectral_encoder.wavelength_encoding(table)
    queries = network.spectral_encoder(network.embed_patches(patches), encoding, bands).queries
    vectors = network.read_out(queries).view(batch, n_visible, -1)
    feature_map = vectors.new_zeros(batch, grid.numel(), vectors.shape[2])
    feature_map = feature_map.scatter(1, context[..., None].expand_as(vectors), vectors)
    visible = torch.zeros(batch, grid.numel(), dtype=torch.bool, device=context.device)
    visible = visible.scatter(1, context, True)
    encoded = network.spatial_features(
        feature_map.transpose(1, 2).reshape(batch, -1, *grid), visible.view(batch, *grid)
    )
    features = take_tokens(encoded.flatten(2).transpose(1, 2), context)
    return VisibleFeatures(patches, table, queries, normalise_channels(features))


def normalise_channels(x: Tensor) -> Tensor:
    """Scale (..., D) to mean 0 and variance 1 over the channels: LayerNorm without parameters."""
    return F.layer_norm(x, x.shape[-1:])


def predictor_configs(
    config: CARLConfig,
) -> tuple[SpectralPredictorConfig, SpatialPredictorConfig]:
    """Return the configurations of both predictors.

    Raises:
        ModelError: the configuration has no predictors.
    """
    if config.spec_predictor_kwargs is None or config.spat_predictor_kwargs is None:
        raise ModelError(
            "The configuration has no predictors: give spec_predictor_kwargs and "
            "spat_predictor_kwargs."
        )
    return config.spec_predictor_kwargs, config.spat_predictor_kwargs


class SpectralPredictor(nn.Module):
    """Predict the tokens of hidden bands from the queries of a patch and the wavelengths.

    Args:
        config: sizes of the predictor.
        embed_dim: D, channels of queries and of predictions.
        n_queries: K.

    Examples:
        >>> import torch
        >>> from carl.model.config import SpectralPredictorConfig
        >>> from carl.pretraining import SpectralPredictor
        >>> config = SpectralPredictorConfig(predictor_embed_dim=16, depth=1, num_heads=2)
        >>> predictor = SpectralPredictor(config, embed_dim=16, n_queries=3)
        >>> hidden = torch.tensor([[[0, 1]]])  # (T, N, d)
        >>> predictor(torch.randn(1, 3, 16), torch.linspace(0.4, 0.9, 8)[None], hidden).shape
        torch.Size([1, 2, 16])
    """

    def __init__(self, config: SpectralPredictorConfig, embed_dim: int, n_queries: int) -> None:
        super().__init__()
        width = config.predictor_embed_dim
        self.embed = nn.Linear(embed_dim, width) if width != embed_dim else nn.Identity()
        self.queries_pos_enc = nn.Parameter(torch.empty(1, n_queries, width))
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.wavelength_encoding = WavelengthEncoding(width, config.pos_enc_sigma)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                width,
                config.num_heads,
                mlp_ratio=config.mlp_ratio,
                qkv_bias=config.qkv_bias,
                norm_eps=_NORM_EPS,
                drop=config.drop_rate,
                attn_drop=config.attn_drop_rate,
                drop_path=rate,
            )
            for rate in drop_path_rates(config.drop_path_rate, config.depth)
        )
        self.norm = nn.LayerNorm(width, eps=_NORM_EPS)
        self.proj = nn.Linear(width, embed_dim)
        init_linear_layers(self)
        for parameter in (self.queries_pos_enc, self.mask_token):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, queries: Tensor, wavelengths_um: Tensor, targets: Tensor) -> Tensor:
        """Predict the tokens of hidden bands.

        Args:
            queries: (N, K, D) queries of the student.
            wavelengths_um: (N, C) or (1, C) wavelengths of all bands in µm.
            targets: (T, N, d) indices of hidden bands; the T sets are predicted independently.

        Returns:
            (T·N, d, D), set after set.
        """
        context = self.embed(queries) + self.queries_pos_enc
        context = context.repeat(len(targets), 1, 1)
        hidden = targets.flatten(0, 1)
        table = wavelengths_um.expand(len(queries), -1).repeat(len(targets), 1)
        codes = self.wavelength_encoding(table.gather(1, hidden))
        x = self.mask_token + codes.to(context.dtype)
        for block in self.blocks:
            x = block(x, torch.cat([context, x], dim=1))
        predicted: Tensor = self.proj(self.norm(x))
        return predicted


class SpatialPredictor(nn.Module):
    """Predict the features of hidden patches from those of visible ones and all positions.

    The predictor of I-JEPA (Assran et al. 2023, "Self-supervised learning from images with a
    joint-embedding predictive architecture").

    Args:
        config: sizes of the predictor.
        embed_dim: D, channels of the features.

    Examples:
        >>> import torch
        >>> from carl.model.config import SpatialPredictorConfig
        >>> from carl.pretraining import SpatialPredictor
        >>> config = SpatialPredictorConfig(predictor_embed_dim=8, depth=1, num_heads=2)
        >>> predictor = SpatialPredictor(config, embed_dim=12)
        >>> visible, hidden = torch.tensor([[0, 1]]), torch.tensor([[[2, 3]]])  # of 2 × 2 patches
        >>> predictor(torch.randn(1, 2, 12), visible, hidden, grid=(2, 2)).shape
        torch.Size([1, 2, 12])
    """

    def __init__(self, config: SpatialPredictorConfig, embed_dim: int) -> None:
        super().__init__()
        width = config.predictor_embed_dim
        self.embed = nn.Linear(embed_dim, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.blocks = nn.ModuleList(
            TransformerBlock(
                width,
                config.num_heads,
                mlp_ratio=config.mlp_ratio,
                qkv_bias=config.qkv_bias,
                norm_eps=_NORM_EPS,
                drop_path=rate,
            )
            for rate in drop_path_rates(config.drop_path_rate, config.depth)
        )
        self.norm = nn.LayerNorm(width, eps=_NORM_EPS)
        self.proj = nn.Linear(width, embed_dim)
        init_linear_layers(self)
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self._rescale_residuals()

    def forward(
        self, features: Tensor, context: Tensor, targets: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        """Predict the features of hidden patches.

        Args:
            features: (B, n, D) of the visible patches.
            context: (B, n) indices of the visible patches in the grid, in row-major order.
            targets: (T, B, m) indices of hidden patches; the T sets are predicted independently.
            grid: (h, w), patches.

        Returns:
            (T·B, m, D), set after set.
        """
        visible = self.embed(features)
        positions = sincos_2d(grid, visible.shape[2]).to(visible)
        visible = (visible + positions[context]).repeat(len(targets), 1, 1)
        hidden = self.mask_token + positions[targets.flatten(0, 1)]
        x = torch.cat([visible, hidden.to(visible.dtype)], dim=1)
        for block in self.blocks:
            x = block(x)
        predicted: Tensor = self.proj(self.norm(x)[:, visible.shape[1] :])
        return predicted

    @torch.no_grad()
    def _rescale_residuals(self) -> None:
        """Divide the last weights of block i by √(2i), so that variance does not grow with depth.

        The initialisation of BEiT (Bao et al. 2022) and I-JEPA.
        """
        for number, block in enumerate(self.blocks, start=1):
            for name in ("attn.proj.weight", "mlp.fc2.weight"):
                block.get_parameter(name).div_(math.sqrt(2 * number))


def sincos_2d(grid: tuple[int, int], dim: int) -> Tensor:
    """Compute the sine-cosine position code (h·w, dim): dim/2 of the column, then of the row."""
    height, width = grid
    columns = sincos_1d(width, dim // 2).repeat(height, 1)
    rows = sincos_1d(height, dim // 2).repeat_interleave(width, dim=0)
    return torch.cat([columns, rows], dim=1)
