"""CARL: camera-agnostic features of a spectral image.

The network of "CARL: Camera-Agnostic Representation Learning for Spectral Image Analysis" (ICLR
2026). A spectral encoder turns the bands of every patch into a vector that no longer depends on the
camera; a spatial encoder relates the patches to each other.
"""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carl.arrays import mirror_indices
from carl.errors import ModelError, WavelengthError
from carl.model.config import CARLConfig
from carl.model.readout import Readout
from carl.model.spatial_encoder import SpatialEncoder
from carl.model.spectral_encoder import SpectralEncoder

_CPU_TOKEN_VALUES = 1 << 18
"""Values of the band tokens of one chunk: their 1 MB stays in the cache of a core."""
_GPU_TOKEN_VALUES = 1 << 26
"""The same on a GPU, where a chunk has to be large to keep it busy: about 4 GB with all layers."""
_CPU_PATCHES = (8, 64)
"""Fewest and most patches of one chunk on a CPU: fewer are overhead, more gain nothing."""


class CARLOutput(NamedTuple):
    """Features of an image, one vector per patch.

    Attributes:
        spatial: (B, D, h, w), each patch among its neighbours.
        spectral: (B, D, h, w), each patch alone.
    """

    spatial: Tensor
    spectral: Tensor


class CARL(nn.Module):
    """The network.

    Args:
        config: what it is made of.
        name: what to call it.
        trained: whether its weights have learned anything.
        normalisation: mean and standard deviation of its training data, to normalise images with;
            None where every cube is normalised by its own.
        wavelength_range_um: shortest and longest wavelength it was trained on, if known.

    Attributes:
        patch_size: P, pixels.
        embed_dim: D, channels of the features.
    """

    def __init__(
        self,
        config: CARLConfig,
        *,
        name: str = "carl",
        trained: bool = False,
        normalisation: tuple[float, float] | None = None,
        wavelength_range_um: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.name = name
        self.trained = trained
        self.normalisation = normalisation
        self.wavelength_range_um = wavelength_range_um
        self.patch_size = config.patch_size

        spectral = config.spec_encoder_kwargs
        self.patch_embedding = nn.Conv2d(
            1, spectral.embed_dim, config.patch_size, config.patch_size
        )
        self.spectral_encoder = SpectralEncoder(spectral)
        self.readout = Readout(spectral.readout, spectral.n_queries, spectral.embed_dim)
        self.spatial_encoder = SpatialEncoder(config.spat_encoder_kwargs)
        self.embed_dim = self.spatial_encoder.embed_dim
        self.connector = nn.Linear(self.readout.out_dim, self.embed_dim)
        self._fingerprint: tuple[object, str] | None = None

    def forward(self, image: Tensor, wavelengths_um: Tensor) -> CARLOutput:
        """Features of an image.

        Args:
            image: (B, C, H, W), normalised. Sides that are not multiples of P are extended to the
                right and below by reflection.
            wavelengths_um: (C,) or (B, C) in µm, in any order.

        Returns:
            spatial and spectral features, both (B, D, ⌈H/P⌉, ⌈W/P⌉).

        Raises:
            ModelError: the image is not of that shape.
            WavelengthError: the wavelengths do not fit the image, or are not in µm.
        """
        spectral = self.spectral_features(image, wavelengths_um)
        return CARLOutput(self.spatial_features(spectral), spectral)

    def spectral_features(
        self, image: Tensor, wavelengths_um: Tensor, *, patches_per_chunk: int | None = None
    ) -> Tensor:
        """The first half of `forward`: features of every patch alone.

        The patches go through the spectral encoder some at a time, which bounds the memory and, on
        a CPU, is several times as fast as all at once.

        Args:
            image: (B, C, H, W), normalised.
            wavelengths_um: (C,) or (B, C) in µm.
            patches_per_chunk: how many at a time; chosen by device and size by default.

        Returns:
            (B, D, ⌈H/P⌉, ⌈W/P⌉).

        Raises:
            ModelError: the image is not of that shape.
            WavelengthError: the wavelengths do not fit the image, or are not in µm.
        """
        wavelengths_um = check_inputs(image, wavelengths_um)
        patches = self.split(image)
        batch, h, w = patches.shape[:3]
        patches = patches.flatten(0, 2)
        encoding = self.spectral_encoder.wavelength_encoding(wavelengths_um)
        chunk = patches_per_chunk or self._patches_per_chunk(image)
        features = []
        for start in range(0, len(patches), chunk):
            tokens = self.embed(patches[start : start + chunk])
            if len(encoding) == 1:
                codes = encoding
            else:  # one per image: each patch takes that of the image it belongs to
                rows = torch.arange(start, start + len(tokens), device=encoding.device)
                codes = encoding[rows // (h * w)]
            features.append(self.read_out(self.spectral_encoder(tokens, codes).queries))
        return torch.cat(features).view(batch, h, w, -1).permute(0, 3, 1, 2)

    def spatial_features(self, feature_map: Tensor, visible: Tensor | None = None) -> Tensor:
        """The second half of `forward`: each patch among its neighbours.

        Args:
            feature_map: (B, D, h, w) from `spectral_features`.
            visible: (B, h, w), False where a patch is hidden from the others; all by default.

        Returns:
            (B, D, h, w).
        """
        features: Tensor = self.spatial_encoder(feature_map, visible)
        return features

    def split(self, image: Tensor) -> Tensor:
        """Cut (B, C, H, W) into patches (B, h, w, C, P·P), extended by reflection where need be."""
        size = self.patch_size
        image = reflect_to_multiple(image, size)
        patches = image.unfold(2, size, size).unfold(3, size, size)
        return patches.permute(0, 2, 3, 1, 4, 5).flatten(-2)

    def embed(self, patches: Tensor) -> Tensor:
        """Band tokens (..., C, D) of patches (..., C, P·P)."""
        weight = self.patch_embedding.weight
        return F.linear(patches.to(weight.dtype), weight.flatten(1), self.patch_embedding.bias)

    def read_out(self, queries: Tensor) -> Tensor:
        """Vectors (N, D) of the spatial encoder's width from queries (N, K, D)."""
        gathered = self.readout(queries)
        vectors: Tensor = self.connector(F.layer_norm(gathered, gathered.shape[-1:]))
        return vectors

    @property
    def fingerprint(self) -> str:
        """SHA-256 of configuration and weights, in hexadecimal; computed anew when they change."""
        tensors = self.state_dict()
        state = tuple((tensor.data_ptr(), _version(tensor)) for tensor in tensors.values())
        if self._fingerprint is None or self._fingerprint[0] != state:
            self._fingerprint = (state, self._digest(tensors))
        return self._fingerprint[1]

    def _digest(self, tensors: dict[str, Tensor]) -> str:
        digest = hashlib.sha256(json.dumps(self.config.to_dict(), sort_keys=True).encode())
        for name, tensor in sorted(tensors.items()):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def _patches_per_chunk(self, image: Tensor) -> int:
        values = image.shape[1] * self.config.spec_encoder_kwargs.embed_dim
        if image.device.type == "cpu":
            fewest, most = _CPU_PATCHES
            return min(max(_CPU_TOKEN_VALUES // values, fewest), most)
        return max(_GPU_TOKEN_VALUES // values, 1)


def check_inputs(image: Tensor, wavelengths_um: Tensor) -> Tensor:
    """The wavelengths as (B, C) or (1, C) beside an image, or an error that says what is wrong.

    Raises:
        ModelError: the image is not (B, C, H, W), or empty.
        WavelengthError: the wavelengths do not fit the image, or are not in µm.
    """
    if image.ndim != 4 or 0 in image.shape:
        raise ModelError(
            f"The image has the shape {tuple(image.shape)}: the network takes (batch, bands, "
            "height, width)."
        )
    batch, bands = image.shape[:2]
    table = wavelengths_um[None] if wavelengths_um.ndim == 1 else wavelengths_um
    if table.ndim != 2 or table.shape[1] != bands or table.shape[0] not in (1, batch):
        raise WavelengthError(
            f"The wavelengths have the shape {tuple(wavelengths_um.shape)}, the image has {batch} "
            f"× {bands} bands: give one wavelength per band, in µm."
        )
    shortest, longest = (float(value) for value in table.aminmax())
    if not 0 < shortest <= longest < float("inf"):
        raise WavelengthError("The wavelengths must all be positive numbers, in µm.")
    if longest > 100:
        raise WavelengthError(
            f"A wavelength of {longest:g} µm was given, which looks like nm: divide by 1000."
        )
    return table


def reflect_to_multiple(image: Tensor, size: int) -> Tensor:
    """Extend (..., H, W) to the right and below, by reflection, to multiples of `size`.

    Images smaller than what is missing are reflected to and fro.
    """
    for axis in (-2, -1):
        length = image.shape[axis]
        wanted = -(-length // size) * size
        if wanted == length:
            continue
        positions = torch.from_numpy(mirror_indices(np.arange(wanted), length))
        image = image.index_select(axis, positions.to(image.device))
    return image


def _version(tensor: Tensor) -> int:
    """How often a tensor was changed in place; tensors made in inference mode do not count it."""
    return -1 if tensor.is_inference() else tensor._version
