"""Both halves of a network, prepared for inference once and cached."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from weakref import finalize

import torch
from torch import Tensor, nn

from carl.inference.backend import ComputeBudget, NumberFormat
from carl.inference.fast.attention import FastAttention
from carl.inference.fast.linear import pack_linears
from carl.inference.fast.spectral import FoldedSpectralEncoder
from carl.memory_cache import MemoryCache
from carl.model import CARL

_DTYPES: dict[NumberFormat, torch.dtype] = {"float32": torch.float32, "bf16": torch.bfloat16}

_Key = tuple[int, str, torch.device, str, NumberFormat]
"""Identity of the model, fingerprint of its weights, device, half, number format."""

_prepared: MemoryCache[_Key, nn.Module] = MemoryCache(max_size=16)
"""Halves of networks. They are removed with their model, or when its weights change."""


class FastBackend:
    """Run a network in its rewritten form, see `carl.inference.backend.Backend`.

    The caller's model is not changed. Its weights must not change while the backend is used; a
    backend made afterwards uses the new weights.

    Args:
        model: in eval mode, on the device to compute on.
    """

    def __init__(self, model: CARL) -> None:
        self._model = model
        self._fingerprint = model.fingerprint
        self.device = next(model.parameters()).device

    def encode_spectral(
        self,
        strip: Tensor,
        wavelengths_um: Tensor,
        number_format: NumberFormat = "float32",
        budget: ComputeBudget | None = None,
    ) -> Tensor:
        """Compute the features of single patches, see `Backend.encode_spectral`."""

        def fold() -> nn.Module:
            return FoldedSpectralEncoder(self._model, _DTYPES[number_format])

        encoder = self._prepare("spectral", number_format, fold)
        with torch.inference_mode():
            features: Tensor = encoder(strip, wavelengths_um, budget)
        return features

    def encode_spatial(self, features: Tensor, number_format: NumberFormat = "float32") -> Tensor:
        """Compute the features of patches in context, see `Backend.encode_spatial`."""

        def pack() -> nn.Module:
            original = self._model.spatial_encoder
            tensors = (*original.parameters(), *original.buffers())
            encoder = deepcopy(original, {id(each): each for each in tensors})  # shares the weights
            pack_linears(encoder, _DTYPES[number_format])
            return encoder

        encoder = self._prepare("spatial", number_format, pack)
        in_bf16 = torch.autocast(self.device.type, torch.bfloat16, number_format == "bf16")
        with torch.inference_mode(), in_bf16, FastAttention():
            encoded: Tensor = encoder(features)
        return encoded.float()

    def _prepare(
        self, half: str, number_format: NumberFormat, make: Callable[[], nn.Module]
    ) -> nn.Module:
        """Return a prepared half of the network from the cache, or make it."""
        identity, fingerprint = id(self._model), self._fingerprint

        def make_instead_of_outdated() -> nn.Module:
            _prepared.discard(lambda key: key[0] == identity and key[1] != fingerprint)
            finalize(self._model, _prepared.discard, lambda key: key[0] == identity)
            return make()

        key = (identity, fingerprint, self.device, half, number_format)
        return _prepared.get(key, make_instead_of_outdated)
