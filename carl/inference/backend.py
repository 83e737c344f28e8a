"""Interface to a network on its device, and its implementation in plain PyTorch."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from carl.model import CARL

NumberFormat = Literal["float32", "bf16"]
"""Number format that a half of the network computes in; features are float32 in any case."""


class ComputeBudget(NamedTuple):
    """Part of a spectral encoder to run.

    Attributes:
        pairs: number of pairs of blocks (self-attention, cross-attention), from the first one on.
        queries: number of queries, evenly spaced among all queries. Queries do not attend to each
            other, so the others can be omitted.
    """

    pairs: int
    queries: int


def full_budget(model: CARL) -> ComputeBudget:
    """Return the budget of a whole spectral encoder."""
    config = model.config.spec_encoder_kwargs
    return ComputeBudget(config.depth // 2, config.n_queries)


class Backend(Protocol):
    """The two halves of a network on a device.

    Attributes:
        device: holds the weights.
    """

    device: torch.device

    def encode_spectral(
        self,
        strip: Tensor,
        wavelengths_um: Tensor,
        number_format: NumberFormat = "float32",
        budget: ComputeBudget | None = None,
    ) -> Tensor:
        """Compute the features of single patches.

        Args:
            strip: (C, P, n·P) normalised patches side by side, on the device.
            wavelengths_um: (C,) in µm, on the device.
            number_format: of the computation.
            budget: part of the encoder to run; None for all of it.

        Returns:
            (n, D) float32, on the device.
        """

    def encode_spatial(self, features: Tensor, number_format: NumberFormat = "float32") -> Tensor:
        """Compute the features of patches in the context of their neighbours.

        Args:
            features: (1, D, h, w) spectral features, on the device.
            number_format: of the computation.

        Returns:
            (1, D, h, w) float32, on the device.
        """


class PlainBackend:
    """Run the modules of a network as they are.

    It is the reference that `carl.inference.fast` is tested against.

    Args:
        model: in eval mode.
    """

    def __init__(self, model: CARL) -> None:
        self._model = model
        self.device = next(model.parameters()).device

    def encode_spectral(
        self,
        strip: Tensor,
        wavelengths_um: Tensor,
        number_format: NumberFormat = "float32",
        budget: ComputeBudget | None = None,
    ) -> Tensor:
        """Compute the features of single patches, see `Backend.encode_spectral`."""
        model, encoder = self._model, self._model.spectral_encoder
        n_pairs, n_queries = budget or full_budget(model)
        n_bands, size, _ = strip.shape
        patches = strip.view(n_bands, size, -1, size).permute(2, 0, 1, 3).flatten(-2)
        with torch.inference_mode(), _autocast(self.device, number_format):
            tokens = model.embed_patches(patches) + encoder.wavelength_encoding(wavelengths_um)
            queries: Tensor = encoder.queries + encoder.queries_pos_enc
            step = queries.shape[1] // n_queries
            queries = queries[:, ::step][:, :n_queries].expand(len(tokens), -1, -1)
            for index, block in enumerate(list(encoder.blocks)[: 2 * n_pairs]):
                if index % 2 == 0:
                    tokens = block(tokens)
                else:
                    queries = block(queries, tokens)
            return model.read_out(encoder.norm(queries)).float()

    def encode_spatial(self, features: Tensor, number_format: NumberFormat = "float32") -> Tensor:
        """Compute the features of patches in context, see `Backend.encode_spatial`."""
        with torch.inference_mode(), _autocast(self.device, number_format):
            return self._model.spatial_features(features).float()


def _autocast(device: torch.device, number_format: NumberFormat) -> AbstractContextManager[None]:
    return torch.autocast(device.type, torch.bfloat16, number_format == "bf16")


def has_fast_bf16(device: torch.device) -> bool:
    """Return whether the device has instructions for matrix products in bf16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    # `torch.cpu.get_capabilities` is public, but newer than the oldest supported PyTorch.
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
